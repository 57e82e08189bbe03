/** Policies from flows: they allow what was recorded and nothing else, as the policy engine itself judges. */
import fc from 'fast-check';
import * as assert from 'uvu/assert';
import { judged, type RecordedSide } from '../../agent/policy/diff-flows.ts';
import { generatePolicies, POLICY_KINDS, type PolicyKind } from '../../agent/policy/from-flows/generate.ts';
import { benchOf, deniedOf } from '../../agent/policy/from-flows/prove.ts';
import { flowKey, type SeenFlow } from '../../agent/policy/from-flows/seen.ts';
import { peerOf, type Workload, workloadKey, workloadOf } from '../../agent/policy/from-flows/workload.ts';
import type { Target } from '../../agent/policy/workbench/port.ts';
import { suite } from '../kit/suite.ts';
import { ask } from '../oracle/judge.ts';
import type { PeerSpec, Scenario } from '../oracle/scenario.ts';
import * as r from './flow-records.ts';

const test = suite('policy from flows');
const STRICT = { allowLocalHost: false, now: 0 };

/** A pod; `labels` are its own, "app=web". */
function pod(
  namespace: string,
  name: string,
  labels: readonly string[],
  number: number,
  account = 'default',
): RecordedSide {
  return {
    pod: `${namespace}/${name}`,
    address: r.address(`10.0.0.${number}`),
    labels: [
      ...labels.map((label) => `k8s:${label}`),
      `k8s:io.kubernetes.pod.namespace=${namespace}`,
      `k8s:io.cilium.k8s.namespace.labels.kubernetes.io/metadata.name=${namespace}`,
      `k8s:io.cilium.k8s.policy.serviceaccount=${account}`,
      'k8s:io.cilium.k8s.policy.cluster=default',
    ],
  };
}
const outside = (address: string, ...labels: string[]): RecordedSide => ({
  pod: undefined,
  address: r.address(address),
  labels,
});

const WORLD = outside('198.51.100.7', 'reserved:world-ipv4');
const HOST = outside('192.0.2.1', 'reserved:host');
const REMOTE_NODE = outside('192.0.2.2', 'reserved:remote-node');
/** Label sets of which some are part of others, none at all, and some that only the account tells apart. */
const PODS = [
  pod('a', 'web-1', ['app=web'], 1),
  pod('a', 'web-2', ['app=web'], 2),
  pod('a', 'web-canary', ['app=web', 'track=canary'], 3),
  pod('a', 'web-admin', ['app=web'], 4, 'admin'),
  pod('a', 'bare', [], 5),
  pod('a', 'api', ['app=api', 'tier=back'], 6),
  pod('b', 'web', ['app=web'], 7),
  pod('b', 'db', ['app=db'], 8),
];
const PARTIES = [...PODS, WORLD, outside('203.0.113.9', 'reserved:world-ipv4'), HOST, REMOTE_NODE];
const TARGETS: readonly Target[] = [
  { protocol: 'TCP', number: 80 },
  { protocol: 'TCP', number: 443 },
  { protocol: 'UDP', number: 80 },
  { protocol: 'ICMPv4', number: 8 },
];
const flow = (
  from: RecordedSide,
  to: RecordedSide,
  target: Target,
  verdict: SeenFlow['verdict'] = 'FORWARDED',
): SeenFlow => ({
  from,
  to,
  target,
  verdict,
  time: '2026-01-01T00:00:00.000000Z',
});
const UNIVERSE = PARTIES.flatMap((from) =>
  PARTIES.filter((to) => to !== from && (PODS.includes(from) || PODS.includes(to))).flatMap((to) =>
    TARGETS.map((target) => flow(from, to, target)),
  ),
);
/** Flows that differ by pods with the same labels in the same namespace only. */
const ALIKE = [
  ...Map.groupBy(UNIVERSE, ({ from, to, target }) => {
    const side = ({ address, labels }: RecordedSide) => {
      const workload = workloadOf(labels);
      return workload ? seenBy('NetworkPolicy', workload) : address;
    };
    return JSON.stringify([side(from), side(to), target]);
  }).values(),
];
const KNOWN = PODS.flatMap(({ labels }) => workloadOf(labels) ?? []);

/** What a policy of the kind can tell apart. */
function keyOf({ from, to, target }: SeenFlow, kind: PolicyKind): string {
  const side = (one: RecordedSide) => {
    const peer = peerOf(one);
    return peer?.kind === 'workload' ? seenBy(kind, peer.workload) : JSON.stringify(peer);
  };
  return JSON.stringify([side(from), side(to), target]);
}

