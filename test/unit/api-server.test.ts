/** The server on real sockets: who may listen where, limits, and streams to readers good and bad. */
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { FOLLOWERS_MAX } from '../../agent/api/flows.ts';
import { listen } from '../../agent/api/listener.ts';
import { LIMITS } from '../../agent/api/server.ts';
import { WeirError } from '../../agent/errors.ts';
import type { FlowLine } from '../../agent/flow/flow.ts';
import { heldBytes } from '../kit/memory.ts';
import { suite } from '../kit/suite.ts';
import { until } from '../kit/until.ts';
import { type Api, makeApi } from './api-state.ts';
import * as r from './flow-records.ts';

const test = suite('api: server');
const folder = mkdtempSync(join(tmpdir(), `wt-flow-${process.pid}-`));
const open: Api[] = [];
const sockets: Socket[] = [];
let count = 0;

async function serve(records = 1000): Promise<Api & { path: string }> {
  const api = await makeApi(records);
  open.push(api);
  const path = join(folder, `${count++}`, 'api.sock');
  await listen(api.app, { kind: 'unix', path });
  return { ...api, path };
}

test.after.each(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  for (const { app } of open.splice(0)) await app.close();
});
test.after(() => rmSync(folder, { recursive: true, force: true }));

/** Sends bytes as they are; resolves with all that came back when the server closes or `enough` is there. */
function raw(path: string, bytes: string, enough = '\r\n\r\n{'): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(path, () => socket.write(bytes));
    sockets.push(socket);
    let got = '';
    socket.setEncoding('utf8');
    socket.on('data', (chunk: string) => {
      got += chunk;
      if (got.includes(enough) && got.endsWith('}')) resolve(got);
    });
    socket.on('close', () => resolve(got));
    socket.on('error', reject);
  });
}

function get(path: string, url: string): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    httpRequest({ socketPath: path, path: url, agent: false }, resolve).on('error', reject).end();
  });
}

/** Lines of a stream as they come; `line()` waits for the next. */
function linesOf(message: IncomingMessage) {
  const iterator = (async function* () {
    let rest = '';
    for await (const chunk of message.setEncoding('utf8')) {
      const parts = (rest + chunk).split('\n');
      rest = parts.pop() ?? '';
      for (const part of parts) yield JSON.parse(part) as FlowLine;
    }
  })();
  return {
    async line(): Promise<FlowLine | undefined> {
      return (await iterator.next()).value ?? undefined;
    },
  };
}

test('the socket is for its owner only, in a folder of its own', async () => {
  const { path } = await serve();
  assert.is(statSync(path).mode & 0o777, 0o600);
  assert.is(statSync(join(path, '..')).mode & 0o777, 0o700);
});

test('a stale socket file is taken over, a live one is not', async () => {
  const path = join(folder, 'stale.sock');
  const dead = createServer();
  await new Promise<void>((resolve) => dead.listen(path, resolve));
  // what a killed process leaves behind: the file, and nobody who listens
  writeFileSync(join(folder, 'keep'), '');
  const { linkSync, renameSync } = await import('node:fs');
  linkSync(path, `${path}.kept`);
  await new Promise((resolve) => dead.close(resolve));
  renameSync(`${path}.kept`, path);
  assert.ok(statSync(path).isSocket());

  const first = await makeApi();
  open.push(first);
  assert.is(await listen(first.app, { kind: 'unix', path }), `unix:${path}`);
  assert.is((await get(path, '/healthz')).statusCode, 200);

  const second = await makeApi();
  open.push(second);
  await refused(listen(second.app, { kind: 'unix', path }), 'ALREADY_RUNNING', /another process answers/);
  assert.is((await get(path, '/healthz')).statusCode, 200, 'the first still answers');
});

test('a file that is no socket is left alone', async () => {
  const path = join(folder, 'precious');
  writeFileSync(path, 'data');
  const api = await makeApi();
  open.push(api);
  await refused(listen(api.app, { kind: 'unix', path }), 'CONFIG_INVALID', /is no socket; it is left alone/);
  assert.is(statSync(path).size, 4);
});

async function refused(attempt: Promise<unknown>, code: string, message: RegExp): Promise<void> {
  const error = await attempt.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  assert.instance(error, WeirError);
  assert.is((error as WeirError).code, code);
  assert.match((error as WeirError).message, message);
}

test('loopback TCP when asked', async () => {
  const api = await makeApi();
  open.push(api);
  const url = await listen(api.app, { kind: 'tcp', host: '127.0.0.1', port: 0 });
  assert.is((await fetch(`${url}/healthz`)).status, 200);
});

const HOSTILE: readonly [string, string, string, string][] = [
  ['no HTTP', 'hello\r\n\r\n', '400', 'BAD_REQUEST'],
  ['zeros', '\0'.repeat(100), '400', 'BAD_REQUEST'],
  ['an endless header', `GET / HTTP/1.1\r\nhost: x\r\na: ${'x'.repeat(20_000)}\r\n\r\n`, '431', 'TOO_LARGE'],
  ['two lengths', 'GET / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n', '400', 'BAD_REQUEST'],
  ['an endless URL', `GET /v1/flows?${'a'.repeat(9000)} HTTP/1.1\r\nhost: x\r\n\r\n`, '413', 'TOO_LARGE'],
  ['a double slash', 'GET // HTTP/1.1\r\nhost: x\r\n\r\n', '404', 'NOT_FOUND'],
  ['a backslash', 'GET /\\ HTTP/1.1\r\nhost: x\r\n\r\n', '404', 'NOT_FOUND'],
];
for (const [what, bytes, httpCode, code] of HOSTILE) {
  test(`hostile bytes: ${what}`, async () => {
    const { path } = await serve();
    const answer = await raw(path, bytes);
    assert.match(answer, `HTTP/1.1 ${httpCode} `);
    const { error } = JSON.parse(answer.slice(answer.indexOf('\r\n\r\n') + 4));
    assert.is(error.code, code);
    assert.is((await get(path, '/healthz')).statusCode, 200, 'and others are served');
  });
}

