/**
 * The gRPC edge under garbage: whatever comes, each call gets an answer of its own, the agent's memory stays where it was, and
 * the next client is served. Bytes that are no message, messages that make no sense, connections that are no HTTP/2.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { constants, connect as openHttp2 } from 'node:http2';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client, credentials, type ServiceError, status } from '@grpc/grpc-js';
import fc from 'fast-check';
import * as assert from 'uvu/assert';
import { STREAMS_MAX } from '../../agent/api/hubble/calls.ts';
import type { HubbleServer } from '../../agent/api/hubble/server.ts';
import type { FlowHistory } from '../../agent/flow/history.ts';
import { HubbleClient } from '../kit/hubble-grpc.ts';
import { heldBytes, untilHeldAsBefore } from '../kit/memory.ts';
import { suite } from '../kit/suite.ts';
import { until } from '../kit/until.ts';
import { batch, event, makeHistory } from '../unit/flow-records.ts';
import { hubbleAlone } from '../unit/hubble-alone.ts';

/** Longer with --long. */
const BUDGET_MS = process.env.WEIR_TEST_LONG ? 60_000 : 3000;
/** What garbage may cost for good, far below what it amounts to. */
const GROWTH_BYTES = 8 << 20;
const RECORDS = 50;
const METHODS = ['GetFlows', 'GetAgentEvents', 'GetNamespaces', 'ServerStatus'] as const;
/** Answers that a caller who says nonsense may get. */
const ANSWERS: readonly number[] = [
  status.OK,
  status.INVALID_ARGUMENT,
  status.UNIMPLEMENTED,
  status.RESOURCE_EXHAUSTED,
  status.INTERNAL, // grpc-js's own word for bytes that are no message
];

const test = suite('hubble: garbage');
let folder: string;
let socket: string;
let server: HubbleServer;
let history: FlowHistory;
/** Sends bytes as they are. */
let raw: Client;
let honest: HubbleClient;

test.before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'wt-hubble-fuzz-'));
  socket = join(folder, 'hubble.sock');
  ({ history } = makeHistory(100));
  for (let i = 0; i < RECORDS; i++) history.listener(batch(event()), 1, 0);
  server = await hubbleAlone({
    flows: history,
    socket,
  });
  raw = new Client(`unix:${socket}`, credentials.createInsecure(), { 'grpc.use_local_subchannel_pool': 1 });
  honest = new HubbleClient(`unix:${socket}`);
});
test.after(async () => {
  raw?.close();
  honest?.close();
  await server?.close();
  await rm(folder, { recursive: true, force: true });
});

/** The status of a call with these bytes as its request. */
function send(method: string, bytes: Uint8Array): Promise<{ code: number; details: string }> {
  return new Promise((resolve) => {
    const call = raw.makeServerStreamRequest(
      `/observer.Observer/${method}`,
      (message: Buffer) => message,
      (answer: Buffer) => answer,
      Buffer.from(bytes),
      { deadline: Date.now() + 2000 },
    );
    call.on('data', () => {});
    call.on('error', ({ code, details }: ServiceError) => resolve({ code, details }));
    call.on('end', () => resolve({ code: status.OK, details: '' }));
  });
}

async function isServing(): Promise<void> {
  assert.is((await honest.flows({})).length, RECORDS);
}

/** Runs the property until the budget is spent; memory after a warm-up must not grow. */
async function survives<T>(inputs: fc.Arbitrary<T>, holds: (input: T) => Promise<void>): Promise<void> {
  const run = (ms: number, numRuns: number) =>
    fc.assert(fc.asyncProperty(inputs, holds), { interruptAfterTimeLimit: ms, numRuns, markInterruptAsFailure: false });
  await run(BUDGET_MS / 3, 200);
  const before = heldBytes();
  await run(BUDGET_MS, 1_000_000);
  await untilHeldAsBefore(before, GROWTH_BYTES);
  await isServing();
}

test('bytes that are no message', async () => {
  await survives(
    fc.record({ method: fc.constantFrom(...METHODS), bytes: fc.uint8Array({ maxLength: 300 }) }),
    async ({ method, bytes }) => {
      const { code, details } = await send(method, bytes);
      // Some bytes do follow for ever: whoever asked for that gives up.
      assert.ok(ANSWERS.includes(code) || code === status.DEADLINE_EXCEEDED, `${code} ${details}`);
      assert.ok(details.length < 1000, details);
    },
  );
});

