/** Agents that number label sets through one API server, where everything happens as late and in as odd an order as a seed says. */
import { setImmediate as turn } from 'node:timers/promises';
import * as assert from 'uvu/assert';
import { createIdentityCollector } from '../../agent/cluster/collect-identities.ts';
import { createIdentities, type HeldRecord, type Identities } from '../../agent/cluster/identities.ts';
import { IDENTITIES, type IdentityObject, identityName, NODES } from '../../agent/cluster/objects.ts';
import { createOwnRecord, type OwnRecord } from '../../agent/cluster/own-record.ts';
import type { NumberRange } from '../../agent/identity/allocate.ts';
import { collectionPath } from '../../agent/kubernetes/path.ts';
import type { Labels } from '../../agent/model/labels.ts';
import type { Journal } from '../../agent/run/journal.ts';
import { createLogger } from '../../agent/run/log.ts';
import { type FakeClock, fakeClock } from '../kit/clock.ts';
import { random } from '../kit/random.ts';
import { FakeApi } from './cluster-api.ts';

export const GRACE_MS = 1000;
export const QUIET = createLogger({ level: 'error', format: 'text', write: () => {} });
export const labelsOf = (set: number): Labels => new Map([['k8s:app', `app-${set}`]]);

export const ownerOf = (name: string) => async () => ({ apiVersion: 'v1', kind: 'Node', name, uid: `uid of ${name}` });

/** What a disk keeps over restarts. */
export function memoryJournal(): Pick<Journal<HeldRecord>, 'append' | 'rewrite' | 'lines'> & { records: HeldRecord[] } {
  const journal = {
    records: [] as HeldRecord[],
    append: async (records: readonly HeldRecord[]) => {
      journal.records.push(...records);
      await turn(); // A disk takes its time to say so.
    },
    rewrite: async (snapshot: () => readonly HeldRecord[]) => {
      journal.records = [...snapshot()];
    },
    get lines() {
      return journal.records.length;
    },
  };
  return journal;
}

export class Agent {
  readonly name: string;
  readonly api: FakeApi;
  readonly range: NumberRange;
  readonly journal = memoryJournal();
  /** What the kernel holds of it, over restarts: set -> number. */
  readonly using = new Map<number, number>();
  readonly asked = new Set<number>();
  readonly renumbered: Labels[] = [];
  incarnation = 0;
  clock: FakeClock = fakeClock();
  identities!: Identities;
  record!: OwnRecord;
  collector!: ReturnType<typeof createIdentityCollector>;
  collecting = false;
  #end = new AbortController();

  constructor(api: FakeApi, name: string, range: NumberRange) {
    this.api = api;
    this.name = name;
    this.range = range;
    api.create(collectionPath(NODES), { metadata: { name } });
    this.start();
  }

  get id(): string {
    return `${this.name}#${this.incarnation}`;
  }

  start(): void {
    this.#end = new AbortController();
    const { signal } = this.#end;
    this.collecting = false;
    // Clocks that have nothing to do with each other.
    const clock = fakeClock(this.incarnation * 1e6);
    this.clock = clock;
    const client = this.api.client(this.id);
    this.record = createOwnRecord({
      client,
      nodeName: this.name,
      clock,
      signal,
      owner: ownerOf(this.name),
      onTrouble: () => {},
    });
    this.identities = createIdentities({
      client,
      record: this.record,
      journal: this.journal,
      held: [...this.journal.records],
      clock,
      log: QUIET,
      graceMs: GRACE_MS,
      waitMs: 500,
      range: this.range,
      onRenumbered: (labels) => this.renumbered.push(labels),
      signal,
    });
    this.collector = createIdentityCollector({
      client,
      nodeName: this.name,
      clock,
      graceMs: GRACE_MS,
      identities: () => this.identities.known.values(),
      signal,
    });
    client.watch<IdentityObject>({
      path: collectionPath(IDENTITIES),
      onChanges: (changes) => this.identities.take(changes),
      onSynced: () => this.identities.synced(),
      signal,
    });
    this.record.describe({ addresses: ['192.0.2.1'], podCidrs: [], routerAddresses: [] });
    for (const set of this.using.keys())
      void this.#acquire(set).catch(() => assert.unreachable('held over the restart'));
  }

  restart(): void {
    this.#end.abort();
    this.asked.clear();
    this.incarnation++;
    this.start();
  }

  end(): void {
    this.#end.abort();
  }

