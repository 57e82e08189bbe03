/** pods: from scheduled to Running on real Kubernetes, Weir's nodes beside a cluster of the same kind with the `ptp` plugin. */
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { type Cluster, clusterName, startCluster } from '../cluster/cluster.ts';
import { AGNHOST_IMAGE } from '../cluster/images.ts';
import { startWeirCluster } from '../cluster/weir.ts';
import { stockProgram } from '../kit/stock.ts';
import type { Bench } from './bench.ts';
import { type Figure, figureOf, type Metric, noiseOf, quantile } from './figure.ts';
import { type Contender, contest, numbers, type Sample } from './rounds.ts';

/** In one round, one after the other and then all at once. */
const PODS = 10;
const PODS_QUICKLY = 5;
const LIMIT_MS = 120_000;
/** How often pods were started: each time they have names of their own. */
let starts = 0;

const METRICS: readonly (Metric & { key: string })[] = [
  { key: 'oneP50', metric: 'scheduled to Running, one by one, p50', goal: { ratioAtLeast: 1 } },
  { key: 'oneMax', metric: 'scheduled to Running, one by one, slowest' },
  { key: 'manyP50', metric: `scheduled to Running, ${PODS} at once, p50`, goal: { ratioAtLeast: 1 } },
  { key: 'manyMax', metric: `scheduled to Running, ${PODS} at once, slowest` },
].map((metric) => ({ workload: 'pods', unit: 'ms', better: 'less' as const, ...metric }));

/** Two clusters of one node, idle while it is not their turn. */
export async function podStarts(bench: Bench): Promise<Figure[]> {
  await using ptp = await startCluster({ name: clusterName('bench-ptp'), nodes: 1, cni: 'ptp' });
  await using weir = await startWeirCluster({ name: clusterName('bench-weir'), nodes: 1, routingMode: 'tunnel' });
  const pods = bench.quick ? PODS_QUICKLY : PODS;
  const baseline = contender('ptp', ptp, pods);
  const result = await contest({ ours: contender('Weir', weir, pods), baseline }, bench.rounds);
  return METRICS.map(({ key, ...metric }) => {
    const [before, after] = [numbers(result.baseline, key), numbers(result.again, key)];
    const middle = before.map((value, i) => (value + (after[i] ?? value)) / 2);
    const noise = noiseOf(before, after);
    return figureOf(metric, { ours: numbers(result.ours, key), baseline: middle, baselineName: baseline.name, noise });
  });
}

function contender(name: string, cluster: Cluster, pods: number): Contender {
  return {
    name,
    async run(): Promise<Sample> {
      const one: number[] = [];
      for (let i = 0; i < pods; i++) one.push(...(await startPods(cluster, 1)));
      const many = await startPods(cluster, PODS);
      return {
        oneP50: quantile(one, 0.5),
        oneMax: Math.max(...one),
        manyP50: quantile(many, 0.5),
        manyMax: Math.max(...many),
      };
    },
  };
}

/** Milliseconds of each, by a watch: the API server's own times are whole seconds. The pods are gone when it resolves. */
async function startPods(cluster: Cluster, count: number): Promise<number[]> {
  const batch = `bench-${++starts}`;
  // Nobody schedules it: a watch that tells of it is open.
  const sentinel = `${batch}-sentinel`;
  await cluster.apply(pod(sentinel, 'nobody'));
  const watch = spawn(
    stockProgram('kubectl'),
    ['get', '--raw', '/api/v1/namespaces/default/pods?watch=1&resourceVersion=0&labelSelector=bench'],
    { env: { ...process.env, KUBECONFIG: cluster.kubeconfig }, stdio: ['ignore', 'pipe', 'inherit'] },
  );
  const scheduled = new Map<string, number>();
  const running = new Map<string, number>();
  const isOpen = Promise.withResolvers<void>();
  const all = new Promise<void>((resolve, reject) => {
    const limit = setTimeout(() => reject(new Error(`${running.size} of ${count} pods run`)), LIMIT_MS);
    createInterface({ input: watch.stdout }).on('line', (line) => {
      const now = performance.now();
      const { type, object } = JSON.parse(line);
      if (type === 'ERROR') return reject(new Error(`the watch of pods: ${line}`));
      const { metadata, spec, status } = object;
      if (metadata.name === sentinel) return isOpen.resolve();
      if (!metadata.name.startsWith(`${batch}-`)) return; // What the watch cache still remembers.
      if (spec.nodeName !== undefined && !scheduled.has(metadata.name)) scheduled.set(metadata.name, now);
      if (status.phase === 'Running' && !running.has(metadata.name)) running.set(metadata.name, now);
      if (running.size < count) return;
      clearTimeout(limit);
      resolve();
    });
  });
  try {
    await Promise.race([isOpen.promise, all]);
    await cluster.apply(Array.from({ length: count }, (_, i) => pod(`${batch}-${i}`)).join('\n---\n'));
    await all;
  } finally {
    watch.kill();
    await cluster.kubectl('delete', 'pods', '-l', 'bench', '--timeout=60s');
  }
  return [...running].map(([name, at]) => at - (scheduled.get(name) ?? at));
}

function pod(name: string, schedulerName = 'default-scheduler'): string {
  const container = { name: 'bench', image: AGNHOST_IMAGE, imagePullPolicy: 'Never', args: ['pause'] };
  return JSON.stringify({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, labels: { bench: 'yes' } },
    spec: { schedulerName, terminationGracePeriodSeconds: 0, containers: [container] },
  });
}
