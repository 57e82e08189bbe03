/** The `weir` command on a cluster, against an API server and agents in memory. */
import fc from 'fast-check';
import * as assert from 'uvu/assert';
import { execute, readStatus, run as runInPod } from '../../agent/cli/cluster/exec.ts';
import { type AgentPod, placesOf } from '../../agent/cli/cluster/places.ts';
import { chooseTarget, type Surroundings } from '../../agent/cli/cluster/target.ts';
import { POLICY_EXPLAIN } from '../../agent/cli/policy/explain.ts';
import { POLICY_RESOURCES } from '../../agent/cli/policy/in-force.ts';
import { ENDPOINT_GET, ENDPOINT_LIST } from '../../agent/cli/verbs/endpoint.ts';
import { IDENTITY_GET, IDENTITY_LIST } from '../../agent/cli/verbs/identity.ts';
import { OBSERVE } from '../../agent/cli/verbs/observe.ts';
import { POLICY_GET, POLICY_LIST } from '../../agent/cli/verbs/policy.ts';
import { POLICY_WAIT } from '../../agent/cli/verbs/policy-wait.ts';
import { STATUS } from '../../agent/cli/verbs/status.ts';
import type { FlowLine } from '../../agent/flow/flow.ts';
import { HoldBack, mergeOrdered } from '../../agent/flow/merge.ts';
import { connect } from '../../agent/kubernetes/connection.ts';
import { POLICY_CRDS } from '../../agent/source/kubernetes/collections.ts';
import { fakeClock } from '../kit/clock.ts';
import { suite } from '../kit/suite.ts';
import { until } from '../kit/until.ts';
import { type Answer, agentPod, FakeCluster, healthyStatus as healthy, list, refuse } from './cli-cluster.ts';

const COMMANDS = [
  STATUS,
  ENDPOINT_LIST,
  ENDPOINT_GET,
  IDENTITY_LIST,
  IDENTITY_GET,
  POLICY_LIST,
  POLICY_GET,
  POLICY_WAIT,
  POLICY_EXPLAIN,
  OBSERVE,
];

const target = suite('cli: whom a command asks');
const around: Surroundings = {
  server: undefined,
  nodes: [],
  allNodes: false,
  clusterNamed: false,
  kubeconfig: undefined,
  defaultServer: 'unix:///s',
  socket: 'absent',
};
const CONFIG = ['/c'];
const own = { kind: 'agent', server: 'unix:///s' };
const cluster = { kind: 'cluster', kubeconfig: CONFIG, nodes: [] };
for (const [name, given, expected] of [
  ['nothing at all: the usual socket, and what is wrong with it is said', {}, own],
  ['an agent here', { socket: 'there', kubeconfig: CONFIG }, own],
  ['no agent here, a kubeconfig', { kubeconfig: CONFIG }, cluster],
  ['an agent that this user may not ask, a kubeconfig', { socket: 'closed', kubeconfig: CONFIG }, cluster],
  ['an agent that this user may not ask, no kubeconfig', { socket: 'closed' }, own],
  ['-A on a node', { socket: 'there', kubeconfig: CONFIG, allNodes: true }, cluster],
  ['--node on a node', { socket: 'there', kubeconfig: CONFIG, nodes: ['b'] }, { ...cluster, nodes: ['b'] }],
  ['--context on a node', { socket: 'there', kubeconfig: CONFIG, clusterNamed: true }, cluster],
  ['--server', { server: 'http://h:1', kubeconfig: CONFIG }, { kind: 'agent', server: 'http://h:1' }],
  ['$WEIR_SERVER and -A', { server: 'http://h:1', kubeconfig: CONFIG, allNodes: true }, cluster],
] as const)
  target(name, () => assert.equal(chooseTarget({ ...around, ...given }), expected));
