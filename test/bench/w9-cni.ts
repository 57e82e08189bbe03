/** W9: ADD and DEL through the real binaries, one after the other and eight at once, and the agent's memory afterwards. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Netns } from '../kit/netns.ts';
import { NodeUnderTest } from '../kit/node.ts';
import type { Bench } from './bench.ts';
import { type Figure, figureOf, type Metric, noiseOf, quantile } from './figure.ts';
import { type CniProgram, fleetManifest, ptpCni, weirCni } from './fleet.ts';
import { bareNodeMiB, residentMiB, withGarbageCollector } from './memory.ts';
import { contest, numbers, type Sample } from './rounds.ts';

const PODS = 100;
const PODS_QUICKLY = 20;
const AT_ONCE = 8;

export async function cni(bench: Bench): Promise<Figure[]> {
  // A round is long, and its percentiles are of many calls already.
  const rounds = Math.min(bench.rounds, 3);
  await using node = await withGarbageCollector(() =>
    NodeUnderTest.start('w9', { manifests: { 'fleet.yaml': fleetManifest(PODS) } }),
  );
  const data = await mkdtemp(join(tmpdir(), 'wt-ptp-'));
  try {
    const pods = await Promise.all(Array.from({ length: PODS }, (_, i) => node.bed.netns(`pod-${i}`)));
    const elsewhere = await node.bed.netns('ptp');
    const [ours, ptp] = [weirCni(node, bench.load), ptpCni(elsewhere, data, bench.load)];
    const some = bench.quick ? pods.slice(0, PODS_QUICKLY) : pods;
    const result = await contest({ ours: round(ours, some), baseline: round(ptp, some) }, rounds);
    const figures = METRICS.map(({ key, ...metric }) => {
      const [before, after] = [numbers(result.baseline, key), numbers(result.again, key)];
      const baseline = before.map((value, i) => (value + (after[i] ?? value)) / 2);
      const noise = noiseOf(before, after);
      return figureOf(metric, { ours: numbers(result.ours, key), baseline, baselineName: ptp.name, noise });
    });
    for (const [number, netns] of pods.entries()) await ours.call('ADD', netns, number);
    return [...figures, await memory(node)];
  } finally {
    await rm(data, { recursive: true, force: true });
  }
}

const METRICS: readonly (Metric & { key: string })[] = [
  { key: 'addP50', metric: 'ADD p50', unit: 'ms', better: 'less' },
  { key: 'addP99', metric: 'ADD p99', unit: 'ms', better: 'less', goal: { oursAtMost: 10 } },
  { key: 'addP99', metric: 'ADD p99, no slower than ptp', unit: 'ms', better: 'less', goal: { ratioAtLeast: 1 } },
  { key: 'delP50', metric: 'DEL p50', unit: 'ms', better: 'less' },
  { key: 'delP99', metric: 'DEL p99', unit: 'ms', better: 'less' },
  { key: 'parallelP99', metric: `ADD p99, ${AT_ONCE} at once`, unit: 'ms', better: 'less' },
  { key: 'podsPerSecond', metric: `pods added, ${AT_ONCE} at once`, unit: '1/s', better: 'more' },
].map((metric) => ({ workload: 'W9', ...metric })) as (Metric & { key: string })[];

/** Every pod added and removed one by one, then all again eight at once. */
function round(program: CniProgram, pods: readonly Netns[]) {
  const all = async (command: 'ADD' | 'DEL', atOnce: number): Promise<number[]> => {
    const queue = [...pods.entries()];
    const times: number[] = [];
    const worker = async () => {
      for (let next = queue.shift(); next !== undefined; next = queue.shift())
        times.push(await program.call(command, next[1], next[0]));
    };
    await Promise.all(Array.from({ length: atOnce }, worker));
    return times;
  };
  const run = async (): Promise<Sample> => {
    const added = await all('ADD', 1);
    const removed = await all('DEL', 1);
    const started = performance.now();
    const parallel = await all('ADD', AT_ONCE);
    const seconds = (performance.now() - started) / 1000;
    await all('DEL', AT_ONCE);
    return {
      addP50: quantile(added, 0.5),
      addP99: quantile(added, 0.99),
      delP50: quantile(removed, 0.5),
      delP99: quantile(removed, 0.99),
      parallelP99: quantile(parallel, 0.99),
      podsPerSecond: pods.length / seconds,
    };
  };
  return { name: program.name, run };
}

/** The agent with 100 endpoints, after all that. */
async function memory(node: NodeUnderTest): Promise<Figure> {
  const [ours, bare] = [await residentMiB(node.agentPid), await bareNodeMiB()];
  return figureOf(
    { workload: 'W9', metric: `VmRSS with ${PODS} endpoints`, unit: 'MiB', better: 'less', goal: { oursAtMost: 120 } },
    { ours: [ours], baseline: [bare], baselineName: 'bare Node 24', noise: 0 },
  );
}
