/**
 * The planner's promise, looked at between any two writes: each pod decides as its complete old policy or its complete
 * new one would, about who the peer was or who it is now. The one exception is on the safe side: somebody whose identity
 * is not compiled in yet may be denied as unknown.
 */
import fc from 'fast-check';
import * as assert from 'uvu/assert';
import type { DatapathRows } from '../../agent/datapath/datapath.ts';
import { difference } from '../../agent/datapath/plan/changes.ts';
import { type Op, type Plan, plan } from '../../agent/datapath/plan/plan.ts';
import { suite } from '../kit/suite.ts';
import {
  ADDRESSES,
  compile,
  type DirectionContent,
  decide,
  LABEL_BITS,
  Numbers,
  PORTS,
  PREFIXES,
  type Resident,
  type World,
} from './datapath-engine.ts';
import { Memory, type Probe, type Verdict } from './datapath-judge.ts';

const optional = <T>(of: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> => fc.option(of, { nil: undefined });
const below = (limit: number): fc.Arbitrary<number> => fc.integer({ min: 0, max: limit - 1 });
const rule = fc
  .record({
    peer: fc.oneof(
      below(LABEL_BITS).map((label) => ({ label })),
      below(PREFIXES.length).map((prefix) => ({ prefix })),
      fc.constant({}),
    ),
    port: optional(fc.constantFrom(...PORTS)),
    deny: fc.boolean(),
  })
  .map(({ peer, port, deny }) => ({ ...peer, port, deny }));
const content = fc.record({ isolated: fc.boolean(), rules: fc.array(rule, { maxLength: 3 }) });
const SUBJECTS = 2;
const IDENTITIES = 4;
const ENDPOINTS = 3;
const times = <T>(n: number, of: fc.Arbitrary<T>): fc.Arbitrary<T[]> => fc.array(of, { minLength: n, maxLength: n });
const world: fc.Arbitrary<World> = fc
  .record({
    identities: times(IDENTITIES, optional(below(1 << LABEL_BITS))),
    subjects: times(SUBJECTS, fc.tuple(content, content)),
    endpoints: times(ENDPOINTS, optional(fc.record({ subject: below(SUBJECTS), identity: below(IDENTITIES) }))),
    peers: times(ADDRESSES.length, optional(below(IDENTITIES))),
  })
  .map(({ endpoints, identities, ...rest }) => ({
    ...rest,
    identities,
    endpoints: endpoints.map((resident) =>
      resident && identities[resident.identity] !== undefined ? resident : undefined,
    ),
  }));

/** The same rules under a new number: the old and the new policy share their sets. */
function flipped([ingress, egress]: World['subjects'][number]): World['subjects'][number] {
  return [{ ...ingress, isolated: !ingress.isolated }, egress];
}

/** The next world keeps what it does not draw anew, so that policies and sets are often shared. Labels of a number never change. */
const step: fc.Arbitrary<[World, World]> = fc.tuple(world, world, times(5, fc.boolean())).map(([old, drawn, keep]) => {
  const identities = old.identities.map((bits, i) =>
    keep[0] ? bits : drawn.identities[i] === undefined ? undefined : (bits ?? drawn.identities[i]),
  );
  const lives = (resident: Resident | undefined) =>
    resident && identities[resident.identity] !== undefined ? resident : undefined;
  const next: World = {
    identities,
    subjects: keep[1] ? (keep[4] ? old.subjects : old.subjects.map(flipped)) : drawn.subjects,
    endpoints: (keep[2] ? old.endpoints : drawn.endpoints).map(lives),
    peers: keep[3] ? old.peers : drawn.peers,
  };
  return [old, next];
});

const SLOTS = Array.from({ length: ENDPOINTS }, (_, i) => i + 1);
const PROBES: Probe[] = SLOTS.flatMap((endpoint) =>
  [...ADDRESSES, ...SLOTS].flatMap((peer) =>
    PORTS.flatMap((port) => (['ingress', 'egress'] as const).map((direction) => ({ endpoint, direction, peer, port }))),
  ),
);

/** Who the peer of a probe is: an index into the identities, 'outside', or 'gone'. */
function who({ peer }: Probe, world: World): number | 'outside' | 'gone' {
  if (typeof peer === 'number') return world.endpoints[peer - 1]?.identity ?? 'gone';
  const identity = world.peers[ADDRESSES.indexOf(peer)];
  return identity === undefined || world.identities[identity] === undefined ? 'outside' : identity;
}

/** Every verdict that a complete policy, old or new, gives about who the peer was or is. */
function legitimate(old: World, next: World, probe: Probe): Set<Verdict> {
  const verdicts = new Set<Verdict>();
  for (const policies of [old, next]) {
    const subject = policies.endpoints[probe.endpoint - 1]?.subject;
    const content = policies.subjects[subject ?? -1]?.[probe.direction === 'ingress' ? 0 : 1];
    for (const peer of [who(probe, old), who(probe, next)]) {
      if (!content || peer === 'gone') {
        verdicts.add('no endpoint');
        continue;
      }
      const labels = peer === 'outside' ? 0 : (old.identities[peer] ?? next.identities[peer] ?? 0);
      const address = typeof probe.peer === 'number' ? undefined : probe.peer;
      verdicts.add(decide(content, { labels, address, outside: peer === 'outside' }, probe.port));
      if (peer !== 'outside' && old.identities[peer] !== next.identities[peer]) verdicts.add('unknown');
    }
  }
  return verdicts;
}

/** Runs a plan step by step; `look` sees the tables before the first write and after each. */
function run(memory: Memory, planned: Plan, look: (done: Op | undefined) => void): void {
  look(undefined);
  for (const op of [...planned.ops, ...planned.later]) {
    memory.do(op);
    look(op);
  }
}

const sorted = (rows: DatapathRows): unknown =>
  JSON.stringify(rows, (_, value) => (Array.isArray(value) ? value.map((v) => JSON.stringify(v)).sort() : value));

const test = suite('datapath plan');

/** Throws at the first write after which a probe is judged as neither world would. */
function follow(old: World, next: World, numbers: Numbers): void {
  const [actual, desired] = [compile(old, numbers), compile(next, numbers)];
  const allowed = PROBES.map((probe) => legitimate(old, next, probe));
  const now = Memory.of(actual);
  run(now, plan(difference(actual, desired), now.held()), (op) => {
    for (const [i, probe] of PROBES.entries()) {
      const verdict = now.judge(probe);
      if (allowed[i]?.has(verdict)) continue;
      const [done, asked] = [op, probe].map((value) => JSON.stringify(value));
      throw new Error(`after ${done}: ${asked} is judged ${verdict}, not ${[...(allowed[i] ?? [])].join(' or ')}`);
    }
  });
  assert.equal(sorted(now.rows()), sorted(desired));
}

test('between any two writes every pod is judged by a complete policy, and the end is what was desired', () => {
  fc.assert(
    fc.property(step, ([old, next]) => follow(old, next, new Numbers())),
    { numRuns: 2000 },
  );
});

// The orders that look right and are not; the random worlds meet them too rarely.
const denied: DirectionContent = { isolated: false, rules: [{ label: 0, port: undefined, deny: true }] };
const open: DirectionContent = { isolated: false, rules: [] };
const nobody = [undefined, undefined, undefined, undefined, undefined];

test('a class that is new in a shared set is not looked up in the policy that departs, which has no verdict for it', () => {
  const pod = { subject: 0, identity: 1 };
  const old: World = {
    identities: [undefined, 0],
    subjects: [[denied, open]],
    endpoints: [undefined, pod, undefined],
    peers: nobody,
  };
  const next: World = {
    ...old,
    identities: [1, 0],
    subjects: [flipped([denied, open])],
    endpoints: [{ subject: 0, identity: 0 }, pod],
  };
  follow(old, next, new Numbers());
});

test('a new identity is not taken for one that matches nothing in a policy compiled without it', () => {
  const two: DirectionContent = { isolated: true, rules: [...denied.rules, { label: 1, port: 80, deny: false }] };
  const pod = { subject: 0, identity: 1 };
  const old: World = {
    identities: [undefined, 0],
    subjects: [[denied, open]],
    endpoints: [undefined, pod, undefined],
    peers: nobody,
  };
  const next: World = {
    ...old,
    identities: [1, 0],
    subjects: [[two, open]],
    endpoints: [{ subject: 0, identity: 0 }, pod],
  };
  follow(old, next, new Numbers());
});

test('an identity that goes is not taken for one that matches nothing in a policy compiled without it', () => {
  const two: DirectionContent = { isolated: false, rules: [...denied.rules, { label: 1, port: 80, deny: true }] };
  const pod = { subject: 0, identity: 1 };
  const old: World = {
    identities: [1, 0],
    subjects: [[denied, open]],
    endpoints: [pod, undefined, undefined],
    peers: [0],
  };
  const next: World = { ...old, identities: [undefined, 0], subjects: [[two, open]], peers: nobody };
  follow(old, next, new Numbers());
});

test('a class whose last identity goes is not looked up in the policy that comes, which has no verdict for it', () => {
  const both: DirectionContent = {
    isolated: true,
    rules: [...denied.rules, { prefix: 3, port: undefined, deny: true }],
  };
  const pod = { subject: 0, identity: 1 };
  const old: World = {
    identities: [1, 0],
    subjects: [[both, open]],
    endpoints: [undefined, pod, undefined],
    peers: [0],
  };
  const next: World = { ...old, identities: [undefined, 0], subjects: [flipped([both, open])], peers: nobody };
  follow(old, next, new Numbers());
});

test('after a restart the same and other policies come under new numbers, and still nobody is judged by neither', () => {
  fc.assert(
    fc.property(step, ([old, next]) => {
      const numbers = new Numbers();
      const actual = compile(old, numbers);
      numbers.forget();
      const now = Memory.of(actual);
      const desired = compile(next, numbers);
      const allowed = PROBES.map((probe) => legitimate(old, next, probe));
      run(now, plan(difference(actual, desired), now.held()), () => {
        for (const [i, probe] of PROBES.entries()) assert.ok(allowed[i]?.has(now.judge(probe)));
      });
      assert.equal(sorted(now.rows()), sorted(desired));
    }),
    { numRuns: 300 },
  );
});

test('any prefix of a plan, planned again from there, ends the same', () => {
  fc.assert(
    fc.property(step, fc.nat(), ([old, next], cut) => {
      const numbers = new Numbers();
      const [actual, desired] = [compile(old, numbers), compile(next, numbers)];
      const now = Memory.of(actual);
      const first = plan(difference(actual, desired), now.held());
      for (const op of first.ops.slice(0, cut % (first.ops.length + 1))) now.do(op);
      const rest = plan(difference(now.rows(), desired), now.held());
      for (const op of [...rest.ops, ...rest.later]) now.do(op);
      assert.equal(sorted(now.rows()), sorted(desired));
    }),
    { numRuns: 300 },
  );
});

test.run();
