/** The Hubble API as a client sees it: gRPC over a unix socket. */
import { mkdtemp, rename, rm, stat, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { status } from '@grpc/grpc-js';
import * as assert from 'uvu/assert';
import { STREAMS_MAX, UNARY_AT_ONCE } from '../../agent/api/hubble/calls.ts';
import { STRUCT } from '../../agent/api/hubble/messages.ts';
import { serverStatus } from '../../agent/api/hubble/observer.ts';
import type { HubbleServer } from '../../agent/api/hubble/server.ts';
import type { FlowHistory } from '../../agent/flow/history.ts';
import { HubbleClient } from '../kit/hubble-grpc.ts';
import { suite } from '../kit/suite.ts';
import { until } from '../kit/until.ts';
import {
  BACKEND,
  BACKEND_POLICY,
  batch,
  drop,
  event,
  FRONTEND,
  makeHistory,
  numbered,
  REMOTE,
} from './flow-records.ts';
import { hubbleAlone } from './hubble-alone.ts';

const STARTED = Date.now() - 10_000;
const TELLER = { node: 'node-1', run: '0'.repeat(18), cluster: 'default', version: '1' };

/** A server over a fresh history, and a client. */
class Rig implements AsyncDisposable {
  readonly folder: string;
  readonly server: HubbleServer;
  readonly history: FlowHistory;
  readonly ring: { lost: number };
  readonly client: HubbleClient;

  private constructor(folder: string, server: HubbleServer, history: FlowHistory, ring: { lost: number }) {
    this.folder = folder;
    this.server = server;
    this.history = history;
    this.ring = ring;
    this.client = new HubbleClient(server.at[0] as string);
  }

  static async start(records = 1000): Promise<Rig> {
    const { history, ring } = makeHistory(records);
    const folder = await mkdtemp(join(tmpdir(), 'wt-hubble-'));
    return new Rig(folder, await serve(history, join(folder, 'hubble.sock')), history, ring);
  }

  add(...records: Uint8Array[]): void {
    this.history.listener(batch(...records), records.length, 0);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.client.close();
    await this.server.close();
    await rm(this.folder, { recursive: true, force: true });
  }
}

function serve(history: FlowHistory, socket: string): Promise<HubbleServer> {
  return hubbleAlone({
    flows: history,
    version: '1.2.3',
    startedAt: STARTED,
    socket,
    nodeLabels: () => ({ zone: 'a' }),
  });
}

/** google.protobuf.Struct as protobufjs reads it: `kind` names the field that was sent. */
interface Struct {
  readonly fields: Readonly<Record<string, StructValue>>;
}
interface StructValue {
  readonly kind: 'stringValue' | 'numberValue' | 'boolValue' | 'structValue' | 'listValue';
  readonly [kind: string]: unknown;
}
function fromStruct({ fields }: Struct): object {
  return Object.fromEntries(Object.entries(fields).map(([name, value]) => [name, fromValue(value)]));
}
function fromValue(value: StructValue): unknown {
  const sent = value[value.kind];
  if (value.kind === 'structValue') return fromStruct(sent as Struct);
  return value.kind === 'listValue' ? (sent as { values: StructValue[] }).values.map(fromValue) : sent;
}

/** Ports tell which flow it is. */
const ports = (lines: readonly { flow?: { l4?: { TCP?: { destination_port?: number } } } }[]) =>
  lines.map(({ flow }) => flow?.l4?.TCP?.destination_port);

const flows = suite('hubble: GetFlows');

flows('a flow has every field that Weir knows', async () => {
  await using rig = await Rig.start();
  rig.add(event({ rule: [1001, 0] }));
  const [line] = await rig.client.flows({ number: 1 });
  const { time, uuid, ...flow } = line?.flow ?? {};
  assert.equal(line?.time, time);
  assert.ok(Math.abs((time?.seconds ?? 0) * 1000 - Date.now()) < 5000);
  assert.match(uuid ?? '', /^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-a[0-9a-f]{3}-000000000001$/);
  assert.is(line?.node_name, 'node-1');
  const labels = (app: string) => [`k8s:app=${app}`, 'k8s:io.kubernetes.pod.namespace=default'];
  assert.equal(flow, {
    emitter: { name: 'weir', version: '1.2.3' },
    verdict: 1,
    IP: { source: FRONTEND.ip, destination: BACKEND.ip, ipVersion: 1 },
    l4: { TCP: { source_port: 40000, destination_port: 8080, flags: { SYN: true } } },
    source: {
      ID: FRONTEND.id,
      identity: FRONTEND.identity,
      namespace: 'default',
      labels: labels('frontend'),
      pod_name: 'frontend-abc',
      workloads: [{ name: 'frontend-abc', kind: 'Deployment' }],
      cluster_name: 'default',
    },
    destination: {
      ID: BACKEND.id,
      identity: BACKEND.identity,
      namespace: 'default',
      labels: labels('backend'),
      pod_name: 'backend-xyz',
      workloads: [{ name: 'backend-xyz', kind: 'Deployment' }],
      cluster_name: 'default',
    },
    Type: 1,
    node_name: 'node-1',
    event_type: { type: 4 },
    traffic_direction: 1,
    policy_match_type: 2,
    trace_observation_point: 101,
    trace_reason: 1,
    is_reply: {},
    Summary: 'TCP Flags: SYN',
    ingress_allowed_by: [{ name: 'backend-policy', namespace: 'default', kind: 'CiliumNetworkPolicy', revision: 7 }],
  });
});

flows('who asks for it by name gets the labels of the node, and what Hubble has no field for', async () => {
  await using rig = await Rig.start();
  rig.add(event({ rule: [1001, 0] }));
  const [line] = await rig.client.flows({ number: 1, field_mask: { paths: ['node_labels', 'extensions'] } });
  const { node_labels, extensions, ...rest } = line?.flow ?? {};
  assert.equal(rest, {});
  assert.equal(node_labels, ['zone=a']);
  const { type_url, value } = extensions as { type_url: string; value: Uint8Array };
  assert.is(type_url, 'type.googleapis.com/google.protobuf.Struct');
  const { weir } = (await rig.history.page({ wanted: () => true, order: 'newest', count: 1, cursor: undefined }))
    .flows[0] as { weir: object };
  assert.equal(fromStruct(STRUCT.decode(value) as unknown as Struct), JSON.parse(JSON.stringify(weir)));
});

flows('a drop has its reason as number, twice, and who denied', async () => {
  await using rig = await Rig.start();
  rig.add(drop({ from: REMOTE, reason: 2, rule: [1002, 0], policy: [BACKEND_POLICY, 0] }));
  const [line] = await rig.client.flows({ number: 1 });
  const flow = line?.flow;
  assert.is(flow?.verdict, 2);
  assert.equal(flow?.event_type, { type: 1, sub_type: 181 });
  assert.is(flow?.drop_reason, 181);
  assert.is(flow?.drop_reason_desc, 181);
  assert.is(flow?.trace_observation_point, undefined);
  assert.is(flow?.trace_reason, undefined);
  assert.is(flow?.ingress_denied_by?.[0]?.name, 'backend-policy');
  assert.is(flow?.ingress_allowed_by, undefined);
});

flows('a mask leaves what it names, and nothing else', async () => {
  await using rig = await Rig.start();
  rig.add(event());
  const paths = [
    'verdict',
    'source.pod_name',
    'l4.TCP.destination_port',
    'is_reply',
    'ethernet',
    'l7.dns',
    'policy_log',
  ];
  const [line] = await rig.client.flows({ number: 1, field_mask: { paths } });
  assert.equal(line?.flow, {
    verdict: 1,
    source: { pod_name: 'frontend-abc' },
    l4: { TCP: { destination_port: 8080 } },
    is_reply: {},
  });
  assert.is(line?.node_name, 'node-1');
  assert.ok(line?.time?.seconds);
});

flows('last, first, since, until, everything', async () => {
  await using rig = await Rig.start();
  rig.history.listener(numbered(10), 10, 0);
  const all = await rig.client.flows({});
  assert.equal(ports(all), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
  assert.equal(ports(await rig.client.flows({ number: 3 })), [8, 9, 10]);
  assert.equal(ports(await rig.client.flows({ number: 3, first: true })), [1, 2, 3]);
  assert.equal(ports(await rig.client.flows({ number: 100 })).length, 10);
  const even = [{ destination_port: ['2', '4', '6', '8', '10'] }];
  assert.equal(ports(await rig.client.flows({ number: 3, whitelist: even })), [6, 8, 10]);
  assert.equal(ports(await rig.client.flows({ number: 3, first: true, blacklist: even })), [1, 3, 5]);
  // the very times that it told, whichever way they were rounded
  for (const [i, { time }] of all.entries()) {
    assert.is(ports(await rig.client.flows({ since: time }))[0], i + 1);
    assert.is(ports(await rig.client.flows({ until: time })).at(-1), i + 1);
  }
  const [since, to] = [all[3]?.time, all[6]?.time];
  assert.equal(ports(await rig.client.flows({ since, until: to })), [4, 5, 6, 7]);
  assert.equal(ports(await rig.client.flows({ number: 2, since })), [4, 5]);
  assert.equal(ports(await rig.client.flows({ number: 2, until: to })), [6, 7]);
  assert.equal(await rig.client.flows({ since: { seconds: Math.floor(Date.now() / 1000) + 60 } }), []);
});

flows('a stream that ends with now ends with what there was when it began', async () => {
  const { history } = makeHistory(1000);
  history.listener(numbered(200), 200, 0);
  const query = { wanted: () => true, order: 'oldest', count: 0, cursor: undefined } as const;
  const seen: number[] = [];
  const telling = { flow: (flow: { readonly sequence: number }) => flow.sequence, lost: () => -1 };
  for await (const batch of history.stream(query, telling, 'now', new AbortController().signal)) {
    seen.push(...batch);
    history.listener(numbered(1), 1, 0);
  }
  assert.equal(
    seen,
    Array.from({ length: 200 }, (_, i) => i + 1),
  );
});

flows('follow begins with the newest that were asked for and goes on', async () => {
  await using rig = await Rig.start();
  rig.history.listener(numbered(5), 5, 0);
  const stream = rig.client.follow({ number: 2 });
  await stream.has(2);
  rig.history.listener(numbered(2, 100), 2, 0);
  await stream.has(4);
  assert.equal(ports(stream.lines), [4, 5, 100, 101]);
  stream.cancel();
  await until(() => rig.history.stats().followers === 0, { what: 'the stream to be gone' });
});

flows('follow until a moment ends then', async () => {
  await using rig = await Rig.start();
  const end = Date.now() + 1500;
  const stream = rig.client.follow({ until: { seconds: Math.floor(end / 1000), nanos: (end % 1000) * 1e6 } });
  await until(() => rig.history.stats().followers === 1, { what: 'the stream to begin' });
  rig.add(event());
  await stream.ended;
  assert.is(stream.lines.length, 1);
  assert.ok(Date.now() >= end);
});

flows(
  'what was lost before the history is told where it is missing, whatever the filter, and does not count',
  async () => {
    await using rig = await Rig.start();
    rig.history.listener(numbered(1), 1, 0);
    rig.ring.lost += 7;
    await rig.client.flows({ number: 1 }); // whoever asks makes it look
    rig.history.listener(numbered(2, 2), 2, 5);
    const lines = await rig.client.flows({ whitelist: [{ source_port: ['40000'] }] });
    assert.equal(
      lines.map(({ lost_events }) => lost_events).filter((lost) => lost !== undefined),
      [
        { source: 1, num_events_lost: 7 },
        { source: 2, num_events_lost: 5 },
      ],
    );
    const first = await rig.client.flows({ number: 2, first: true });
    assert.equal(ports(first.filter(({ flow }) => flow)), [1, 2]);
  },
);

flows('a reader that does not read loses its own flows, and is told how many; another one loses none', async () => {
  await using rig = await Rig.start(2000);
  const rounds = 60;
  const perRound = 1000;
  const [slow, quick] = [rig.client.follow({}), rig.client.follow({})];
  await until(() => rig.history.stats().followers === 2, { what: 'both streams to begin' });
  slow.pause();
  for (let round = 0; round < rounds; round++) {
    rig.history.listener(numbered(perRound), perRound, 0);
    await quick.has((round + 1) * perRound);
  }
  slow.resume();
  const sum = () =>
    slow.lines.reduce((all, { flow, lost_events }) => all + (flow ? 1 : (lost_events?.num_events_lost ?? 0)), 0);
  await until(() => sum() >= rounds * perRound, { what: 'the slow reader to have all or know what is missing' });
  assert.is(sum(), rounds * perRound);
  assert.ok(slow.lines.some(({ lost_events }) => lost_events?.source === 3));
  assert.ok(quick.lines.every(({ flow }) => flow !== undefined));
  assert.is(rig.history.losses().subscriber, rounds * perRound - slow.lines.filter(({ flow }) => flow).length);
});

flows('followers of the same fields get the same, those of others theirs', async () => {
  await using rig = await Rig.start();
  const masked = { field_mask: { paths: ['verdict'] } };
  const streams = [rig.client.follow({}), rig.client.follow({}), rig.client.follow(masked)];
  await until(() => rig.history.stats().followers === 3, { what: 'the streams to begin' });
  rig.add(event(), drop());
  for (const stream of streams) await stream.has(2);
  const [one, same, other] = streams.map((stream) => stream.lines.map(({ flow }) => flow));
  assert.equal(one, same);
  assert.equal(other, [{ verdict: 1 }, { verdict: 2 }]);
});

flows(`no more than ${STREAMS_MAX} streams; when one goes there is room again`, async () => {
  await using rig = await Rig.start();
  const streams = Array.from({ length: STREAMS_MAX }, () => rig.client.follow({}));
  await until(() => rig.history.stats().followers === STREAMS_MAX, { what: 'all streams to begin' });
  assert.is(
    await rig.client.refusalOf('GetFlows', {}),
    `${status.RESOURCE_EXHAUSTED} 32 streams are open already, no more are served`,
  );
  streams[0]?.cancel();
  await until(() => rig.history.stats().followers === STREAMS_MAX - 1, { what: 'a stream to be gone' });
  assert.equal(await rig.client.flows({}), []);
});

flows('what is wrong is refused before anything is sent', async () => {
  await using rig = await Rig.start();
  rig.add(event());
  for (const [request, said] of [
    [{ first: true, follow: true }, `${status.INVALID_ARGUMENT} first and follow cannot be used together`],
    [{ whitelist: [{ source_port: ['x'] }] }, `${status.INVALID_ARGUMENT} whitelist[0].source_port: expected a port`],
    [{ whitelist: [{ http_url: ['x'] }] }, `${status.UNIMPLEMENTED} whitelist[0].http_url is not served`],
    [{ field_mask: { paths: ['nothing'] } }, `${status.INVALID_ARGUMENT} field_mask: "nothing": expected one of`],
    [{ whitelist: [{ source_fqdn: ['x'.repeat(300_000)] }] }, `${status.RESOURCE_EXHAUSTED} `],
  ] as const) {
    const refusal = await rig.client.refusalOf('GetFlows', request);
    assert.ok(refusal.startsWith(said), refusal);
  }
  assert.is(rig.history.stats().followers, 0);
});

flows.run();

const others = suite('hubble: the other calls');

others('ServerStatus', async () => {
  await using rig = await Rig.start(100);
  rig.history.listener(numbered(120), 120, 0);
  const { uptime_ns, ...rest } = await rig.client.call('ServerStatus', {});
  delete (rest as { flows_rate?: number }).flows_rate;
  assert.equal(rest, { num_flows: 100, max_flows: 100, seen_flows: 120, version: 'weir v1.2.3' });
  assert.ok(Number(uptime_ns) >= 10e9 && Number(uptime_ns) < 60e9, `${uptime_ns}`);
});

others(
  'flows per second: of the last minute, of the time since the start, or of the time that memory reaches back',
  async () => {
    const rate = async (records: number, startedAt: number) => {
      const { history } = makeHistory(100);
      for (let left = records; left > 0; left -= 60) history.listener(numbered(60), 60, 0);
      const { flows_rate } = (await serverStatus({ history, teller: TELLER, startedAt })) as { flows_rate: number };
      return flows_rate;
    };
    assert.is(await rate(60, Date.now() - 3_600_000), 1);
    assert.is(Math.round(await rate(60, Date.now() - 10_000)), 6);
    // 3000 came within moments, of which 100 are left: nobody knows of the minute before
    const fast = await rate(3000, Date.now() - 3_600_000);
    assert.ok(fast > 2 && fast <= 100, `${fast}`);
  },
);

others('GetNamespaces: those seen, sorted', async () => {
  await using rig = await Rig.start();
  assert.equal(await rig.client.call('GetNamespaces', {}), {});
  rig.add(event(), event({ to: { id: 3, identity: 302, ip: '10.1.0.3', ip6: 'fd00::3' } }));
  assert.equal(await rig.client.call('GetNamespaces', {}), {
    namespaces: [
      { cluster: 'default', namespace: 'database' },
      { cluster: 'default', namespace: 'default' },
    ],
  });
});

others('what an agent does not answer is UNIMPLEMENTED by name', async () => {
  await using rig = await Rig.start();
  for (const call of ['GetNodes', 'GetDebugEvents']) {
    assert.ok((await rig.client.refusalOf(call, {})).startsWith(`${status.UNIMPLEMENTED} ${call} is not served: `));
  }
});

others('health: Hubble, the service and the server serve; anything else is unknown', async () => {
  await using rig = await Rig.start();
  for (const service of ['hubble.server.Observer', 'observer.Observer', '']) {
    assert.equal(await rig.client.call('Check', { service }), { status: 1 });
  }
  assert.is(await rig.client.refusalOf('Check', { service: 'x' }), `${status.NOT_FOUND} unknown service "x"`);
  const watch = rig.client.stream('Watch', { service: 'hubble.server.Observer' });
  const unknown = rig.client.stream('Watch', { service: 'x' });
  await watch.has(1);
  await unknown.has(1);
  assert.equal([watch.lines, unknown.lines], [[{ status: 1 }], [{ status: 3 }]]);
});

others('a flood of calls that look at everything is worked on a few at a time; each is answered', async () => {
  await using rig = await Rig.start(20_000);
  rig.history.listener(numbered(20_000), 20_000, 0);
  const each = rig.history.each.bind(rig.history);
  let now = 0;
  let most = 0;
  rig.history.each = async (...args: Parameters<typeof each>) => {
    most = Math.max(most, ++now);
    try {
      return await each(...args);
    } finally {
      now--;
    }
  };
  const answers = await Promise.all(Array.from({ length: 60 }, () => rig.client.call('GetNamespaces', {})));
  assert.ok(answers.every((one) => (one.namespaces as unknown[]).length === 1));
  assert.ok(most <= UNARY_AT_ONCE, `${most} at once`);
});

others.run();

const life = suite('hubble: the socket');

life('only root reaches it; a stop ends the streams in a word and leaves nothing', async () => {
  const rig = await Rig.start();
  const socket = join(rig.folder, 'hubble.sock');
  assert.is((await stat(socket)).mode & 0o777, 0o600);
  const stream = rig.client.follow({});
  await until(() => rig.history.stats().followers === 1, { what: 'the stream to begin' });
  await rig.server.close();
  assert.match(await stream.ended, /^14 the agent stops/);
  assert.is(rig.history.stats().followers, 0);
  await rig[Symbol.asyncDispose]();
});

life('a socket that nobody answers on is replaced; one that answers, and a file, are left alone', async () => {
  await using rig = await Rig.start();
  const socket = join(rig.folder, 'hubble.sock');
  const code = (promise: Promise<unknown>) =>
    promise.then(
      () => 'ok',
      (error: { code?: string }) => error.code,
    );
  assert.is(await code(serve(rig.history, socket)), 'ALREADY_RUNNING');
  const file = join(rig.folder, 'file');
  await writeFile(file, '');
  assert.is(await code(serve(rig.history, file)), 'CONFIG_INVALID');

  const stale = join(rig.folder, 'stale.sock');
  const dead = createServer().listen(stale);
  await new Promise((resolve) => dead.once('listening', resolve));
  await rename(stale, `${stale}.kept`); // Node removes the name it knows when it closes
  await new Promise((resolve) => dead.close(resolve));
  await rename(`${stale}.kept`, stale);
  const second = await serve(rig.history, stale);
  assert.equal(second.at, [`unix:${stale}`]);
  await second.close();
});

life.run();
