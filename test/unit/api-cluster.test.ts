/** The API with TLS: who gets in, and questions about all nodes, over real connections between three agents. */

import { copyFile, mkdtemp, readFile, rm } from 'node:fs/promises';
import { request } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect as connectTls } from 'node:tls';
import * as assert from 'uvu/assert';
import type { TokenJudge } from '../../agent/api/admission.ts';
import type { FlowsAnswer } from '../../agent/api/flows.ts';
import { listen } from '../../agent/api/listener.ts';
import { createMetrics } from '../../agent/api/metrics.ts';
import { Peers } from '../../agent/api/peers.ts';
import { createApi } from '../../agent/api/server.ts';
import { TlsCredentials } from '../../agent/api/tls-server.ts';
import type { ServiceMapAnswer, StatsAnswer } from '../../agent/api/traffic.ts';
import { Direction, EventFlags, EventType } from '../../agent/datapath/layout.gen.ts';
import { WeirError } from '../../agent/errors.ts';
import type { FlowLine } from '../../agent/flow/flow.ts';
import { CertificateAuthority, type KeyPair } from '../kit/certificates.ts';
import { suite } from '../kit/suite.ts';
import { until } from '../kit/until.ts';
import { makeState } from './api-state.ts';
import * as r from './flow-records.ts';

const SERVER_NAME = '*.default.hubble-grpc.cilium.io';
const test = suite('api: the cluster');
let folder: string;
let ca: CertificateAuthority;
let server: KeyPair;
let stranger: KeyPair;
let port = 0;
type Node = Awaited<ReturnType<typeof startNode>>;
const nodes: Node[] = [];

const AGAIN_MS = 50;
const revoked = new Set<string>();
const judge: TokenJudge = async ({ token, path }) => {
  if (token === 'api-away') throw new WeirError('API_UNREACHABLE', 'review a token', 'no answer');
  if (token !== 'known' || revoked.has(token)) return 'unknown token';
  return path === '/v1/status' ? 'not allowed' : 'allowed';
};

/** An agent at 127.0.0.N; all listen on the port the first one got. */
async function startNode(number: number) {
  const host = `127.0.0.${number}`;
  const files = { ...server, ca: join(folder, `ca-of-${number}.crt`) };
  await copyFile(ca.certificate, files.ca);
  const credentials = await TlsCredentials.open(files);
  const { state, fake } = makeState(1000, `node-${number}`);
  let others = [1, 2, 3];
  const peers = new Peers({
    credentials,
    get port() {
      return port;
    },
    others: () =>
      others
        .filter((one) => one !== number)
        .map((one) => ({
          node: `node-${one}`,
          host: `127.0.0.${one}`,
          serverName: `node-${one}.default.hubble-grpc.cilium.io`,
        })),
  });
  const app = await createApi({
    state,
    metrics: createMetrics(state),
    peers,
    guarded: { credentials, judge, admitAgainMs: AGAIN_MS },
  });
  await listen(app, { kind: 'tcp', host, port });
  port = (app.server.address() as AddressInfo).port;
  return {
    number,
    host,
    app,
    files,
    credentials,
    fake,
    /** Events at a time of this node's own choosing come in the order they are given in. */
    see: (...records: Uint8Array[]) => fake.history.listener(r.batch(...records), records.length, 0),
    only: (...numbers: number[]) => {
      others = numbers;
    },
    async stop() {
      await app.close();
      peers.close();
      credentials.close();
    },
  };
}

interface Question {
  readonly pair?: KeyPair;
  readonly token?: string;
  readonly accept?: string;
}

function ask(
  node: Node,
  path: string,
  { pair, token, accept }: Question = {},
): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    void (async () => {
      const client = pair && { cert: await readFile(pair.certificate), key: await readFile(pair.key) };
      const headers = { ...(token && { authorization: `Bearer ${token}` }), ...(accept && { accept }) };
      const servername = `node-${node.number}.default.hubble-grpc.cilium.io`;
      const sent = request(
        {
          host: node.host,
          port,
          path,
          ca: await readFile(ca.certificate),
          servername,
          headers,
          ...client,
          agent: false,
        },
        (answer) => {
          let body = '';
          answer.setEncoding('utf8').on('data', (chunk: string) => {
            body += chunk;
          });
          answer.on('end', () => resolve({ status: answer.statusCode ?? 0, body }));
        },
      );
      sent.on('error', reject);
      sent.end();
    })().catch(reject);
  });
}

async function answer<T>(node: Node, path: string): Promise<T> {
  const { status, body } = await ask(node, path, { pair: server });
  assert.is(status, 200, body);
  return JSON.parse(body) as T;
}

