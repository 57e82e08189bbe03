/**
 * One agent among 5,000 pods on 100 nodes that only write into the API server (test/scale): what it holds, reads and costs,
 * how soon a remote pod is in the kernel, and the same under a storm, a restart and a policy that is about everybody.
 */
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { SLICES } from '../../agent/cluster/objects.ts';
import { collectionPath } from '../../agent/kubernetes/path.ts';
import type { NodeUnderTest } from '../kit/node.ts';
import { until } from '../kit/until.ts';
import { BareWatch } from '../scale/bare-watch.ts';
import { create, populate } from '../scale/crowd.ts';
import { writePods } from '../scale/pod-objects.ts';
import { FULL, type Scale, SMALL } from '../scale/population.ts';
import { cpuSeconds, type LoopDelay, LoopDelays } from '../scale/process.ts';
import { openStage, type Stage } from '../scale/stage.ts';
import { beyondWatch, oneByOne, storm, Turnover, watchTimes } from '../scale/turnover.ts';
import type { Bench } from './bench.ts';
import { type Figure, figureOf, type Goal, quantile } from './figure.ts';
import { firstLine } from './load.ts';
import { bareNodeMiB, residentMiB, withGarbageCollector } from './memory.ts';

const RAW_PODS = fileURLToPath(new URL('../scale/raw-pods.mjs', import.meta.url));
const LOCAL_PODS = 20;
const STORM = { perSecond: 100, seconds: 10 } as const;
const MIB = 2 ** 20;

interface Measured {
  readonly metric: string;
  readonly unit: string;
  readonly ours: number;
  readonly baseline: number;
  readonly baselineName: string;
  readonly goal?: Goal;
}

export async function scale(bench: Bench): Promise<Figure[]> {
  const size = bench.quick ? SMALL : FULL;
  await using closing = new AsyncDisposableStack();
  const delays = closing.adopt(await LoopDelays.open(), (one) => one.close());
  const start: Start = (begin) => withGarbageCollector(() => delays.during(begin));
  const stage = await openStage('scale', { scale: size, localPods: LOCAL_PODS, start }, closing);
  const coming = await comingOfPods(stage, size);
  const turnover = closing.use(await Turnover.start(stage.api, stage.node.pinFolder, stage.crowd, size));
  const measured = [
    ...coming.measured,
    ...(await rest(stage, bench.quick ? 5 : 20)),
    ...latencies(await oneByOne(turnover, size, bench.quick ? 50 : 300), 'remote pod to map write'),
    ...(await stormy(stage, turnover, delays, size)),
    ...(await policyForAll(stage, delays, size)),
    ...(await restart(stage, start, size)),
    ...(await againstAllPods(stage, coming, size)),
  ];
  // One long run each: percentiles and sums already, so no rounds and no spread.
  return measured.map(({ ours, baseline, baselineName, metric, unit, goal }) =>
    figureOf(
      { workload: 'scale', metric, unit, better: 'less', ...(goal && { goal }) },
      { ours: [ours], baseline: [baseline], baselineName, noise: 0 },
    ),
  );
}

type Start = (begin: () => Promise<NodeUnderTest>) => Promise<NodeUnderTest>;

interface Coming {
  readonly measured: readonly Measured[];
  /** The agent's memory before and after. */
  readonly emptyMiB: number;
  readonly filledMiB: number;
  /** What a watch of the slices brought. */
  readonly watchedBytes: number;
}

