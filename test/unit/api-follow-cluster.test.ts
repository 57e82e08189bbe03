/** A stream of all nodes' flows while nodes break off, fall silent, come and go: nothing twice, nothing missing without a word. */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { eventStream } from '../../agent/api/flow-streams.ts';
import { type FlowsAnswer, FOLLOWERS_MAX, ownScope } from '../../agent/api/flows.ts';
import { followCluster } from '../../agent/api/follow-cluster.ts';
import { type Peer, Peers } from '../../agent/api/peers.ts';
import { TlsCredentials } from '../../agent/api/tls-server.ts';
import type { FlowLine } from '../../agent/flow/flow.ts';
import { CertificateAuthority, type KeyPair } from '../kit/certificates.ts';
import { suite } from '../kit/suite.ts';
import { until } from '../kit/until.ts';

const SERVER_NAME = 'node-2.default.hubble-grpc.cilium.io';
const test = suite('api: streams of the cluster');
let folder: string;
let pair: KeyPair;
let ca: CertificateAuthority;
let credentials: TlsCredentials;
test.before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'wt-follow-cluster-'));
  ca = await CertificateAuthority.make(folder, 'ca');
  pair = await ca.issue('server', SERVER_NAME);
  credentials = await TlsCredentials.open({ ...pair, ca: ca.certificate });
});
test.after(async () => {
  credentials?.close();
  await rm(folder, { recursive: true, force: true });
});