/** Protobuf's wire format by hand: fields that exist with values that do not, nested as deep as it gets. */
const varint = (value: number): number[] => (value < 128 ? [value] : [(value & 127) | 128, ...varint(value >>> 7)]);
const field = (number: number, bytes: readonly number[]): number[] => [
  ...varint((number << 3) | 2),
  ...varint(bytes.length),
  ...bytes,
];
const text = fc.oneof(
  fc.string({ maxLength: 20 }),
  fc.constantFrom('default/', '10.0.0.0/8', 'a in (', '*', '!x', '../', '['),
);
const filter = fc
  .array(fc.tuple(fc.integer({ min: 1, max: 60 }), text), { maxLength: 6 })
  .map((fields) => fields.flatMap(([number, value]) => field(number, [...Buffer.from(value)])));
const request = fc
  .record({
    blacklist: fc.array(filter, { maxLength: 4 }),
    whitelist: fc.array(filter, { maxLength: 4 }),
    paths: fc.array(text, { maxLength: 4 }),
    tail: fc.uint8Array({ maxLength: 8 }),
  })
  .map(({ blacklist, whitelist, paths, tail }) =>
    Uint8Array.from([
      ...blacklist.flatMap((one) => field(5, one)),
      ...whitelist.flatMap((one) => field(6, one)),
      ...(paths.length > 0
        ? field(
            10,
            paths.flatMap((path) => field(1, [...Buffer.from(path)])),
          )
        : []),
      ...tail,
    ]),
  );

test('requests whose parts make no sense are answered, and what is refused is refused by its place', async () => {
  await survives(request, async (bytes) => {
    const { code, details } = await send('GetFlows', bytes);
    assert.ok(ANSWERS.includes(code) || code === status.DEADLINE_EXCEEDED, `${code} ${details}`);
    if (code === status.INVALID_ARGUMENT) assert.match(details, /^(whitelist|blacklist|field_mask|first)/);
  });
});

test('groups in groups, as many as fit, and lists as long as fit', async () => {
  const groups = new Uint8Array(60 << 10).fill((15 << 3) | 3); // START_GROUP of field 15
  assert.ok(ANSWERS.includes((await send('GetFlows', groups)).code));
  const filters = Uint8Array.from(Array.from({ length: 16_000 }, () => [(6 << 3) | 2, 0]).flat());
  const { code, details } = await send('GetFlows', filters);
  assert.is(code, status.INVALID_ARGUMENT);
  assert.match(details, /^whitelist: expected at most 128 filters, got 16000$/);
  await isServing();
});

test('a request beyond the limit is refused before it is read', async () => {
  const { code } = await send('GetFlows', new Uint8Array((64 << 10) + 1));
  assert.is(code, status.RESOURCE_EXHAUSTED);
  await isServing();
});

test('connections that are no HTTP/2, and some that are at first', async () => {
  const preface = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
  const speeches = fc.tuple(fc.boolean(), fc.uint8Array({ maxLength: 2000 }));
  await survives(speeches, async ([polite, bytes]) => {
    await new Promise<void>((resolve) => {
      const client = connect(socket);
      client.on('error', () => {}); // the server may hang up first
      client.on('close', () => resolve());
      client.resume();
      client.end(polite ? Buffer.concat([preface, bytes]) : bytes);
      setTimeout(() => client.destroy(), 200).unref();
    });
  });
});

test('streams that are dropped at once, or soon, leave nothing behind', async () => {
  const follow = Buffer.from([0, 0, 0, 0, 2, (3 << 3) | 0, 1]); // one gRPC message: GetFlowsRequest.follow
  const headers = {
    ':method': 'POST',
    ':path': '/observer.Observer/GetFlows',
    'content-type': 'application/grpc',
    te: 'trailers',
  };
  for (let round = 0; round < 20; round++) {
    // By hand, for grpc-js's client tells the server nothing of calls that it cancels early.
    const session = openHttp2('http://localhost', { createConnection: () => connect(socket) });
    const streams = Array.from({ length: STREAMS_MAX }, () => session.request(headers));
    for (const stream of streams) {
      stream.on('error', () => {}); // what is cancelled says so
      stream.end(follow);
    }
    for (let turn = 0; turn < round; turn++) await new Promise(setImmediate);
    for (const stream of streams) stream.close(constants.NGHTTP2_CANCEL);
    await until(() => history.stats().followers === 0, { what: 'no follower to be left' });
    session.destroy();
  }
  await isServing();
});

test.run();
