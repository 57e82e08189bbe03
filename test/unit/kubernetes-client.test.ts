/** The API client's small parts: lines, rate limit, credentials that change, the election. */
import { chmodSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import * as assert from 'uvu/assert';
import { ApiError, errorOfAnswer } from '../../agent/kubernetes/api-error.ts';
import { createClient, type KubernetesClient } from '../../agent/kubernetes/client.ts';
import { connect } from '../../agent/kubernetes/connection.ts';
import { inClusterConnection } from '../../agent/kubernetes/in-cluster.ts';
import { joinElection } from '../../agent/kubernetes/lease.ts';
import { LineSplitter, LineTooLong } from '../../agent/kubernetes/lines.ts';
import { collectionPath, objectPath } from '../../agent/kubernetes/path.ts';
import { createRateLimit } from '../../agent/kubernetes/rate-limit.ts';
import { createTransport } from '../../agent/kubernetes/transport.ts';
import { fakeClock } from '../kit/clock.ts';
import { suite } from '../kit/suite.ts';
import { FakeApiServer, PATH, send, status } from './kubernetes-server.ts';

const lines = suite('kubernetes: lines');
lines('are the same however the bytes are cut', () => {
  fc.assert(
    fc.property(
      fc.array(fc.string({ unit: 'grapheme' }).map((s) => s.replaceAll(/\s/g, ''))),
      fc.array(fc.nat(20)),
      (texts, cuts) => {
        const bytes = Buffer.from(texts.map((text) => `${text}\n`).join(''));
        const splitter = new LineSplitter();
        const found: string[] = [];
        let at = 0;
        for (const cut of cuts) {
          found.push(...splitter.push(bytes.subarray(at, at + cut)));
          at += cut;
        }
        found.push(...splitter.push(bytes.subarray(at)));
        assert.equal(
          found,
          texts.filter((text) => text !== ''),
        );
        assert.is(splitter.isInLine, false);
      },
    ),
  );
});
lines('one that does not end is not kept', () => {
  const splitter = new LineSplitter(10);
  splitter.push(Buffer.from('12345'));
  assert.throws(
    () => splitter.push(Buffer.from('678901')),
    (error: Error) => error instanceof LineTooLong,
  );
});
lines.run();

const errors = suite('kubernetes: errors');
for (const [httpStatus, reason, code, retryable] of [
  [409, 'Conflict', 'API_CONFLICT', true],
  [409, 'AlreadyExists', 'API_EXISTS', false],
  [410, 'Expired', 'API_GONE', true],
  [403, 'Forbidden', 'API_FORBIDDEN', false],
  [401, 'Unauthorized', 'API_FORBIDDEN', false],
  [404, 'NotFound', 'NOT_FOUND', false],
  [422, 'Invalid', 'API_REFUSED', false],
  [429, 'TooManyRequests', 'BUSY', true],
  [500, 'InternalError', 'API_UNREACHABLE', true],
  [504, 'Timeout', 'TIMEOUT', true],
] as const) {
  errors(`${httpStatus} ${reason} is ${code}`, () => {
    const error = errorOfAnswer('GET /x', httpStatus, status(httpStatus, reason, 'why'));
    assert.equal([error.code, error.retryable, error.reason], [code, retryable, reason]);
    assert.is(error.message, `GET /x: the API server answers ${httpStatus} ${reason}: why`);
  });
}
errors('a wait that the server asks for is bounded', () => {
  assert.is(errorOfAnswer('GET /x', 429, undefined, '7').retryAfterMs, 7000);
  assert.is(errorOfAnswer('GET /x', 429, undefined, '999999').retryAfterMs, 60_000);
  assert.is(errorOfAnswer('GET /x', 429, undefined, 'Wed, 21 Oct').retryAfterMs, undefined);
});
errors.run();

const paths = suite('kubernetes: paths');
paths('core and groups, namespaced or not', () => {
  assert.is(collectionPath({ apiVersion: 'v1', plural: 'pods' }), '/api/v1/pods');
  assert.is(objectPath({ apiVersion: 'a.b/v1', plural: 'cs' }, 'n', 'x/y'), '/apis/a.b/v1/namespaces/n/cs/x%2Fy');
});
paths.run();

const rate = suite('kubernetes: rate limit');
rate('a burst at once, then evenly, in order', async () => {
  const clock = fakeClock();
  const limit = createRateLimit({ perSecond: 10, burst: 3, clock });
  const passed: number[] = [];
  for (let i = 0; i < 6; i++) void limit.take(undefined).then(() => passed.push(i));
  await new Promise(setImmediate);
  assert.equal(passed, [0, 1, 2]);
  clock.advance(100);
  await new Promise(setImmediate);
  assert.equal(passed, [0, 1, 2, 3]);
  clock.advance(200);
  await new Promise(setImmediate);
  assert.equal(passed, [0, 1, 2, 3, 4, 5]);
});
rate('who cannot wait is told so, and takes nothing then', () => {
  const clock = fakeClock();
  const limit = createRateLimit({ perSecond: 10, burst: 2, clock });
  assert.equal([limit.tryTake(), limit.tryTake(), limit.tryTake(), limit.tryTake()], [true, true, false, false]);
  clock.advance(100);
  assert.equal([limit.tryTake(), limit.tryTake()], [true, false]);
});
rate('who would wait longer than there is time is told so at once, and takes nothing then', async () => {
  const limit = createRateLimit({ perSecond: 1, burst: 1, clock: fakeClock() });
  assert.is(await limit.take(undefined, 0), true);
  for (let i = 0; i < 5; i++) assert.is(await limit.take(undefined, 999), false);
  const waiting = new AbortController();
  void limit.take(waiting.signal, 1000).catch(() => {});
  assert.is(await limit.take(undefined, 1999), false, 'behind the one that waits');
  waiting.abort();
});
rate('a call that finds no room within its deadline fails as one that took too long', async () => {
  const clock = fakeClock();
  const connection = {
    server: new URL('http://127.0.0.1:1'),
    credentials: () => new Promise<never>(() => {}),
    forget: () => {},
  };
  const transport = createTransport({
    connection,
    rateLimit: createRateLimit({ perSecond: 1, burst: 1, clock }),
    clock,
  });
  const stop = new AbortController();
  const ask = (deadlineMs: number) => transport.json({ method: 'GET', path: '/x', deadlineMs, signal: stop.signal });
  void ask(5000).catch(() => {});
  await ask(500).then(
    () => assert.unreachable(),
    (error: ApiError) => {
      assert.is(error.code, 'TIMEOUT');
      assert.match(error.message, /GET \/x: .* within 500 ms/);
    },
  );
  stop.abort();
  transport.close();
});
rate('who gives up is not kept waiting', async () => {
  const limit = createRateLimit({ perSecond: 1, burst: 1, clock: fakeClock() });
  const stop = new AbortController();
  await limit.take(stop.signal);
  const waiting = limit.take(stop.signal);
  stop.abort(new Error('given up'));
  await waiting.then(
    () => assert.unreachable(),
    (error: Error) => assert.is(error.message, 'given up'),
  );
});
rate.run();

const credentials = suite<{ folder: string }>('kubernetes: credentials');
credentials.before.each((context) => {
  context.folder = mkdtempSync(join(tmpdir(), 'wt-kubernetes-'));
});
credentials.after.each(({ folder }) => rmSync(folder, { recursive: true, force: true }));

/** As the kubelet does: a new file takes the old one's place. */
function replace(file: string, text: string): void {
  writeFileSync(`${file}.new`, text);
  renameSync(`${file}.new`, file);
}

credentials('a token that is exchanged on disk is used from the next request on', async ({ folder }) => {
  await using api = await new FakeApiServer().start();
  const seen: unknown[] = [];
  api.fault = (request) => {
    seen.push(request.headers.authorization);
    return false;
  };
  writeFileSync(join(folder, 'token'), 'one\n');
  writeFileSync(join(folder, 'ca.crt'), '');
  const client = createClient({ connection: inClusterConnection({ server: api.url, directory: folder }) });
  await client.list(PATH);
  replace(join(folder, 'token'), 'two');
  await client.list(PATH);
  client.close();
  assert.equal(seen, ['Bearer one', 'Bearer two']);
});

credentials('401 asks for fresh ones, once', async ({ folder }) => {
  await using api = await new FakeApiServer().start();
  // A program that gives a token from a file, as cloud providers' do; client-node keeps what it gave.
  const program = join(folder, 'login');
  writeFileSync(join(folder, 'token'), 'old');
  writeFileSync(
    program,
    `#!/bin/sh\necho '{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"token":"'$(cat ${folder}/token)'"}}'\n`,
  );
  chmodSync(program, 0o755);
  const kubeconfig = join(folder, 'kubeconfig');
  const config = {
    clusters: [{ name: 'c', cluster: { server: api.url, 'insecure-skip-tls-verify': true } }],
    users: [{ name: 'u', user: { exec: { apiVersion: 'client.authentication.k8s.io/v1', command: program } } }],
    contexts: [{ name: 'x', context: { cluster: 'c', user: 'u' } }],
    'current-context': 'x',
  };
  writeFileSync(kubeconfig, JSON.stringify(config));
  const seen: unknown[] = [];
  let valid = 'Bearer old';
  api.fault = (request, response) => {
    seen.push(request.headers.authorization);
    if (request.headers.authorization === valid) return false;
    send(response, 401, status(401, 'Unauthorized'));
    return true;
  };
  const client = createClient({ connection: await connect({ kubeconfig }) });
  await client.list(PATH);
  writeFileSync(join(folder, 'token'), 'new');
  valid = 'Bearer new';
  await client.list(PATH);
  assert.equal(seen, ['Bearer old', 'Bearer old', 'Bearer new']);
  valid = 'Bearer none';
  const error = await client.list(PATH).catch((thrown: unknown) => thrown);
  assert.ok(error instanceof ApiError && error.code === 'API_FORBIDDEN');
  assert.is(seen.length, 5);
  client.close();
});

credentials('what is missing is named', async ({ folder }) => {
  await using api = await new FakeApiServer().start();
  const client = createClient({ connection: inClusterConnection({ server: api.url, directory: folder }) });
  const error = (await client.list(PATH).catch((thrown: unknown) => thrown)) as Error;
  assert.match(error.message, `there are no credentials: ENOENT`);
  assert.throws(() => inClusterConnection({ environment: {} }), /KUBERNETES_SERVICE_HOST/);
  assert.throws(() => inClusterConnection({ server: '10.0.0.1:6443' }), /such as https/);
  const environment = { KUBERNETES_SERVICE_HOST: 'fd00::1', KUBERNETES_SERVICE_PORT: '443' };
  assert.is(inClusterConnection({ environment }).server.href, 'https://[fd00::1]/');
  await connect({ kubeconfig: join(folder, 'none') }).then(
    () => assert.unreachable(),
    (thrown: Error) => assert.match(thrown.message, /kubeconfig .*none cannot be read/),
  );
});

credentials('a server that does not answer in time is a TIMEOUT, also in the middle of an answer', async () => {
  await using api = await new FakeApiServer().start();
  let begun = false;
  api.fault = (_request, response) => {
    if (begun) response.writeHead(200).write('{"kind":');
    return true;
  };
  const client = createClient({ connection: api.connection });
  for (begun of [false, true]) {
    const error = (await client.get(`${PATH}/x`, { deadlineMs: 50 }).catch((thrown: unknown) => thrown)) as ApiError;
    assert.is(error.code, 'TIMEOUT');
  }
  client.close();
});

credentials('a server that is too busy and asks for no wait gets one: not a call after the other', async () => {
  await using api = await new FakeApiServer().start();
  api.fault = (_request, response) => {
    send(response, 429, status(429, 'TooManyRequests'), { 'Retry-After': '0' });
    return true;
  };
  const client = createClient({ connection: api.connection });
  const error = (await client.get(`${PATH}/x`, { deadlineMs: 500 }).catch((thrown: unknown) => thrown)) as ApiError;
  assert.is(error.code, 'BUSY');
  assert.is(api.requests.length, 1, 'a wait of a second does not fit into half a one');
  client.close();
});
credentials.run();

/** One Lease object in memory, with versions. */
function leaseStore() {
  let stored: { metadata: { resourceVersion: string } } | undefined;
  let version = 0;
  let down = false;
  const refuse = (code: 'NOT_FOUND' | 'API_CONFLICT' | 'API_EXISTS' | 'API_UNREACHABLE'): never => {
    throw new ApiError(code, 'lease', code);
  };
  const keep = (object: object): unknown => {
    stored = { ...structuredClone(object), metadata: { resourceVersion: String(++version) } };
    return structuredClone(stored);
  };
  const client = {
    get: async () => (down ? refuse('API_UNREACHABLE') : (structuredClone(stored) ?? refuse('NOT_FOUND'))),
    create: async (_path: string, object: object) =>
      down ? refuse('API_UNREACHABLE') : stored ? refuse('API_EXISTS') : keep(object),
    update: async (_path: string, object: { metadata: { resourceVersion?: string } }) => {
      if (down) refuse('API_UNREACHABLE');
      if (!stored) refuse('NOT_FOUND');
      return object.metadata.resourceVersion === stored?.metadata.resourceVersion
        ? keep(object)
        : refuse('API_CONFLICT');
    },
  } as unknown as KubernetesClient;
  return {
    client,
    setDown(isDown: boolean) {
      down = isDown;
    },
  };
}

const election = suite('kubernetes: election');
const TIMES = { durationMs: 30_000, giveUpMs: 20_000, renewMs: 7000, lookMs: 10_000 };

/** Each candidate has a clock of its own, as different machines have. */
function candidate(client: KubernetesClient, identity: string, startMs: number) {
  const clock = fakeClock(startMs);
  const stop = new AbortController();
  let held = 0;
  const parts = { client, clock, random: () => 0, times: TIMES };
  const onHeld = (signal: AbortSignal): void => {
    held++;
    signal.addEventListener('abort', () => held--);
  };
  const lease = joinElection({ namespace: 'n', name: 'chores', identity, onHeld, signal: stop.signal }, parts);
  return { clock, lease, stop, holds: () => held };
}

async function pass(ms: number, ...candidates: { clock: { advance(ms: number): void } }[]): Promise<void> {
  for (let passed = 0; passed < ms; passed += 500) {
    for (const { clock } of candidates) clock.advance(500);
    for (let i = 0; i < 10; i++) await new Promise(setImmediate);
  }
}

election('one of many holds it; the next one only after it ran out on its own clock', async () => {
  const { client } = leaseStore();
  const a = candidate(client, 'a', 0);
  await pass(500, a);
  const b = candidate(client, 'b', 1e9); // clocks far apart
  await pass(60_000, a, b);
  assert.equal([a.holds(), b.holds(), b.lease.holder], [1, 0, 'a']);
  // a's machine stops: nothing of it runs any more.
  await pass(29_000, b);
  assert.is(b.holds(), 0);
  await pass(12_000, b);
  assert.is(b.holds(), 1);
  // It comes back, and finds that its time is over before it does anything.
  a.clock.advance(41_000);
  assert.is(a.holds(), 0);
  await pass(30_000, a, b);
  assert.equal([a.holds(), b.holds()], [0, 1]);
  for (const { stop } of [a, b]) stop.abort();
});

election('who cannot renew stops before another may begin', async () => {
  const { client, setDown } = leaseStore();
  const a = candidate(client, 'a', 0);
  await pass(10_000, a);
  assert.is(a.holds(), 1);
  setDown(true);
  await pass(20_000, a);
  assert.is(a.holds(), 0);
  setDown(false);
  await pass(11_000, a);
  assert.is(a.holds(), 1);
  a.stop.abort();
});

election('never two at once, whatever happens to either', async () => {
  const happening = fc.record({
    who: fc.constantFrom('a', 'b', 'both'),
    ms: fc.integer({ min: 1, max: 40 }),
    down: fc.boolean(),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(happening, { maxLength: 8 }), async (happenings) => {
      const { client, setDown } = leaseStore();
      const a = candidate(client, 'a', 0);
      const b = candidate(client, 'b', 5e6);
      for (const { who, ms, down } of happenings) {
        setDown(down);
        const running = [a, b].filter((one) => who === 'both' || (who === 'a') === (one === a));
        for (let i = 0; i < ms * 2; i++) {
          await pass(500, ...running);
          // One that is stopped believes what it believed; it is judged when its clock has been set right.
          if (who === 'both') assert.ok(a.holds() + b.holds() <= 1);
        }
        const [behind] = [a, b].filter((one) => !running.includes(one));
        behind?.clock.advance(ms * 1000);
        assert.ok(a.holds() + b.holds() <= 1);
        for (let i = 0; i < 10; i++) await new Promise(setImmediate);
      }
      for (const { stop } of [a, b]) stop.abort();
    }),
    { numRuns: 30, endOnFailure: true },
  );
});

election('given back when the agent stops; an own lease is taken up again at once', async () => {
  const { client } = leaseStore();
  const a = candidate(client, 'a', 0);
  await pass(1000, a);
  a.stop.abort();
  await a.lease.stopped;
  assert.is(a.holds(), 0);
  const b = candidate(client, 'b', 0);
  await pass(500, b);
  assert.is(b.holds(), 1);
  const again = candidate(client, 'b', 0);
  await pass(500, again);
  assert.is(again.holds(), 1);
  for (const { stop } of [b, again]) stop.abort();
});
election.run();
