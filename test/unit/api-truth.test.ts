/** What /v1/openapi.json promises is what is answered: nothing missing, nothing more, and all of it really occurs. */

import { Validator } from '@seriousme/openapi-schema-validator';
import { Ajv } from 'ajv';
import * as assert from 'uvu/assert';
import { EndpointLimits, EventFlags } from '../../agent/datapath/layout.gen.ts';
import { IPPROTO } from '../../agent/flow/filter.ts';
import { suite } from '../kit/suite.ts';
import { everyShape, makeApi, STATUS } from './api-state.ts';
import * as r from './flow-records.ts';

type Schema = Record<string, unknown>;
interface Operation {
  readonly parameters?: { name: string; in: string }[];
  readonly responses: Record<string, { content: Record<string, { schema: Schema }> }>;
}
interface OpenApi {
  readonly openapi: string;
  readonly paths: Record<string, Record<string, Operation>>;
  readonly components: { readonly schemas: Record<string, Schema> };
}

const test = suite('api: truth');
const { app, fake, status } = await makeApi();
const asked = { service: '10.96.0.1', servicePort: 80, ifindex: EndpointLimits.ENDPOINT_IFINDEX_BASE + r.FRONTEND.id };
const answered = { ...asked, from: r.BACKEND, to: r.FRONTEND, flags: EventFlags.EVENT_IS_REPLY };
const shapes = [
  ...everyShape(),
  r.event(asked),
  r.event(answered),
  ...[IPPROTO.VRRP, IPPROTO.IGMP].map((protocol) => r.drop({ protocol })),
];
fake.services.set('10.96.0.1 80 6', { namespace: 'default', name: 'web' });
fake.endpoints.set(r.FRONTEND.id, { ...r.podName('frontend-abc', r.FRONTEND), interface: 'weir1' });
fake.history.listener(r.batch(...shapes), shapes.length, 0);
fake.ring.lost = 4;
fake.history.listener(r.event(), 1, 9);
test.after(() => app.close());

const document: OpenApi = (await app.inject('/v1/openapi.json')).json();
const ajv = new Ajv({ strict: false, allErrors: true });
ajv.addSchema({ $id: 'doc', ...document });

function schemaOf(path: string, code: string, type = 'application/json'): string {
  const steps = ['paths', path, 'get', 'responses', code, 'content', type, 'schema'];
  return `doc#/${steps.map((step) => encodeURIComponent(step.replaceAll('~', '~0').replaceAll('/', '~1'))).join('/')}`;
}

function check(answer: unknown, path: string, code: string, type?: string): void {
  const validate = ajv.getSchema(schemaOf(path, code, type));
  assert.ok(validate, `no schema for ${path} ${code}`);
  assert.ok(validate?.(answer), `${path} ${code}: ${ajv.errorsText(validate?.errors)}`);
}

const ANSWERS: readonly [path: string, url: string, code: number][] = [
  ['/v1/flows', '/v1/flows', 200],
  ['/v1/flows', '/v1/flows?verdict=DROPPED&first=2', 200],
  ['/v1/flows/stats', '/v1/flows/stats', 200],
  ['/v1/flows/stats', '/v1/flows/stats?by=workload&verdict=DROPPED&top=1', 200],
  ['/v1/service-map', '/v1/service-map', 200],
  ['/v1/rules', '/v1/rules', 200],
  ['/v1/endpoints', '/v1/endpoints', 200],
  ['/v1/endpoints/{id}', '/v1/endpoints/2', 200],
  ['/v1/identities', '/v1/identities', 200],
  ['/v1/policies', '/v1/policies', 200],
  ['/v1/policies/{namespace}/{name}', '/v1/policies/default/backend-policy', 200],
  ['/v1/policies/{namespace}/{name}', '/v1/policies/-/typo', 200],
  ['/v1/explain', '/v1/explain?from=ip:203.0.113.7&to=default/backend-xyz&port=8080', 200],
  ['/v1/explain', '/v1/explain?from=app=backend&to=entity:host&port=EchoRequest/ICMP', 200],
  ['/v1/matrix', '/v1/matrix', 200],
  ['/v1/matrix', '/v1/matrix?port=80&port=http&peer=entity:world', 200],
  ['/v1/status', '/v1/status', 200],
  ['/healthz', '/healthz', 200],
  ['/livez', '/livez', 200],
  ['/v1/openapi.json', '/v1/openapi.json', 200],
];
for (const [path, url, code] of ANSWERS) {
  test(`${url} answers what its schema says`, async () => {
    const { statusCode, body } = await app.inject(url);
    assert.is(statusCode, code);
    check(JSON.parse(body), path, String(code));
  });
}

