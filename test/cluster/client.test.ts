/** The API client against a real API server: its verbs and answers, restarts, compaction, silence, credentials that change. */
import { mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { connect as connectTcp, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { ApiError } from '../../agent/kubernetes/api-error.ts';
import { createClient, type KubernetesClient, type KubernetesObject } from '../../agent/kubernetes/client.ts';
import { connect } from '../../agent/kubernetes/connection.ts';
import { inClusterConnection } from '../../agent/kubernetes/in-cluster.ts';
import { collectionPath, objectPath } from '../../agent/kubernetes/path.ts';
import type { Watch, WatchTimes } from '../../agent/kubernetes/watch.ts';
import { CertificateAuthority } from '../kit/certificates.ts';
import { privileged } from '../kit/privileged.ts';
import { suite } from '../kit/suite.ts';
import { until } from '../kit/until.ts';
import { type ApiServer, startApiServer } from './api-server.ts';

const MAPS = { apiVersion: 'v1', plural: 'configmaps' };
const ALL = collectionPath(MAPS, 'default');
const of = (name: string): string => objectPath(MAPS, 'default', name);
const map = (name: string, data: Record<string, string> = {}) => ({
  metadata: { name, labels: { test: 'yes' } },
  data,
});

const test = privileged(suite('kubernetes client'), 'api-server');
let folder = '';
let clients: CertificateAuthority;
let api: ApiServer;
let client: KubernetesClient;

test.before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'wt-client-'));
  clients = await CertificateAuthority.make(folder, 'clients');
  api = await startApiServer('client', { flags: [`--client-ca-file=${clients.certificate}`] });
  client = await clientOf();
});
test.after(() => {
  client?.close();
  api?.stop();
  rmSync(folder, { recursive: true, force: true });
});
test.after.each(async () => {
  for (const { metadata } of (await client.list(ALL, { labelSelector: 'test=yes' })).items)
    await client.remove(of(metadata.name));
});

async function clientOf(watchTimes: Partial<WatchTimes> = {}, server?: string): Promise<KubernetesClient> {
  const backoff = { firstMs: 20, maxMs: 200 };
  return createClient({
    connection: await connect({ kubeconfig: api.kubeconfig, server }),
    watchTimes: { backoff, ...watchTimes },
  });
}

async function code(call: Promise<unknown>): Promise<string> {
  const thrown = await call.then(
    () => 'it worked',
    (error: unknown) => error,
  );
  return thrown instanceof ApiError ? thrown.code : String(thrown);
}

function follow(by: KubernetesClient): {
  watch: Watch;
  names: Set<string>;
  troubles: string[];
  stop: () => Promise<void>;
} {
  const end = new AbortController();
  const names = new Set<string>();
  const troubles: string[] = [];
  const watch = by.watch<KubernetesObject>({
    path: ALL,
    labelSelector: 'test=yes',
    signal: end.signal,
    onChanges(changes) {
      for (const change of changes) {
        if (change.type === 'upsert') names.add(change.object.metadata.name);
        else names.delete(change.ref.name);
      }
    },
    onSynced: () => {},
    onTrouble: (error) => troubles.push(error?.code ?? 'works again'),
  });
  const stop = (): Promise<void> => {
    end.abort(new Error('end of test'));
    return watch.stopped;
  };
  return { watch, names, troubles, stop };
}

const shows = (names: Set<string>, ...wanted: string[]) =>
  until(() => [...names].sort().join() === wanted.join(), {
    what: wanted.join(),
    timeoutMs: 30_000,
    detail: () => [...names].join(),
  });

