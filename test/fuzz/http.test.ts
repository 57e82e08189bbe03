/**
 * The HTTP edge under garbage: whatever comes, each request gets an answer that says what was wrong, memory stays where it
 * was, nothing is left open, and the next client is served.
 */
import { readdirSync } from 'node:fs';
import { connect as connectTls } from 'node:tls';
import fc from 'fast-check';
import * as assert from 'uvu/assert';
import type { ErrorAnswer } from '../../agent/api/errors-answer.ts';
import { FLOW_QUERY_SCHEMA } from '../../agent/api/flow-query.ts';
import { FOLLOWERS_MAX } from '../../agent/api/flows.ts';
import { LIMITS } from '../../agent/api/server.ts';
import { heldBytes, untilHeldAsBefore } from '../kit/memory.ts';
import { suite } from '../kit/suite.ts';
import { until } from '../kit/until.ts';
import * as r from '../unit/flow-records.ts';
import { type Rig, startRig } from './http-rig.ts';
import { deaf, exchange, type RawAnswer } from './raw-http.ts';

const IS_LONG = process.env.WEIR_TEST_LONG !== undefined;
/** How long each property is tried. */
const BUDGET_MS = IS_LONG ? 120_000 : 3000;
/** `npm test` tries the same things every time. */
const SEED = IS_LONG ? Math.trunc(Math.random() * 2 ** 31) : 20261123;
/** What garbage may cost for good, far below what it amounts to. */
const GROWTH_BYTES = 8 << 20;
/** What it may cost while it is there: some 120 MiB are seen, and on a busy machine garbage waits; without bounds it is gigabytes. */
const PEAK_BYTES = 320 << 20;
const RECORDS = 6000;
/** After which nothing more is expected of a stream, and how long an answer may take on a machine that does other things too. */
const SILENCE_MS = 400;
const ANSWER_MS = 20_000;

/** Status and code of every answer that somebody who says nonsense may get. No other 5xx, and never INTERNAL. */
const ANSWERS: Readonly<Record<number, readonly string[]>> = {
  400: ['BAD_REQUEST'],
  401: ['UNAUTHENTICATED'],
  404: ['NOT_FOUND'],
  405: ['BAD_REQUEST'],
  408: ['TIMEOUT'],
  413: ['TOO_LARGE'],
  417: ['BAD_REQUEST'],
  431: ['TOO_LARGE'],
  503: ['BUSY'],
};

const GET = (target: string): string => `GET ${target} HTTP/1.1\r\nhost: x\r\n\r\n`;

const test = suite(`http: garbage (seed ${SEED})`);
let rig: Rig;
test.before(async () => {
  rig = await startRig(RECORDS);
});
test.after(() => rig?.close());
test.after.each(async () => {
  await until(() => rig.followers() === 0, { what: 'no follower to be left' });
  const { answers } = await exchange(rig.unix, [GET('/v1/flows?last=1')], { wanted: 1, patienceMs: 5000 });
  assert.is(answers[0]?.status, 200, 'the next client is served');
  assert.equal(rig.said, [], 'nothing went wrong that the agent must tell');
});

const openFiles = () => readdirSync('/proc/self/fd').length;

/** Runs the property until the budget is spent; memory and open files after a warm-up must not grow. */
async function survives<T>(inputs: fc.Arbitrary<T>, holds: (input: T) => Promise<void>): Promise<void> {
  const run = (ms: number, numRuns: number) =>
    fc.assert(fc.asyncProperty(inputs, holds), {
      seed: SEED,
      interruptAfterTimeLimit: ms,
      numRuns,
      markInterruptAsFailure: false,
    });
  await run(BUDGET_MS / 3, 200);
  const [bytes, files] = [heldBytes(), openFiles()];
  await run(BUDGET_MS, 1_000_000);
  await untilHeldAsBefore(bytes, GROWTH_BYTES);
  await until(() => openFiles() <= files, { what: 'all sockets to be closed' });
}

