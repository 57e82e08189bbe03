/** Hostile and mistyped requests: a precise 400 in our shape, never a 500, never something else silently. */
import fc from 'fast-check';
import * as assert from 'uvu/assert';
import { PATTERNS } from '../../agent/api/flow-patterns.ts';
import { FLOW_QUERY_SCHEMA } from '../../agent/api/flow-query.ts';
import {
  parseEventType,
  parseIdentity,
  parsePod,
  parseProtocol,
  parseRange,
  parseTcpFlags,
  parseTime,
} from '../../agent/api/flow-values.ts';
import { parseCursor } from '../../agent/flow/cursor.ts';
import { parseLabelSelector } from '../../agent/flow/label-selector.ts';
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
  [`cursor=${fake.history.run}-99`, /^cursor: expected the cursor of an earlier page$/],
  ['cursor=MDEyMw', /^cursor: expected the cursor of an earlier page, .*got "MDEyMw"$/],
  ['identity=nobody', /^identity: expected a number or one of .*, got "nobody"$/],
  ['tcp_flags=SYN,NS', /^tcp_flags: expected names of TCP flags such as "SYN,ACK", got "SYN,NS"$/],
  ['uuid=x', /^uuid: expected the uuid of a flow, got "x"$/],
  ['not=x', /^not: expected a field that filters and its value, such as "verdict=DROPPED", got "x"$/],
  ['not=verdikt=DROPPED', /^not: expected a field that .*, got "verdikt=DROPPED"; did you mean verdict\?$/],
  ['not=reply=true', /^not: expected a field that/],
  ['not=verdict=DROPED', /^not: verdict: expected one of FORWARDED, DROPPED, AUDIT, got "DROPED"$/],
  ['not=port=65536', /^not: port: expected a number from 1 to 65535, got "65536"$/],
  ['not=ip_version=5', /^not: ip_version: expected one of 4, 6, got "5"$/],
  ['not=ip=1.2.3', /^not: ip: expected an IP address or a CIDR, got "1.2.3"$/],
  ['not=uuid=x', /^not: uuid: expected the uuid of a flow, got "x"$/],
  ['label=app%3D%3D%3D', /^label: expected requirements such as .*, got "app==="$/],
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
  '/livez',
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
  [`/v1/policies/default/${'a'.repeat(253)}`, 404, 'NOT_FOUND', /is named a{253}$/],
  ['/v1/policies/default/a%20b', 400, 'BAD_REQUEST', /^name: expected the name/],
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

test('what the OpenAPI document describes is what is read', () => {
  const readers: Record<keyof typeof PATTERNS, (text: string) => unknown> = {
    protocol: parseProtocol,
    eventType: parseEventType,
    tcpFlags: parseTcpFlags,
    uuid: (text) => text,
    pod: parsePod,
    label: parseLabelSelector,
    ip: parseRange,
    identity: parseIdentity,
    time: (text) => parseTime(text, 0),
    cursor: parseCursor,
  };
  const examples: Record<keyof typeof PATTERNS, readonly string[]> = {
    protocol: ['TCP', 'sctp', 'ICMPv6', '0', '132', '255'],
    eventType: ['drop', 'trace:to-stack', 'drop:133', 'policy-verdict:0'],
    tcpFlags: ['SYN', 'syn,Ack,CWR'],
    uuid: ['01234567-89ab-8cde-af01-000000000001'],
    pod: ['web', 'default/web-1', 'default/'],
    label: [
      'app',
      '!debug',
      'k8s:app=web',
      'a==b, c != d',
      'tier in (a, b),!x',
      'app.kubernetes.io/name notin ()',
      '',
      'a>5,b < 07',
    ],
    ip: [
      '10.0.0.1',
      '0.0.0.0/0',
      '10.1.2.3/31',
      '::',
      '::/0',
      'fd00::1',
      'fd00:10:244::/64',
      '1:2:3:4:5:6:7:8',
      '::ffff:1.2.3.4',
    ],
    identity: ['0', '65535', '33554432', 'host', 'reserved:world-ipv4', 'kube-apiserver'],
    time: ['90s', '1h30m', '0.5s', '2024-05-01T12:00:00Z', '2024-12-31T23:59:59.123456789+02:00'],
    cursor: ['0123456789abcdef01-17'],
  };
  for (const [name, pattern] of Object.entries(PATTERNS) as [keyof typeof PATTERNS, string][]) {
    const matches = new RegExp(pattern, 'u');
    for (const example of examples[name]) assert.ok(matches.test(example), `${name}: ${example}`);
    fc.assert(
      fc.property(fc.stringMatching(matches), (text) =>
        assert.ok(readers[name](text) !== undefined, `${name}: ${text}`),
      ),
      { numRuns: 200 },
    );
  }
});

test('a label selector that does not fit is seen to be none at once, however it is written', () => {
  const matches = new RegExp(PATTERNS.label, 'u');
  for (const text of ['a= ,', 'a = b ,', 'a in (b ) ,']) assert.not.ok(matches.test(`${text.repeat(80)}!`), text);
  assert.not.ok(matches.test(`a in (${' ,'.repeat(500)}!`));
});

test('a method nobody knows is refused as such', async () => {
  const { statusCode, headers } = await app.inject({ method: 'QUERY' as 'GET', url: '/v1/flows' });
  assert.equal([statusCode, headers.allow], [405, 'GET, HEAD']);
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
