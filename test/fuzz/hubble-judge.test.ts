/**
 * The stock client as judge: `hubble observe --input-file` holds Hubble's own filters against flows that this agent told, and
 * must find those that the agent finds by itself. So a filter and the field that it is about say the same, as Hubble means it.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { FLOW_QUERY_SCHEMA, readFlowQuery } from '../../agent/api/flow-query.ts';
import type { HubbleTeller } from '../../agent/api/hubble/flow-message.ts';
import type { HubbleServer } from '../../agent/api/hubble/server.ts';
import { FlagValues } from '../../agent/cli/command.ts';
import { FILTER_FLAGS, filterQuery } from '../../agent/cli/observe/filters.ts';
import { DropReason, EndpointLimits, EventFlags, EventType } from '../../agent/datapath/layout.gen.ts';
import { flowEvent } from '../../agent/export/lines.ts';
import type { StoredFlow } from '../../agent/flow/decode.ts';
import { DROP_REASONS } from '../../agent/flow/drop-reason.ts';
import { IPPROTO } from '../../agent/flow/filter.ts';
import type { FlowHistory } from '../../agent/flow/history.ts';
import { parseFlags } from '../../agent/run/flags.ts';
import { privileged } from '../kit/privileged.ts';
import { random } from '../kit/random.ts';
import { type PrintedFlow, StockHubble } from '../kit/stock-hubble.ts';
import { suite } from '../kit/suite.ts';
import {
  BACKEND,
  batch,
  type EventSpec,
  event,
  FRONTEND,
  makeHistory,
  POSTGRES,
  podName,
  REMOTE,
  WORLD,
} from '../unit/flow-records.ts';
import { hubbleAlone } from '../unit/hubble-alone.ts';

/** Filters made of several fields; more with --long. */
const MIXED = process.env.WEIR_TEST_LONG ? 1000 : 20;
/** Clients that run at once. */
const AT_ONCE = 2;

/** Where nodes are told of with their cluster's name. */
const CLUSTER = 'prod';
const POD_DEVICE = EndpointLimits.ENDPOINT_IFINDEX_BASE + FRONTEND.id;
const REPLY = { from: BACKEND, to: FRONTEND, type: EventType.EVENT_REPLY, flags: EventFlags.EVENT_IS_REPLY } as const;
const THROUGH = { service: '10.96.0.1', servicePort: 80 } as const;
const NO_PORTS = { sourcePort: 0, destinationPort: 0, tcpFlags: 0 } as const;

const FLOWS: readonly EventSpec[] = [
  {},
  { type: EventType.EVENT_UPDATE, tcpFlags: 0x18 },
  { type: EventType.EVENT_END, tcpFlags: 0x11, to: POSTGRES },
  { ...REPLY, tcpFlags: 0x12 },
  { ...THROUGH, ifindex: POD_DEVICE },
  { ...REPLY, ...THROUGH, ifindex: 7 },
  { type: EventType.EVENT_AUDIT, flags: EventFlags.EVENT_AUDIT_WOULD_DENY },
  { to: WORLD, destinationPort: 443, direction: 1, tcpFlags: 0xc2 },
  { from: WORLD, to: BACKEND, version: 6, destinationPort: 443 },
  { from: REMOTE, to: POSTGRES, destinationPort: 5432, flags: EventFlags.EVENT_TO_HOST },
  { protocol: IPPROTO.UDP, version: 6, destinationPort: 53, tcpFlags: 0 },
  { protocol: IPPROTO.SCTP, destinationPort: 0, tcpFlags: 0 },
  { protocol: IPPROTO.ICMP, ...NO_PORTS, icmpType: 8 },
  { protocol: IPPROTO.ICMPV6, ...NO_PORTS, icmpType: 129, version: 6, flags: EventFlags.EVENT_IS_REPLY },
  { protocol: 2, ...NO_PORTS },
  { protocol: 112, ...NO_PORTS },
  { protocol: 47, ...NO_PORTS },
  {
    family: 0,
    protocol: 0,
    ...NO_PORTS,
    type: EventType.EVENT_DROP,
    reason: DropReason.DROP_UNSUPPORTED_L2,
  },
  ...DROP_REASONS.map(({ number }) => ({
    type: EventType.EVENT_DROP,
    reason: number,
    created: 0n,
    rule: [0, 0],
  })),
];

