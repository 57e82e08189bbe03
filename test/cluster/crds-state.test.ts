/** The state CRDs on a real API server: what agents write is taken, what no agent should ever write is refused. */
import { fileURLToPath } from 'node:url';
import * as assert from 'uvu/assert';
import { privileged } from '../kit/privileged.ts';
import { suite } from '../kit/suite.ts';
import { type ApiServer, startApiServer } from './api-server.ts';
import { collectionOf, refusalOf } from './crds-refusal.ts';

const CRDS = fileURLToPath(new URL('../../crds', import.meta.url));
const MERGE = 'application/merge-patch+json';
const test = privileged(suite('state crds on an API server'), 'api-server');

let api: ApiServer;
test.before(async () => {
  api = await startApiServer('state');
  await api.apply(CRDS);
});
test.after(() => api?.stop());

function object(kind: string, name: string, spec: object, more: object = {}) {
  return { apiVersion: 'weir.dev/v1alpha1', kind, metadata: { name }, spec, ...more };
}
const NAME = 'a'.repeat(40);
const LABELS = { 'k8s:app': 'web', 'k8s:io.kubernetes.pod.namespace': 'default' };
const identity = (spec: object = {}, name = NAME) =>
  object('WeirIdentity', name, { number: 256, labels: LABELS, ...spec });
const range = (next: number, name = 'default') => object('WeirIdentityRange', name, { next });
const ENDPOINT = {
  addresses: ['10.0.0.5', 'fd00::5'],
  identity: 256,
  namespace: 'default',
  pod: 'web-0',
  uid: '7d6f8e4c-0000-4000-8000-000000000000',
  since: 1,
  namedPorts: [{ name: 'http', protocol: 'TCP', port: 8080 }],
  workload: { kind: 'StatefulSet', name: 'web' },
};
const slice = (...endpoints: object[]) => object('WeirEndpointSlice', 'node1-0', { node: 'node1', endpoints });
const NODE = {
  addresses: ['192.0.2.1', '2001:db8::1'],
  podCidrs: ['10.0.0.0/24', 'fd00::/64'],
  routerAddresses: ['10.0.0.1'],
};
const node = (spec: object = {}) => object('WeirNode', 'node1', { ...NODE, ...spec });
const denyList = (...cidrs: string[]) => object('WeirDenyList', 'bad', { cidrs });

/** Without what is refused: it is taken. */
const TABLE: readonly [title: string, object: object, field?: string, says?: string][] = [
  ['an identity', identity()],
  ['the last number', identity({ number: 65535 })],
  ['a reserved number', identity({ number: 255 }), 'spec.number', 'greater than or equal to 256'],
  ['a number too large', identity({ number: 65536 }), 'spec.number', 'less than or equal to 65535'],
  ['half a number', identity({ number: 256.5 }), 'spec.number', 'of type integer'],
  ['an identity without labels', identity({ labels: {} }), 'spec.labels', 'at least 1'],
  ['a name that is not made from labels', identity({}, 'web'), '<nil>', 'first 40 hexadecimal digits'],
  ['a field nobody reads', identity({ lables: {} }), 'spec.lables', 'unknown field'],
  ['the range', range(256)],
  ['the range in its second lap', range(65536)],
  ['another range', range(256, 'mine'), '<nil>', 'there is one range'],
  ['a range of reserved numbers', range(1), 'spec.next', 'greater than or equal to 256'],
  ['a slice', slice(ENDPOINT)],
  ['an empty slice', slice()],
  ['100 endpoints', slice(...Array(100).fill(ENDPOINT))],
  ['101 endpoints', slice(...Array(101).fill(ENDPOINT)), 'spec.endpoints', 'at most 100'],
  ['an endpoint of a reserved identity', slice({ ...ENDPOINT, identity: 5 })],
  ['an endpoint without identity', slice({ ...ENDPOINT, identity: 0 }), 'spec.endpoints[0].identity', 'or equal to 1'],
  ['an endpoint at no address', slice({ ...ENDPOINT, addresses: [] }), 'spec.endpoints[0].addresses', 'at least 1'],
  ['an address with a length', slice({ ...ENDPOINT, addresses: ['10.0.0.0/8'] }), 'addresses[0]', 'of type ipv4'],
  ['an endpoint without uid', slice({ ...ENDPOINT, uid: undefined }), 'spec.endpoints[0].uid', 'Required value'],
  ['a node', node()],
  ['a node that has no pod CIDR yet', node({ podCidrs: [], routerAddresses: [] })],
  ['a pod CIDR without length', node({ podCidrs: ['10.0.0.0'] }), 'spec.podCidrs[0]', 'of type cidr'],
  ['a router address that is none', node({ routerAddresses: ['router'] }), 'spec.routerAddresses[0]', 'of type ipv4'],
  ['a deny list', denyList('203.0.113.0/24', '2001:db8::/32', '203.0.113.9')],
  ['a deny list with a name', denyList('evil.example'), 'spec.cidrs[0]', 'of type cidr'],
  [
    '25,000 prefixes',
    denyList(...Array.from({ length: 25_000 }, (_, i) => `2001:db8:${i.toString(16)}:1111:2222::/80`)),
  ],
];