test.before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'wt-api-cluster-'));
  ca = await CertificateAuthority.make(folder, 'ca');
  const other = await CertificateAuthority.make(folder, 'other');
  server = await ca.issue('server', SERVER_NAME);
  stranger = await other.issue('stranger', SERVER_NAME);
  for (const number of [1, 2, 3]) nodes.push(await startNode(number));
});
test.after(async () => {
  await Promise.all(nodes.map((node) => node.stop()));
  await rm(folder, { recursive: true, force: true });
});
const first = () => nodes[0] as Node;

const WHO: [who: string, question: () => Question, path: string, status: number, words: RegExp][] = [
  ['nobody', () => ({}), '/v1/flows', 401, /expected a client certificate.*or .*Bearer TOKEN/],
  ['nobody, not even health', () => ({}), '/healthz', 401, /UNAUTHENTICATED/],
  ['a certificate of this cluster', () => ({ pair: server }), '/v1/flows', 200, /"flows"/],
  ["a stranger's certificate", () => ({ pair: stranger }), '/v1/flows', 401, /UNAUTHENTICATED/],
  ['a token that may', () => ({ token: 'known' }), '/v1/flows', 200, /"flows"/],
  ['a token that may not', () => ({ token: 'known' }), '/v1/status', 403, /may not get \/v1\/status/],
  ['a token nobody knows', () => ({ token: 'guess' }), '/v1/flows', 401, /does not know this token/],
  ['a token, the API server away', () => ({ token: 'api-away' }), '/v1/flows', 503, /API_UNREACHABLE/],
  ['a token of a forbidden form', () => ({ token: 'a b' }), '/v1/flows', 401, /Bearer TOKEN/],
];
for (const [who, question, path, status, words] of WHO) {
  test(`${who}: ${path} is ${status}`, async () => {
    const got = await ask(first(), path, question());
    assert.is(got.status, status, got.body);
    assert.match(got.body, words);
  });
}

/** One connection, kept, with the certificate; `ask` resolves with a status, or 'closed'. */
async function keptConnection(node: Node, pair: KeyPair, session?: Buffer) {
  const socket = connectTls({
    host: node.host,
    port,
    ca: await readFile(ca.certificate),
    servername: `node-${node.number}.default.hubble-grpc.cilium.io`,
    cert: await readFile(pair.certificate),
    key: await readFile(pair.key),
    ...(session && { session }),
  });
  let got = '';
  let last: Buffer | undefined;
  socket.on('error', () => {});
  socket.on('session', (ticket: Buffer) => {
    last = ticket;
  });
  socket.setEncoding('utf8').on('data', (text: string) => {
    got += text;
  });
  await new Promise((resolve) => socket.once('secureConnect', resolve).once('close', resolve));
  return {
    socket,
    session: () => last,
    async ask(path: string): Promise<string> {
      got = '';
      socket.write(`GET ${path} HTTP/1.1\r\nhost: x\r\n\r\n`);
      return until(() => (socket.destroyed ? 'closed' : /^HTTP\/1.1 ([0-9]+) .*\r\n\r\n./s.exec(got)?.[1]), {
        what: 'an answer',
      });
    },
  };
}

test('an authority that is trusted no more: neither kept connections nor resumed sessions of its holders go on', async () => {
  const node = await startNode(4);
  const old = await ca.issue('old-client', SERVER_NAME);
  const kept = await keptConnection(node, old);
  try {
    assert.is(await kept.ask('/v1/flows'), '200');
    const session = await until(() => kept.session(), { what: 'a session to resume' });
    const next = await CertificateAuthority.make(folder, 'next');
    await copyFile(next.certificate, node.files.ca);
    await node.credentials.readAgain();
    assert.is(await kept.ask('/v1/flows'), 'closed');
    const resumed = await keptConnection(node, old, session);
    assert.is(await resumed.ask('/v1/flows'), '401');
    resumed.socket.destroy();
  } finally {
    kept.socket.destroy();
    await node.stop();
  }
});

test('a token that is revoked ends the stream it opened', async () => {
  const node = await startNode(5);
  void ask(node, '/v1/flows?follow=true', { token: 'known' }).catch(() => {}); // it will be cut off
  await until(() => node.fake.history.stats().followers === 1, { what: 'the stream' });
  await new Promise((resolve) => setTimeout(resolve, 5 * AGAIN_MS));
  assert.is(node.fake.history.stats().followers, 1, 'a token that may goes on');
  revoked.add('known');
  try {
    await until(() => node.fake.history.stats().followers === 0, { what: 'the stream to end' });
  } finally {
    revoked.clear();
    await node.stop();
  }
});

