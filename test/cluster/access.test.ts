/** Tokens as a real API server judges them: who it is, and whether that one may. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { createAccess } from '../../agent/kubernetes/access.ts';
import { createClient, type KubernetesClient } from '../../agent/kubernetes/client.ts';
import { connect } from '../../agent/kubernetes/connection.ts';
import { privileged } from '../kit/privileged.ts';
import { suite } from '../kit/suite.ts';
import { type ApiServer, startApiServer } from './api-server.ts';

const test = privileged(suite('access by token'), 'api-server');
let api: ApiServer;
let client: KubernetesClient;
let token = '';

const RBAC = [
  { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'viewer', namespace: 'default' } },
  {
    apiVersion: 'rbac.authorization.k8s.io/v1',
    kind: 'ClusterRole',
    metadata: { name: 'weir-viewer' },
    rules: [{ nonResourceURLs: ['/v1/flows', '/v1/flows/*'], verbs: ['get'] }],
  },
  {
    apiVersion: 'rbac.authorization.k8s.io/v1',
    kind: 'ClusterRoleBinding',
    metadata: { name: 'weir-viewer' },
    roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'weir-viewer' },
    subjects: [{ kind: 'ServiceAccount', name: 'viewer', namespace: 'default' }],
  },
];

test.before(async () => {
  api = await startApiServer('access');
  const file = join(api.folder, 'viewer.yaml');
  writeFileSync(file, RBAC.map((object) => JSON.stringify(object)).join('\n---\n'));
  await api.apply(file);
  const path = '/api/v1/namespaces/default/serviceaccounts/viewer/token';
  const asked = { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', spec: {} };
  const { status, body } = await api.request('POST', path, asked);
  assert.is(status, 201, JSON.stringify(body));
  token = body.status.token;
  client = createClient({ connection: await connect({ kubeconfig: api.kubeconfig }) });
});
test.after(() => {
  client?.close();
  api?.stop();
});

test('a role that names the path lets its holder in, and nowhere else', async () => {
  const ask = createAccess(client);
  assert.is(await ask({ token, path: '/v1/flows', verb: 'get' }), 'allowed');
  assert.is(await ask({ token, path: '/v1/flows/stats', verb: 'get' }), 'allowed');
  assert.is(await ask({ token, path: '/v1/policies', verb: 'get' }), 'not allowed');
  assert.is(await ask({ token: api.token, path: '/v1/policies', verb: 'get' }), 'allowed', 'system:masters may all');
});

test('a token that was altered, and one of nobody, are unknown', async () => {
  const ask = createAccess(client);
  for (const wrong of [`${token.slice(0, -4)}AAAA`, 'guess']) {
    assert.is(await ask({ token: wrong, path: '/v1/flows', verb: 'get' }), 'unknown token');
  }
});

test('an answer is kept for a while, a failure is not; nobody gets in while the API server is away', async () => {
  const clock = { ms: 0, nowMs: () => clock.ms, after: () => () => {} };
  const ask = createAccess(client, clock);
  const question = { token, path: '/v1/flows', verb: 'get' };
  await ask(question);
  await api.down();
  assert.is(await ask(question), 'allowed');
  clock.ms = 60_001;
  const failed = await ask(question).then(
    () => 'it worked',
    (error: { code?: string }) => error.code,
  );
  assert.is(failed, 'API_UNREACHABLE');
  await api.up();
  assert.is(await ask(question), 'allowed');
});

test.run();
