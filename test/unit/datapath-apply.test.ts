/** The executor on tables in memory: full tables, a kernel under pressure, rows that are wanted again. */
import fc from 'fast-check';
import * as assert from 'uvu/assert';
import type { ApplyResult, DatapathRows, PeerRow } from '../../agent/datapath/datapath.ts';
import { createApplier } from '../../agent/datapath/plan/apply.ts';
import { changesOf, difference, NO_POLICY_ROWS, NO_ROWS } from '../../agent/datapath/plan/changes.ts';
import type { Op } from '../../agent/datapath/plan/plan.ts';
import { Retired } from '../../agent/datapath/plan/retired.ts';
import { type Tables, WriteFailure } from '../../agent/datapath/plan/tables.ts';
import type { Address } from '../../agent/model/address.ts';
import { POLICY_LOCKDOWN } from '../../agent/model/verdict.ts';
import type { Clock } from '../../agent/run/clock.ts';
import { suite } from '../kit/suite.ts';
import { compile, type DirectionContent, Numbers, type World } from './datapath-engine.ts';
import { Memory } from './datapath-judge.ts';

/** Tables with limited room, and failures to order. */
class LimitedTables implements Tables {
  readonly memory = new Memory();
  room = Number.POSITIVE_INFINITY;
  roomForPeers = Number.POSITIVE_INFINITY;
  /** Errors to be thrown by the next writes, one each. */
  readonly faults: string[] = [];
  readonly log: Op['kind'][] = [];

  write(ops: readonly Op[]): void {
    for (const [i, op] of ops.entries()) {
      const fault = this.faults.shift();
      if (fault) throw new WriteFailure(i, op, Object.assign(new Error(fault), { code: fault }));
      const grows = op.kind === 'verdict.set' && this.memory.held().verdict(op.row) === undefined;
      if (grows && this.memory.verdicts.size >= this.room)
        throw new WriteFailure(i, op, Object.assign(new Error('full'), { code: 'ENOSPC' }));
      const isNewPeer = op.kind === 'peer.set' && !this.memory.peers.has(op.row.address);
      if (isNewPeer && this.memory.peers.size >= this.roomForPeers)
        throw new WriteFailure(i, op, Object.assign(new Error('full'), { code: 'E2BIG' }));
      this.memory.do(op);
      this.log.push(op.kind);
    }
  }
  rows = (): DatapathRows => this.memory.rows();
  endpoints = () => this.memory.endpoints.values();
  endpoint: Tables['endpoint'] = (id) => this.memory.held().endpoint(id);
  peer: Tables['peer'] = (address) => this.memory.held().peer(address);
  range: Tables['range'] = (prefix) => this.memory.held().range(prefix);
  policies: Tables['policies'] = () => this.memory.held().policies();
  verdict: Tables['verdict'] = (key) => this.memory.held().verdict(key);
  identityClass: Tables['identityClass'] = (key) => this.memory.held().identityClass(key);
  addressClass: Tables['addressClass'] = (key) => this.memory.held().addressClass(key);
  service: Tables['service'] = () => undefined;
  frontendsAt: Tables['frontendsAt'] = () => 0;
  readonly nextSlots = 1;
  unusedBackends: Tables['unusedBackends'] = () => [];
  knows: Tables['knows'] = (identity) => this.memory.held().knows(identity);
}

/** Time passes as soon as somebody waits for it. */
function eagerClock(): Clock & { now: number } {
  return {
    now: 0,
    nowMs() {
      return this.now;
    },
    after(ms, then) {
      this.now += ms;
      queueMicrotask(then);
      return () => {};
    },
  };
}

function setUp() {
  const tables = new LimitedTables();
  const clock = eagerClock();
  return { tables, clock, applier: createApplier(tables, new Retired(50), clock) };
}

const sorted = (rows: DatapathRows): unknown =>
  JSON.stringify(rows, (_, value) => (Array.isArray(value) ? value.map((v) => JSON.stringify(v)).sort() : value));