for (const url of ['/v1/flows?x=1', '/v1/endpoints/9', '/v1/policies/a/b', '/v1/explain?from=a/b&to=c/d&port=1']) {
  test(`${url} fails as its schema says`, async () => {
    const { statusCode, body } = await app.inject(url);
    assert.ok(statusCode >= 400 && statusCode < 500);
    check(JSON.parse(body), '/v1/status', '4XX');
  });
}

test('not ready is 503 with the reason', async () => {
  status.now = { ...STATUS, pending: ['first list', 'datapath'] };
  const { statusCode, body } = await app.inject('/healthz');
  const alive = await app.inject('/livez');
  status.now = STATUS;
  assert.is(alive.statusCode, 200, 'no reason to start it anew');
  assert.is(statusCode, 503);
  assert.equal(JSON.parse(body), { ready: false, reason: 'waiting for first list, datapath' });
  check(JSON.parse(body), '/healthz', '503');
});

test('every field of a flow that the schema knows occurs in some flow', async () => {
  const { flows } = (await app.inject('/v1/flows?first=100')).json();
  const seen = new Set<string>();
  collect(flows, '', seen);
  fake.rules.set(r.ALLOW_RULE, { ...r.rule(r.ALLOW_RULE, 'allow'), log: 'seen' });
  fake.history.listener(r.event(), 1, 0);
  collect((await app.inject('/v1/flows?last=1')).json().flows, '', seen);
  const promised = new Set<string>();
  promise(document.components.schemas.Flow as Schema, '', promised);
  assert.equal(
    [...promised].filter((field) => !seen.has(field)),
    [],
  );
  assert.ok(promised.size > 60, `${promised.size} fields`);
});

/** Paths of all fields in a value: "weir.rule.policy.kind". */
function collect(value: unknown, path: string, into: Set<string>): void {
  if (Array.isArray(value)) {
    for (const one of value) collect(one, path, into);
  } else if (typeof value === 'object' && value !== null) {
    for (const [key, inner] of Object.entries(value)) {
      into.add(`${path}${key}`);
      collect(inner, `${path}${key}.`, into);
    }
  }
}

function promise(schema: Schema, path: string, into: Set<string>): void {
  const reference = schema.$ref as string | undefined;
  if (reference) promise(document.components.schemas[reference.split('/').at(-1) ?? ''] as Schema, path, into);
  if (schema.items) promise(schema.items as Schema, path, into);
  for (const [key, inner] of Object.entries((schema.properties as Record<string, Schema> | undefined) ?? {})) {
    into.add(`${path}${key}`);
    promise(inner, `${path}${key}.`, into);
  }
}

test('every route is described, and every filter is a parameter with a sentence', () => {
  assert.equal(Object.keys(document.paths).sort(), [
    '/healthz',
    '/livez',
    '/metrics',
    '/v1/endpoints',
    '/v1/endpoints/{id}',
    '/v1/explain',
    '/v1/flows',
    '/v1/flows/stats',
    '/v1/identities',
    '/v1/maps/{name}',
    '/v1/matrix',
    '/v1/openapi.json',
    '/v1/policies',
    '/v1/policies/{namespace}/{name}',
    '/v1/rules',
    '/v1/service-map',
    '/v1/status',
  ]);
  assert.is(document.openapi, '3.0.3');
  const parameters = document.paths['/v1/flows']?.get?.parameters as { name: string; description?: string }[];
  assert.ok(parameters.length > 30);
  for (const { name, description } of parameters) assert.ok((description ?? '').length > 5, name);
});

test('the description is OpenAPI to a stock validator', async () => {
  const { valid, errors } = await new Validator().validate(
    structuredClone(document) as object as Record<string, unknown>,
  );
  assert.ok(valid, JSON.stringify(errors));
});

test('policies tell what became of each document', async () => {
  const { policies } = (await app.inject('/v1/policies')).json();
  const [typo, backend] = policies;
  assert.equal([typo.name, typo.status, typo.realized], ['typo', 'isolating', false]);
  assert.equal(typo.problems[0], {
    severity: 'error',
    code: 'unknown-field',
    message: 'toPorts[0].port: did you mean toPorts[0].ports[].port?',
    path: 'spec.ingress[0]',
    place: 'backend.yaml',
    line: 9,
  });
  assert.equal(
    [backend.name, backend.status, backend.realized, backend.rules.length],
    ['backend-policy', 'valid', true, 2],
  );
  assert.is(backend.document, undefined, 'the list has no documents');
  const one = (await app.inject('/v1/policies/default/backend-policy')).json().policies[0];
  assert.equal(one.document, { kind: 'CiliumNetworkPolicy', spec: { endpointSelector: {} } });
});

test('status tells losses by stage', async () => {
  const { flows } = (await app.inject('/v1/status')).json();
  assert.equal(flows.lost, { ring: 4, queue: 9, overwritten: 0, subscriber: 0 });
});

test.run();