/** Another node's agent that says what a test wants, to the second who asks what it says to the second. */
async function peerThatSays(
  answers: readonly (readonly string[])[],
  use: (peers: Peers, asked: string[], others: Peer[]) => Promise<void>,
): Promise<void> {
  const asked: string[] = [];
  const server: Server = createServer(
    { cert: await readFile(pair.certificate), key: await readFile(pair.key) },
    (request, response) => {
      const said = answers[asked.push(request.url ?? '') - 1];
      response.writeHead(200, { 'content-type': 'text/event-stream' }).flushHeaders();
      if (said === undefined) return; // silence
      for (const event of said) response.write(`${event}\n\n`);
      // broken off, as by a node that dies; what was written arrives
      setImmediate(() => response.end(() => request.socket.destroy()));
    },
  );
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const others: Peer[] = [{ node: 'node-2', host: '127.0.0.1', serverName: SERVER_NAME }];
  const peers = new Peers({ credentials, port, others: () => others, silenceMs: 200 });
  try {
    await use(peers, asked, others);
  } finally {
    peers.close();
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
}

/** Follows until `isEnough`; time passes ten times as fast. */
async function follow(
  peers: Peers,
  isEnough: (lines: readonly FlowLine[]) => boolean,
  path = '/v1/flows?follow=true&last=3',
): Promise<FlowLine[]> {
  const ending = new AbortController();
  const lines: FlowLine[] = [];
  const clock = {
    nowMs: () => 10 * performance.now(),
    after(ms: number, then: () => void) {
      const timer = setTimeout(then, ms / 10);
      return () => clearTimeout(timer);
    },
  };
  const own = (async function* (): AsyncGenerator<FlowLine[], void, void> {
    await new Promise((resolve) => ending.signal.addEventListener('abort', resolve));
  })();
  const stream = followCluster({ own, node: 'node-1', peers, path, signal: ending.signal, clock });
  const reading = (async () => {
    for await (const batch of stream) lines.push(...batch);
  })();
  try {
    await until(() => isEnough(lines), { what: 'the lines', detail: () => JSON.stringify(lines) });
  } finally {
    ending.abort();
    await reading;
  }
  return lines;
}

const time = (micros: number) => `2026-01-01T00:00:00.${String(micros).padStart(6, '0')}Z`;
const flow = (micros: number, uuid: string, next: number): string =>
  `id: ${'a'.repeat(18)}-${next}\ndata: ${JSON.stringify({ flow: { uuid, time: time(micros) }, node_name: 'node-2', time: time(micros) })}`;
const uuids = (lines: readonly FlowLine[]) => lines.flatMap(({ flow: seen }) => seen?.uuid ?? []);
const states = (lines: readonly FlowLine[]) =>
  lines.flatMap(({ node_status: status }) => (status ? [`${status.state_change} ${status.message}`] : []));

test('a node that breaks off is asked for what follows what it said last, whatever its clock did', async () => {
  const answers = [
    [`id: ${'a'.repeat(18)}-1`, flow(1500, 'one', 2), flow(900, 'two', 3)],
    [flow(950, 'three', 4), ':', flow(1100, 'four', 5)],
    [],
  ];
  await peerThatSays(answers, async (peers, asked) => {
    const lines = await follow(peers, (got) => uuids(got).length >= 4 && asked.length >= 3);
    assert.equal(uuids(lines).sort(), ['four', 'one', 'three', 'two']);
    assert.equal(
      asked.slice(0, 3).map((path) => new URL(path, 'http://x').search),
      ['?follow=true&last=3', `?follow=true&cursor=${'a'.repeat(18)}-3`, `?follow=true&cursor=${'a'.repeat(18)}-5`],
    );
  });
});

test('a node that breaks off before it said anything is asked from where it would have begun', async () => {
  await peerThatSays([[`id: ${'b'.repeat(18)}-7`], [flow(1, 'one', 8)]], async (peers, asked) => {
    await follow(peers, (got) => uuids(got).length > 0, '/v1/flows?follow=true');
    assert.is(asked[1], `/v1/flows?follow=true&cursor=${'b'.repeat(18)}-7`);
  });
});

test('a node that falls silent is named, and asked again', async () => {
  await peerThatSays([], async (peers, asked) => {
    const lines = await follow(peers, (got) => states(got).length > 0 && asked.length > 1);
    assert.is(states(lines)[0], 'NODE_UNAVAILABLE no sign of life for 0.2 s; trying again');
  });
});

test('a node that leaves is told as gone, once, and is asked no more; one that joins tells all since the stream began', async () => {
  const answers = [[':'], ...Array.from({ length: 30 }, () => [':'])];
  await peerThatSays(answers, async (peers, asked, others) => {
    let isGone = false;
    let askedWhenGone = 0;
    const lines = await follow(
      peers,
      (got) => {
        if (states(got).length > 0 && !isGone && others.pop()) isGone = true;
        const gone = states(got).filter((state) => state.startsWith('NODE_GONE')).length;
        if (gone > 0 && askedWhenGone === 0) {
          askedWhenGone = asked.length;
          others.push({ node: 'node-3', host: '127.0.0.1', serverName: SERVER_NAME });
        }
        return askedWhenGone > 0 && asked.length > askedWhenGone;
      },
      '/v1/flows?follow=true',
    );
    assert.is(states(lines).filter((state) => state.startsWith('NODE_GONE')).length, 1);
    assert.match(asked[askedWhenGone] ?? '', /^\/v1\/flows\?follow=true&since=2/);
  });
});

test('streams take no connection away from questions', async () => {
  const asked: (() => void)[] = [];
  const server = createServer(
    { cert: await readFile(pair.certificate), key: await readFile(pair.key) },
    (request, response) => {
      if (!request.url?.includes('follow')) return void response.end(JSON.stringify({ flows: [] }));
      response.writeHead(200).flushHeaders();
      asked.push(() => response.destroy());
    },
  );
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const peer: Peer = { node: 'node-2', host: '127.0.0.1', serverName: SERVER_NAME };
  const peers = new Peers({ credentials, port, others: () => [peer] });
  const ending = new AbortController();
  const streams = Array.from({ length: FOLLOWERS_MAX }, async () => {
    for await (const _ of peers.follow(peer, '/v1/flows?follow=true', ending.signal)) {
      // nothing comes
    }
  });
  try {
    await until(() => asked.length === FOLLOWERS_MAX, { what: 'all streams to be open' });
    const answers: unknown[] = [];
    assert.equal(await peers.ask<FlowsAnswer>('/v1/flows', (answer) => answers.push(answer)), []);
    assert.equal(answers, [{ flows: [] }]);
  } finally {
    ending.abort();
    await Promise.allSettled(streams);
    peers.close();
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
});

test('a stream that has nothing to say gives signs of life, and says first where it begins', async () => {
  const silent = (async function* (): AsyncGenerator<[], void, void> {
    await new Promise((resolve) => setTimeout(resolve, 200));
  })();
  const said: string[] = [];
  for await (const text of eventStream(silent, () => {}, { run: 'c'.repeat(18), sequence: 9 }, 50)) said.push(text);
  assert.is(said[0], `id: ${'c'.repeat(18)}-9\n\n`);
  assert.ok(said.length >= 3, String(said.length));
  assert.ok(said.slice(1).every((text) => text === ':\n\n'));
});

test('what is asked of others is the whole query', () => {
  assert.is(ownScope('/v1/flows?scope=cluster&namespace=a?b&pod=c'), '/v1/flows?namespace=a%3Fb&pod=c');
  assert.is(ownScope('/v1/flows', { top: '1' }), '/v1/flows?top=1');
});

test.run();