/** All that a filter can look at; some fields are sent only to who names them. */
const FIELDS_LOOKED_AT = [
  ...['time', 'uuid', 'verdict', 'drop_reason_desc', 'IP', 'l4', 'source', 'destination', 'node_name', 'node_labels'],
  ...['event_type', 'source_service', 'destination_service', 'interface', 'traffic_direction', 'is_reply'],
];
const ALL = ['--first', '100000'] as const;

type Filter = Readonly<Record<string, readonly unknown[]>>;

/** Values of each field of FlowFilter; those of a side are tried on both. */
const PLAIN: Filter = {
  verdict: ['FORWARDED', 'DROPPED', 'AUDIT', 'TRACED', 'VERDICT_UNKNOWN'],
  event_type: [
    { type: 1 },
    { type: 4, match_sub_type: true },
    { type: 4, match_sub_type: true, sub_type: 3 },
    { match_sub_type: true },
    { type: 129 },
    {},
  ],
  protocol: ['TCP', 'udp', 'sctp', 'icmp', 'icmpv4', 'ICMPv6', 'vrrp', 'igmp', 'foo', ''],
  reply: [true, false],
  tcp_flags: [{ SYN: true }, { SYN: true, ACK: true }, { ECE: true, CWR: true }, { NS: true }, {}],
  node_name: [
    'node-1',
    'NODE-*',
    'prod/',
    'pr*/n*1',
    '/node-1',
    '/',
    'node-1.',
    ' node-1',
    'node',
    'default/',
    'a/b/c',
    '',
  ],
  node_labels: [
    ...['zone in (a,b),spot', '!zone', 'zone!=a', 'any:zone=a', '', ' ', 'zone,', 'zone in (a b)', 'zone=a>b'],
    ...[
      'rank>6',
      'rank > 7',
      'k8s:rank<8,zone',
      'rank<+9',
      'rank>x',
      'zone>1',
      'nothing<1',
      'rank<9223372036854775807',
    ],
    ...['rank<9223372036854775808', 'rank>', 'rank>>1', '!rank>1', 'rank<08'],
  ],
  ip_version: ['IPv4', 'IPv6', 'IP_NOT_USED'],
  traffic_direction: ['INGRESS', 'EGRESS', 'TRAFFIC_DIRECTION_UNKNOWN'],
  drop_reason_desc: [
    'POLICY_DENIED',
    'INVALID_SOURCE_IP',
    'NO_TUNNEL_OR_ENCAPSULATION_ENDPOINT',
    'DROP_REASON_UNKNOWN',
  ],
  source_ip_xlated: ['10.96.0.1', '10.96.0.77/16', '::/0'],
  interface: [{ name: 'weir1' }, { index: 7 }, { index: 7, name: 'weir1' }, {}],
  encrypted: [true, false],
};
const OF_A_SIDE: Filter = {
  ip: ['10.1.0.1', '10.1.0.77/31', '10.0.0.0/7', 'fd00::/14', '2001:db8::7', '::/0', '10.1.0.256', ''],
  pod: ['default/', 'front', 'default/front', '/front', '/', 'database/postgres-0', 'default/backend-xyzz', ''],
  service: ['web', 'default/', '/w', 'kube-system/web', '/'],
  label: [
    ...[
      'app=frontend',
      'k8s:app',
      '!app',
      'app!=frontend',
      'app in (frontend, backend)',
      'app notin(frontend)',
      '! app',
    ],
    ...['reserved:world-ipv4', 'reserved:host', 'world', ' app = frontend ,any:app', 'app in (frontend', 'app='],
  ],
  port: ['0', '40000', '080', '5432', '65536', ''],
  identity: [FRONTEND.identity, WORLD.identity, 0],
  workload: [{ name: 'frontend-abc' }, { kind: 'Deployment' }, { name: 'frontend-abc', kind: 'Pod' }, {}],
  cluster_name: ['default', 'prod', 'def*', ''],
};
const VALUES: Filter = {
  ...PLAIN,
  ...Object.fromEntries(
    Object.entries(OF_A_SIDE).flatMap(([name, values]) => [
      [`source_${name}`, values],
      // read by the same code: that it looks at its own side
      [`destination_${name}`, values.slice(0, 2)],
    ]),
  ),
};