target('a cluster without a kubeconfig is a usage error', () => {
  assert.throws(() => chooseTarget({ ...around, allNodes: true }), /which cluster\? There is no kubeconfig/);
  assert.throws(() => chooseTarget({ ...around, allNodes: true, nodes: ['a'] }), /cannot be used together/);
});
target.run();

const places = suite('cli: where agents run');
const pod = (name: string, node: string, created: string, state: object, deleted = false): AgentPod => ({
  metadata: { name, creationTimestamp: created, ...(deleted ? { deletionTimestamp: 'now' } : {}) },
  spec: { nodeName: node },
  status: { phase: 'Running', containerStatuses: [{ name: 'weir-agent', state }] },
});
places('every node once; in an update the newest that runs', () => {
  const pods = [
    pod('old', 'a', '2026-01-01', { running: {} }, true),
    pod('new', 'a', '2026-01-02', { running: {} }),
    pod('crash', 'b', '2026-01-01', { waiting: { reason: 'CrashLoopBackOff', message: 'back-off 5s' } }),
    pod('starting', 'd', '2026-01-03', { waiting: { reason: 'ContainerCreating' } }),
    pod('leaving', 'd', '2026-01-01', { running: {} }, true),
    { ...pod('pending', '', '2026-01-01', {}), spec: {} },
  ];
  assert.equal(placesOf(['a', 'b', 'c', 'd'], pods), [
    { node: 'a', pod: 'new', why: '' },
    { node: 'b', pod: undefined, why: 'pod crash is waiting: CrashLoopBackOff (back-off 5s)' },
    { node: 'c', pod: undefined, why: 'no agent runs there' },
    { node: 'd', pod: 'leaving', why: '' },
  ]);
});
places.run();

const kinds = suite('cli: kinds of policies');
kinds('are those that agents watch', () => {
  const watched = POLICY_CRDS.map(({ resource, refOf }) => ({ ...resource, kind: refOf('', '', '').kind }));
  const known = POLICY_RESOURCES.filter(({ kind }) => kind !== 'NetworkPolicy').map(({ clusterWide, ...rest }) => rest);
  const byKind = (a: { kind: string }, b: { kind: string }) => (a.kind < b.kind ? -1 : 1);
  assert.equal([...known].sort(byKind), watched.filter(({ kind }) => kind !== 'CiliumCIDRGroup').sort(byKind));
});
kinds.run();

interface Context {
  fake: FakeCluster;
}
const exec = suite<Context>('cli: exec');
exec.before.each(async (context) => {
  context.fake = new FakeCluster();
  await context.fake.start(['node1']);
});
exec.after.each(({ fake }) => fake.stop());
exec('stdin, stdout, stderr and the exit code are the program`s', async ({ fake }) => {
  let heard = '';
  fake.program = (program) => {
    program.onStdin((data) => {
      heard += data;
      if (!heard.endsWith('!')) return;
      program.stdout('one ');
      program.stderr('oh');
      program.stdout('two');
      program.end(3);
    });
  };
  const connection = await connect({ kubeconfig: fake.kubeconfig });
  const ended = await runInPod(connection, { namespace: 'a', pod: 'p', words: ['x', 'y z'] }, 'hello!');
  assert.equal(ended, { code: 3, reason: 'command terminated with exit code 3', stderr: 'oh', stdout: 'one two' });
  assert.equal(fake.executed, ['p: x y z']);
});
exec('a refusal is the API server`s words', async ({ fake }) => {
  fake.refusedPods.set('p', 403);
  const connection = await connect({ kubeconfig: fake.kubeconfig });
  const refused = await execute(connection, { namespace: 'a', pod: 'p', words: ['x'] }).catch((error) => error);
  assert.is(refused.code, 'API_FORBIDDEN');
  assert.match(refused.message, /exec in a\/p: the API server answers 403 Forbidden: no exec in p/);
});
exec('a program whose stream breaks fails, and says so', async ({ fake }) => {
  fake.program = (program) => program.onStdin(() => fake.breakStreams());
  const connection = await connect({ kubeconfig: fake.kubeconfig });
  const ended = await runInPod(connection, { namespace: 'a', pod: 'p', words: ['x'] }, 'go');
  assert.is(ended.code, undefined);
  assert.match(ended.reason, /connection through the API server ended/);
});
exec('the last message', () => {
  assert.equal(readStatus('{"status":"Success"}'), { code: 0, reason: '' });
  assert.equal(readStatus('{"status":"Failure","message":"no such file"}'), {
    code: undefined,
    reason: 'no such file',
  });
  assert.match(readStatus('?').reason, /ended with "\?"/);
});
exec.run();

