/** The source over a real API server: what it delivers, CRDs that come and go, status and Events of refused documents. */
import { fileURLToPath } from 'node:url';
import * as assert from 'uvu/assert';
import { createClient, type KubernetesClient, type KubernetesObject } from '../../agent/kubernetes/client.ts';
import { connect } from '../../agent/kubernetes/connection.ts';
import { type Problem, refKey, type SourceChange, type SourceObject } from '../../agent/model/object.ts';
import type { RefusedDocument } from '../../agent/model/refused-document.ts';
import { createLogger } from '../../agent/run/log.ts';
import { startDocumentStatus } from '../../agent/source/kubernetes/document-status.ts';
import { DocumentTable } from '../../agent/source/kubernetes/document-table.ts';
import { kubernetesSource } from '../../agent/source/kubernetes/source.ts';
import { privileged } from '../kit/privileged.ts';
import { suite } from '../kit/suite.ts';
import { until } from '../kit/until.ts';
import { type ApiServer, startApiServer } from './api-server.ts';

const CRDS = fileURLToPath(new URL('../../crds', import.meta.url));
const POLICY = '/apis/cilium.io/v2/namespaces/default/ciliumnetworkpolicies';
const log = createLogger({ level: 'error', format: 'text', write: () => {} });

const test = privileged(suite('kubernetes source on an API server'), 'api-server');
let api: ApiServer;
let client: KubernetesClient;
test.before(async () => {
  api = await startApiServer('source');
  const backoff = { firstMs: 20, maxMs: 500 };
  client = createClient({ connection: await connect({ kubeconfig: api.kubeconfig }), watchTimes: { backoff } });
});
test.after(() => {
  client?.close();
  api?.stop();
});

function startSource(documents?: DocumentTable) {
  const objects = new Map<string, SourceObject>();
  const problems = new Map<string, readonly Problem[]>();
  const stop = new AbortController();
  const seen = { synced: 0, changes: 0 };
  const sink = {
    change(changes: readonly SourceChange[]) {
      seen.changes += changes.length;
      for (const change of changes) {
        if (change.type === 'upsert') objects.set(refKey(change.object.ref), change.object);
        else objects.delete(refKey(change.ref));
      }
    },
    synced: () => void seen.synced++,
    problems: (place: string, list: readonly Problem[]) =>
      void (list.length > 0 ? problems.set(place, list) : problems.delete(place)),
  };
  const source = kubernetesSource({ client, nodeName: 'n1', log, ...(documents ? { documents } : {}) });
  const run = source.run(sink, stop.signal);
  const end = (): Promise<void> => {
    stop.abort(new Error('end of test'));
    return run;
  };
  const has = (key: string) =>
    until(() => objects.get(key), { what: key, timeoutMs: 20_000, detail: () => [...objects.keys()].join('\n') });
  const hasNot = (key: string) => until(() => !objects.has(key), { what: `no ${key}`, timeoutMs: 20_000 });
  return { source, objects, problems, seen, end, has, hasNot };
}

const pod = (name: string, nodeName: string) => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name, namespace: 'default' },
  spec: { nodeName, containers: [{ name: 'c', image: 'i' }] },
});
/** At once: there is no kubelet that would end it gracefully. */
async function deletePod(name: string): Promise<void> {
  await api.request('DELETE', `/api/v1/namespaces/default/pods/${name}?gracePeriodSeconds=0`);
}

const networkPolicy = {
  apiVersion: 'networking.k8s.io/v1',
  kind: 'NetworkPolicy',
  metadata: { name: 'np', namespace: 'default' },
  spec: { podSelector: {} },
};
const cnp = (name: string, more: object = {}) => ({
  apiVersion: 'cilium.io/v2',
  kind: 'CiliumNetworkPolicy',
  metadata: { name, namespace: 'default' },
  spec: { endpointSelector: {}, ingress: [{}], ...more },
});

test('everything that is there is delivered before it is synced; of pods only the own node’s', async () => {
  await api.apply([pod('here', 'n1'), pod('there', 'n2'), networkPolicy]);
  const { objects, seen, end, has, hasNot, source } = startSource();
  await until(() => seen.synced === 1, { what: 'synced' });
  const keys = [...objects.keys()];
  for (const key of [
    'Namespace default',
    'Pod default/here',
    'Service default/kubernetes',
    'EndpointSlice default/kubernetes',
    'NetworkPolicy default/np',
  ]) {
    assert.ok(keys.includes(key), key);
  }
  assert.not(keys.includes('Pod default/there'));
  const slice = objects.get('EndpointSlice default/kubernetes');
  assert.ok(slice?.kind === 'EndpointSlice' && slice.value.service === 'kubernetes');
  assert.equal(
    slice.value.endpoints.map(({ addresses }) => addresses),
    [['192.0.2.1']],
  );
  await deletePod('here');
  await api.apply([pod('second', 'n1')]);
  await has('Pod default/second');
  await hasNot('Pod default/here');
  assert.equal(
    source.watches().map(({ trouble }) => trouble),
    source.watches().map(() => undefined),
  );
  await end();
});