/** A NetworkPolicy does not see the service account. */
function seenBy(kind: PolicyKind, { namespace, labels }: Workload): string {
  const { 'io.cilium.k8s.policy.serviceaccount': account, ...own } = labels;
  return workloadKey({ namespace, labels: kind === 'NetworkPolicy' ? own : labels });
}

/** What the policies are to allow: what was recorded, as far as that can be said without allowing more. */
function allowedBy(kind: PolicyKind, recorded: readonly SeenFlow[]): (flow: SeenFlow) => boolean {
  const seen = new Set(recorded.map((one) => keyOf(one, 'CiliumNetworkPolicy')));
  if (kind === 'CiliumNetworkPolicy') return (flow) => seen.has(keyOf(flow, kind));
  const known = [...new Map(KNOWN.map((one) => [workloadKey(one), one])).values()];
  const alike = (side: RecordedSide): string[] => {
    const own = workloadOf(side.labels);
    if (own === undefined) return [JSON.stringify(peerOf(side))];
    return known.filter((one) => seenBy(kind, one) === seenBy(kind, own)).map(workloadKey);
  };
  return ({ from, to, target }) =>
    target.protocol !== 'ICMPv4' &&
    [from, to].every((side) => peerOf(side)?.kind !== 'entity') &&
    alike(from).every((one) => alike(to).every((other) => seen.has(JSON.stringify([one, other, target]))));
}

/** True where a party has policies: it is isolated; elsewhere everything goes. */
function isSubject(side: RecordedSide, subjects: ReadonlySet<string>, kind: PolicyKind): boolean {
  const workload = workloadOf(side.labels);
  return workload !== undefined && subjects.has(seenBy(kind, workload));
}

/** The parties and these policies, for the evaluator that shares no code with the engine. */
function scenario(documents: Scenario['documents']): Scenario {
  const namespaces = ['a', 'b'].map((name) => ({ name, labels: { 'kubernetes.io/metadata.name': name } }));
  const pods = PODS.map(({ pod: key = '', address, labels }) => {
    const [namespace = '', name = ''] = key.split('/');
    const { 'io.cilium.k8s.policy.serviceaccount': serviceAccount = '', ...own } = workloadOf(labels)?.labels ?? {};
    return { namespace, name, labels: own, serviceAccount, ports: [], ipv4: address, ipv6: `fd00::${name.length}` };
  });
  const nodes = [HOST, REMOTE_NODE].map(({ address }, i) => ({
    name: `node-${i}`,
    labels: {},
    ipv4: address,
    ipv6: `fd01::${i + 1}`,
  }));
  return { namespaces, pods, nodes, services: [], documents, enforcement: 'default', now: 0, packets: [] };
}

const PROTOCOL_NUMBERS = { TCP: 6, UDP: 17, SCTP: 132, ICMPv4: 1, ICMPv6: 58 } as const;

/** Both ends must let it through. */
function oracleSays(world: Scenario, { from, to, target }: SeenFlow): 'allowed' | 'denied' {
  const peer = (side: RecordedSide): PeerSpec => {
    if (side.pod !== undefined) return { type: 'pod', pod: side.pod };
    const node = world.nodes.find(({ ipv4 }) => ipv4 === side.address);
    if (node) return { type: 'node', node: node.name };
    return { type: 'outside', ipv4: side.address, ipv6: '2001:db8::1', apiServer: false };
  };
  const isIcmp = target.protocol === 'ICMPv4';
  const port = isIcmp ? target.number << 8 : target.number;
  const about = { family: 4, protocol: PROTOCOL_NUMBERS[target.protocol], port } as const;
  const verdicts = [
    from.pod === undefined
      ? 'allowed'
      : ask(world, { ...about, direction: 'egress', subject: from.pod, peer: peer(to) }, false).verdict,
    to.pod === undefined
      ? 'allowed'
      : ask(world, { ...about, direction: 'ingress', subject: to.pod, peer: peer(from) }, false).verdict,
  ];
  return verdicts.every((verdict) => verdict === 'allowed') ? 'allowed' : 'denied';
}

