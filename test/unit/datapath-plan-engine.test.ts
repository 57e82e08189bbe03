/**
 * The planner with the real policy engine: documents, identities and pods come and go at random, and between any two
 * writes of each change every pod decides as the tables before the change did, or as those after it do.
 */
import fc from 'fast-check';
import * as assert from 'uvu/assert';
import type { DatapathDelta, EndpointRow, PeerRow } from '../../agent/datapath/datapath.ts';
import { changesOf } from '../../agent/datapath/plan/changes.ts';
import { plan } from '../../agent/datapath/plan/plan.ts';
import { type Address, parseAddress } from '../../agent/model/address.ts';
import type { Labels } from '../../agent/model/labels.ts';
import type { Document } from '../../agent/model/object.ts';
import { createEngine } from '../../agent/policy/engine.ts';
import { suite } from '../kit/suite.ts';
import { Memory, type Probe, type Verdict } from './datapath-judge.ts';

const APPS = ['web', 'api', 'db'];
/** Identity 300 + i has one of the apps and perhaps a tier. */
const LABELS: readonly Labels[] = APPS.flatMap((app) =>
  ['front', 'back'].map(
    (tier) =>
      new Map([
        ['k8s:app', app],
        ['k8s:tier', tier],
        ['k8s:io.kubernetes.pod.namespace', 'default'],
      ]),
  ),
);
const identityAt = (at: number): number => 300 + at;
const addressAt = (at: number): Address => parseAddress(`10.0.0.${at + 1}`) as Address;
const WORLD = ['192.0.2.1', '192.0.2.200', '198.51.100.1'].map((text) => parseAddress(text) as Address);
const PORTS = [80, 443];

const below = (limit: number) => fc.integer({ min: 0, max: limit - 1 });
const selector = fc.oneof(
  fc.constantFrom(...APPS).map((app) => ({ matchLabels: { app } })),
  fc.constantFrom('front', 'back').map((tier) => ({ matchLabels: { tier } })),
  fc.constant({}),
);
const toPorts = fc.option(
  fc.constantFrom('80', '443').map((port) => [{ ports: [{ port, protocol: 'TCP' }] }]),
  { nil: undefined },
);
const cidr = fc.constantFrom('192.0.2.0/24', '192.0.2.128/25', '0.0.0.0/0');
const peer = fc.oneof(
  selector.map((one) => ({ Endpoints: [one] })),
  cidr.map((one) => ({ CIDR: [one] })),
  fc.constant({ Entities: ['all'] }),
);
const rules = (direction: 'ingress' | 'egress') =>
  fc.tuple(peer, toPorts).map(([who, ports]) => {
    const from = Object.fromEntries(
      Object.entries(who).map(([key, value]) => [`${direction === 'ingress' ? 'from' : 'to'}${key}`, value]),
    );
    return ports ? { ...from, toPorts: ports } : from;
  });
const spec = fc
  .tuple(
    selector,
    ...(['ingress', 'ingressDeny', 'egress', 'egressDeny'] as const).map((field) =>
      fc
        .option(fc.array(rules(field.startsWith('ingress') ? 'ingress' : 'egress'), { minLength: 1, maxLength: 2 }), {
          nil: undefined,
        })
        .map((list) => (list ? { [field]: list } : {})),
    ),
  )
  .map(([endpointSelector, ...sections]) => Object.assign({ endpointSelector, ingress: [] }, ...sections) as object);

type Move =
  | { readonly move: 'document'; readonly name: number; readonly spec: object | undefined }
  | { readonly move: 'identity'; readonly at: number; readonly isThere: boolean }
  | { readonly move: 'pod'; readonly id: number; readonly at: number | undefined };
const move: fc.Arbitrary<Move> = fc.oneof(
  fc.record({ move: fc.constant('document' as const), name: below(3), spec: fc.option(spec, { nil: undefined }) }),
  fc.record({ move: fc.constant('identity' as const), at: below(LABELS.length), isThere: fc.boolean() }),
  fc.record({
    move: fc.constant('pod' as const),
    id: fc.integer({ min: 1, max: 4 }),
    at: fc.option(below(LABELS.length), { nil: undefined }),
  }),
);

function documentOf(name: number, body: object): Document {
  const ref = {
    apiVersion: 'cilium.io/v2',
    kind: 'CiliumNetworkPolicy',
    namespace: 'default',
    name: `p${name}`,
    uid: '',
  };
  const raw = {
    apiVersion: ref.apiVersion,
    kind: ref.kind,
    metadata: { name: ref.name, namespace: ref.namespace },
    spec: body,
  };
  return { ref, annotations: {}, raw, origin: { place: 'test', line: () => undefined } };
}

/** Everybody lives at an address that never changes hands: here only policies and identities move. */
const PEERS: PeerRow[] = LABELS.map((_, at) => ({
  address: addressAt(at),
  identity: identityAt(at),
  endpoint: 0,
  kind: 'pod',
}));
const PROBES: Probe[] = [1, 2, 3, 4].flatMap((endpoint) =>
  [1, 2, 3, 4, ...PEERS.map(({ address }) => address), ...WORLD].flatMap((who) =>
    PORTS.flatMap((port) =>
      (['ingress', 'egress'] as const).map((direction) => ({ endpoint, direction, peer: who, port })),
    ),
  ),
);