const lockedPolicies = (result: ApplyResult): number[] => result.lockedDown.map(({ policy }) => policy);

const small: DirectionContent = { isolated: true, rules: [{ port: 80, deny: false }] };
const big: DirectionContent = {
  isolated: true,
  rules: [0, 1, 2].map((label) => ({ label, port: undefined, deny: false })),
};
const none: DirectionContent = { isolated: false, rules: [] };
const nobody = [undefined, undefined, undefined, undefined, undefined];
const identities = [1, 2, 4, 7];
const world = (subjects: World['subjects'], endpoints: World['endpoints']): World => ({
  identities,
  subjects,
  endpoints,
  peers: nobody,
});
const pod = (subject: number) => ({ subject, identity: 3 });

const test = suite('datapath apply');

test('rows of a policy that was replaced are deleted after the grace period, not before', async () => {
  const { tables, clock, applier } = setUp();
  const numbers = new Numbers();
  const first = compile(world([[small, none]], [pod(0)]), numbers);
  await applier.apply(difference(NO_ROWS, first));
  assert.equal(sorted(tables.rows()), sorted(first));
  const second = compile(world([[big, none]], [pod(0)]), numbers);
  const result = await applier.apply(difference(first, second));
  assert.ok(result.epochBumped);
  assert.is(tables.memory.policies.size, 2);
  assert.is(applier.dueMs, clock.now + 50);
  await applier.collect();
  assert.is(tables.memory.policies.size, 2);
  clock.now += 50;
  await applier.collect();
  assert.is(applier.dueMs, undefined);
  assert.equal(sorted(tables.rows()), sorted(second));
});

test('a row that is wanted again within the grace period stays', async () => {
  const { tables, clock, applier } = setUp();
  const numbers = new Numbers();
  const first = compile(world([[small, none]], [pod(0)]), numbers);
  const second = compile(world([[big, none]], [pod(0)]), numbers);
  await applier.apply(difference(NO_ROWS, first));
  await applier.apply(difference(first, second));
  await applier.apply(difference(second, first));
  clock.now += 100;
  await applier.collect();
  assert.equal(sorted(tables.rows()), sorted(first));
});

test('a large change is written in parts, in order, each operation once, whatever the kernel refuses in between', async () => {
  const { tables, clock, applier } = setUp();
  const many = Array.from({ length: 5000 }, (_, i) => 256 + i);
  const classes = many.map((identity) => ({ set: 7, identity, classId: 1 }));
  const full = { ...NO_ROWS, policy: { ...NO_POLICY_ROWS, identities: many, identityClasses: classes } };
  tables.faults.push(...new Array(3000).fill(''), 'EBUSY', 'ENOMEM', ...new Array(4000).fill(''), 'EBUSY');
  let turns = 0;
  const others = setInterval(() => turns++, 0);
  await applier.apply(difference(NO_ROWS, full));
  clearInterval(others);
  const kinds = [...new Array(5000).fill('identityClass.set'), ...new Array(5000).fill('identity.add')];
  assert.equal(tables.log.slice(0, kinds.length), kinds);
  assert.equal(tables.rows(), full);
  assert.ok(turns > 0, 'nobody else had a turn');
  await applier.apply(difference(full, NO_ROWS));
  clock.now += 50;
  await applier.collect();
  assert.equal(tables.rows(), NO_ROWS);
});

