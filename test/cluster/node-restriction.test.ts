/** The chart's admission policies on a real API server: what agents do is taken, what one agent would do to another node is not. */
import { fileURLToPath } from 'node:url';
import * as assert from 'uvu/assert';
import { parseAllDocuments } from 'yaml';
import { command } from '../kit/command.ts';
import { privileged } from '../kit/privileged.ts';
import { stockProgram } from '../kit/stock.ts';
import { suite } from '../kit/suite.ts';
import { until } from '../kit/until.ts';
import { type ApiServer, startApiServer } from './api-server.ts';
import { CHART } from './weir.ts';

const CRDS = fileURLToPath(new URL('../../crds', import.meta.url));
const KINDS = /^(ServiceAccount|ClusterRole|ClusterRoleBinding|Role|RoleBinding|ValidatingAdmissionPolicy.*)$/;
const NODES = ['n1', 'n2'] as const;
type Agent = (typeof NODES)[number] | 'unbound';
const TAINT = { key: 'node.weir.dev/agent-not-ready', effect: 'NoSchedule' };
const OTHER_TAINT = { key: 'example.org/full', effect: 'NoExecute' };

const test = privileged(suite('node restriction'), 'api-server', 'kubernetes');
let api: ApiServer;
const tokens = new Map<Agent, string>();

/** undefined: it was taken; else the API server's words. */
async function refusal(agent: Agent, method: string, path: string, body?: object): Promise<string | undefined> {
  const type = { PATCH: 'application/merge-patch+json', APPLY: 'application/apply-patch+yaml' }[method];
  const { status, body: answer } = await api.request(
    method === 'APPLY' ? 'PATCH' : method,
    path,
    body,
    type,
    tokens.get(agent),
  );
  if (status < 300) return undefined;
  assert.is(status, 403, JSON.stringify(answer));
  return answer.message;
}
const taken = async (agent: Agent, method: string, path: string, body?: object) =>
  assert.is(await refusal(agent, method, path, body), undefined, `${agent} ${method} ${path}`);
const refused = async (words: RegExp, agent: Agent, method: string, path: string, body?: object) =>
  assert.match((await refusal(agent, method, path, body)) ?? 'taken', words);

/** The object as it is, with another spec: agents may not patch what they write whole. */
async function rewritten(path: string, spec: object): Promise<object> {
  const { body } = await api.request('GET', path);
  return { ...body, spec: { ...body.spec, ...spec } };
}

const STATE = '/apis/weir.dev/v1alpha1';
const state = (kind: string, name: string, spec: object) => ({
  apiVersion: 'weir.dev/v1alpha1',
  kind,
  metadata: { name },
  spec,
});
const podCidrOf = (node: string): string => `10.0.${node.slice(1)}.0/24`;
const record = (node: string, podCidr = podCidrOf(node)) =>
  state('WeirNode', node, { addresses: ['192.0.2.1'], podCidrs: [podCidr], routerAddresses: [] });
const slice = (name: string, node: string) => state('WeirEndpointSlice', name, { node, endpoints: [] });
const taints = (...all: object[]) => ({ spec: { taints: all } });
const byAdmin = async (method: string, path: string, body: object, type = 'application/merge-patch+json') =>
  assert.ok((await api.request(method, path, body, type)).status < 300, path);

/** As the kubelet asks for it: bound to the agent's pod, which is bound to its node. */
async function tokenOf(agent: Agent): Promise<string> {
  const account = '/api/v1/namespaces/kube-system/serviceaccounts/weir/token';
  const asked = { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest' };
  if (agent === 'unbound') return (await api.request('POST', account, { ...asked, spec: {} })).body.status.token;
  const pod = await api.request('POST', '/api/v1/namespaces/kube-system/pods', {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: `weir-${agent}` },
    spec: { nodeName: agent, serviceAccountName: 'weir', containers: [{ name: 'weir-agent', image: 'weir' }] },
  });
  const { name, uid } = pod.body.metadata;
  const boundObjectRef = { apiVersion: 'v1', kind: 'Pod', name, uid };
  return (await api.request('POST', account, { ...asked, spec: { boundObjectRef } })).body.status.token;
}