/** The engine and the pods of one node, as realize/ drives them. */
function createNode() {
  const engine = createEngine({});
  const known = new Set<number>();
  const pods = new Map<number, { at: number; subject: string; row: EndpointRow | undefined }>();

  function setIdentity(at: number, isThere: boolean): void {
    if (isThere && !known.has(at)) engine.upsertIdentity(identityAt(at), LABELS[at] as Labels);
    if (!isThere && known.has(at)) engine.removeIdentity(identityAt(at));
    if (isThere) known.add(at);
    else known.delete(at);
  }

  function setPod(id: number, at: number | undefined): void {
    const before = pods.get(id);
    if (at === undefined) pods.delete(id);
    else {
      setIdentity(at, true);
      const subject = engine.addSubject({ identity: identityAt(at), labels: LABELS[at] as Labels, namedPorts: [] });
      pods.set(id, { at, subject, row: undefined });
    }
    if (before) engine.removeSubject(before.subject);
  }

  return {
    engine,
    make(one: Move): void {
      if (one.move === 'document') {
        if (one.spec) engine.upsertDocument(documentOf(one.name, one.spec));
        else engine.removeDocument(documentOf(one.name, {}).ref);
      } else if (one.move === 'pod') setPod(one.id, one.at);
      else if (one.isThere || ![...pods.values()].some(({ at }) => at === one.at)) setIdentity(one.at, one.isThere);
    },
    delta(removed: ReadonlySet<number>): DatapathDelta {
      const policy = engine.take();
      const setEndpoints = [...pods].map(([id, { at, subject }]): EndpointRow => {
        return {
          id,
          identity: identityAt(at),
          policy: engine.policyOf(subject) ?? 0,
          mac: '0a:00:00:00:00:01',
          addresses: [],
        };
      });
      const removeEndpoints = [...removed].filter((id) => !pods.has(id));
      return { policy, setEndpoints, removeEndpoints, setPeers: [], removePeers: [], setRanges: [], removeRanges: [] };
    },
  };
}

/** What complete tables say, old or new, of the pod as it was or is and the peer as it was or is. */
function legitimate(before: Memory, after: Memory, probe: Probe): Set<Verdict> {
  const verdicts = new Set<Verdict>();
  const parties = [before, after].map((of) => of.who(probe.peer));
  const comesOrGoes = (identity: number) => before.identities.has(identity) !== after.identities.has(identity);
  if (parties.some((party) => party && comesOrGoes(party.identity))) verdicts.add('unknown');
  for (const tables of [before, after]) {
    for (const pod of [before, after].map((of) => of.endpoints.get(probe.endpoint))) {
      if (pod && !tables.policies.has(pod.policy)) continue; // These tables know nothing of it yet.
      for (const peer of parties) verdicts.add(tables.judgeBetween(probe, pod, peer));
    }
  }
  return verdicts;
}

const canonical = (rows: unknown): string =>
  JSON.stringify(rows, (_, value) => (Array.isArray(value) ? value.map((v) => JSON.stringify(v)).sort() : value));

const test = suite('datapath plan with the policy engine');

test('between any two writes every pod decides as before the change or as after it', () => {
  let steps = 0;
  let changed = 0;
  fc.assert(
    fc.property(fc.array(fc.array(move, { minLength: 1, maxLength: 3 }), { minLength: 2, maxLength: 8 }), (turns) => {
      const node = createNode();
      const now = new Memory();
      for (const row of PEERS) now.do({ kind: 'peer.set', row });
      for (const turn of turns) {
        for (const one of turn) node.make(one);
        const delta = node.delta(new Set(now.endpoints.keys()));
        const planned = plan(changesOf(delta), now.held());
        const before = Memory.of(now.rows());
        const after = Memory.of(now.rows());
        for (const op of planned.ops) after.do(op);
        const allowed = PROBES.map((probe) => legitimate(before, after, probe));
        changed += allowed.filter((verdicts) => verdicts.size > 1).length;
        for (const op of [...planned.ops, ...planned.later]) {
          now.do(op);
          steps += 1;
          for (const [i, probe] of PROBES.entries()) {
            const verdict = now.judge(probe);
            if (allowed[i]?.has(verdict)) continue;
            const [done, asked] = [op, probe].map((value) => JSON.stringify(value));
            throw new Error(
              `after ${done}: ${asked} is judged ${verdict}, not ${[...(allowed[i] ?? [])].join(' or ')}`,
            );
          }
        }
        const { subjects: _, ...desired } = node.engine.rows();
        const { subjects: __, ...reached } = now.rows().policy;
        assert.is(canonical(reached), canonical(desired), 'the tables are what the engine says they are');
      }
    }),
    { numRuns: 600 },
  );
  assert.ok(steps > 1000 && changed > 1000, `${steps} writes, ${changed} verdicts changed`);
});

test.run();