for (const kind of POLICY_KINDS) {
  test(`${kind}: none of the recorded flows is denied but those that are told, and everything else is`, () => {
    fc.assert(
      fc.property(
        fc.uniqueArray(fc.nat(UNIVERSE.length - 1), { minLength: 1, maxLength: 40 }),
        fc.uniqueArray(fc.nat(ALIKE.length - 1), { maxLength: 12 }),
        fc.uniqueArray(fc.nat(UNIVERSE.length - 1), { maxLength: 5 }),
        (allowed, twins, dropped) => {
          const recorded = [
            ...allowed.map((i) => UNIVERSE[i] as SeenFlow),
            // of pods that are alike all at once, or a NetworkPolicy would hardly ever have a rule for them
            ...twins.flatMap((i) => ALIKE[i] as SeenFlow[]),
          ];
          const drops = dropped.map((i) => ({ ...(UNIVERSE[i] as SeenFlow), verdict: 'DROPPED' as const }));
          const { policies, unsaid, drops: told } = generatePolicies([...recorded, ...drops], { known: KNOWN, kind });
          const documents = policies.map(({ policy }) => policy);
          const bench = benchOf(documents, STRICT);
          const isAllowed = allowedBy(kind, recorded);
          const isTold = new Set(unsaid.map(({ flow }) => flowKey(flow)));
          for (const one of recorded) assert.is(isTold.has(flowKey(one)), !isAllowed(one), JSON.stringify(one));
          const said = recorded.filter((one) => !isTold.has(flowKey(one)));
          assert.equal(deniedOf(bench, said), []);
          for (const { flow: drop, alsoAllowed } of told) assert.is(alsoAllowed, isAllowed(drop as SeenFlow));
          const subjects = new Set(
            [...recorded, ...drops].flatMap(({ from, to }) =>
              [from, to].flatMap(({ labels }) => workloadOf(labels) ?? []).map((one) => seenBy(kind, one)),
            ),
          );
          const world = scenario(documents);
          for (const one of UNIVERSE) {
            if (!isSubject(one.from, subjects, kind) && !isSubject(one.to, subjects, kind)) continue;
            const expected = isAllowed(one) ? 'allowed' : 'denied';
            const about = () => JSON.stringify({ one, documents });
            if (judged(bench, one) !== expected) assert.is(judged(bench, one), expected, about());
            // the oracle's node always reaches its own pods
            const byOracle = one.from === HOST ? 'allowed' : expected;
            if (oracleSays(world, one) !== byOracle) assert.is(oracleSays(world, one), byOracle, about());
          }
        },
      ),
      { numRuns: 60 },
    );
  });
}

test('as NetworkPolicies: peers of other namespaces by both selectors, addresses as blocks, ports together', () => {
  const [web, , , , , api, otherWeb] = PODS as RecordedSide[];
  const [http, https, dns] = TARGETS as [Target, Target, Target];
  const { policies, unsaid } = generatePolicies(
    [
      flow(otherWeb as RecordedSide, api as RecordedSide, http),
      flow(otherWeb as RecordedSide, api as RecordedSide, https),
      flow(WORLD, api as RecordedSide, https),
      flow(WORLD, api as RecordedSide, http),
      flow(api as RecordedSide, web as RecordedSide, dns),
    ],
    { namespaces: ['a'], kind: 'NetworkPolicy' },
  );
  assert.equal(unsaid, []);
  const [first] = policies.filter(({ policy }) => policy.metadata.name === 'seen-api');
  assert.equal(first?.policy.spec, {
    podSelector: { matchLabels: { app: 'api', tier: 'back' } },
    policyTypes: ['Ingress', 'Egress'],
    ingress: [
      {
        from: [
          {
            podSelector: { matchLabels: { app: 'web' } },
            namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'b' } },
          },
          { ipBlock: { cidr: '198.51.100.7/32' } },
        ],
        ports: [
          { port: 80, protocol: 'TCP' },
          { port: 443, protocol: 'TCP' },
        ],
      },
    ],
    egress: [{ to: [{ podSelector: { matchLabels: { app: 'web' } } }], ports: [{ port: 80, protocol: 'UDP' }] }],
  });
  assert.equal(
    first?.ingress.map((evidence) => evidence.map(({ from }) => from)),
    [['b/web', 'b/web', '198.51.100.7', '198.51.100.7']],
  );
});