test.before(async () => {
  api = await startApiServer('restriction');
  await api.apply(CRDS);
  const made = await command([stockProgram('helm'), 'template', 'weir', CHART, '--namespace', 'kube-system']);
  const objects = parseAllDocuments(made)
    .map((document) => document.toJS() as { kind: string; metadata: { annotations?: object } } | null)
    .filter((one) => one !== null && KINDS.test(one.kind) && one.metadata.annotations === undefined);
  await api.apply(objects as object[]);
  await api.apply(
    NODES.map((name) => ({
      ...{ apiVersion: 'v1', kind: 'Node', metadata: { name } },
      spec: { podCIDR: podCidrOf(name), podCIDRs: [podCidrOf(name)] },
    })),
  );
  for (const agent of [...NODES, 'unbound'] as const) tokens.set(agent, await tokenOf(agent));
  // Policies come into force a moment after they are made, each for itself.
  await byAdmin('POST', `${STATE}/weirnodes`, record('n2'), 'application/json');
  await byAdmin('PATCH', '/api/v1/nodes/n2', taints(TAINT));
  const identity = state('WeirIdentity', 'a'.repeat(40), { number: 256, labels: { 'k8s:app': 'web' } });
  await byAdmin('POST', `${STATE}/weiridentities`, identity, 'application/json');
  const probes = [
    ['PUT', `${STATE}/weirnodes/n2?dryRun=All`, await rewritten(`${STATE}/weirnodes/n2`, { identities: [300] })],
    ['PATCH', '/api/v1/nodes/n2?dryRun=All', taints()],
    ['DELETE', `${STATE}/weirnodes/n2?dryRun=All`, undefined],
  ] as const;
  for (const [method, path, body] of probes) {
    const inForce = async () => (await refusal('n1', method, path, body)) !== undefined;
    await until(inForce, { what: `${method} ${path} to be refused`, timeoutMs: 30_000 });
  }
  await byAdmin('PATCH', '/api/v1/nodes/n2', taints());
});
test.after(() => api?.stop());

test('the WeirNode is its own agent’s', async () => {
  await taken('n1', 'POST', `${STATE}/weirnodes`, record('n1'));
  const [own, other] = [`${STATE}/weirnodes/n1`, `${STATE}/weirnodes/n2`];
  await taken('n1', 'PUT', own, await rewritten(own, { identities: [256] }));
  await taken('n1', 'PATCH', `${STATE}/weirnodes/n1/status`, { status: { agentVersion: '1' } });
  const claiming = await rewritten(other, { identities: [256] });
  await refused(/WeirNode n2 is written by its own agent/, 'n1', 'PUT', other, claiming);
  const status = { status: { agentVersion: '2' } };
  await refused(/not by that of node "n1"/, 'n1', 'PATCH', `${STATE}/weirnodes/n2/status`, status);
  await refused(/not by that of node ""/, 'unbound', 'PATCH', `${STATE}/weirnodes/n2/status`, status);
  await refused(/written by its own agent/, 'n1', 'POST', `${STATE}/weirnodes`, record('n3'));
});

test('a node claims the pod CIDRs that its Node has', async () => {
  const path = `${STATE}/weirnodes/n1`;
  const claim = (...podCidrs: string[]) => rewritten(path, { podCidrs });
  const both = await claim(podCidrOf('n1'), podCidrOf('n2'));
  await refused(/claims pod CIDRs that the Node has not/, 'n1', 'PUT', path, both);
  await refused(/claims pod CIDRs/, 'n1', 'PUT', path, await claim('0.0.0.0/0'));
  await taken('n1', 'PUT', path, await claim());
  await taken('n1', 'PUT', path, await claim(podCidrOf('n1')));
  await taken('n1', 'DELETE', path);
  await refused(/claims pod CIDRs/, 'n1', 'POST', `${STATE}/weirnodes`, record('n1', podCidrOf('n2')));
  await taken('n1', 'POST', `${STATE}/weirnodes`, record('n1'));
});

test('slices are their own agent’s, by what they say and by their names', async () => {
  const path = `${STATE}/weirendpointslices`;
  await taken('n1', 'POST', path, slice('n1-0', 'n1'));
  await taken('n2', 'POST', path, slice('n2-0', 'n2'));
  for (const [name, node] of [
    ['n2-1', 'n2'],
    ['n2-1', 'n1'],
    ['n1-1', 'n2'],
    ['n1-x', 'n1'],
    ['n1-0-1', 'n1'],
  ] as const)
    await refused(/writes slices that name this node/, 'n1', 'POST', path, slice(name, node));
  await refused(/writes slices/, 'n1', 'PUT', `${path}/n2-0`, await rewritten(`${path}/n2-0`, { node: 'n1' }));
  await refused(/writes slices/, 'n1', 'PUT', `${path}/n1-0`, await rewritten(`${path}/n1-0`, { node: 'n2' }));
  await refused(/node n2 is there: what its agent wrote/, 'n1', 'DELETE', `${path}/n2-0`);
  await refused(/node n2 is there/, 'n1', 'DELETE', `${STATE}/weirnodes/n2`);
  await refused(/node n2 is there/, 'unbound', 'DELETE', `${path}/n2-0`);
  await taken('n1', 'DELETE', `${path}/n1-0`);
});

