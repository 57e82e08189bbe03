/** The source's pure parts: what is delivered of an object, what is written about a document; and when the source is synced. */
import * as assert from 'uvu/assert';
import { ApiError } from '../../agent/kubernetes/api-error.ts';
import type { KubernetesClient, KubernetesObject } from '../../agent/kubernetes/client.ts';
import type { WatchChange, WatchOptions } from '../../agent/kubernetes/watch.ts';
import type { Problem, SourceChange } from '../../agent/model/object.ts';
import type { RefusedDocument } from '../../agent/model/refused-document.ts';
import { createLogger } from '../../agent/run/log.ts';
import { type Collection, collectionsOf, POLICY_CRDS } from '../../agent/source/kubernetes/collections.ts';
import { planStatus } from '../../agent/source/kubernetes/conditions.ts';
import { Delivery } from '../../agent/source/kubernetes/delivery.ts';
import { startDocumentStatus } from '../../agent/source/kubernetes/document-status.ts';
import { DocumentTable, type TrackedDocument } from '../../agent/source/kubernetes/document-table.ts';
import { refusedDocument } from '../../agent/source/kubernetes/refused.ts';
import { kubernetesSource } from '../../agent/source/kubernetes/source.ts';
import { fakeClock } from '../kit/clock.ts';
import { suite } from '../kit/suite.ts';

const log = createLogger({ level: 'error', format: 'text', write: () => {} });
const upsert = (object: object): WatchChange<KubernetesObject> => ({
  type: 'upsert',
  object: object as KubernetesObject,
});
const gone = (name: string, namespace = '', uid = ''): WatchChange<KubernetesObject> => ({
  type: 'delete',
  ref: { namespace, name, uid },
});
const show = (changes: readonly SourceChange[]): string[] =>
  changes.map((change) => {
    const { kind, ref } = change.type === 'upsert' ? change.object : change;
    return `${change.type} ${kind} ${ref.namespace}/${ref.name}`;
  });
const collection = (kind: string): Collection =>
  collectionsOf('n1').find(({ refOf }) => refOf('', '', '').kind === kind) as Collection;

const delivery = suite('kubernetes source: delivery');
const node = (address: string, heartbeat: string) =>
  upsert({
    apiVersion: 'v1',
    kind: 'Node',
    metadata: { name: 'n1', resourceVersion: heartbeat },
    status: { addresses: [{ type: 'InternalIP', address }], conditions: [{ lastHeartbeatTime: heartbeat }] },
  });

delivery('what nobody here reads is no change', () => {
  const of = new Delivery(collection('Node'));
  assert.equal(show(of.take([node('10.0.0.1', '1')]).changes), ['upsert Node /n1']);
  assert.equal(show(of.take([node('10.0.0.1', '2')]).changes), []);
  assert.equal(show(of.take([node('10.0.0.2', '3')]).changes), ['upsert Node /n1']);
  assert.equal(show(of.take([gone('n1')]).changes), ['delete Node /n1']);
  assert.equal(show(of.take([gone('n1')]).changes), []);
});

const policy = (generation: number, more: object = {}, metadata: object = {}) => ({
  apiVersion: 'cilium.io/v2',
  kind: 'CiliumNetworkPolicy',
  metadata: { name: 'p', namespace: 'shop', uid: 'u1', generation, resourceVersion: '1', ...metadata },
  spec: { endpointSelector: {} },
  ...more,
});

delivery('a condition written to a document is no change; a new generation and an annotation are', () => {
  const of = new Delivery(collection('CiliumNetworkPolicy'));
  const [change] = of.take([
    upsert(policy(1, {}, { annotations: { 'kubectl.kubernetes.io/last-applied-configuration': 'x' } })),
  ]).changes;
  assert.ok(change?.type === 'upsert' && change.object.kind === 'Document');
  assert.equal(change.object.value.raw, {
    apiVersion: 'cilium.io/v2',
    kind: 'CiliumNetworkPolicy',
    metadata: { name: 'p', namespace: 'shop', uid: 'u1', generation: 1, annotations: {} },
    spec: { endpointSelector: {} },
  });
  const same = { annotations: {}, resourceVersion: '2' };
  assert.equal(of.take([upsert(policy(1, { status: { conditions: [{ type: 'Valid' }] } }, same))]).changes, []);
  assert.is(of.take([upsert(policy(2))]).changes.length, 1);
  assert.is(of.take([upsert(policy(2, {}, { annotations: { a: 'b' } }))]).changes.length, 1);
  assert.is(of.take([upsert(policy(2, {}, { annotations: { a: 'b' }, uid: 'u2' }))]).changes.length, 1);
  assert.equal(show(of.clear().changes), ['delete Document shop/p']);
});