test('a policy that does not fit locks its endpoints down, others go on, and it recovers when there is room', async () => {
  const { tables, applier } = setUp();
  tables.room = 3;
  const desired = compile(
    world(
      [
        [small, none],
        [big, none],
      ],
      [pod(0), pod(1), pod(1)],
    ),
    new Numbers(),
  );
  const [smallId, bigId] = desired.endpoints.map(({ policy }) => policy);
  const result = await applier.apply(difference(NO_ROWS, desired));
  assert.equal(lockedPolicies(result), [bigId]);
  assert.equal(
    [...tables.memory.endpoints.values()].map(({ policy }) => policy),
    [smallId, POLICY_LOCKDOWN, POLICY_LOCKDOWN],
  );
  assert.ok(
    [...tables.memory.verdicts.values()].every(({ policy }) => policy === smallId),
    'nothing is left of what did not fit',
  );

  assert.equal(lockedPolicies(await applier.apply(difference(NO_ROWS, NO_ROWS))), [bigId], 'still no room');
  tables.room = 100;
  const later = await applier.apply(difference(NO_ROWS, NO_ROWS));
  assert.equal(lockedPolicies(later), []);
  assert.ok(later.epochBumped);
  assert.equal(sorted(tables.rows()), sorted(desired));
});

test('what the same change deletes makes room for what it adds', async () => {
  const { tables, applier, clock } = setUp();
  const numbers = new Numbers();
  const first = compile(world([[big, none]], [pod(0)]), numbers);
  tables.room = first.policy.verdicts.length;
  await applier.apply(difference(NO_ROWS, first));
  const second = compile(world([[{ ...big, isolated: false }, none]], [pod(0)]), numbers);
  const result = await applier.apply(difference(first, second));
  assert.equal(lockedPolicies(result), []);
  clock.now += 100;
  await applier.collect();
  assert.equal(sorted(tables.rows()), sorted(second));
});

test('a policy in force that cannot grow is locked down with its endpoints', async () => {
  const { tables, applier } = setUp();
  const numbers = new Numbers();
  const first = compile(world([[big, none]], [pod(0)]), numbers);
  await applier.apply(difference(NO_ROWS, first));
  tables.room = first.policy.verdicts.length;
  const grown = compile({ ...world([[big, none]], [pod(0)]), identities: [...identities, 3] }, numbers);
  const [endpoint] = first.endpoints;
  const result = await applier.apply(difference(first, grown));
  assert.equal(lockedPolicies(result), [endpoint?.policy]);
  assert.is(tables.memory.endpoints.get(1)?.policy, POLICY_LOCKDOWN);
  tables.room = 1000;
  await applier.apply(difference(NO_ROWS, NO_ROWS));
  assert.equal(sorted(tables.rows()), sorted(grown));
});

test('a locked-down policy that is withdrawn is forgotten', async () => {
  const { tables, applier, clock } = setUp();
  tables.room = 0;
  const numbers = new Numbers();
  const first = compile(world([[big, none]], [pod(0)]), numbers);
  await applier.apply(difference(NO_ROWS, first));
  const second = compile(world([[none, none]], [pod(0)]), numbers);
  const result = await applier.apply(difference(first, second));
  assert.equal(lockedPolicies(result), []);
  clock.now += 100;
  await applier.collect();
  assert.equal(sorted(tables.rows()), sorted(second));
});

test('ENOMEM and EBUSY are tried again, with the write that failed first', async () => {
  const { tables, applier } = setUp();
  const desired = compile(world([[big, none]], [pod(0)]), new Numbers());
  tables.faults.push('', '', 'ENOMEM', 'EBUSY', 'ENOMEM', '');
  await applier.apply(difference(NO_ROWS, desired));
  assert.equal(sorted(tables.rows()), sorted(desired));
  assert.is(
    tables.log.filter((kind) => kind === 'verdict.set').length,
    desired.policy.verdicts.length,
    'no write was done twice',
  );
});