/** An answer is either what was asked for, or a precise no. */
function isPrecise({ status, headers, body }: RawAnswer, isHead = false): void {
  const shown = `${status} ${body.slice(0, 300)}`;
  if (status === 200) return;
  const codes = ANSWERS[status];
  assert.ok(codes, `a status that nobody declared: ${shown}`);
  assert.match(headers.get('content-type') ?? '', 'application/json');
  if (isHead) return;
  const { error } = JSON.parse(body) as ErrorAnswer;
  assert.ok(codes?.includes(error.code), shown);
  assert.is(error.retryable, status === 503 || status === 408, shown);
  assert.ok(error.operation.length > 0 && error.operation.length < 300, shown);
  assert.ok(error.message.length > 0 && error.message.length < 40_000, `${error.message.length} characters: ${shown}`);
  if (status === 400 && error.operation.startsWith('read the ')) {
    assert.match(error.message, /expected|unknown field|cannot be used together|required|is of one node/);
  }
}

const PATHS = [
  '/v1/flows',
  '/v1/flows/stats',
  '/v1/service-map',
  '/v1/rules',
  '/v1/endpoints',
  '/v1/endpoints/2',
  '/v1/identities',
  '/v1/policies',
  '/v1/policies/default/backend-policy',
  '/v1/policies/-/typo',
  '/v1/explain',
  '/v1/matrix',
  '/v1/maps/ct',
  '/v1/maps/ipcache',
  '/v1/maps/policy',
  '/v1/maps/services',
  '/v1/status',
  '/v1/openapi.json',
  '/livez',
  '/healthz',
  '/metrics',
] as const;
const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS', 'TRACE', 'QUERY', 'PROPFIND', 'BREW'];
const FIELDS = [
  ...Object.keys(FLOW_QUERY_SCHEMA.properties as object),
  ...['by', 'top', 'once', 'from', 'to', 'port', 'peer', '__proto__', 'constructor', 'toString', 'x'],
];
const text = fc.oneof(
  fc.string({ maxLength: 12 }),
  fc.string({ unit: 'binary', maxLength: 8 }),
  fc.constantFrom(
    ...['', '0', '-1', '1', '5000', '5001', '65536', '1e3', '0x10', 'NaN', 'true', 'false', 'null', '[]', '{}'],
    ...[
      'node',
      'cluster',
      'pod',
      'workload',
      'DROPPED',
      'ingress',
      'TCP',
      '6',
      'default/',
      'default/backend',
      '/',
      '//',
    ],
    ...[
      '10.0.0.0/8',
      '::/0',
      '1.2.3.4/33',
      'fd00::1',
      'app=backend',
      'a in (b,c)',
      'a in (',
      '!a',
      '=',
      'host',
      'world',
    ],
    ...['1s', '1h', '999999999d', '2024-05-01T12:00:00Z', '2024-13-99T99:99:99Z', 'default/backend-xyz', 'ip:10.0.0.1'],
    ...['entity:world', 'entity:nobody', '8080', '8080/TCP', 'http', '8/ICMP', '../..', '%', 'a'.repeat(1025)],
  ),
);
const escaped = fc.oneof(
  { weight: 9, arbitrary: text.map((one) => encodeURIComponent(one.toWellFormed())) },
  { weight: 1, arbitrary: fc.constantFrom('%', '%zz', '%00', '%ff%fe', '+', '?', '#', '&', '=', ';', '%u1234') },
);
const query = fc
  .array(
    fc.tuple(
      fc.oneof({ weight: 9, arbitrary: fc.constantFrom(...FIELDS) }, { weight: 1, arbitrary: escaped }),
      escaped,
    ),
    {
      maxLength: 6,
    },
  )
  .map((pairs) => pairs.map(([name, value]) => `${name}=${value}`).join('&'));
const target = fc
  .record({
    path: fc.oneof(
      { weight: 8, arbitrary: fc.constantFrom<string>(...PATHS) },
      {
        weight: 1,
        arbitrary: fc.tuple(fc.constantFrom<string>(...PATHS), escaped).map(([path, more]) => `${path}/${more}`),
      },
      { weight: 1, arbitrary: fc.webPath() },
    ),
    query,
  })
  .map(({ path, query }) => `${path || '/'}${query === '' ? '' : `?${query}`}`);