const test = privileged(suite('hubble: the stock client as judge'), 'hubble');
let folder: string;
let server: HubbleServer;
let hubble: StockHubble;
let history: FlowHistory;
let teller: HubbleTeller;
/** What the agent told of all flows. */
let file: string;

test.before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'wt-hubble-judge-'));
  const { services, endpoints, ...made } = makeHistory(FLOWS.length);
  history = made.history;
  teller = { node: 'node-1', run: history.run, cluster: CLUSTER, version: '1' };
  services.set('10.96.0.1 80 6', { namespace: 'default', name: 'web' });
  endpoints.set(FRONTEND.id, { ...podName('frontend-abc', FRONTEND), interface: 'weir1' });
  history.listener(batch(...FLOWS.map((spec) => event(spec))), FLOWS.length, 0);
  const socket = join(folder, 'hubble.sock');
  server = await hubbleAlone({
    flows: history,
    cluster: CLUSTER,
    socket,
    nodeLabels: () => ({ zone: 'a', spot: '', rank: '7' }),
  });
  hubble = new StockHubble({ server: `unix://${socket}`, home: folder });
  file = join(folder, 'flows.json');
  await writeFile(file, await hubble.say('observe', ...ALL, '-o', 'jsonpb', '--field-mask', FIELDS_LOOKED_AT.join()));
});
test.after(async () => {
  await server?.close();
  if (folder !== undefined) await rm(folder, { recursive: true, force: true });
});

/** Which flows `hubble observe` shows with these flags, or that it was refused. */
async function shown(...flags: readonly string[]): Promise<string> {
  const { code, stdout } = await hubble.run('observe', '-o', 'jsonpb', ...flags);
  if (code !== 0) return 'refused';
  const lines = stdout.split('\n').filter((line) => line !== '');
  return lines
    .map((line) => Number.parseInt((JSON.parse(line) as { flow: PrintedFlow }).flow.uuid.slice(-12), 16))
    .join();
}

async function isJudgedAlike(...flags: readonly string[]): Promise<string | undefined> {
  const [theirs, ours] = [await shown('--input-file', file, ...flags), await shown(...ALL, ...flags)];
  return theirs === ours ? undefined : `${flags.join(' ')}: Hubble finds ${theirs}, the agent ${ours}`;
}