test('verbs and their refusals', async () => {
  const made = await client.create<KubernetesObject & { data: object }>(ALL, map('a', { x: '1' }));
  assert.is(await code(client.create(ALL, map('a'))), 'API_EXISTS');
  const updated = await client.update(of('a'), { ...made, data: { x: '2' } });
  assert.is(await code(client.update(of('a'), { ...made, data: { x: '3' } })), 'API_CONFLICT');
  await client.patch(of('a'), { type: 'merge', body: { data: { y: '1' } } });
  await client.patch(of('a'), { type: 'json', body: [{ op: 'add', path: '/data/z', value: '1' }] });
  const applied = { apiVersion: 'v1', kind: 'ConfigMap', data: { w: '1' } };
  await client.patch(of('a'), { type: 'apply', body: applied });
  const got = await client.get<typeof made>(of('a'));
  assert.equal(got.data, { x: '2', y: '1', z: '1', w: '1' });
  assert.not('managedFields' in got.metadata);
  assert.is(
    await code(client.patch(of('a'), { type: 'apply', body: { ...applied, data: { x: '9' } } })),
    'API_CONFLICT',
  );
  assert.is(await code(client.create(ALL, map('Not A Name'))), 'API_REFUSED');
  assert.is(await code(client.get('/apis/no.such/v1/things')), 'NOT_FOUND');
  const resourceVersion = updated.metadata.resourceVersion as string;
  assert.is(await code(client.remove(of('a'), { resourceVersion })), 'API_CONFLICT');
  assert.is(await code(client.remove(of('a'), { uid: 'another' })), 'API_CONFLICT');
  await client.remove(of('a'), { uid: made.metadata.uid as string });
  assert.is(await code(client.remove(of('a'))), 'NOT_FOUND');
});

test('pages of a list are of one version', async () => {
  await Promise.all(Array.from({ length: 300 }, (_, i) => client.create(ALL, map(`m${i}`))));
  const { items } = await client.list<KubernetesObject>(ALL, { labelSelector: 'test=yes' });
  assert.is(items.length, 300);
  assert.equal([items[0]?.kind, items[0]?.apiVersion], ['ConfigMap', 'v1']);
});

test('while the server restarts nothing is lost, and nothing is told twice', async () => {
  const own = await clientOf();
  const follower = follow(own);
  await client.create(ALL, map('a'));
  await shows(follower.names, 'a');
  await api.down();
  await until(() => follower.troubles.length > 0, { what: 'trouble' });
  assert.is(follower.watch.state().trouble?.code, 'API_UNREACHABLE');
  await api.up();
  await client.create(ALL, map('b'));
  await shows(follower.names, 'a', 'b');
  assert.is(follower.watch.state().trouble, undefined);
  await follower.stop();
  own.close();
});

test('410 after etcd was compacted while nobody watched: listed again, and what vanished is gone', async () => {
  const own = await clientOf();
  const follower = follow(own);
  await client.create(ALL, map('a'));
  await client.create(ALL, map('b'));
  await shows(follower.names, 'a', 'b');
  // The watch cannot come back before the object is gone and its deletion forgotten.
  const other = await startProxy(new URL(api.url).port);
  const late = await clientOf({}, `https://127.0.0.1:${other.port}`);
  const behind = follow(late);
  await shows(behind.names, 'a', 'b');
  other.refuse();
  await client.remove(of('a'));
  await api.compact();
  await api.down();
  await api.up();
  await client.create(ALL, map('c'));
  other.accept();
  await shows(behind.names, 'b', 'c');
  assert.ok(behind.watch.state().lists >= 2);
  await Promise.all([follower.stop(), behind.stop()]);
  own.close();
  late.close();
  other.close();
});

test('a watch on which nothing is forwarded any more is opened anew', async () => {
  const proxy = await startProxy(new URL(api.url).port);
  const own = await clientOf({ stallMs: 300, answerMs: 1000 }, `https://127.0.0.1:${proxy.port}`);
  const follower = follow(own);
  await client.create(ALL, map('a'));
  await shows(follower.names, 'a');
  proxy.silence(); // connections stay open, and carry nothing
  await client.create(ALL, map('b'));
  await shows(follower.names, 'a', 'b');
  assert.ok(follower.watch.state().stalls >= 1);
  assert.is(follower.watch.state().lists, 1);
  await follower.stop();
  own.close();
  proxy.close();
});

test('a server that is frozen while it is asked for a list is asked again', async () => {
  api.freeze();
  const own = await clientOf({ answerMs: 300 });
  const follower = follow(own);
  await until(() => follower.troubles.includes('TIMEOUT'), { what: 'a timeout' });
  api.thaw();
  await until(() => follower.watch.state().synced, { what: 'the list' });
  await follower.stop();
  own.close();
});

async function whoami(by: KubernetesClient): Promise<string> {
  const review = { apiVersion: 'authentication.k8s.io/v1', kind: 'SelfSubjectReview' };
  const answer = await by.create<object>('/apis/authentication.k8s.io/v1/selfsubjectreviews', review);
  return (answer as { status: { userInfo: { username: string } } }).status.userInfo.username;
}