test('an error that stays ends the apply, and the bump it owed is made by the next one', async () => {
  const { tables, applier } = setUp();
  const numbers = new Numbers();
  const first = compile(world([[small, none]], [pod(0)]), numbers);
  await applier.apply(difference(NO_ROWS, first));
  const second = compile(world([[none, none]], [pod(0)]), numbers);
  const writes = 2; // the header and the pointer, then the bump fails
  tables.faults.push(...Array<string>(writes).fill(''), 'EPERM');
  const thrown = await applier.apply(difference(first, second)).catch((error: unknown) => error);
  assert.match(String(thrown), /the kernel refused epoch.bump/);
  assert.is((thrown as { code?: string }).code, 'DATAPATH_FAILED');
  assert.is(tables.memory.endpoints.get(1)?.policy, second.endpoints[0]?.policy);
  const again = await applier.replace(second);
  assert.ok(again.epochBumped);
  assert.is(tables.memory.epoch, 1);
  tables.faults.push(...Array<string>(11).fill('ENOMEM'));
  const exhausted = await applier.apply(difference(NO_ROWS, first)).catch((error: unknown) => error);
  assert.match(String(exhausted), /refused verdict.set/);
});

test('a table of addresses that is full keeps back what is new in it, and nothing else', async () => {
  const { tables, clock, applier } = setUp();
  const numbers = new Numbers();
  const at = (last: number, identity: number): PeerRow => {
    return { address: `192.0.2.${last}` as Address, identity, endpoint: 0, kind: 'pod' };
  };
  const first = { ...compile(world([[none, none]], [pod(0)]), numbers), peers: [at(1, 1), at(2, 2), at(3, 4)] };
  await applier.apply(difference(NO_ROWS, first));
  tables.roomForPeers = 3;
  const { epoch } = tables.memory;
  const news = [at(5, 1), at(2, 7), at(6, 1), at(3, 7)];
  const second = { ...compile(world([[small, none]], [pod(0)]), numbers), peers: news };
  const refused = await applier.apply(difference(first, second)).catch((error: unknown) => error);
  assert.match(String(refused), /the kernel refused peer.set/);
  assert.is((refused as { code?: string }).code, 'DATAPATH_FAILED');
  assert.is(tables.memory.endpoints.get(1)?.policy, second.endpoints[0]?.policy);
  assert.is(tables.memory.epoch, epoch + 1, 'what is established is judged by the new policy');
  assert.equal(
    [...tables.memory.peers.values()],
    [at(2, 7), at(3, 7)],
    'who was known has the new identity, who went is gone',
  );
  clock.now += 50;
  await applier.collect();
  assert.is(tables.memory.policies.size, 1, 'the old policy is deleted all the same');
  tables.roomForPeers = 4;
  await applier.replace(second);
  assert.equal(sorted(tables.rows()), sorted(second));
});

test('replace leaves nothing that is not desired, whatever was there and whatever happened before', async () => {
  const subject = fc.constantFrom(small, big, none);
  const worlds = fc.array(
    fc.tuple(fc.array(fc.tuple(subject, subject), { minLength: 2, maxLength: 2 }), fc.nat(40), fc.boolean()),
    { minLength: 2, maxLength: 5 },
  );
  await fc.assert(
    fc.asyncProperty(worlds, async (steps) => {
      const { tables, applier, clock } = setUp();
      const numbers = new Numbers();
      let last = NO_ROWS;
      for (const [subjects, room, whole] of steps) {
        tables.room = room;
        const next = compile(world(subjects, [pod(0), pod(1), pod(0)]), numbers);
        const result = await (whole ? applier.replace(next) : applier.apply(difference(last, next)));
        last = next;
        const locked = new Set(lockedPolicies(result));
        for (const { id, policy } of next.endpoints) {
          assert.is(tables.memory.endpoints.get(id)?.policy, locked.has(policy) ? POLICY_LOCKDOWN : policy);
        }
      }
      tables.room = 1000;
      await applier.apply(
        changesOf({
          policy: { set: NO_POLICY_ROWS, remove: NO_POLICY_ROWS },
          setEndpoints: [],
          removeEndpoints: [],
          setPeers: [],
          removePeers: [],
          setRanges: [],
          removeRanges: [],
        }),
      );
      clock.now += 1000;
      await applier.collect();
      assert.equal(sorted(tables.rows()), sorted(last));
    }),
    { numRuns: 200 },
  );
});

test.run();