const test = suite<Context>('cli: on a cluster');
test.before.each(async (context) => {
  context.fake = new FakeCluster();
  await context.fake.start(['node1', 'node2', 'node3']);
});
test.after.each(({ fake }) => fake.stop());

function allHealthy(fake: FakeCluster): void {
  for (const [node, answers] of Object.entries(fake.agents)) answers['/v1/status'] = () => healthy(node);
}

test('status has a row for each node', async ({ fake }) => {
  allHealthy(fake);
  assert.equal(await fake.weir(COMMANDS, 'status -A'), {
    code: 0,
    out: `NODE    AGENT   STATUS   POLICY   ENDPOINTS   IDENTITIES   DROPS   REFUSED
node1   0.1.0   OK       4        2           14           7       0
node2   0.1.0   OK       4        2           14           7       0
node3   0.1.0   OK       4        2           14           7       0
3 of 3 nodes OK
`,
    err: '',
  });
});

test('status: an agent that is silent is named, with what its node last wrote', async ({ fake }) => {
  allHealthy(fake);
  const problem = { severity: 'error', code: 'x', message: 'bad port', path: '', place: 'p' };
  for (const node of ['node1', 'node2'])
    (fake.agents[node] ?? {})['/v1/status'] = () => ({
      ...healthy(node),
      policies: { valid: 1, isolating: 1 },
      problems: [problem],
    });
  fake.refusedPods.set('weir-node3', 403);
  const status = { agentVersion: '0.0.9', ready: true, policyRevision: 2, desiredPolicyRevision: 3, drops: 5 };
  fake.objects['/apis/weir.dev/v1alpha1/weirnodes'] = () =>
    list([{ metadata: { name: 'node3' }, spec: {}, status: { ...status, updated: '2026-01-01T00:00:00Z' } }]);
  const { code, out } = await fake.weir(COMMANDS, 'status -A');
  assert.is(code, 1);
  assert.match(out, /^node1 +0\.1\.0 +Wrong: policy, problems +4 +2 +14 +7 +1$/m);
  assert.match(out, /^node3 +0\.0\.9 +Unreachable +2 of 3 +0 +0 +5 +0$/m);
  assert.match(out, /^node3: cannot reach the agent of node3: .*403.*; its row is as of 2026-01-01T00:00:00Z$/m);
  assert.match(out, /^ {2}error {4}p {2}bad port \(all that answered\)$/m);
  assert.match(out, /^0 of 3 nodes OK$/m);
});

test('status -o json has every node, also silent ones', async ({ fake }) => {
  allHealthy(fake);
  fake.objects['/api/v1/namespaces/kube-system/pods'] = () => list([agentPod('node1'), agentPod('node2')]);
  const { code, out } = await fake.weir(COMMANDS, 'status -A -o json');
  const { nodes } = JSON.parse(out);
  assert.is(code, 1);
  assert.equal(
    nodes.map(({ node, state, why }: { node: string; state: string; why?: string }) => [node, state, why]),
    [
      ['node1', 'green', undefined],
      ['node2', 'green', undefined],
      ['node3', 'red', 'no agent runs there'],
    ],
  );
  assert.is(nodes[0].status.drops, 7);
});