const header = fc.oneof(
  fc.constantFrom(
    'accept: text/event-stream',
    'accept: application/openmetrics-text;q=9, */*;q=a',
    `last-event-id: ${'0'.repeat(18)}-1`,
    'last-event-id: x',
    'content-type: application/json',
    'content-type: x/y; charset=\u00ff',
    'content-length: 0',
    'content-length: 5',
    'content-length: -1',
    'content-length: 99999999999999999999',
    'transfer-encoding: chunked',
    'transfer-encoding: gzip, chunked',
    'expect: 100-continue',
    'expect: a miracle',
    'upgrade: websocket\r\nconnection: upgrade',
    'connection: close',
    'host: y',
    'accept-encoding: gzip',
    'range: bytes=0-1',
    'authorization: Bearer x',
    `cookie: ${'c'.repeat(17_000)}`,
  ),
  fc.string({ maxLength: 30 }),
);
const request = fc.record({
  method: fc.oneof({ weight: 8, arbitrary: fc.constant('GET') }, { weight: 2, arbitrary: fc.constantFrom(...METHODS) }),
  target,
  headers: fc.oneof(
    { weight: 3, arbitrary: fc.constant([]) },
    { weight: 1, arbitrary: fc.array(header, { maxLength: 3 }) },
  ),
  body: fc.oneof({ weight: 3, arbitrary: fc.constant('') }, { weight: 1, arbitrary: fc.string({ maxLength: 40 }) }),
});
type Asked = typeof request extends fc.Arbitrary<infer One> ? One : never;

const written = ({ method, target, headers, body }: Asked): Buffer =>
  Buffer.from([`${method} ${target} HTTP/1.1`, 'host: x', ...headers, '', body].join('\r\n'), 'latin1');

test('questions whose parts make no sense are answered, and what is refused is refused by its name', async () => {
  await survives(request, async (asked) => {
    // Who says that more will come, or asks to follow, is waited for.
    const waits = asked.headers.length > 0 || /follow=true/.test(asked.target) || asked.method === 'HEAD';
    const patienceMs = waits ? SILENCE_MS : ANSWER_MS;
    const { answers, rest, closed } = await exchange(rig.unix, [written(asked)], { wanted: 1, patienceMs });
    for (const one of answers) isPrecise(one, asked.method === 'HEAD');
    if (answers.length > 0) return;
    assert.ok(closed || waits, `no answer to ${written(asked)}: ${rest.slice(0, 200)}`);
  });
});

/** A good request with something done to it: letters changed, cut, doubled. */
const mutated = fc
  .record({
    asked: request,
    at: fc.array(fc.nat(400), { minLength: 1, maxLength: 4 }),
    bytes: fc.uint8Array({ minLength: 1, maxLength: 4 }),
    what: fc.constantFrom('change', 'cut', 'insert', 'repeat'),
    pieces: fc.integer({ min: 1, max: 5 }),
  })
  .map(({ asked, at, bytes, what, pieces }) => {
    let text = written(asked);
    for (const place of at) {
      const spot = place % (text.length + 1);
      const [before, after] = [text.subarray(0, spot), text.subarray(spot)];
      if (what === 'cut') text = Buffer.concat([before, after.subarray(bytes.length)]);
      else if (what === 'insert') text = Buffer.concat([before, bytes, after]);
      else if (what === 'repeat') text = Buffer.concat([text, after]);
      else text = Buffer.concat([before, bytes, after.subarray(bytes.length)]);
    }
    const length = Math.ceil(text.length / pieces);
    return Array.from({ length: pieces }, (_, i) => text.subarray(i * length, (i + 1) * length));
  });

test('bytes that are almost a request, in pieces', async () => {
  await survives(mutated, async (pieces) => {
    const { answers } = await exchange(rig.unix, pieces, { patienceMs: 30 });
    for (const one of answers) isPrecise(one, true);
  });
});

test('bytes that are none, also where TLS is spoken', async () => {
  const speeches = fc.tuple(fc.boolean(), fc.uint8Array({ maxLength: 3000 }));
  await survives(speeches, async ([isTls, bytes]) => {
    const { answers } = await exchange(isTls ? rig.tls : rig.unix, [bytes], { patienceMs: 20 });
    for (const one of answers) isPrecise(one, true);
  });
});