for (const [title, written, field, says = ''] of TABLE) {
  test(`${field ? 'refused' : 'taken'}: ${title}`, async () => {
    const refusal = await refusalOf(api, written);
    if (field === undefined) return assert.is(refusal, undefined);
    const named = refusal?.split('\n').some((line) => line.includes(field) && line.includes(says));
    assert.ok(named, `expected ${field} ... ${says} in: ${refusal ?? 'it was taken'}`);
  });
}

test('an identity never changes, but can be touched', async () => {
  const path = `${collectionOf(identity())}/${NAME}`;
  assert.is((await api.request('POST', collectionOf(identity()), identity())).status, 201);
  for (const spec of [{ number: 257 }, { labels: { 'k8s:app': 'db' } }]) {
    const { status, body } = await api.request('PATCH', path, { spec }, MERGE);
    assert.is(status, 422);
    assert.match(body.message, 'an identity never changes');
  }
  const touched = await api.request('PATCH', path, { metadata: { annotations: { 'weir.dev/touched': 'x' } } }, MERGE);
  assert.is(touched.status, 200);
  assert.equal(touched.body.spec, identity().spec);
});

test('a name is taken once, and one of two that move the range on is told that it was second', async () => {
  assert.is((await api.request('POST', collectionOf(range(256)), range(256))).status, 201);
  assert.is((await api.request('POST', collectionOf(range(256)), range(256))).status, 409);
  const path = `${collectionOf(range(256))}/default`;
  const { body } = await api.request('GET', path);
  assert.is((await api.request('PUT', path, { ...body, spec: { next: 264 } })).status, 200);
  const second = await api.request('PUT', path, { ...body, spec: { next: 260 } });
  assert.is(second.status, 409);
  assert.is(second.body.reason, 'Conflict');
  const back = await api.request('PATCH', path, { spec: { next: 256 } }, MERGE);
  assert.is(back.status, 422);
  assert.match(back.body.message, 'next only grows');
});

test('the status of a node is written apart from what others read', async () => {
  await api.request('POST', collectionOf(node()), { ...node(), status: { ready: true } });
  const path = `${collectionOf(node())}/node1`;
  assert.is((await api.request('GET', path)).body.status, undefined);
  const refused = [
    { kind: 'CiliumNetworkPolicy', namespace: 'default', name: 'a', uid: 'u', generation: 2, reason: 'x' },
  ];
  const status = {
    ready: true,
    agentVersion: '0.1.0',
    policyRevision: 7,
    desiredPolicyRevision: 7,
    refused,
    refusedCount: 1,
  };
  assert.is((await api.request('PATCH', `${path}/status`, { status }, MERGE)).status, 200);
  const { body } = await api.request('GET', path);
  assert.equal(body.status, status);
  assert.is(body.metadata.generation, 1);
});

test('kubectl get shows what one looks for', async () => {
  await api.apply([slice(ENDPOINT), denyList('203.0.113.0/24')]);
  const get = async (what: string) => (await api.kubectl(['get', what])).stdout;
  assert.match(await get('wid'), /^NAME +NUMBER +LABELS +AGE\na{40} +256 +\{"k8s:app":"web",.*\} /);
  assert.match(await get('wir'), /^NAME +NEXT +AGE\ndefault +264 /);
  assert.match(await get('wes'), /^NAME +NODE +AGE\nnode1-0 +node1 /);
  assert.match(
    await get('wn'),
    /^NAME +READY +ADDRESSES +PODCIDRS +REVISION +AGE\nnode1 +true +\["192.0.2.1","2001:db8::1"\] /,
  );
  assert.match(await get('wdl'), /^NAME +AGE\nbad /);
});

test.run();