test('status --wait waits for the last agent', async ({ fake }) => {
  allHealthy(fake);
  let asked = 0;
  (fake.agents.node2 ?? {})['/v1/status'] = () => ({
    ...healthy('node2'),
    ready: ++asked > 1,
    pending: asked > 1 ? [] : ['the first lists'],
  });
  assert.is((await fake.weir(COMMANDS, 'status -A --wait --wait-duration 20s')).code, 0);
  assert.is(asked, 2);
});

test('status --wait: an API server that is away for a moment is waited for, one that says no is not', async ({
  fake,
}) => {
  allHealthy(fake);
  const nodes = fake.objects['/api/v1/nodes'] as Answer;
  let asked = 0;
  fake.objects['/api/v1/nodes'] = (url, response, method) =>
    ++asked > 1 ? nodes(url, response, method) : refuse(response, 503, 'ServiceUnavailable');
  assert.is((await fake.weir(COMMANDS, 'status -A --wait --wait-duration 60s')).code, 0);
  assert.is(asked, 2);
  fake.objects['/api/v1/nodes'] = (_, response) => refuse(response, 403, 'Forbidden');
  const refused = await fake.weir(COMMANDS, 'status -A --wait --wait-duration 1h');
  assert.is(refused.code, 1);
  assert.match(refused.err, /403 Forbidden/);
});

test('nodes that Weir does not run on, Windows, are not missed', async ({ fake }) => {
  allHealthy(fake);
  const node = (name: string, os: string) => ({ metadata: { name, labels: { 'kubernetes.io/os': os } } });
  fake.objects['/api/v1/nodes'] = () =>
    list([...['node1', 'node2', 'node3'].map((name) => node(name, 'linux')), node('win', 'windows')]);
  const { code, out } = await fake.weir(COMMANDS, 'status -A');
  assert.is(code, 0, out);
  assert.match(out, /^3 of 3 nodes OK$/m);
});

test('one node asked for by name answers as if one were there', async ({ fake }) => {
  allHealthy(fake);
  const { out } = await fake.weir(COMMANDS, 'status --node node2 -o json');
  assert.equal(JSON.parse(out).node, 'node2');
  assert.equal(fake.asked, ['node2 /v1/status']);
  const unknown = await fake.weir(COMMANDS, 'status --node nodeX');
  assert.is(unknown.code, 2);
  assert.match(unknown.err, /no node nodeX; nodes: node1, node2, node3/);
  fake.refusedPods.set('weir-node2', 403);
  const refused = await fake.weir(COMMANDS, 'status --node node2');
  assert.is(refused.code, 1);
  assert.match(refused.err, /^weir: node2: cannot reach/);
});

test('no agent at all: where they were looked for', async ({ fake }) => {
  fake.objects['/api/v1/namespaces/kube-system/pods'] = () => list([]);
  const { code, err } = await fake.weir(COMMANDS, 'status');
  assert.is(code, 1);
  assert.match(err, /no agent runs in namespace kube-system of http.*--agent-namespace/);
  const elsewhere = await fake.weir(COMMANDS, 'status -A --agent-namespace other');
  assert.match(elsewhere.err, /404 NotFound/);
});

const endpoint = (id: number, podName: string) => ({
  ...{ id, identity: 257, labels: ['k8s:app=x'], addresses: ['10.0.0.1'], state: 'ready', namespace: 'shop', podName },
  policy: { ingress: 'enabled', egress: 'disabled' },
});

test('endpoint list -A says which node and pod; ids need a node', async ({ fake }) => {
  for (const [i, answers] of Object.values(fake.agents).entries())
    answers['/v1/endpoints'] = () => ({ endpoints: [endpoint(7, `web-${i + 1}`)] });
  fake.refusedPods.set('weir-node2', 403);
  const { code, out, err } = await fake.weir(COMMANDS, 'endpoint list -A');
  assert.is(code, 1);
  assert.match(out, /^node1 +shop\/web-1 +7 +Enabled +Disabled +257/m);
  assert.match(out, /^node3 +shop\/web-3 +7/m);
  assert.match(err, /^weir: 1 of 3 nodes did not answer:\n {2}node2: .*403/);
  const asJson = JSON.parse((await fake.weir(COMMANDS, 'endpoint list -A -o json')).out);
  assert.equal(
    asJson.nodes.map(({ node, endpoints }: { node: string; endpoints: unknown[] }) => [node, endpoints.length]),
    [
      ['node1', 1],
      ['node3', 1],
    ],
  );
  assert.is(asJson.unreachable[0].node, 'node2');
  assert.match((await fake.weir(COMMANDS, 'endpoint get 7 -A')).err, /say of which by --node/);
});