test('pages of all nodes in order of time', async () => {
  for (const port of [1, 2, 3, 4, 5, 6])
    nodes[port % 3]?.see(r.event({ destinationPort: port, time: BigInt(port) * 1_000_000n }));
  const page = await answer<FlowsAnswer>(
    first(),
    '/v1/flows?scope=cluster&to_port=1&to_port=2&to_port=3&to_port=4&to_port=5&to_port=6',
  );
  const ports = (of: FlowsAnswer) => of.flows.map(({ l4 }) => l4?.TCP?.destination_port);
  assert.equal(ports(page), [1, 2, 3, 4, 5, 6]);
  assert.equal([...new Set(page.flows.map(({ node_name }) => node_name))].sort(), ['node-1', 'node-2', 'node-3']);
  assert.equal(page.unreachable, []);
  const newest = await answer<FlowsAnswer>(first(), '/v1/flows?scope=cluster&last=2');
  assert.equal(ports(newest), [5, 6]);
  const oldest = await answer<FlowsAnswer>(first(), '/v1/flows?scope=cluster&first=2');
  assert.equal([ports(oldest), oldest.more], [[1, 2], true]);
});

test('a wrong question is wrong on every node, and a cursor is of one node', async () => {
  assert.is((await ask(first(), '/v1/flows?scope=cluster&podd=x', { pair: server })).status, 400);
  const { cursor } = await answer<FlowsAnswer>(first(), '/v1/flows');
  const { status, body } = await ask(first(), `/v1/flows?scope=cluster&cursor=${cursor}`, { pair: server });
  assert.is(status, 400);
  assert.match(body, /cursor is of one node/);
});

test('a connection seen by two nodes is summed once; drops where they happened', async () => {
  const [one, two] = nodes as [Node, Node, Node];
  const before = await answer<StatsAnswer>(one, '/v1/flows/stats?scope=cluster&to_port=7777');
  assert.equal(before.pairs, []);
  const totals = {
    created: 77n,
    packets: [4n, 6n] as [bigint, bigint],
    bytes: [400n, 600n] as [bigint, bigint],
    destinationPort: 7777,
  };
  for (const [node, party, name] of [
    [one, r.BACKEND, 'backend-xyz'],
    [two, r.FRONTEND, 'frontend-abc'],
  ] as const) {
    node.fake.addresses.set(party.ip, r.podName(name, party));
    node.fake.changed();
  }
  // node 1 has the initiator, node 2 the responder: each sees all of it
  one.see(
    r.event({ created: 77n, destinationPort: 7777, endpoint: [1, 0] }),
    r.event({ ...totals, type: EventType.EVENT_END, endpoint: [1, 0] }),
  );
  two.see(
    r.event({ created: 78n, destinationPort: 7777, endpoint: [0, 2] }),
    r.event({ ...totals, created: 78n, type: EventType.EVENT_END, endpoint: [0, 2] }),
    r.drop({ destinationPort: 7777, endpoint: [0, 2] }),
  );
  const { pairs, drops, talkers } = await answer<StatsAnswer>(one, '/v1/flows/stats?scope=cluster&to_port=7777');
  assert.is(pairs.length, 1);
  const [pair] = pairs;
  assert.equal([pair?.connections, pair?.packets, pair?.bytes, pair?.drops], [1, 10, 1000, 1]);
  assert.equal(
    drops.map((drop) => [drop.reason, drop.drops, drop.isolatedBy]),
    [['policy_denied', 1, ['CiliumNetworkPolicy default/backend-policy']]],
  );
  assert.is(talkers.length, 2);
  const map = await answer<ServiceMapAnswer>(two, '/v1/service-map?to_port=7777');
  assert.equal(
    map.edges.map(({ from, to, connections, bytes }) => [from, to, connections, bytes]),
    [['default/frontend-abc', 'default/backend-xyz', 1, 1000]],
    'asked alone, the node of the responder tells it too',
  );
});

test('a reply counts for the same pair, a window that opens in the middle only for its own part', async () => {
  const [one] = nodes as [Node, Node, Node];
  const reply = {
    flags: EventFlags.EVENT_IS_REPLY,
    from: r.BACKEND,
    to: r.FRONTEND,
    sourcePort: 8888,
    destinationPort: 40000,
  };
  const totals = (bytes: bigint) => ({
    created: 99n,
    packets: [bytes / 10n, 0n] as [bigint, bigint],
    bytes: [bytes, 0n] as [bigint, bigint],
  });
  one.see(
    r.event({
      ...totals(1000n),
      type: EventType.EVENT_UPDATE,
      destinationPort: 8888,
      direction: Direction.DIRECTION_INGRESS,
    }),
    r.event({ ...totals(1500n), ...reply, type: EventType.EVENT_UPDATE }),
  );
  const { pairs } = await answer<StatsAnswer>(one, '/v1/flows/stats?port=8888');
  assert.equal(
    pairs.map(({ connections, bytes, port }) => [connections, bytes, port]),
    [[0, 500, 8888]],
  );
});