test('what a NetworkPolicy cannot say is told by name, each flow with its reason, and not allowed', () => {
  const [web, , , admin, , api] = PODS as RecordedSide[];
  const [http, , , echo] = TARGETS as [Target, Target, Target, Target];
  const { policies, unsaid } = generatePolicies(
    [
      flow(HOST, api as RecordedSide, http),
      flow(api as RecordedSide, REMOTE_NODE, http),
      flow(web as RecordedSide, api as RecordedSide, echo),
      flow(web as RecordedSide, api as RecordedSide, http),
    ],
    { kind: 'NetworkPolicy', known: [admin as RecordedSide].flatMap(({ labels }) => workloadOf(labels) ?? []) },
  );
  assert.equal(unsaid.map(({ from, to, target, why }) => [from, to, target.number, why]).toSorted(), [
    ['192.0.2.1', 'a/api', 80, 'a NetworkPolicy has no name for host'],
    ['a/api', '192.0.2.2', 80, 'a NetworkPolicy has no name for remote-node'],
    ['a/web-1', 'a/api', 8, 'a NetworkPolicy knows no ICMP types'],
    ['a/web-1', 'a/api', 80, 'other pods with the same labels, of another service account, were not seen doing this'],
  ]);
  for (const { policy } of policies) assert.equal([policy.spec.ingress, policy.spec.egress], [[], []]);
});

test('a drop is told as allowed where another pod of the same workload was let through', () => {
  const [web1, web2, , , , api] = PODS as RecordedSide[];
  const [http] = TARGETS as [Target];
  const { drops } = generatePolicies([
    flow(web1 as RecordedSide, api as RecordedSide, http),
    flow(web2 as RecordedSide, api as RecordedSide, http, 'DROPPED'),
  ]);
  assert.equal(
    drops.map(({ from, alsoAllowed }) => [from, alsoAllowed]),
    [['a/web-2', true]],
  );
});

test('only pods of the wanted namespaces get policies; their peers stay as they are', () => {
  const [web, , , , , , , db] = PODS as [RecordedSide, ...RecordedSide[]];
  const { policies } = generatePolicies([flow(web, db as RecordedSide, TARGETS[0] as Target)], { namespaces: ['b'] });
  assert.equal(
    policies.map(({ policy }) => [policy.metadata, policy.spec]),
    [
      [
        { name: 'seen-db', namespace: 'b' },
        {
          endpointSelector: { matchLabels: { app: 'db' } },
          ingress: [
            {
              fromEndpoints: [{ matchLabels: { app: 'web', 'k8s:io.kubernetes.pod.namespace': 'a' } }],
              toPorts: [{ ports: [{ port: '80', protocol: 'TCP' }] }],
            },
          ],
          egress: [{}],
        },
      ],
    ],
  );
});

test('a drop is no rule: it is told, with whether it was let through at other times', () => {
  const [web, , , , , api] = PODS as RecordedSide[] as [
    RecordedSide,
    RecordedSide,
    RecordedSide,
    RecordedSide,
    RecordedSide,
    RecordedSide,
  ];
  const [http, https] = TARGETS as [Target, Target];
  const { drops, policies } = generatePolicies([
    flow(web, api, http),
    flow(web, api, http, 'DROPPED'),
    flow(web, api, https, 'DROPPED'),
    flow(web, api, https, 'DROPPED'),
  ]);
  assert.equal(
    drops.map(({ target, count, alsoAllowed }) => [target.number, count, alsoAllowed]),
    [
      [80, 1, true],
      [443, 2, false],
    ],
  );
  assert.not.match(JSON.stringify(policies.map(({ policy }) => policy)), '443');
});

test('peers with the same ports share a rule; what no rule can name is told', () => {
  const [web1, , canary, , , api] = PODS as RecordedSide[] as [
    RecordedSide,
    RecordedSide,
    RecordedSide,
    RecordedSide,
    RecordedSide,
    RecordedSide,
  ];
  const stranger = outside('10.9.9.9');
  const [http] = TARGETS as [Target];
  const { policies, unsaid } = generatePolicies([
    flow(web1, api, http),
    flow(canary, api, http),
    flow(stranger, api, http),
  ]);
  const api1 = policies.map(({ policy }) => policy).find(({ metadata }) => metadata.name === 'seen-api');
  const rules = api1?.kind === 'CiliumNetworkPolicy' ? api1.spec.ingress : [];
  assert.is(rules.length, 1);
  assert.equal(
    rules[0]?.fromEndpoints?.map(({ matchLabels }) => matchLabels?.track),
    [undefined, 'canary'],
  );
  assert.equal(
    unsaid.map(({ from, to }) => [from, to]),
    [['10.9.9.9', 'a/api']],
  );
});

test.run();