test('identities are those of all nodes, each once; a number for two sets is seen', async ({ fake }) => {
  const identity = (id: number, label: string, endpoints: number) => ({
    id,
    labels: [label],
    reserved: id < 256,
    endpoints,
  });
  const answers: Record<string, unknown[]> = {
    node1: [identity(1, 'reserved:host', 0), identity(257, 'k8s:app=a', 1)],
    node2: [identity(1, 'reserved:host', 0), identity(257, 'k8s:app=a', 2), identity(258, 'k8s:app=b', 1)],
    node3: [identity(258, 'k8s:app=c', 1)],
  };
  for (const [node, identities] of Object.entries(answers))
    (fake.agents[node] ?? {})['/v1/identities'] = () => ({ identities });
  const { out } = await fake.weir(COMMANDS, 'identity list -A');
  assert.is(out, 'ID    LABELS\n1     reserved:host\n257   k8s:app=a\n258   k8s:app=b\n258   k8s:app=c\n');
  const [, a] = JSON.parse((await fake.weir(COMMANDS, 'identity list -A -o json')).out);
  assert.is(a.endpoints, 3);
  assert.match((await fake.weir(COMMANDS, 'identity get 300 -A')).err, /no node that answered knows identity 300/);
});

const policy = (revision: number, more: object = {}, generation = 1) => ({
  ...{ apiVersion: 'cilium.io/v2', kind: 'CiliumNetworkPolicy', namespace: 'shop', name: 'web', uid: 'u' },
  ...{ status: 'valid', problems: [], revision, realized: true, place: '', rules: [] },
  document: { metadata: { generation } },
  ...more,
});
function withPolicies(fake: FakeCluster, byNode: Record<string, object[]>): void {
  for (const [node, policies] of Object.entries(byNode)) {
    const answers = fake.agents[node] ?? {};
    answers['/v1/policies'] = () => ({ policies });
    if (policies.length > 0) answers['/v1/policies/shop/web'] = () => ({ policies });
  }
}

test('policy list and get: in force on how many nodes, at which revision on each', async ({ fake }) => {
  withPolicies(fake, { node1: [policy(3)], node2: [policy(9, { realized: false })], node3: [] });
  const { out } = await fake.weir(COMMANDS, 'policy list -A');
  assert.match(out, /^shop +web +CiliumNetworkPolicy +valid +1\/3 nodes +0 +0$/m);
  const got = await fake.weir(COMMANDS, 'policy get shop/web -A');
  assert.is(got.code, 0);
  assert.match(got.out, /^node1 +valid +3$/m);
  assert.match(got.out, /^node2 +valid +9 \(not in force yet\)$/m);
  assert.match(got.out, /^node3 +not there$/m);
  const none = await fake.weir(COMMANDS, 'policy get shop/other -A');
  assert.equal([none.code, none.err], [1, 'weir: no policy is named shop/other\n']);
});

