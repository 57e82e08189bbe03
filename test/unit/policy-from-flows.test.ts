/** Policies from flows: they allow what was recorded and nothing else, as the policy engine itself judges. */
import fc from 'fast-check';
import * as assert from 'uvu/assert';
import { judged, type RecordedSide } from '../../agent/policy/diff-flows.ts';
import { generatePolicies, type SeenFlow } from '../../agent/policy/from-flows/generate.ts';
import { benchOf, deniedOf } from '../../agent/policy/from-flows/prove.ts';
import { peerOf, workloadKey, workloadOf } from '../../agent/policy/from-flows/workload.ts';
import type { Target } from '../../agent/policy/workbench/port.ts';
import { suite } from '../kit/suite.ts';
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
const PARTIES = [
  ...PODS,
  WORLD,
  outside('203.0.113.9', 'reserved:world-ipv4'),
  HOST,
  outside('192.0.2.2', 'reserved:remote-node'),
];
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
const KNOWN = PODS.flatMap(({ labels }) => workloadOf(labels) ?? []);

/** What a policy can tell apart. */
function keyOf({ from, to, target }: SeenFlow): string {
  const side = (one: RecordedSide) => {
    const peer = peerOf(one);
    return peer?.kind === 'workload' ? workloadKey(peer.workload) : JSON.stringify(peer);
  };
  return JSON.stringify([side(from), side(to), target]);
}

/** True where a party has policies: it is isolated; elsewhere everything goes. */
function isSubject(side: RecordedSide, subjects: ReadonlySet<string>): boolean {
  const workload = workloadOf(side.labels);
  return workload !== undefined && subjects.has(workloadKey(workload));
}

test('they deny none of the recorded flows, and everything else of the same workloads', () => {
  fc.assert(
    fc.property(
      fc.uniqueArray(fc.nat(UNIVERSE.length - 1), { minLength: 1, maxLength: 25 }),
      fc.uniqueArray(fc.nat(UNIVERSE.length - 1), { maxLength: 5 }),
      (allowed, dropped) => {
        const recorded = allowed.map((i) => UNIVERSE[i] as SeenFlow);
        const drops = dropped.map((i) => ({ ...(UNIVERSE[i] as SeenFlow), verdict: 'DROPPED' as const }));
        const { policies, unclear } = generatePolicies([...recorded, ...drops], { known: KNOWN });
        assert.equal(unclear, []);
        const bench = benchOf(
          policies.map(({ policy }) => policy),
          STRICT,
        );
        assert.equal(deniedOf(bench, recorded), []);
        const keys = new Set(recorded.map(keyOf));
        const subjects = new Set(policies.map(({ workload }) => workloadKey(workload)));
        for (const one of UNIVERSE) {
          if (!isSubject(one.from, subjects) && !isSubject(one.to, subjects)) continue;
          const expected = keys.has(keyOf(one)) ? 'allowed' : 'denied';
          assert.is(
            judged(bench, one),
            expected,
            JSON.stringify({ one, policies: policies.map(({ policy }) => policy) }),
          );
        }
      },
    ),
    { numRuns: 60 },
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
  const { policies, unclear } = generatePolicies([
    flow(web1, api, http),
    flow(canary, api, http),
    flow(stranger, api, http),
  ]);
  const rules = policies.find(({ policy }) => policy.metadata.name === 'seen-api')?.policy.spec.ingress;
  assert.is(rules?.length, 1);
  assert.equal(
    rules?.[0]?.fromEndpoints?.map(({ matchLabels }) => matchLabels?.track),
    [undefined, 'canary'],
  );
  assert.equal(
    unclear.map(({ from, to }) => [from, to]),
    [['10.9.9.9', 'a/api']],
  );
});

test.run();
