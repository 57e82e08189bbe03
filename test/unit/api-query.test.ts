/** Hostile and mistyped requests: a precise 400 in our shape, never a 500, never something else silently. */
import fc from 'fast-check';
import * as assert from 'uvu/assert';
import { FLOW_QUERY_SCHEMA } from '../../agent/api/flow-query.ts';
import { suite } from '../kit/suite.ts';
import { makeApi } from './api-state.ts';
import * as r from './flow-records.ts';

const test = suite('api: queries');
const { app, fake } = await makeApi();
fake.history.listener(r.batch(r.event(), r.drop(), r.event({ version: 6 })), 3, 0);
test.after(() => app.close());

const FIELDS = Object.keys(FLOW_QUERY_SCHEMA.properties as object);

async function get(url: string) {
  const { statusCode, body, headers } = await app.inject(url);
  return { status: statusCode, type: String(headers['content-type']), answer: JSON.parse(body) };
}

const PRECISE: readonly [string, RegExp][] = [
  ['podd=x', /^unknown field "podd" in the query; did you mean pod\? \(known fields: verdict, /],
  ['verdict=DROPED', /^verdict: expected one of FORWARDED, DROPPED, AUDIT, got "DROPED"$/],
  ['verdict=DROPPED&verdict=x', /^verdict: expected one of/],
  ['first=many', /^first: expected a value of type integer, got "many"$/],
  ['last=5001', /^last: expected a number <= 5000, got 5001$/],
  ['last=-1', /^last: expected a number >= 0, got -1$/],
  ['port=65536', /^port: expected a number <= 65535/],
  ['port=0', /^port: expected a number >= 1/],
  ['reply=perhaps', /^reply: expected true or false, got "perhaps"$/],
  ['since=1m&since=2m', /^since: expected one value, got 2$/],
  ['pod=', /^pod: expected a value, got none$/],
  ['ip=1.2.3', /^ip: expected an IP address or a CIDR, got "1.2.3"$/],
  ['follow=true&first=3', /^follow and first cannot be used together$/],
  [`label=${'a'.repeat(1025)}`, /^label: expected at most 1024 characters$/],
  [Array.from({ length: 65 }, () => 'pod=a').join('&'), /^pod: expected at most 64 values$/],
  ['__proto__=x', /^unknown field "__proto__"/],
  ['constructor=x', /^unknown field "constructor"/],
  [
    `cursor=${Buffer.from(`${fake.history.run} 99`).toString('base64url')}`,
    /^cursor: expected the cursor of an earlier page$/,
  ],
];
for (const [query, message] of PRECISE) {
  test(`/v1/flows?${query.slice(0, 60)}`, async () => {
    const { status, answer } = await get(`/v1/flows?${query}`);
    assert.is(status, 400, JSON.stringify(answer));
    assert.is(answer.error.code, 'BAD_REQUEST');
    assert.is(answer.error.retryable, false);
    assert.match(answer.error.message, message);
  });
}

for (const path of [
  '/v1/status',
  '/v1/endpoints',
  '/v1/endpoints/2',
  '/v1/identities',
  '/v1/policies',
  '/healthz',
  '/metrics',
]) {
  test(`${path} takes no fields, and says so`, async () => {
    const { status, answer } = await get(`${path}?verbose=1`);
    assert.is(status, 400);
    assert.is(answer.error.message, 'unknown field "verbose" in the query (it takes no fields)');
  });
}

const OTHERS: readonly [string, number, string, RegExp][] = [
  ['/v1/flow', 404, 'NOT_FOUND', /there is nothing at \/v1\/flow; see \/v1\/openapi.json/],
  ['/', 404, 'NOT_FOUND', /nothing at \//],
  ['/v1/endpoints/77', 404, 'NOT_FOUND', /no endpoint has id 77/],
  ['/v1/endpoints/x', 400, 'BAD_REQUEST', /^id: expected a value of type integer, got "x"/],
  ['/v1/policies/default/none', 404, 'NOT_FOUND', /no policy in namespace default is named none/],
  ['/v1/policies/-/none', 404, 'NOT_FOUND', /no cluster-wide policy is named none/],
  ['/%zz', 400, 'BAD_REQUEST', /not a valid url/],
  [`/v1/flows?pod=${'a'.repeat(9000)}`, 413, 'TOO_LARGE', /longer than 8192 bytes/],
];
for (const [url, status, code, message] of OTHERS) {
  test(`GET ${url.slice(0, 40)} -> ${status}`, async () => {
    const got = await get(url);
    assert.is(got.status, status);
    assert.is(got.answer.error.code, code);
    assert.match(got.answer.error.message, message);
  });
}

test('anything but reading is refused', async () => {
  for (const method of ['POST', 'PUT', 'DELETE', 'PATCH'] as const) {
    const { statusCode, headers, body } = await app.inject({ method, url: '/v1/flows', payload: 'x'.repeat(100_000) });
    assert.is(statusCode, 405);
    assert.is(headers.allow, 'GET, HEAD');
    assert.match(JSON.parse(body).error.message, `got ${method}`);
  }
  assert.is((await app.inject({ method: 'HEAD', url: '/v1/status' })).statusCode, 200);
});

const word = fc.oneof(
  fc.string({ maxLength: 30, unit: 'binary' }),
  fc.string({ maxLength: 30 }),
  fc.constantFrom(
    '0',
    '1',
    '-1',
    '1e9',
    '0x10',
    'null',
    'true',
    '10.0.0.0/8',
    '::',
    'default/',
    'app=x',
    '5m',
    'TCP',
    '[]',
    '{}',
  ),
);
const pair = fc.tuple(fc.oneof(fc.constantFrom(...FIELDS.filter((name) => name !== 'follow')), word), word);

test('any query: an answer, or a 400 that names a field', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(pair, { maxLength: 6 }), async (pairs) => {
      const query = pairs.map(([name, value]) => `${encodeURIComponent(name)}=${encodeURIComponent(value)}`).join('&');
      const { status, answer } = await get(`/v1/flows?${query}`);
      if (status === 200) {
        assert.ok(Array.isArray(answer.flows));
        return;
      }
      assert.is(status, 400, JSON.stringify(answer));
      const { message } = answer.error as { message: string };
      assert.ok(
        pairs.some(([name]) => message.includes(name) || message.includes(JSON.stringify(name))),
        message,
      );
    }),
    { numRuns: 1500 },
  );
});

test('any bytes as query and path: ours, in our shape', async () => {
  const raw = fc.string({ maxLength: 60, unit: fc.constantFrom(...'abc/?&=%[]{}"\\;,.+-_~!*()@:$0129') });
  await fc.assert(
    fc.asyncProperty(
      raw,
      fc.constantFrom('/v1/', '/v1/flows?', '/v1/endpoints/', '/v1/policies/'),
      async (text, start) => {
        const { status, answer } = await get(start + text);
        assert.ok(status < 500, `${start + text}: ${status}`);
        if (status !== 200) assert.type(answer.error.message, 'string');
      },
    ),
    { numRuns: 1500 },
  );
});

test.run();