delivery('an object that cannot be read keeps what it had, and its problem goes with it', () => {
  const of = new Delivery(collection('Namespace'));
  const namespace = (labels: object) =>
    upsert({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'n', labels } });
  assert.is(of.take([namespace({ a: 'b' })]).changes.length, 1);
  const bad = of.take([namespace({ a: 1 })]);
  assert.equal(bad.changes, []);
  assert.is(bad.problems.get('Namespace n')?.[0]?.code, 'wrong-type');
  const good = of.take([namespace({ a: 'b' })]);
  assert.equal([good.changes, good.problems.get('Namespace n')], [[], []]);
  of.take([namespace({ a: 1 })]);
  assert.equal(of.take([gone('n')]).problems.get('Namespace n'), []);
});

delivery('an EndpointSlice with what is and is not said of readiness, and for whom it is', () => {
  const of = new Delivery(collection('EndpointSlice'));
  const endpoint = (address: string, conditions?: object) => ({
    addresses: [address],
    ...(conditions ? { conditions } : {}),
  });
  const slice = {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: { name: 's', namespace: 'shop', labels: { 'kubernetes.io/service-name': 'web' } },
    addressType: 'IPv4',
    ports: [{ name: 'http', port: 80 }, { name: 'dns', port: 53, protocol: 'UDP' }, { name: 'all' }],
    endpoints: [
      endpoint('10.0.0.1'),
      endpoint('10.0.0.2', { ready: false }),
      endpoint('10.0.0.3', { ready: false, serving: true, terminating: true }),
      { ...endpoint('10.0.0.4'), nodeName: 'n2', targetRef: { kind: 'Pod', name: 'web-1', namespace: 'shop' } },
      { ...endpoint('10.0.0.5'), hints: { forZones: [{ name: 'z' }], forNodes: [{ name: 'n1' }, { name: 'n2' }] } },
    ],
  };
  const [change] = of.take([upsert(slice)]).changes;
  assert.ok(change?.type === 'upsert' && change.object.kind === 'EndpointSlice');
  const { service, ports, endpoints } = change.object.value;
  assert.is(service, 'web');
  assert.equal(ports, [
    { name: 'http', protocol: 'TCP', port: 80 },
    { name: 'dns', protocol: 'UDP', port: 53 },
  ]);
  assert.equal(
    endpoints.map(({ addresses, ready, serving, terminating, nodeName, pod }) => [
      addresses[0],
      ready,
      serving,
      terminating,
      nodeName,
      pod,
    ]),
    [
      ['10.0.0.1', true, true, false, '', ''],
      ['10.0.0.2', false, false, false, '', ''],
      ['10.0.0.3', false, true, true, '', ''],
      ['10.0.0.4', true, true, false, 'n2', 'shop/web-1'],
      ['10.0.0.5', true, true, false, '', ''],
    ],
  );
  assert.equal(
    endpoints.map(({ forNodes, forZones }) => [forNodes, forZones].flat()),
    [[], [], [], [], ['n1', 'n2', 'z']],
  );
});
delivery.run();

const conditions = suite('kubernetes source: conditions');
const NOW = '2026-11-23T05:00:00Z';
const tracked = (more: Partial<TrackedDocument> = {}): TrackedDocument => ({
  resource: { apiVersion: 'cilium.io/v2', plural: 'ciliumnetworkpolicies' },
  ref: { apiVersion: 'cilium.io/v2', kind: 'CiliumNetworkPolicy', namespace: 'shop', name: 'p', uid: 'u1' },
  generation: 2,
  resourceVersion: '7',
  conditions: [],
  ...more,
});
const refuses = (generation = 2, reason = 'spec.x: wrong', uid = 'u1'): RefusedDocument => ({
  kind: 'CiliumNetworkPolicy',
  namespace: 'shop',
  name: 'p',
  uid,
  generation,
  reason,
});
const said = (status: string, message: string, more: object = {}) => ({
  type: 'Valid',
  status,
  reason: status === 'True' ? 'Accepted' : 'Refused',
  message,
  lastTransitionTime: NOW,
  observedGeneration: 2,
  ...more,
});
const EVERYONE = 'every node refuses it: spec.x: wrong';