test('server-sent events, and going on where a browser was', async () => {
  const [one] = nodes as [Node, Node, Node];
  const controller = new AbortController();
  let text = '';
  const headers = { accept: 'text/event-stream' };
  const client = { cert: await readFile(server.certificate), key: await readFile(server.key) };
  const base = {
    host: one.host,
    port,
    ca: await readFile(ca.certificate),
    servername: 'node-1.default.hubble-grpc.cilium.io',
    ...client,
  };
  const open = (more: Record<string, string>, signal: AbortSignal) =>
    new Promise<string>((resolve, reject) => {
      const sent = request({
        ...base,
        path: '/v1/flows?follow=true&last=1',
        headers: { ...headers, ...more },
        signal,
        agent: false,
      });
      sent.on('response', (got) => {
        got.setEncoding('utf8').on('data', (chunk: string) => {
          text += chunk;
        });
        got.on('error', () => {});
        resolve(String(got.headers['content-type']));
      });
      sent.on('error', (error) => (signal.aborted ? undefined : reject(error)));
      sent.end();
    });
  assert.match(await open({}, controller.signal), 'text/event-stream');
  const id = await until(() => /^id: (\S+)\ndata: \{"flow"/m.exec(text)?.[1], { what: 'an event with an id' });
  controller.abort();
  text = '';
  one.see(r.event({ destinationPort: 4242 }));
  const again = new AbortController();
  await open({ 'last-event-id': id }, again.signal);
  await until(() => text.includes('4242'), { what: 'the event that came meanwhile' });
  assert.is(text.match(/^data:/gm)?.length, 1, text);
  again.abort();
});

test('a stream of all nodes: one order, a node that goes is named and comes back without a gap', async () => {
  const [one, , three] = nodes as [Node, Node, Node];
  const client = { cert: await readFile(server.certificate), key: await readFile(server.key) };
  const stop = new AbortController();
  const lines: FlowLine[] = [];
  let rest = '';
  const sent = request({
    host: one.host,
    port,
    path: '/v1/flows?follow=true&scope=cluster&from_port=40123',
    ca: await readFile(ca.certificate),
    servername: 'node-1.default.hubble-grpc.cilium.io',
    ...client,
    signal: stop.signal,
    agent: false,
  });
  sent.on('error', () => {});
  sent.on('response', (got) => {
    got.on('error', () => {});
    got.setEncoding('utf8').on('data', (chunk: string) => {
      const parts = (rest + chunk).split('\n');
      rest = parts.pop() ?? '';
      lines.push(...parts.map((line) => JSON.parse(line) as FlowLine));
    });
  });
  sent.end();
  const ports = () => lines.flatMap(({ flow }) => flow?.l4?.TCP?.destination_port ?? []);
  const states = () =>
    lines.flatMap(({ node_status: status }) => (status ? [`${status.state_change} ${status.node_names}`] : []));
  try {
    await until(() => nodes.slice(1).every(({ fake }) => fake.history.stats().followers > 0), {
      what: 'peers to be followed',
    });
    for (const [i, node] of nodes.entries()) node.see(r.event({ sourcePort: 40123, destinationPort: 1000 + i }));
    await until(() => ports().length === 3, { what: 'flows of three nodes', detail: () => JSON.stringify(states()) });
    const at = port;
    await three.app.close();
    await until(() => states().includes('NODE_UNAVAILABLE node-3'), { what: 'the node to be named' });
    const again = await startNode(3);
    assert.is(port, at);
    nodes[2] = again;
    again.see(r.event({ sourcePort: 40123, destinationPort: 2000 }));
    await until(() => ports().includes(2000), { what: 'a flow of the node that came back' });
    assert.equal(
      ports()
        .filter((one) => one < 2000)
        .sort(),
      [1000, 1001, 1002],
    );
  } finally {
    stop.abort();
  }
});

test('nodes that do not answer are named, the others are there', async () => {
  const [one, two] = nodes as [Node, Node, Node];
  await two.stop();
  one.only(1, 2, 3);
  const page = await answer<FlowsAnswer>(one, '/v1/flows?scope=cluster&last=1000');
  assert.equal(
    page.unreachable?.map(({ node }) => node),
    ['node-2'],
  );
  assert.match(page.unreachable?.[0]?.why ?? '', /ECONNREFUSED/);
  assert.ok(page.flows.some(({ node_name }) => node_name === 'node-3'));
  nodes.splice(1, 1);
});

test.run();