/** From no pod elsewhere to all of them. */
async function comingOfPods({ api, receivedBytes, node, crowd, map }: Stage, size: Scale): Promise<Coming> {
  const emptyMiB = await residentMiB(node.agentPid);
  using watch = await BareWatch.start(api, collectionPath(SLICES));
  const before = { cpu: cpuSeconds(node.agentPid), bytes: await receivedBytes(), at: performance.now() };
  await populate(crowd, size);
  await until(() => map.pods().size >= 2 * (size.pods + LOCAL_PODS), {
    what: 'all pods in the kernel',
    timeoutMs: 60_000,
    everyMs: 50,
  });
  const seconds = (performance.now() - before.at) / 1000;
  const bytes = (await receivedBytes()) - before.bytes;
  const measured: Measured[] = [
    {
      ...{ metric: `${size.pods} pods come: CPU`, unit: 's', ours: cpuSeconds(node.agentPid) - before.cpu },
      ...{ baseline: seconds, baselineName: 'the time it took' },
    },
    {
      ...{ metric: `${size.pods} pods come: received`, unit: 'MiB', ours: bytes / MIB },
      ...{ baseline: watch.bytes / MIB, baselineName: 'a bare watch of their slices' },
    },
  ];
  const filledMiB = await residentMiB(node.agentPid);
  measured.push({
    ...{ metric: `VmRSS at ${size.pods} pods`, unit: 'MiB', ours: filledMiB, goal: { oursAtMost: 160 } },
    ...{ baseline: emptyMiB, baselineName: 'before any pod elsewhere' },
  });
  return { measured, emptyMiB, filledMiB, watchedBytes: watch.bytes };
}

/** Nothing happens; the agent has the Lease, and so the chores of all. */
async function rest({ node, receivedBytes }: Stage, seconds: number): Promise<Measured[]> {
  const before = { cpu: cpuSeconds(node.agentPid), bytes: await receivedBytes() };
  await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
  const cpu = (100 * (cpuSeconds(node.agentPid) - before.cpu)) / seconds;
  const bytes = ((await receivedBytes()) - before.bytes) / seconds;
  return [
    {
      ...{ metric: 'CPU at rest', unit: '% of a core', goal: { oursAtMost: 10 } },
      ...{ ours: cpu, baseline: 100, baselineName: 'a core' },
    },
    {
      ...{ metric: 'received at rest', unit: 'KiB/s' },
      ...{ ours: bytes / 1024, baseline: 1024, baselineName: '1 MiB/s' },
    },
  ];
}

async function stormy({ node }: Stage, turnover: Turnover, delays: LoopDelays, size: Scale): Promise<Measured[]> {
  const { perSecond, seconds } = STORM;
  const before = cpuSeconds(node.agentPid);
  const { result, delay } = await delays.of(node.agentPid, () => storm(turnover, size, perSecond, seconds));
  const cpu = (100 * (cpuSeconds(node.agentPid) - before)) / seconds;
  const what = `storm of ${perSecond} changes/s`;
  return [
    ...latencies(result, `${what}, to map write`),
    { metric: `${what}, CPU`, unit: '% of a core', ours: cpu, baseline: 100, baselineName: 'a core' },
    loopDelay(what, delay),
  ];
}

/** From the API server's answer to the policy being in force for the pods here, each of which it selects. */
async function policyForAll({ node, client }: Stage, delays: LoopDelays, size: Scale): Promise<Measured[]> {
  const peers = { matchExpressions: [{ key: 'tier', operator: 'In', values: ['front', 'back'] }] };
  const policy = {
    apiVersion: 'cilium.io/v2',
    kind: 'CiliumClusterwideNetworkPolicy',
    metadata: { name: 'everybody' },
    spec: { endpointSelector: {}, ingress: [{ fromEndpoints: [peers] }], egress: [{ toEndpoints: [peers] }] },
  };
  const { result: inForceMs, delay } = await delays.of(node.agentPid, async () => {
    await create(client, policy);
    const from = performance.now();
    await until(() => isInForce(node, 'everybody'), { what: 'the policy to be in force', everyMs: 5 });
    return performance.now() - from;
  });
  return [
    {
      ...{ metric: `policy that matches ${size.applications} identities, to in force`, unit: 'ms' },
      ...{ ours: inForceMs, baseline: 100, baselineName: '100 ms', goal: { oursAtMost: 100 } },
    },
    loopDelay('that policy', delay),
  ];
}