for (const [what, refused, message] of [
  ['nobody refuses it', { a: [], b: [] }, undefined],
  ['all refuse it', { a: [refuses()], b: [refuses()] }, EVERYONE],
  ['one does', { a: [], b: [refuses()] }, 'refused by b, the other nodes accept it: spec.x: wrong'],
  [
    'many do, most for one reason',
    Object.fromEntries(
      'hgfedcba'
        .split('')
        .map((name) => [name, name === 'h' ? [] : [refuses(2, name === 'a' ? 'new words' : 'old words')]]),
    ),
    'refused by a, b, c, d, e and 2 more, the other nodes accept it: old words',
  ],
  ['a later version is refused', { a: [refuses(3)], b: [] }, undefined],
  ['what had its name before is refused', { a: [refuses(2, 'x', 'u0')] }, undefined],
] as const) {
  conditions(what, () => {
    const plan = planStatus([tracked()], new Map(Object.entries(refused)), NOW);
    const written = message === undefined ? said('True', 'every node accepts it') : said('False', message);
    assert.equal(plan.writes[0]?.conditions, [written]);
    assert.equal(
      plan.refusals.map((refusal) => refusal.message),
      message === undefined ? [] : [message],
    );
  });
}
conditions('what is said already is not written; others keep theirs; a turn has a new time', () => {
  const other = { type: 'Other', status: 'True' };
  const refused = new Map([['a', [refuses()]]]);
  const plan = (before: TrackedDocument['conditions']) =>
    planStatus([tracked({ conditions: before })], refused, 'later').writes;
  assert.equal(plan([other, said('False', EVERYONE)]), []);
  assert.equal(plan([said('True', 'x'), other])[0]?.conditions, [
    other,
    said('False', EVERYONE, { lastTransitionTime: 'later' }),
  ]);
  assert.is(plan([said('True', 'x')])[0]?.isTurn, true);
  assert.equal(plan([said('False', EVERYONE, { observedGeneration: undefined })]), []);
  const [write] = plan([said('False', 'other words')]);
  assert.equal([write?.isTurn, write?.conditions], [false, [said('False', EVERYONE)]]);
  assert.is(plan([said('False', EVERYONE, { observedGeneration: 1 })]).length, 1);
});
conditions('who refused the version before has yet to judge this one: until then nothing is said', () => {
  const plan = (a: RefusedDocument[]) => planStatus([tracked()], new Map(Object.entries({ a, b: [] })), NOW).writes;
  assert.equal(plan([refuses(1)]), []);
  assert.is(plan([]).length, 1);
  assert.is(plan([refuses(1, 'x', 'u0')]).length, 1);
});
conditions('a kind without status is refused without a write', () => {
  const plan = planStatus([tracked({ conditions: undefined })], new Map([['a', [refuses()]]]), NOW);
  assert.equal([plan.writes.length, plan.refusals.length], [0, 1]);
});
conditions('the reason names each error with its field', () => {
  const [change] = new Delivery(collection('CiliumNetworkPolicy')).take([upsert(policy(4))]).changes;
  assert.ok(change?.type === 'upsert' && change.object.kind === 'Document');
  const problem = (severity: Problem['severity'], path: Problem['path'], message: string): Problem => ({
    severity,
    code: 'x',
    message,
    path,
    place: '',
    line: undefined,
  });
  const problems = [
    problem('error', ['spec', 'ingress', 0], 'expected a mapping'),
    problem('warning', [], 'odd'),
    problem('error', ['spec'], 'spec is required'),
  ];
  assert.equal(refusedDocument(change.object.value, problems), {
    kind: 'CiliumNetworkPolicy',
    namespace: 'shop',
    name: 'p',
    uid: 'u1',
    generation: 4,
    reason: 'spec.ingress[0]: expected a mapping; spec is required',
  });
  assert.is(refusedDocument(change.object.value, problems.slice(1, 2)), undefined);
});
conditions.run();