test('a request with a body of a gigabyte is not waited for', async () => {
  const { path } = await serve();
  const answer = await raw(path, 'POST /v1/flows HTTP/1.1\r\nhost: x\r\ncontent-length: 1073741824\r\n\r\n{');
  assert.match(answer, 'HTTP/1.1 405 ');
});

test('connections beyond the limit are refused and counted', async () => {
  const { path, app } = await serve();
  const ends: Promise<void>[] = [];
  for (let i = 0; i < LIMITS.connections + 5; i++) {
    const socket = connect(path);
    sockets.push(socket);
    ends.push(new Promise((resolve) => socket.once('close', () => resolve()).once('error', () => {})));
  }
  let refusals = 0;
  for (const end of ends) void end.then(() => refusals++);
  await until(() => refusals === 5, { what: 'five refusals' });
  assert.match((await app.inject('/metrics')).body, 'weir_http_refused_total 5');
});

test('a stream starts at once, brings what comes, and ends with the server', async () => {
  const api = await serve();
  const stream = await get(api.path, '/v1/flows?follow=true');
  assert.is(stream.headers['content-type'], 'application/x-ndjson');
  const { line } = linesOf(stream);
  await until(() => api.fake.history.stats().followers === 1, { what: 'the follower' });
  api.fake.history.listener(r.batch(r.event(), r.drop()), 2, 0);
  assert.is((await line())?.flow?.verdict, 'FORWARDED');
  const second = await line();
  assert.is(second?.flow?.verdict, 'DROPPED');
  assert.is(second?.node_name, 'node-1');
  await api.app.close();
  assert.is(await line(), undefined);
});

test('a stream filters, and starts with history when asked', async () => {
  const api = await serve();
  api.fake.history.listener(r.batch(r.drop(), r.event(), r.drop()), 3, 0);
  const { line } = linesOf(await get(api.path, '/v1/flows?follow=true&last=1&verdict=DROPPED'));
  assert.is((await line())?.flow?.weir.sequence, 3);
  api.fake.history.listener(r.batch(r.event(), r.drop()), 2, 0);
  assert.is((await line())?.flow?.weir.sequence, 5);
});

test('a client that goes away frees its place', async () => {
  const api = await serve();
  const stream = await get(api.path, '/v1/flows?follow=true');
  await until(() => api.fake.history.stats().followers === 1, { what: 'the follower' });
  stream.destroy();
  await until(() => api.fake.history.stats().followers === 0, { what: 'the follower to go' });
});

test('more streams than served: busy, and it says that trying again helps', async () => {
  const api = await serve();
  const streams = await Promise.all(
    Array.from({ length: FOLLOWERS_MAX }, () => get(api.path, '/v1/flows?follow=true')),
  );
  assert.ok(streams.every((stream) => stream.statusCode === 200));
  const answer = await raw(api.path, 'GET /v1/flows?follow=true HTTP/1.1\r\nhost: x\r\n\r\n');
  assert.match(answer, 'HTTP/1.1 503 ');
  assert.match(answer, '"code":"BUSY"');
  assert.match(answer, '"retryable":true');
  streams[0]?.destroy();
  await until(async () => (await get(api.path, '/v1/flows?follow=true')).statusCode === 200, { what: 'a free place' });
});

test('a reader that never reads: memory flat, others undisturbed, its loss exact when it reads at last', async () => {
  const api = await serve(2000);
  const { history } = api.fake;
  const asleep = await get(api.path, '/v1/flows?follow=true');
  asleep.pause();
  await until(() => history.stats().followers === 1, { what: 'the sleeper' });
  const batch = r.numbered(500);
  const total = 200 * 500;
  const before = heldBytes();
  for (let i = 0; i < 200; i++) {
    history.listener(batch, 500, 0);
    if (i % 20 === 0) assert.is((await get(api.path, '/v1/flows?last=1')).statusCode, 200);
  }
  const grown = heldBytes() - before;
  assert.ok(grown < 64 << 20, `100,000 flows to a sleeping reader took ${grown} bytes`);
  const lostBefore = history.losses().subscriber;
  assert.ok(lostBefore > total - 2000 - 2000, `${lostBefore} lost so far`);

  let delivered = 0;
  let lost = 0;
  const { line } = linesOf(asleep);
  while (delivered + lost < total) {
    const one = await line();
    if (one?.flow) {
      delivered++;
      assert.is(one.flow.weir.sequence, delivered + lost, 'a gap without a count');
    } else lost += Number(one?.lost_events?.num_events_lost);
  }
  assert.is(delivered + lost, total);
  assert.is(history.losses().subscriber, lost, 'as counted by the agent');
});

for (const [serves, answered, absent] of [
  ['health', ['/livez', '/healthz'], ['/metrics', '/v1/flows', '/v1/status', '/v1/openapi.json']],
  ['metrics', ['/metrics'], ['/livez', '/healthz', '/v1/flows', '/v1/status', '/v1/openapi.json']],
] as const)
  test(`an API for ${serves} has nothing else`, async () => {
    const api = await makeApi(10, serves);
    open.push(api);
    for (const url of answered) assert.is((await api.app.inject(url)).statusCode, 200, url);
    for (const url of absent) assert.is((await api.app.inject(url)).statusCode, 404, url);
  });

test.run();