test('CRDs that come are watched, one that goes takes its documents along, and it may come back', async () => {
  const { seen, end, has, hasNot, problems } = startSource();
  await until(() => seen.synced === 1, { what: 'synced' });
  await api.apply(CRDS);
  await api.apply([cnp('p')]);
  await has('CiliumNetworkPolicy default/p');
  await client.remove('/apis/apiextensions.k8s.io/v1/customresourcedefinitions/ciliumnetworkpolicies.cilium.io');
  await hasNot('CiliumNetworkPolicy default/p');
  // Until the API server has really let go of it, what is applied is refused.
  await until(async () => (await api.request('GET', POLICY)).status === 404, {
    what: 'the CRD to be gone',
    timeoutMs: 30_000,
  });
  await api.apply(CRDS);
  await api.apply([cnp('q')]);
  await has('CiliumNetworkPolicy default/q');
  assert.equal([...problems.keys()], []);
  await end();
});

test('the API server is away for a while: problems say so, then everything is as it is there', async () => {
  const { objects, seen, end, has, hasNot, problems } = startSource();
  await until(() => seen.synced === 1, { what: 'synced' });
  await api.down();
  await until(() => problems.size > 3, { what: 'problems' });
  const before = objects.size;
  await api.up();
  await api.apply([pod('third', 'n1')]);
  await deletePod('second');
  await has('Pod default/third');
  await hasNot('Pod default/second');
  await until(() => problems.size === 0, {
    what: 'no problems',
    timeoutMs: 20_000,
    detail: () => [...problems.keys()].join(),
  });
  assert.is(objects.size, before);
  assert.is(seen.synced, 1);
  await end();
});

test('what nodes refuse stands in the status and in one Event, and is taken back when it is mended', async () => {
  const documents = new DocumentTable();
  const { seen, end, has, objects } = startSource(documents);
  await until(() => seen.synced === 1, { what: 'synced' });
  await api.apply([cnp('bad'), cnp('good'), networkPolicy]);
  await has('CiliumNetworkPolicy default/bad');
  await has('CiliumNetworkPolicy default/good');
  let refused: RefusedDocument[] = [];
  const refuse = async (kind: string, path: string): Promise<RefusedDocument> => {
    const { metadata } = await client.get(path);
    const { name, namespace = '', uid = '', generation = 0 } = metadata;
    return { kind, namespace, name, uid, generation, reason: 'spec.ingress[0]: not on this node' };
  };
  refused = [
    await refuse('CiliumNetworkPolicy', `${POLICY}/bad`),
    await refuse('NetworkPolicy', '/apis/networking.k8s.io/v1/namespaces/default/networkpolicies/np'),
  ];
  await api.apply([
    {
      apiVersion: 'weir.dev/v1alpha1',
      kind: 'WeirNode',
      metadata: { name: 'n2' },
      spec: { addresses: [], podCidrs: [], routerAddresses: [] },
    },
  ]);
  const stop = new AbortController();
  const times = { settleMs: 50, paceMs: 1, restMs: 200 };
  const status = startDocumentStatus({
    client,
    nodeName: 'n1',
    documents,
    refused: () => refused,
    log,
    signal: stop.signal,
    times,
  });
  const valid = async (name: string) => {
    const object = await client.get<
      KubernetesObject & { status?: { conditions?: { type: string; status: string; message: string }[] } }
    >(`${POLICY}/${name}`);
    return object.status?.conditions?.find(({ type }) => type === 'Valid');
  };
  const becomes = (name: string, wanted: string) =>
    until(async () => (await valid(name))?.status === wanted, { what: `${name} ${wanted}` });
  await becomes('bad', 'False');
  await becomes('good', 'True');
  assert.is(
    (await valid('bad'))?.message,
    'refused by n1, the other nodes accept it: spec.ingress[0]: not on this node',
  );
  const events = async () =>
    (
      await client.list<KubernetesObject & { reason: string; involvedObject: { kind: string; name: string } }>(
        '/api/v1/namespaces/default/events',
      )
    ).items
      .filter(({ reason }) => reason === 'Refused')
      .map(({ involvedObject }) => `${involvedObject.kind} ${involvedObject.name}`)
      .sort();
  await until(async () => (await events()).length === 2, { what: 'two events' });
  assert.equal(await events(), ['CiliumNetworkPolicy bad', 'NetworkPolicy np']);

  // Quiet now: neither the loop nor its own writes lead to more, and nothing of it reaches the policies.
  const versionOf = async (name: string) => (await client.get(`${POLICY}/${name}`)).metadata.resourceVersion;
  const [before, changes] = [await Promise.all(['bad', 'good'].map(versionOf)), seen.changes];
  await new Promise((resolve) => setTimeout(resolve, 700)); // three turns of the loop
  assert.equal(await Promise.all(['bad', 'good'].map(versionOf)), before);
  assert.is(seen.changes, changes);

  await client.patch(`${POLICY}/bad`, { type: 'merge', body: { spec: { ingress: [{ fromEndpoints: [{}] }] } } });
  refused = refused.slice(1); // the node has judged the new version
  await becomes('bad', 'True');
  const document = objects.get('CiliumNetworkPolicy default/bad');
  assert.ok(document?.kind === 'Document' && !('status' in (document.value.raw as object)));
  stop.abort(new Error('end of test'));
  await status.stopped;
  await end();
});

test.run();