/** A client whose watches a test tells what to say. */
function fakeClient() {
  const watches = new Map<string, WatchOptions<KubernetesObject>>();
  const writes: string[] = [];
  const client = {
    server: 'https://test',
    watch(options: WatchOptions<KubernetesObject>) {
      watches.set(options.path, options);
      const stopped = new Promise<void>((resolve) => options.signal.addEventListener('abort', () => resolve()));
      options.signal.addEventListener('abort', () => watches.delete(options.path));
      return { state: () => ({ path: options.path }), stopped };
    },
    patch: (path: string) => Promise.resolve(writes.push(`patch ${path}`)),
    create: (path: string) => Promise.resolve(writes.push(`create ${path}`)),
  } as unknown as KubernetesClient;
  const watch = (end: string) =>
    [...watches].find(([path]) => path.endsWith(end))?.[1] as WatchOptions<KubernetesObject>;
  return { client, watches, watch, writes };
}

const source = suite('kubernetes source');
const crd = (name: string) => upsert({ metadata: { name } });
const CNP = POLICY_CRDS[0]?.crd as string;

function startSource() {
  const fake = fakeClient();
  const clock = fakeClock();
  const stop = new AbortController();
  const told: string[] = [];
  const sink = {
    change: (changes: readonly SourceChange[]) => void told.push(...show(changes)),
    synced: () => void told.push('synced'),
    problems: (place: string, list: readonly Problem[]) =>
      void told.push(`${place}: ${list.map(({ message }) => message)}`),
  };
  const run = kubernetesSource({ client: fake.client, nodeName: 'n1', log, clock }).run(sink, stop.signal);
  return { ...fake, clock, stop, told, run };
}

source('is synced when the last first list is complete, whichever that is', () => {
  const fixed = ['/namespaces', '/pods', '/nodes', '/services', '/endpointslices', '/networkpolicies'];
  for (const last of [...fixed, '/customresourcedefinitions', '/ciliumnetworkpolicies']) {
    const { watch, told, stop } = startSource();
    const crds = watch('/customresourcedefinitions');
    crds.onChanges([crd(CNP)]);
    for (const path of [...fixed, '/customresourcedefinitions', '/ciliumnetworkpolicies'])
      if (path !== last) watch(path).onSynced();
    assert.equal(told, [], last);
    watch(last).onSynced();
    assert.equal(told, ['synced'], last);
    stop.abort();
  }
});

source('watches only its own node’s pods', () => {
  const { watch, stop } = startSource();
  assert.is(watch('/pods').fieldSelector, 'spec.nodeName=n1');
  stop.abort();
});

source('a CRD that comes later is watched, one that goes takes its documents along', async () => {
  const { watch, watches, told, stop, run } = startSource();
  for (const options of [...watches.values()]) options.onSynced();
  const crds = watch('/customresourcedefinitions');
  crds.onChanges([crd(CNP), crd('others.example.org')]);
  watch('/ciliumnetworkpolicies').onChanges([upsert(policy(1))]);
  crds.onChanges([gone(CNP)]);
  assert.is(watch('/ciliumnetworkpolicies'), undefined);
  crds.onChanges([crd(CNP)]);
  watch('/ciliumnetworkpolicies').onChanges([upsert(policy(1))]);
  assert.equal(told, ['synced', 'upsert Document shop/p', 'delete Document shop/p', 'upsert Document shop/p']);
  stop.abort();
  await run;
});

source('a CRD without the version that is read holds nothing up, and is a problem', () => {
  const { watch, watches, told, clock, stop } = startSource();
  const crds = watch('/customresourcedefinitions');
  crds.onChanges([crd(CNP)]);
  for (const [path, options] of [...watches]) if (!path.endsWith('/ciliumnetworkpolicies')) options.onSynced();
  const cnps = watch('/ciliumnetworkpolicies');
  cnps.onTrouble?.(new ApiError('NOT_FOUND', 'GET', 'no such path', { status: 404 }));
  clock.advance(9000);
  assert.equal(told, []);
  clock.advance(2000);
  const place = 'watching /apis/cilium.io/v2/ciliumnetworkpolicies';
  assert.equal(told, [
    `${place}: the CRD ${CNP} does not serve cilium.io/v2: nothing of this kind is in force`,
    'synced',
  ]);
  cnps.onTrouble?.(undefined);
  assert.is(told.at(-1), `${place}: `);
  stop.abort();
});

