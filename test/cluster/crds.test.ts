/** The policy CRDs on a real API server: what it takes, what it refuses, and by which field. */
import { fileURLToPath } from 'node:url';
import * as assert from 'uvu/assert';
import { DEFINITIONS } from '../../crds/generate.ts';
import { privileged } from '../kit/privileged.ts';
import { suite } from '../kit/suite.ts';
import { cidrGroup, cnp } from '../unit/policy-documents.ts';
import { type ApiServer, startApiServer } from './api-server.ts';
import { cases } from './crds-cases.ts';
import { refusalOf } from './crds-refusal.ts';

const CRDS = fileURLToPath(new URL('../../crds', import.meta.url));
const SEED = fileURLToPath(new URL('../fixtures/seed', import.meta.url));
const POLICIES = '/apis/cilium.io/v2/namespaces/default/ciliumnetworkpolicies';
const test = privileged(suite('crds on an API server'), 'api-server');

let api: ApiServer;
test.before(async () => {
  api = await startApiServer('crds');
  await api.apply(CRDS);
});
test.after(() => api?.stop());

test('all are established, under the names they ask for, and structural', async () => {
  const { body } = await api.request('GET', '/apis/apiextensions.k8s.io/v1/customresourcedefinitions');
  const items: { metadata: { name: string }; status: { conditions: { type: string; status: string }[] } }[] =
    body.items;
  const found = items.map(({ metadata, status }) => [
    metadata.name,
    status.conditions.map((condition) => `${condition.type} ${condition.status}`).sort(),
  ]);
  // A schema that is not structural would have the condition NonStructuralSchema.
  const wanted = DEFINITIONS.map(({ plural, group }) => [
    `${plural}.${group}`,
    ['Established True', 'NamesAccepted True'],
  ]);
  assert.equal(found.sort(), wanted.sort());
});

test('kubectl knows their short names, and the status of those that have one', async () => {
  const list = async (group: string) =>
    (await api.kubectl(['api-resources', '--no-headers', `--api-group=${group}`])).stdout
      .trim()
      .split('\n')
      .map((line) => line.split(/ +/).slice(0, 2).join(' '));
  assert.equal(await list('cilium.io'), [
    'ciliumcidrgroups ccg',
    'ciliumclusterwidenetworkpolicies ccnp',
    'ciliumnetworkpolicies cnp,ciliumnp',
  ]);
  assert.equal(await list('weir.dev'), [
    'weirdenylists wdl',
    'weirendpointslices wes',
    'weiridentities wid',
    'weiridentityranges wir',
    'weirnodes wn',
  ]);
  const statuses = async (version: string) =>
    (await api.request('GET', `/apis/${version}`)).body.resources
      .map(({ name }: { name: string }) => name)
      .filter((name: string) => name.endsWith('/status'))
      .sort(); // The API server has them in any order.
  assert.equal(await statuses('cilium.io/v2'), [
    'ciliumclusterwidenetworkpolicies/status',
    'ciliumnetworkpolicies/status',
  ]);
  assert.equal(await statuses('weir.dev/v1alpha1'), ['weirnodes/status']);
});

test('the guide’s policy is refused by field, its fixed form is taken', async () => {
  const refused = await api.kubectl(['apply', '-f', `${SEED}/cilium-backend-policy.yaml`]);
  assert.is(refused.code, 1);
  for (const field of ['port', 'protocol']) {
    assert.match(refused.stderr, `unknown field "spec.ingress[0].toPorts[0].${field}"`);
    assert.match(refused.stderr, `unknown field "spec.egress[0].toPorts[0].${field}"`);
  }
  const taken = await api.kubectl(['apply', '-f', `${SEED}/cilium-backend-policy.fixed.yaml`]);
  assert.is(taken.code, 0, taken.stderr);
});

test('what nodes say of a policy is shown by kubectl get', async () => {
  const lastTransitionTime = '2026-01-01T00:00:00Z';
  const condition = { type: 'Valid', status: 'False', reason: 'Refused', message: 'spec.x: no', lastTransitionTime };
  const path = `${POLICIES}/backend-policy/status`;
  const patch = { status: { conditions: [condition] } };
  const written = await api.request('PATCH', path, patch, 'application/merge-patch+json');
  assert.is(written.status, 200);
  const { stdout } = await api.kubectl(['get', 'cnp', '-o', 'wide']);
  assert.match(stdout, /^NAME +AGE +VALID +MESSAGE\nbackend-policy +\S+ +False +spec.x: no$/m);
});

for (const { title, document, refused } of cases) {
  test(`${refused ? 'refused' : 'taken'}: ${title}`, async () => {
    const refusal = await refusalOf(api, document.raw);
    if (refused === undefined) return assert.is(refusal, undefined);
    const { field, says } = refused;
    const named = refusal?.split('\n').some((line) => line.includes(field) && line.includes(says));
    assert.ok(named, `expected ${field} ... ${says} in: ${refusal ?? 'it was taken'}`);
  });
}

test('a null is kept for the agent to refuse: dropped, it would open the policy to everybody', async () => {
  const spec = { endpointSelector: { matchLabels: { app: null } }, ingress: [{ fromEndpoints: null, toPorts: null }] };
  const { status, body } = await api.request('POST', POLICIES, cnp(spec, { name: 'null' }).raw as object);
  assert.is(status, 201);
  assert.equal(body.spec, spec);
});

test('the older version of CiliumCIDRGroup is the same object, and says that it is older', async () => {
  const old = { ...(cidrGroup('old', ['10.0.0.0/8']).raw as object), apiVersion: 'cilium.io/v2alpha1' };
  await api.apply([old]);
  const { status, headers } = await api.request('GET', '/apis/cilium.io/v2alpha1/ciliumcidrgroups/old');
  assert.is(status, 200);
  assert.match(String(headers.warning), 'write cilium.io/v2');
  const { body } = await api.request('GET', '/apis/cilium.io/v2/ciliumcidrgroups/old');
  assert.equal(body.spec.externalCIDRs, ['10.0.0.0/8']);
});

test.run();
