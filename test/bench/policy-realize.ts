/** W7: from a change to the kernel's maps, and how long anybody else has to wait meanwhile. */
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Document } from '../../agent/model/object.ts';
import { createEngine } from '../../agent/policy/engine.ts';
import { heldBytes } from '../kit/memory.ts';
import { type Figure, figureOf, quantile } from './figure.ts';
import { appPolicies, appRule, cidrPolicy, labelsOf, numberOf, policy, subjectOf } from './policy-cluster.ts';
import { type Kernel, openKernel, REACH } from './policy-kernel.ts';
import { compare, fullResolve, loaded, RULES } from './policy-resolve.ts';

const IDENTITIES = 10_000;
const LONGEST_WAIT_MS = 20;
/** New identities in one round. */
const REPEATS = 500;

/** Milliseconds from an identity's labels to its rows in the maps, one after the other. */
export async function newIdentity(rounds: number): Promise<Figure[]> {
  await using kernel = await openKernel();
  const engine = loaded(IDENTITIES, appPolicies(RULES));
  engine.addSubject(subjectOf(0));
  await kernel.realize(engine);
  const name = `new identity to map write (${REACH}), ${IDENTITIES} identities x ${RULES} rules`;
  let next = IDENTITIES;
  const add = async () => {
    const times: number[] = [];
    for (let i = 0; i < REPEATS; i++) {
      const n = next++;
      const start = performance.now();
      engine.upsertIdentity(numberOf(n), labelsOf(n));
      await kernel.realize(engine);
      times.push(performance.now() - start);
    }
    return { [`${name}, p50`]: quantile(times, 0.5), [`${name}, p99`]: quantile(times, 0.99) };
  };
  const metrics = ['p50', 'p99'].map((at) => ({ metric: `${name}, ${at}`, unit: 'ms', goal: { oursAtMost: 1 } }));
  return await compare(metrics, 'full resolve', { ours: add, baseline: () => fullResolve(IDENTITIES) }, rounds);
}

/**
 * The longest that anybody else on the thread waits, garbage collection included, while large changes are brought into
 * force: of all rounds, the cold first one too. Against an idle process over the same time: what the machine itself adds,
 * and by how much more than that the goal has to be missed.
 */
export async function longestWait(rounds: number): Promise<Figure[]> {
  const busy: number[] = [];
  const idle: number[] = [];
  for (let round = 0; round <= rounds; round++) {
    await using kernel = await openKernel(); // Loading the programs is not part of it.
    heldBytes();
    const start = performance.now();
    busy.push(await longestDelay(() => largeChanges(kernel)));
    const took = performance.now() - start;
    idle.push(await longestDelay(() => sleep(took)));
  }
  const noise = Math.max(...idle) / LONGEST_WAIT_MS;
  return [
    figureOf(
      {
        workload: 'W7',
        metric: `longest event-loop delay (${REACH})`,
        unit: 'ms',
        better: 'less',
        goal: { oursAtMost: LONGEST_WAIT_MS },
      },
      { ours: [Math.max(...busy)], baseline: [Math.max(...idle)], baselineName: 'an idle process', noise },
    ),
  ];
}

async function largeChanges(kernel: Kernel): Promise<void> {
  const engine = createEngine();
  const kindly = async (count: number, work: (n: number) => void): Promise<void> => {
    for (let n = 0; n < count; n++) {
      work(n);
      if (n % 50 === 49) await new Promise(setImmediate); // As a watch brings them: some at a time.
    }
    await kernel.realize(engine);
  };
  engine.addSubject(subjectOf(0));
  await kindly(65_000, (n) => engine.upsertIdentity(numberOf(n), labelsOf(n)));
  const documents = appPolicies(RULES);
  await kindly(RULES, (n) => engine.upsertDocument(documents[n] as Document));
  for (let n = 0; n < 5; n++) {
    await kindly(1, () => engine.upsertDocument(policy('policy-7', undefined, { ingress: [appRule(7, 20_000 + n)] })));
  }
  await kindly(1, () => engine.upsertDocument(policy('cluster', undefined, { egress: [{ toEntities: ['cluster'] }] })));
  await kindly(1, () => engine.upsertDocument(cidrPolicy(1000)));
  await kindly(1, () => engine.removeDocument(policy('cluster', undefined, {}).ref));
  await kindly(RULES, (n) => engine.removeDocument((documents[n] as Document).ref));
}

/** Milliseconds. */
async function longestDelay(work: () => Promise<void>): Promise<number> {
  const monitor = monitorEventLoopDelay({ resolution: 1 });
  monitor.enable();
  await work();
  await sleep(10); // The last delay is only seen by the next turn of the loop.
  monitor.disable();
  return monitor.max / 1e6;
}