test('policy wait: the generation that the API server has, on every node', async ({ fake }) => {
  const collection = '/apis/cilium.io/v2/namespaces/shop/ciliumnetworkpolicies';
  fake.objects[collection] = ({ searchParams }) => {
    const isAsked = searchParams.get('fieldSelector') === 'metadata.name=web';
    return list(isAsked ? [{ metadata: { name: 'web', namespace: 'shop', generation: 2 } }] : []);
  };
  withPolicies(fake, { node1: [policy(3, {}, 2)], node2: [policy(9, {}, 2)], node3: [policy(4, {}, 1)] });
  const late = await fake.weir(COMMANDS, 'policy wait shop/web -A --timeout 200ms');
  assert.is(late.code, 1);
  assert.match(late.err, /not in force after 0\.2 s: on 1 of 3 nodes: node3: it still has generation 1/);
  withPolicies(fake, { node3: [policy(5, { status: 'isolating', problems: [{ message: 'no such port' }] }, 2)] });
  assert.match(
    (await fake.weir(COMMANDS, 'policy wait shop/web -A --timeout 1ms')).err,
    /node3: it is isolating: no such port/,
  );
  withPolicies(fake, { node3: [policy(5, {}, 2)] });
  assert.is((await fake.weir(COMMANDS, 'policy wait shop/web -A')).out, 'shop/web is in force on 3 nodes\n');
  fake.refusedPods.set('weir-node1', 403);
  assert.match(
    (await fake.weir(COMMANDS, 'policy wait shop/web -A --timeout 1ms')).err,
    /on 1 of 3 nodes: node1: .*403/,
  );
  const none = await fake.weir(COMMANDS, 'policy wait shop/none -A');
  assert.equal([none.code, none.err], [1, 'weir: the API server has no policy named shop/none\n']);
});

test('policy wait: an agent that is being replaced is asked when it runs; a node that goes is not waited for', async ({
  fake,
}) => {
  withPolicies(fake, { node1: [policy(3)], node2: [policy(3)], node3: [] });
  fake.objects['/apis/cilium.io/v2/namespaces/shop/ciliumnetworkpolicies'] = () =>
    list([{ metadata: { name: 'web', namespace: 'shop', generation: 1 } }]);
  const nodes = ['node1', 'node2', 'node3'];
  const asked = { nodes: 0, pods: 0 };
  fake.objects['/api/v1/nodes'] = () =>
    list(nodes.slice(0, ++asked.nodes > 2 ? 2 : 3).map((name) => ({ metadata: { name } })));
  fake.objects['/api/v1/namespaces/kube-system/pods'] = () => {
    const state = ++asked.pods > 1 ? { running: {} } : { waiting: { reason: 'ContainerCreating' } };
    return list([agentPod('node1'), agentPod('node2', state)]);
  };
  const { code, out, err } = await fake.weir(COMMANDS, 'policy wait shop/web --timeout 60s');
  assert.is(code, 0, err);
  assert.is(out, 'shop/web is in force on 2 nodes\n');
});

test('explain asks the agent of the sender`s node, else the receiver`s', async ({ fake }) => {
  fake.objects['/api/v1/namespaces/shop/pods/web'] = () => ({ metadata: { name: 'web' }, spec: { nodeName: 'node3' } });
  for (const answers of Object.values(fake.agents)) answers['/v1/explain'] = () => ({ explanations: [] });
  await fake.weir(COMMANDS, 'policy explain -A --from shop/web --to ip:1.2.3.4 --port 80 -o json');
  await fake.weir(COMMANDS, 'policy explain -A --from entity:host --to shop/web --port 80 -o json');
  await fake.weir(COMMANDS, 'policy explain -A --from shop/gone --to app=web --port 80 -o json');
  assert.equal(
    fake.asked.map((one) => one.split(' ')[0]),
    ['node3', 'node3', 'node1'],
  );
  // Where that one cannot be reached, another; where none can, each is told.
  fake.refusedPods.set('weir-node3', 403);
  const line = 'policy explain -A --from shop/web --to ip:1.2.3.4 --port 80 -o json';
  assert.is((await fake.weir(COMMANDS, line)).code, 0);
  assert.match(fake.asked.at(-1) ?? '', /^node1 /);
  for (const node of ['node1', 'node2']) fake.refusedPods.set(`weir-${node}`, 403);
  assert.match((await fake.weir(COMMANDS, line)).err, /no agent can be asked: node3: .*; node1: .*; node2: /);
});