test('a taint is set by anybody and taken away by the node’s own agent; nothing else of a Node is touched', async () => {
  const [one, two] = ['/api/v1/nodes/n1', '/api/v1/nodes/n2'];
  await byAdmin('PATCH', two, taints(OTHER_TAINT));
  await taken('n1', 'PATCH', two, taints(OTHER_TAINT, TAINT));
  await refused(/taken away by its own agent, not by that of node "n1"/, 'n1', 'PATCH', two, taints(OTHER_TAINT));
  await refused(/change no taint but/, 'n1', 'PATCH', two, taints(TAINT));
  await refused(/change no taint but/, 'n1', 'PATCH', two, taints(OTHER_TAINT, { ...TAINT, effect: 'NoExecute' }));
  await refused(/change no taint but/, 'n2', 'PATCH', two, taints());
  await taken('n2', 'PATCH', two, taints(OTHER_TAINT));
  await byAdmin('PATCH', two, taints());
  await taken('n1', 'PATCH', two, taints(TAINT));
  await taken('n2', 'PATCH', two, taints());
  for (const change of [
    { metadata: { labels: { 'example.org/trusted': 'yes' } } },
    { metadata: { annotations: { x: 'y' } } },
    { metadata: { finalizers: ['example.org/x'] } },
    { spec: { unschedulable: true } },
    { spec: { providerID: 'cloud://x' } },
  ])
    await refused(/change nothing of a Node but/, 'n1', 'PATCH', one, change);
  const address = { status: { addresses: [{ type: 'InternalIP', address: '192.0.2.66' }] } };
  await refused(/change nothing of a Node but/, 'n1', 'PATCH', `${one}/status`, address);
  await refused(/change nothing of a Node but/, 'n1', 'PATCH', `${one}/status`, { metadata: { labels: { a: 'b' } } });
});

test('NetworkUnavailable is said by the node’s own agent, and no other condition', async () => {
  const time = '2026-01-01T00:00:00Z';
  const said = (node: string, type: string, status = 'False') => ({
    ...{ apiVersion: 'v1', kind: 'Node', metadata: { name: node } },
    status: { conditions: [{ type, status, reason: 'X', lastHeartbeatTime: time, lastTransitionTime: time }] },
  });
  const path = (node: string) => `/api/v1/nodes/${node}/status?fieldManager=weir&force=true`;
  await taken('n1', 'APPLY', path('n1'), said('n1', 'NetworkUnavailable'));
  await refused(/no condition but NetworkUnavailable/, 'n1', 'APPLY', path('n1'), said('n1', 'Ready'));
  await refused(/no condition but/, 'n1', 'APPLY', path('n2'), said('n2', 'NetworkUnavailable', 'True'));
});

test('what nodes that are gone left is removed by any agent; identities only when they are marked', async () => {
  const path = `${STATE}/weiridentities/${'a'.repeat(40)}`;
  await refused(/only after it was marked/, 'n1', 'DELETE', path);
  await taken('n1', 'PATCH', path, { metadata: { annotations: { 'weir.dev/unused': 'n1' } } });
  await taken('n1', 'DELETE', path);
  assert.is((await api.request('DELETE', '/api/v1/nodes/n2')).status, 200);
  const gone = async (what: string) =>
    until(async () => (await refusal('n1', 'DELETE', `${STATE}/${what}`)) === undefined, {
      what: `${what} of a node that is gone to be removed`,
      timeoutMs: 10_000,
    });
  await gone('weirendpointslices/n2-0');
  await gone('weirnodes/n2');
});

test('the Lease is taken for oneself, and given back', async () => {
  const path = '/apis/coordination.k8s.io/v1/namespaces/kube-system/leases';
  const lease = (holderIdentity: string) => ({
    ...{ apiVersion: 'coordination.k8s.io/v1', kind: 'Lease', metadata: { name: 'weir-chores' } },
    spec: { holderIdentity },
  });
  await refused(/takes the Lease for nobody else/, 'n1', 'POST', path, lease('n2'));
  await taken('n1', 'POST', path, lease('n1'));
  const { body } = await api.request('GET', `${path}/weir-chores`);
  await refused(/for nobody else/, 'n1', 'PUT', `${path}/weir-chores`, { ...body, spec: { holderIdentity: 'n3' } });
  await taken('n1', 'PUT', `${path}/weir-chores`, { ...body, spec: { holderIdentity: '' } });
});

test('agents write as before when the API server comes back, also from compacted versions', async () => {
  const path = `${STATE}/weirnodes/n1`;
  await api.compact();
  await api.down();
  await api.up();
  await taken('n1', 'PUT', path, await rewritten(path, { identities: [257] }));
  await refused(/not by that of node ""/, 'unbound', 'PUT', path, await rewritten(path, { identities: [258] }));
});

test.run();