async function isInForce(node: NodeUnderTest, name: string): Promise<boolean> {
  const { status, body } = await node.get(`/v1/policies/-/${name}`);
  if (status === 404) return false;
  const { policies } = JSON.parse(body) as { policies: readonly { realized: boolean }[] };
  return policies.every(({ realized }) => realized);
}

async function restart({ node, map }: Stage, start: Start, size: Scale): Promise<Measured[]> {
  await node.stopAgent();
  const from = performance.now();
  await start(async () => {
    await node.startAgent();
    return node;
  });
  const seconds = (performance.now() - from) / 1000;
  const held = map.pods().size;
  if (held !== 2 * (size.pods + LOCAL_PODS))
    throw new Error(`after the restart the kernel has ${held} addresses of pods`);
  return [
    {
      ...{ metric: 'restart, to ready', unit: 's', goal: { oursAtMost: 5 } },
      ...{ ours: seconds, baseline: 5, baselineName: '5 s' },
    },
    {
      ...{ metric: 'restart, CPU', unit: 's' },
      ...{ ours: cpuSeconds(node.agentPid), baseline: seconds, baselineName: 'the time it took' },
    },
  ];
}

/** The same pods as Pod objects: what a client that watches all of them reads and holds at least. */
async function againstAllPods({ api, client }: Stage, coming: Coming, size: Scale): Promise<Measured[]> {
  using watch = await BareWatch.start(api, '/api/v1/pods');
  await writePods(client, size);
  // The API server gives up a watch that does not keep up, as this one may: what an event has on average is enough.
  const twoEventsKiB = (2 * watch.bytes) / watch.events / 1024;
  const reader = await withGarbageCollector(async () =>
    spawn(process.execPath, [RAW_PODS, api.url, api.caFile], {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: { ...process.env, TOKEN: api.token },
    }),
  );
  try {
    const answer = JSON.parse(await firstLine(reader.stdout)) as { pods: number; bytes: number };
    if (answer.pods < size.pods) throw new Error(`${answer.pods} Pods were listed, ${size.pods} expected`);
    const rawMiB = (await residentMiB(reader.pid ?? 0)) - (await bareNodeMiB());
    const slices = (await api.request('GET', collectionPath(SLICES))).body as object;
    return [
      {
        ...{ metric: `${size.pods} pods listed`, unit: 'MiB', ours: Buffer.byteLength(JSON.stringify(slices)) / MIB },
        ...{ baseline: answer.bytes / MIB, baselineName: 'all Pods' },
      },
      {
        ...{ metric: 'watched, a pod that starts', unit: 'KiB', ours: coming.watchedBytes / 1024 / size.pods },
        ...{ baseline: twoEventsKiB, baselineName: 'the first and last of its Pod events' },
      },
      {
        ...{ metric: `${size.pods} pods held`, unit: 'MiB', ours: coming.filledMiB - coming.emptyMiB },
        ...{ baseline: rawMiB, baselineName: 'all Pods, as they come' },
      },
    ];
  } finally {
    reader.kill('SIGKILL');
  }
}

function latencies(changes: Parameters<typeof beyondWatch>[0], what: string): Measured[] {
  const [ours, watch] = [beyondWatch(changes), watchTimes(changes)];
  return [0.5, 0.99].map((q) => ({
    metric: `${what}, p${100 * q} beyond the watch`,
    ...{ unit: 'ms', ours: quantile(ours, q), baseline: quantile(watch, q), baselineName: 'write to bare watch' },
    ...(q === 0.99 && { goal: { oursAtMost: 100 } }),
  }));
}

function loopDelay(what: string, { ownMs, idleMs }: LoopDelay): Measured {
  const metric = `${what}, longest event-loop delay`;
  return { metric, unit: 'ms', ours: ownMs, baseline: idleMs, baselineName: 'an idle process' };
}