const line = (node: string, seconds: number, uuid = `${node}-${seconds}`): FlowLine => {
  const time = `2026-01-01T00:00:${String(seconds).padStart(2, '0')}.000000Z`;
  return { flow: { time, uuid, node_name: node } as FlowLine['flow'] & object, node_name: node, time };
};
const flowsOf = (out: string): string[] =>
  out
    .split('\n')
    .filter((text) => text !== '')
    .map((text) => JSON.parse(text).flow.uuid);

test('observe: flows of all nodes by their time; the last of all', async ({ fake }) => {
  const seconds: Record<string, number[]> = { node1: [1, 4, 5], node2: [2, 3], node3: [] };
  for (const [node, times] of Object.entries(seconds))
    (fake.agents[node] ?? {})['/v1/flows'] = () => ({
      flows: times.map((at) => line(node, at).flow),
      lost: [],
      cursor: 'c',
      more: false,
      restarted: false,
    });
  assert.equal(flowsOf((await fake.weir(COMMANDS, 'observe -A -o jsonpb')).out), [
    'node1-1',
    'node2-2',
    'node2-3',
    'node1-4',
    'node1-5',
  ]);
  assert.equal(flowsOf((await fake.weir(COMMANDS, 'observe -A --last 2 -o jsonpb')).out), ['node1-4', 'node1-5']);
  assert.equal(flowsOf((await fake.weir(COMMANDS, 'observe -A --first 2 -o jsonpb')).out), ['node1-1', 'node2-2']);
  fake.refusedPods.set('weir-node1', 403);
  // who was not asked for need not answer
  const some = await fake.weir(COMMANDS, 'observe -A --node-name *2 --node-name node3 -o jsonpb');
  assert.equal([some.code, some.err, flowsOf(some.out)], [0, '', ['node2-2', 'node2-3']]);
  const partly = await fake.weir(COMMANDS, 'observe -A -o jsonpb');
  assert.is(partly.code, 1);
  assert.equal(flowsOf(partly.out), ['node2-2', 'node2-3']);
  assert.match(partly.err, /1 of 3 nodes did not answer:\n {2}node1: /);
});

test('observe: Ctrl-C while nodes are asked is no failure of theirs', async ({ fake }) => {
  const stop = new AbortController();
  const asked = new Set<string>();
  for (const [node, answers] of Object.entries(fake.agents)) {
    answers['/v1/flows'] = () => {
      asked.add(node);
      if (asked.size === Object.keys(fake.agents).length) stop.abort();
      return undefined;
    };
  }
  const { code, out, err } = await fake.weir(COMMANDS, 'observe -A', { signal: stop.signal });
  assert.equal([code, out, err], [0, '', '']);
});