test('questions of the whole cluster that make no sense', async () => {
  const clustered = fc
    .tuple(fc.constantFrom('/v1/flows', '/v1/flows/stats', '/v1/service-map'), query)
    .map(([path, query]) => `${path}?scope=cluster&${query}`);
  await survives(clustered, async (target) => {
    const { answers } = await exchange(rig.unix, [`GET ${target} HTTP/1.1\r\nhost: x\r\n\r\n`], {
      wanted: 1,
      patienceMs: /follow=true/.test(target) ? SILENCE_MS : ANSWER_MS,
    });
    for (const one of answers) {
      isPrecise(one);
      if (one.status === 200 && !/follow=true/.test(target)) {
        assert.equal(JSON.parse(one.body).unreachable, [], `${target}: what this agent takes, the other one takes`);
      }
    }
    assert.ok(answers.length > 0 || /follow=true/.test(target), target);
  });
});

/** The most that is held, looked at until the condition holds. */
async function peakUntil(isOver: () => boolean | Promise<boolean>, what: string, timeoutMs = 20_000): Promise<number> {
  let peak = 0;
  await until(
    async () => {
      const { heapUsed, external } = process.memoryUsage();
      peak = Math.max(peak, heapUsed + external);
      return isOver();
    },
    { what, timeoutMs },
  );
  return peak;
}

async function fill(): Promise<void> {
  for (let i = 0; i < RECORDS; i++) rig.see(r.event());
}

test('many requests at once on a connection are answered one after the other', async () => {
  const targets = ['/v1/status', '/v1/flows?last=1', '/v1/nothing', '/v1/flows?podd=1', '/livez'];
  const { answers } = await exchange(rig.unix, [targets.map(GET).join('')], { wanted: 5, patienceMs: 5000 });
  assert.equal(
    answers.map(({ status }) => status),
    [200, 200, 404, 400, 200],
  );
});

test('who asks a thousand times for a page without reading any costs one page', async () => {
  await fill();
  const before = heldBytes();
  const client = deaf(rig.unix);
  try {
    client.write(GET('/v1/flows?last=5000').repeat(1000));
    let worst = 0;
    const peak = await peakUntil(async () => {
      const asked = performance.now();
      const { answers } = await exchange(rig.unix, [GET('/livez')], { wanted: 1, patienceMs: 10_000 });
      assert.is(answers[0]?.status, 200);
      worst = Math.max(worst, performance.now() - asked);
      return client.destroyed || client.closed || worst > 3000 || (await isQuiet());
    }, 'the agent to have done what it does for such a client');
    assert.ok(peak - before < PEAK_BYTES, `${(peak - before) >> 20} MiB were held for one connection`);
    assert.ok(worst < 3000, `others waited for ${Math.round(worst)} ms`);
  } finally {
    client.destroy();
  }
});

/** Three looks in a row find the agent at rest. */
async function isQuiet(): Promise<boolean> {
  for (let look = 0; look < 3; look++) {
    const { user, system } = process.cpuUsage();
    await new Promise((resolve) => setTimeout(resolve, 100));
    const now = process.cpuUsage();
    if (now.user - user + now.system - system > 50_000) return false;
  }
  return true;
}

test('who asks from as many connections as there are and reads nothing does not take what others need', async () => {
  await fill();
  const before = heldBytes();
  const clients = Array.from({ length: LIMITS.connections - 8 }, () => deaf(rig.unix));
  try {
    for (const client of clients) client.write(GET('/v1/flows?last=5000'));
    const peak = await peakUntil(isQuiet, 'the agent to have done what it does for such clients', 60_000);
    assert.ok(peak - before < PEAK_BYTES, `${(peak - before) >> 20} MiB were held for readers that do not read`);
    // Whoever reads is served as soon as those that do not have had their time.
    await until(
      async () => {
        const { answers } = await exchange(rig.unix, [GET('/v1/flows?last=5000')], { wanted: 1, patienceMs: 10_000 });
        if (answers[0]) isPrecise(answers[0]);
        return answers[0]?.status === 200;
      },
      { what: 'a reader that reads to be served', timeoutMs: 20_000 },
    );
  } finally {
    for (const client of clients) client.destroy();
  }
});