async function areJudgedAlike(all: readonly (readonly string[])[]): Promise<void> {
  const left = [...all];
  const wrong: string[] = [];
  const work = async () => {
    for (let flags = left.pop(); flags !== undefined; flags = left.pop()) {
      const found = await isJudgedAlike(...flags);
      if (found !== undefined) wrong.push(found);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  assert.equal(wrong, []);
}

const allow = (filter: Filter) => ['--allowlist', JSON.stringify(filter)];
const deny = (filter: Filter) => ['--denylist', JSON.stringify(filter)];

for (const [field, values] of Object.entries(VALUES)) {
  test(`${field}: each value alone, and as what is not wanted`, async () => {
    await areJudgedAlike([
      ...values.map((value) => allow({ [field]: [value] })),
      deny({ [field]: values.slice(0, 2) }),
    ]);
  });
}

test('several fields, several filters, and filters of what is not wanted', async () => {
  const { pick, some, many } = random(20_261_123);
  const filter = (): Filter =>
    Object.fromEntries(
      some(Object.keys(VALUES), 1, 3).map((name) => [name, many(1, 2, () => pick(VALUES[name] ?? []))]),
    );
  await areJudgedAlike(
    Array.from({ length: MIXED }, () => [...many(0, 2, filter).flatMap(allow), ...many(0, 1, filter).flatMap(deny)]),
  );
});

/** Filters of both clients, by the same names. */
const FLAGS: readonly string[] = [
  '--pod default/front --port 40000',
  '--pod default/front --port 8080',
  '--pod default/backend --port 8080 --verdict FORWARDED',
  '--pod /front --label app=frontend',
  '--not --pod default/backend --not --port 8080',
  '--not --pod default/front --not --port 8080',
  '--pod default/front --not --port 40000',
  '--pod front --to-port 8080',
  '--from-pod front --label app=backend',
  '-n default --port 8080',
  '-n default --pod front --port 40000',
  '-n default -n database --pod postgres',
  '-n default --service web',
  '-n default --service web --pod backend',
  '--to-namespace database --to-pod postgres',
  '--namespace database --identity 302',
  '--workload Deployment/frontend-abc',
  '--workload Pod/frontend-abc',
  '--workload Deployment/ --to-port 8080',
  '--from-workload Deployment/ --not --workload /frontend-abc',
  '--workload frontend-abc --port 40000 --protocol tcp',
  '--service default/web --port 8080',
  '--to-port 443 --identity world-ipv4',
  '-t trace:to-stack -t drop:133',
  '--type trace:to-endpoint --type policy-verdict',
  '--not --type trace:from-endpoint',
  '--not --type trace:0',
];

test('the same flags of `weir observe` find the same', async () => {
  const wrong: string[] = [];
  const properties = FLOW_QUERY_SCHEMA.properties as Record<string, { readonly items?: { readonly type?: string } }>;
  for (const line of FLAGS) {
    const { values, errors } = parseFlags(line.split(' '), FILTER_FLAGS);
    assert.equal(errors, []);
    const query = Object.entries(filterQuery(new FlagValues(values))).map(([name, given]) => {
      const isNumber = properties[name]?.items?.type === 'integer';
      return [name, [given ?? []].flat().map((value) => (isNumber ? Number(value) : value))];
    });
    const { flows } = await history.page({
      ...readFlowQuery(Object.fromEntries(query), 0),
      order: 'oldest',
      count: 1e5,
    });
    const ours = flows.map(({ uuid }) => Number.parseInt(uuid.slice(-12), 16)).join();
    const theirs = await shown('--input-file', file, ...line.split(' '));
    if (ours !== theirs) wrong.push(`${line}: Hubble finds ${theirs}, weir ${ours}`);
  }
  assert.equal(wrong, []);
});

test('what is exported is what the API tells', async () => {
  const lines: string[] = [];
  const telling = {
    flow: (flow: StoredFlow) => void lines.push(JSON.stringify(flowEvent(flow, teller, undefined))),
    lost() {},
  };
  const query = { wanted: () => true, order: 'oldest', count: Number.POSITIVE_INFINITY, cursor: undefined } as const;
  for await (const _ of history.stream(query, telling, 'now', new AbortController().signal));
  const exported = join(folder, 'exported.json');
  await writeFile(exported, lines.join('\n'));
  const told = (text: string) => text.trim().split('\n');
  const read = await hubble.say('observe', '-o', 'jsonpb', '--input-file', exported);
  const answered = told(await hubble.say('observe', ...ALL, '-o', 'jsonpb'));
  assert.is(told(read).length, answered.length);
  for (const [i, line] of told(read).entries()) assert.is(line, answered[i]);
});

test('the reason of a drop, as a name and as a text', async () => {
  const drops = await hubble.observe(...ALL, '--type', 'drop', '--field-mask', 'drop_reason_desc,uuid,verdict');
  const texts = (await hubble.say('observe', ...ALL, '--type', 'drop')).trim().split('\n');
  const reasons = DROP_REASONS.map(({ hubble: reason }) => reason);
  const told = drops.slice(-reasons.length).map(({ drop_reason_desc }) => drop_reason_desc);
  assert.equal(
    told,
    reasons.map(({ name }) => name),
  );
  for (const [i, { text }] of reasons.entries())
    assert.ok(texts.at(i - reasons.length)?.includes(` ${text} DROPPED `), text);
});

test.run();