test('observe --follow: all nodes; a stream that breaks is taken up where it was', async ({ fake }) => {
  const sinces: (string | null)[] = [];
  const sincesOfSilent: (string | null)[] = [];
  let round = 0;
  for (const node of Object.keys(fake.agents))
    (fake.agents[node] ?? {})['/v1/flows'] = ({ searchParams }, response) => {
      if (node === 'node1') {
        sinces.push(searchParams.get('since'));
        round++;
      }
      if (node === 'node3') sincesOfSilent.push(searchParams.get('since'));
      const send = (one: FlowLine) => response.write(`${JSON.stringify(one)}\n`);
      response.flushHeaders();
      if (node === 'node2') send(line(node, 2));
      if (node === 'node1' && round === 1) {
        send(line(node, 1));
        send(line(node, 3));
      }
      if (node === 'node1' && round > 1) {
        send(line(node, 3)); // again, for `since` is inclusive
        send(line(node, 4));
      }
      return undefined;
    };
  const stop = new AbortController();
  let seen = '';
  let told = '';
  const done = fake.weir(COMMANDS, 'observe -A -f -o jsonpb', {
    signal: stop.signal,
    onOut: (out) => {
      seen = out;
    },
    onErr: (err) => {
      told = err;
    },
  });
  await until(() => flowsOf(seen).length >= 3, { what: 'the first flows' });
  fake.breakStreams();
  await until(() => flowsOf(seen).includes('node1-4'), { what: 'flows after the break', timeoutMs: 15_000 });
  await until(() => sincesOfSilent.length > 1, { what: 'the silent node to be asked again', timeoutMs: 15_000 });
  stop.abort();
  const { code } = await done;
  assert.is(code, 0);
  assert.equal(
    flowsOf(seen).filter((uuid) => uuid.startsWith('node1')),
    ['node1-1', 'node1-3', 'node1-4'],
  );
  assert.equal(flowsOf(seen).slice(0, 3), ['node1-1', 'node2-2', 'node1-3']);
  assert.equal(sinces, [null, '2026-01-01T00:00:03.000000Z']);
  // it may have had some in between, so it is asked for all since the command began
  assert.is(sincesOfSilent[0], null);
  assert.match(sincesOfSilent[1] ?? '', /^\d+\.\d{3}s$/);
  assert.match(told, /weir: node1: .*; trying again/);
  assert.match(told, /weir: node1: flows come again/);
});

test('the API server`s refusals are told', async ({ fake }) => {
  fake.objects['/api/v1/nodes'] = (_, response) => refuse(response, 403, 'Forbidden');
  const { code, err } = await fake.weir(COMMANDS, 'status -A');
  assert.is(code, 1);
  assert.match(err, /^weir: GET \/api\/v1\/nodes: the API server answers 403 Forbidden/);
  const context = await fake.weir(COMMANDS, 'status --context nowhere');
  assert.is(context.code, 1);
  assert.match(context.err, /the context "nowhere" names no cluster; contexts: test/);
});
test.run();

const merge = suite('cli: flows of several nodes');
async function* stream(lines: readonly FlowLine[]) {
  yield* lines;
}
async function collect(lines: AsyncIterable<FlowLine>): Promise<FlowLine[]> {
  const all: FlowLine[] = [];
  for await (const one of lines) all.push(one);
  return all;
}
merge('streams in order give one in order, with everything in it', () =>
  fc.assert(
    fc.asyncProperty(fc.array(fc.array(fc.integer({ min: 0, max: 59 })), { maxLength: 5 }), async (nodes) => {
      const streams = nodes.map((times, i) => [...times].sort((a, b) => a - b).map((at) => line(`n${i}`, at)));
      const merged = await collect(mergeOrdered(streams.map(stream)));
      const times = merged.map(({ time }) => time);
      assert.equal(times, [...times].sort());
      assert.equal(
        [...merged].map(({ time }) => time).sort(),
        streams
          .flat()
          .map(({ time }) => time)
          .sort(),
      );
      for (const [i, own] of streams.entries())
        assert.equal(
          merged.filter(({ node_name }) => node_name === `n${i}`),
          own,
        );
    }),
  ),
);
merge('a line is held back for so long, and an earlier one that comes meanwhile passes it', async () => {
  const clock = fakeClock();
  const held = new HoldBack(clock, 400);
  const seen: string[] = [];
  const reading = (async () => {
    for await (const { flow } of held.lines()) seen.push(flow?.uuid ?? '');
  })();
  void held.add(line('a', 5));
  clock.advance(300);
  void held.add(line('b', 4));
  void held.add(line('b', 6));
  await Promise.resolve();
  assert.equal(seen, []);
  clock.advance(100);
  await until(() => seen.length >= 2, { what: 'two lines' });
  assert.equal(seen, ['b-4', 'a-5']);
  clock.advance(400);
  await until(() => seen.length >= 3, { what: 'the third' });
  void held.add(line('a', 9));
  held.end();
  await reading;
  assert.equal(seen, ['b-4', 'a-5', 'b-6', 'a-9']);
});
merge.run();