test('a connection has one stream, however often it asks, and cannot queue for ever behind it', async () => {
  const client = deaf(rig.unix);
  try {
    client.write(GET('/v1/flows?follow=true').repeat(10));
    await until(() => rig.followers() > 0, { what: 'the stream' });
    await isQuiet();
    assert.is(rig.followers(), 1);
    const before = heldBytes();
    const line = GET('/v1/status').repeat(1000);
    for (let i = 0; i < 300 && !client.destroyed; i++) {
      if (!client.write(line)) await new Promise((resolve) => setTimeout(resolve, 5));
    }
    await until(() => rig.followers() === 0, { what: 'the connection to be closed' });
    await untilHeldAsBefore(before, GROWTH_BYTES);
  } finally {
    client.destroy();
  }
});

test('streams of every kind, dropped at once or soon or never read, leave nothing behind', async () => {
  const files = openFiles();
  const kinds = ['', '&scope=cluster', '&last=100', '&verdict=DROPPED', '&scope=cluster&since=1h'];
  for (let round = 0; round < (IS_LONG ? 200 : 10); round++) {
    const clients = Array.from({ length: FOLLOWERS_MAX + 4 }, (_, i) => {
      const client = deaf(rig.unix);
      const accept = i % 2 === 0 ? 'accept: text/event-stream\r\n' : '';
      const method = i % 7 === 0 ? 'HEAD' : 'GET';
      client.write(`${method} /v1/flows?follow=true${kinds[i % kinds.length]} HTTP/1.1\r\nhost: x\r\n${accept}\r\n`);
      if (i % 3 === 0) client.resume();
      return client;
    });
    for (let turn = 0; turn < round; turn++) {
      rig.see(r.event(), r.drop());
      await new Promise(setImmediate);
    }
    for (const client of clients) client.destroy();
    await until(() => rig.followers() === 0, { what: 'no follower to be left' });
  }
  await until(() => openFiles() <= files + 4, { what: 'all sockets to be closed' }); // those to the peer are kept for a while
});

test('connections that are opened and say nothing, or begin and do not end, are closed in time', async () => {
  const beginnings = [
    '',
    'G',
    'GET /v1/flows HTTP/1.1\r\n',
    'GET /v1/flows HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nx',
  ];
  const before = heldBytes();
  const patienceMs = 3 * LIMITS.requestTimeoutMs;
  const started = performance.now();
  await Promise.all(
    Array.from({ length: 40 }, async (_, i) => {
      const isTls = i % 4 === 3;
      const { answers, closed } = await exchange(isTls ? rig.tls : rig.unix, [beginnings[i % 3] as string], {
        patienceMs,
      });
      assert.ok(closed, `${isTls ? 'TLS' : 'plain'} "${beginnings[i % 3]}" is still open after ${patienceMs} ms`);
      for (const one of answers) isPrecise(one);
    }),
  );
  assert.ok(performance.now() - started < patienceMs);
  await untilHeldAsBefore(before, GROWTH_BYTES);
});

test('over TLS nobody gets further without a certificate or a token, whatever the path looks like', async () => {
  const paths = fc.oneof(
    target,
    fc.constantFrom<string>(...PATHS).map((path) => path.replace('/v1', '/%761')),
    fc.constantFrom<string>(...PATHS).map((path) => `/${path}`),
  );
  await survives(
    fc.tuple(paths, fc.constantFrom('', 'Bearer', 'Bearer x', 'Basic a2V5', 'Bearer known2')),
    async ([path, token]) => {
      const client = connectTls(rig.tls);
      client.on('error', () => {});
      let got = '';
      client.setEncoding('latin1').on('data', (chunk: string) => {
        got += chunk;
      });
      client.write(
        `GET ${path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n${token && `authorization: ${token}\r\n`}\r\n`,
      );
      await new Promise((resolve) => client.once('close', resolve));
      assert.match(got, /^HTTP\/1\.1 (400|401|404|413) /);
      assert.not.match(got, /"flows"|"endpoints"|weir_/);
    },
  );
});

test.run();