test('a service account: its token is exchanged on disk, and the next request has the new one', async () => {
  const accounts = { apiVersion: 'v1', plural: 'serviceaccounts' };
  const use = async (name: string): Promise<void> => {
    await client.create(collectionPath(accounts, 'default'), { metadata: { name } });
    const request = { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', spec: {} };
    const made = await client.create<object>(`${objectPath(accounts, 'default', name)}/token`, request);
    writeFileSync(join(folder, 'new'), (made as { status: { token: string } }).status.token);
    renameSync(join(folder, 'new'), join(folder, 'token'));
  };
  writeFileSync(join(folder, 'ca.crt'), readFileSync(api.caFile));
  const own = createClient({ connection: inClusterConnection({ server: api.url, directory: folder }) });
  await use('one');
  assert.is(await whoami(own), 'system:serviceaccount:default:one');
  await use('two');
  assert.is(await whoami(own), 'system:serviceaccount:default:two');
  assert.is(await code(own.list(ALL)), 'API_FORBIDDEN');
  writeFileSync(join(folder, 'token'), 'no token');
  assert.is(await code(own.list(ALL)), 'API_FORBIDDEN');
  own.close();
});

test('a kubeconfig with a client certificate; one that is exchanged counts from the next connection on', async () => {
  const kubeconfig = join(folder, 'kubeconfig');
  const use = async (name: string): Promise<void> => {
    const pair = await clients.issue(name, name);
    renameSync(pair.certificate, join(folder, 'user.crt'));
    renameSync(pair.key, join(folder, 'user.key'));
  };
  await use('alice');
  const config = {
    clusters: [{ name: 'c', cluster: { server: api.url, 'certificate-authority': api.caFile } }],
    users: [{ name: 'u', user: { 'client-certificate': 'user.crt', 'client-key': 'user.key' } }],
    contexts: [{ name: 'x', context: { cluster: 'c', user: 'u' } }],
    'current-context': 'x',
  };
  writeFileSync(kubeconfig, JSON.stringify(config));
  const own = createClient({ connection: await connect({ kubeconfig }) });
  assert.is(await whoami(own), 'alice');
  await use('bob');
  assert.is(await whoami(own), 'bob');
  own.close();
});

test('a Lease: one holder, and the next one when it was given back', async () => {
  const events: string[] = [];
  const candidate = (identity: string) => {
    const stop = new AbortController();
    const lease = client.elect({
      namespace: 'default',
      name: 'weir-chores',
      identity,
      signal: stop.signal,
      onHeld(signal) {
        events.push(`+${identity}`);
        signal.addEventListener('abort', () => events.push(`-${identity}`));
      },
    });
    return { stop, lease };
  };
  const a = candidate('a');
  await until(() => a.lease.isHeld, { what: 'the lease' });
  a.stop.abort();
  await a.lease.stopped;
  const b = candidate('b');
  await until(() => b.lease.isHeld, { what: 'the lease' });
  b.stop.abort();
  await b.lease.stopped;
  assert.equal(events, ['+a', '-a', '+b', '-b']);
  const lease = await client.get<KubernetesObject & { spec: object }>(
    '/apis/coordination.k8s.io/v1/namespaces/default/leases/weir-chores',
  );
  assert.match(JSON.stringify(lease.spec), /"holderIdentity":"".*"leaseTransitions":1/);
});

test.run();

/** Forwards bytes to the API server, until told otherwise. */
async function startProxy(port: string) {
  const sockets = new Set<Socket>();
  let refuses = false;
  const server = createServer((from) => {
    if (refuses) {
      from.destroy();
      return;
    }
    const to = connectTcp(Number(port), '127.0.0.1');
    from.pipe(to).pipe(from);
    for (const socket of [from, to]) {
      sockets.add(socket);
      socket.on('error', () => {}).on('close', () => sockets.delete(socket));
    }
    from.on('close', () => to.destroy());
    to.on('close', () => from.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const cut = (): void => {
    for (const socket of sockets) socket.destroy();
  };
  return {
    port: (server.address() as { port: number }).port,
    /** What is connected now carries nothing any more; new connections work. */
    silence() {
      for (const socket of sockets) socket.unpipe().pause();
    },
    /** Nobody gets through. */
    refuse() {
      refuses = true;
      cut();
    },
    accept() {
      refuses = false;
    },
    close() {
      cut();
      server.close();
    },
  };
}