  async #acquire(set: number): Promise<void> {
    const mine = this.incarnation;
    this.asked.add(set);
    try {
      const number = await this.identities.acquire(labelsOf(set));
      if (mine !== this.incarnation) return;
      const before = this.using.get(set);
      if (before !== undefined) assert.is(number, before, `${this.id}: set ${set} has another number`);
      if (number >= this.range.first) this.using.set(set, number);
    } finally {
      if (mine === this.incarnation) this.asked.delete(set);
    }
  }

  acquire(set: number): void {
    if (!this.using.has(set) && !this.asked.has(set)) this.#acquire(set).catch(retryable);
  }

  release(set: number): void {
    if (!this.using.has(set) || this.asked.has(set)) return;
    this.using.delete(set);
    this.identities.release(labelsOf(set));
  }

  collect(): void {
    if (this.collecting) return;
    this.collecting = true;
    const mine = this.incarnation;
    const done = () => {
      if (mine === this.incarnation) this.collecting = false;
    };
    this.collector.run().then(done, done);
  }
}

function retryable(error: unknown): void {
  const { retryable: again, code } = error as { retryable?: boolean; code?: string };
  if (again !== true) throw Object.assign(new Error(`not a retryable error: ${code}`), { cause: error });
}

/** What must hold at every moment. */
export function assertAgreed(api: FakeApi, agents: readonly Agent[]): void {
  const objects = api.all<IdentityObject>(collectionPath(IDENTITIES));
  const numbers = objects.map(({ spec }) => spec.number);
  assert.is(new Set(numbers).size, numbers.length, `one label set per number: ${numbers.sort().join(' ')}`);
  const byName = new Map(objects.map((object) => [object.metadata.name, object.spec.number]));
  for (const agent of agents)
    for (const [set, number] of agent.using) {
      const name = identityName(labelsOf(set));
      assert.is(byName.get(name), number, `${agent.id} uses ${number} for set ${set}, which is there as`);
    }
}

export interface Odds {
  readonly agents: number;
  readonly sets: number;
  readonly numbers: number;
  readonly steps: number;
}

/** One life of a cluster. Throws at the first moment at which something is not as it must be. */
export async function live(seed: number, odds: Odds): Promise<{ readonly removed: number; readonly wrapped: boolean }> {
  const { next } = random(seed);
  const pick = <T>(items: readonly T[]): T => items[Math.floor(next() * items.length)] as T;
  const api = new FakeApi();
  const range = { first: 256, last: 256 + odds.numbers - 1 };
  const agents = Array.from({ length: odds.agents }, (_, i) => new Agent(api, `node-${i}`, range));
  let removed = 0;
  let failure: unknown;
  api.onChange = (event) => {
    if (event.type === 'delete') removed++;
    try {
      assertAgreed(api, agents);
    } catch (error) {
      failure ??= error;
    }
  };
  const onReject = (error: unknown): void => {
    failure ??= error;
  };
  process.on('unhandledRejection', onReject);
  /** Calls of agents that ended: whatever is still under way is over long before a grace is. */
  const endLate = (): void => {
    const alive = new Set(agents.map((agent) => agent.id));
    for (const call of api.calls) if (!alive.has(call.by)) (next() < 0.5 ? call.answer : call.fail)();
  };
  const actions: readonly (readonly [weight: number, act: () => void])[] = [
    [20, () => pick(agents).acquire(Math.floor(next() * odds.sets))],
    [20, () => pick(agents).release(Math.floor(next() * odds.sets))],
    [120, () => api.calls.length > 0 && pick(api.calls).answer()],
    [6, () => api.calls.length > 0 && pick(api.calls).loseAnswer()],
    [6, () => api.calls.length > 0 && pick(api.calls).fail()],
    [40, () => api.watches.length > 0 && pick(api.watches).tell(1 + Math.floor(next() * 6))],
    [
      24,
      () => {
        endLate();
        pick(agents).clock.advance(next() < 0.5 ? 300 : 2 * GRACE_MS);
      },
    ],
    [20, () => void pick(agents).identities.collect()],
    [30, () => pick(agents).collect()],
    [2, () => pick(agents).restart()],
  ];
  const total = actions.reduce((sum, [weight]) => sum + weight, 0);
  try {
    for (let step = 0; step < odds.steps && failure === undefined; step++) {
      const at = next() * total;
      let sum = 0;
      for (const [weight, act] of actions) {
        sum += weight;
        if (at >= sum) continue;
        act();
        break;
      }
      await turn();
      assertAgreed(api, agents);
    }
    for (const agent of agents) agent.end();
    await turn();
  } finally {
    process.off('unhandledRejection', onReject);
  }
  if (failure !== undefined) throw failure;
  const ranges = api.all<{ spec: { next: number } }>('/apis/weir.dev/v1alpha1/weiridentityranges');
  return { removed, wrapped: (ranges[0]?.spec.next ?? 0) > range.last + 1 };
}