source('a watch that may not be watched keeps the source from being synced, and says so', () => {
  const { watch, watches, told, stop } = startSource();
  for (const [path, options] of [...watches]) if (!path.endsWith('/services')) options.onSynced();
  watch('/services').onTrouble?.(new ApiError('API_FORBIDDEN', 'GET', 'services is forbidden'));
  assert.equal(told, ['watching /api/v1/services: services is forbidden']);
  stop.abort();
});

source('ends with what went wrong for good', async () => {
  const fake = fakeClient();
  const failing = {
    ...fake.client,
    watch: () => ({ state: () => ({}), stopped: Promise.reject(new Error('our mistake')) }),
  };
  const sink = { change: () => {}, synced: () => {}, problems: () => {} };
  const run = kubernetesSource({ client: failing as unknown as KubernetesClient, nodeName: 'n1', log }).run(
    sink,
    new AbortController().signal,
  );
  await run.then(
    () => assert.unreachable(),
    (error: Error) => assert.is(error.message, 'our mistake'),
  );
});
source.run();

const writer = suite('kubernetes source: status of documents');
writer('what the API server refuses of one document keeps no other from being told of', async () => {
  const { client, watch, writes } = fakeClient();
  const clock = fakeClock();
  const stop = new AbortController();
  const documents = new DocumentTable();
  const ending = async (path: string): Promise<unknown> => {
    if (path.includes('/ending/')) throw new ApiError('API_FORBIDDEN', 'POST', 'the namespace is being terminated');
    writes.push(path);
    return {};
  };
  startDocumentStatus({
    ...{
      client: { ...client, create: ending, patch: ending } as unknown as KubernetesClient,
      nodeName: 'n1',
      documents,
    },
    refused: () => [refuses(1), { ...refuses(1), namespace: 'ending', uid: 'u0' }],
    ...{ log, signal: stop.signal, clock, times: { settleMs: 100, paceMs: 10, restMs: 30_000 } },
  });
  const of = collection('CiliumNetworkPolicy');
  documents.take(of, [upsert(policy(1, {}, { namespace: 'ending', uid: 'u0' })), upsert(policy(1))]);
  watch('/weirnodes').onSynced();
  for (let i = 0; i < 50; i++) {
    clock.advance(10);
    for (let turns = 0; turns < 4; turns++) await new Promise(setImmediate);
  }
  // Nothing comes back of what was written here, so its status is written again with each new try.
  assert.equal(
    [...new Set(writes)],
    ['/apis/cilium.io/v2/namespaces/shop/ciliumnetworkpolicies/p/status', '/api/v1/namespaces/shop/events'],
  );
  stop.abort();
});

writer('nodes that cannot agree cause few writes, and one Event for each version', async () => {
  const { client, watch, writes } = fakeClient();
  const clock = fakeClock();
  const stop = new AbortController();
  const documents = new DocumentTable();
  const of = collection('CiliumNetworkPolicy');
  const times = { settleMs: 100, paceMs: 10, restMs: 30_000 };
  startDocumentStatus({
    client,
    nodeName: 'n1',
    documents,
    refused: () => [refuses(1)],
    log,
    signal: stop.signal,
    clock,
    times,
  });
  const pass = async (ms: number): Promise<void> => {
    for (let passed = 0; passed < ms; passed += 10) {
      clock.advance(10);
      for (let i = 0; i < 4; i++) await new Promise(setImmediate);
    }
  };
  documents.take(of, [upsert(policy(1))]);
  await pass(1000);
  assert.equal(writes, []); // the other nodes were not heard yet
  const nodes = watch('/weirnodes');
  nodes.onSynced();
  await pass(1000);
  assert.equal(writes, [
    'patch /apis/cilium.io/v2/namespaces/shop/ciliumnetworkpolicies/p/status',
    'create /api/v1/namespaces/shop/events',
  ]);
  // A hundred nodes, one after the other, each changing the message; our own writes come back as changes too.
  for (let i = 0; i < 100; i++) {
    nodes.onChanges([upsert({ metadata: { name: `node-${i}` }, status: { refused: i % 2 ? [refuses(1)] : [] } })]);
    documents.take(of, [
      upsert(policy(1, { status: { conditions: [said('False', `text ${i}`, { observedGeneration: 1 })] } })),
    ]);
    await pass(100);
  }
  assert.is(writes.length, 2);
  await pass(60_000);
  assert.ok(writes.length <= 4, String(writes));
  stop.abort();
});
writer.run();
