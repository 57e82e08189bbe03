/** The stock `hubble` client against a real agent: what it shows is what was sent. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { type Attempt, TRUTH_TABLE } from '../../demo/truth-table.ts';
import { GUIDE_PORTS, type Guide, startGuide } from '../kit/guide.ts';
import { WORLD } from '../kit/node.ts';
import { privileged } from '../kit/privileged.ts';
import { type PrintedFlow, type PrintedParty, StockHubble } from '../kit/stock-hubble.ts';
import { suite } from '../kit/suite.ts';
import type { Peer } from '../kit/traffic.ts';
import { until } from '../kit/until.ts';

const SILENCE_MS = 250;
/** Everything the history holds. */
const ALL = ['--first', '100000'] as const;

const test = privileged(suite('the stock hubble client'), 'root', 'btf', 'bpffs', 'hubble');
let folder: string;
let guide: Guide;
let world: Peer;
let hubble: StockHubble;
/** Nothing that was sent before is newer; what comes later changes no answer about it. */
let before: readonly string[];

test.before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'wt-hubble-'));
  const socket = join(folder, 'hubble.sock');
  guide = await startGuide('hubble', [`--hubble-socket=${socket}`]);
  hubble = new StockHubble({ server: `unix://${socket}`, home: folder });
  world = await guide.node.bed.peer(guide.node.world);
  await Promise.all(GUIDE_PORTS.map((port) => world.serveTcp(port)));
  for (const attempt of TRUTH_TABLE) for (const family of FAMILIES) await send(attempt, family);
  await until(async () => shows(await hubble.observe(...ALL), TRUTH_TABLE), { what: 'hubble to show every attempt' });
  const end = new Date().toISOString();
  await send(TRUTH_TABLE[0] as Attempt, 'ipv4');
  // The kernel hands events over in order: once a later one is here, all earlier ones are.
  await until(async () => (await hubble.observe('--since', end, '--first', '1')).length > 0, { what: 'a later flow' });
  before = [...ALL, '--until', end];
});
test.after(async () => {
  await guide?.node.close();
  if (folder !== undefined) await rm(folder, { recursive: true, force: true });
});

const FAMILIES = ['ipv4', 'ipv6'] as const;
type Family = (typeof FAMILIES)[number];

function party(name: string): { peer: Peer; ipv4: string; ipv6: string; ping: (to: string) => Promise<boolean> } {
  if (name === 'world') return { peer: world, ...WORLD, ping: (to) => guide.node.world.ping(to, SILENCE_MS) };
  const pod = guide.node.pods.find(({ namespace, name: own }) => `${namespace}/${own}` === name);
  if (!pod) throw new Error(`no pod ${name}`);
  return { peer: pod.peer, ipv4: pod.ipv4, ipv6: pod.ipv6, ping: (to) => pod.netns.ping(to, SILENCE_MS) };
}

async function send({ from, to, protocol, port }: Attempt, family: Family): Promise<void> {
  const { peer, ping } = party(from);
  const target = { address: party(to)[family], port, timeoutMs: SILENCE_MS };
  if (protocol === 'ICMP') await ping(target.address);
  else await (protocol === 'TCP' ? peer.tcp(target) : peer.udp(target));
}

/** Of the attempt, in its own direction. */
function isOf({ from, to, protocol, port }: Attempt, family: Family, flow: PrintedFlow): boolean {
  const l4 = protocol !== 'ICMP' ? protocol : family === 'ipv4' ? 'ICMPv4' : 'ICMPv6';
  return (
    flow.IP?.source === party(from)[family] &&
    flow.IP.destination === party(to)[family] &&
    flow.l4?.[l4] !== undefined &&
    (flow.l4[l4].destination_port ?? 0) === port &&
    flow.is_reply === false
  );
}

function shows(flows: readonly PrintedFlow[], attempts: readonly Attempt[]): boolean {
  return attempts.every((one) => FAMILIES.every((family) => flows.some((flow) => isOf(one, family, flow))));
}

const name = (side: PrintedParty | undefined) =>
  side?.pod_name === undefined ? 'world' : `${side.namespace}/${side.pod_name}`;

test('status', async () => {
  const said = await hubble.say('status');
  assert.match(said, /^Healthcheck \(via unix:.*\): Ok$/m);
  assert.match(said, /^Current\/Max Flows: [1-9][0-9,]*\/164,482 /m);
  assert.match(said, /^Flows\/s: [0-9.]+$/m);
  const json = JSON.parse(await hubble.say('status', '-o', 'json')) as Record<string, string>;
  assert.match(json.version ?? '', /^weir v/);
  assert.is(json.seen_flows, json.num_flows);
});

for (const attempt of TRUTH_TABLE) {
  for (const family of FAMILIES) {
    const { from, to, protocol, port, allowed } = attempt;
    test(`${from} -> ${to} ${protocol} ${port} ${family} is shown as it was`, async () => {
      const flags = [
        ...(from === 'world' ? ['--from-ip', WORLD[family]] : ['--from-pod', from]),
        ...(to === 'world' ? ['--to-ip', WORLD[family]] : ['--to-pod', to]),
        ...['--protocol', protocol.toLowerCase(), '--ip-version', family.slice(2)],
        ...(port === 0 ? [] : ['--to-port', String(port)]),
      ];
      const flows = await hubble.observe(...before, ...flags);
      assert.ok(flows.length > 0);
      for (const flow of flows) {
        assert.ok(isOf(attempt, family, flow), JSON.stringify(flow));
        assert.equal([name(flow.source), name(flow.destination)], [from, to]);
        assert.is(flow.IP?.ipVersion, family === 'ipv4' ? 'IPv4' : 'IPv6');
        assert.is(flow.verdict, allowed ? 'FORWARDED' : 'DROPPED');
        assert.is(flow.drop_reason_desc, allowed ? undefined : 'POLICY_DENIED');
        const summary = protocol === 'TCP' ? /^TCP Flags: / : protocol === 'UDP' ? /^UDP$/ : /^ICMPv[46] EchoRequest$/;
        assert.match(flow.Summary ?? '', summary);
      }
      const byPolicy = flows.flatMap((flow) => [...(flow.egress_allowed_by ?? []), ...(flow.ingress_allowed_by ?? [])]);
      const touched = allowed && [from, to].includes('default/backend');
      assert.is(byPolicy.length > 0, touched, 'the policy that allowed is named, and only then');
      assert.ok(byPolicy.every((policy) => policy.name === 'backend-policy'));
    });
  }
}

interface HttpFlow extends Record<string, unknown> {
  readonly time: string;
  readonly uuid: string;
}

test('every flow is told alike over gRPC and HTTP', async () => {
  const printed = await hubble.observe(...before);
  const { flows } = await guide.node.getJson<{ flows: HttpFlow[] }>('/v1/flows?first=5000');
  const byUuid = new Map(flows.map((flow) => [flow.uuid, flow]));
  assert.ok(printed.length >= 2 * TRUTH_TABLE.length);
  for (const flow of printed) {
    const { weir: _, ...http } = byUuid.get(flow.uuid) as HttpFlow;
    const { emitter, trace_observation_point, trace_reason, ...grpc } = flow as unknown as Record<string, unknown>;
    assert.equal(alike(grpc), alike(http));
    assert.equal(emitter, { name: 'weir', version: '0.1.0' });
    assert.is(trace_reason !== undefined, flow.verdict === 'FORWARDED');
    assert.is(trace_observation_point !== undefined, flow.verdict === 'FORWARDED');
  }
});

/** Protobuf leaves out what is zero, and zeros at the end of a time; only gRPC says the cluster and the old `drop_reason`. */
function alike(value: unknown): unknown {
  if (typeof value === 'string' && /^\d{4}-\d\d-\d\dT[\d:.]+Z$/.test(value)) return micros(value);
  if (Array.isArray(value)) return value.map(alike);
  if (typeof value !== 'object' || value === null) return value;
  const fields = Object.entries(value).filter(
    ([key, inner]) =>
      key !== 'cluster_name' && inner !== 0 && inner !== '' && !(Array.isArray(inner) && inner.length === 0),
  );
  return Object.fromEntries(
    fields.map(([key, inner]) => [key, alike(inner)]).sort(([a], [b]) => (String(a) < String(b) ? -1 : 1)),
  );
}

/** A time with all of its six digits, to be compared as text. */
function micros(time: string): string {
  return (time.includes('.') ? time.slice(0, -1) : `${time.slice(0, -1)}.`).padEnd(26, '0');
}

const either = (holds: (side: PrintedParty | undefined, flow: PrintedFlow) => boolean) => (flow: PrintedFlow) =>
  holds(flow.source, flow) || holds(flow.destination, flow);
const l4 = (flow: PrintedFlow) => Object.values(flow.l4 ?? {})[0];

const FLAGS: readonly (readonly [string, (flow: PrintedFlow) => boolean])[] = [
  ['--namespace default', either((side) => side?.namespace === 'default')],
  ['--namespace database', either((side) => side?.namespace === 'database')],
  ['--from-namespace other', (flow) => flow.source?.namespace === 'other'],
  ['--verdict DROPPED', ({ verdict }) => verdict === 'DROPPED'],
  ['--verdict FORWARDED', ({ verdict }) => verdict === 'FORWARDED'],
  ['--not --verdict DROPPED', ({ verdict }) => verdict !== 'DROPPED'],
  ['--pod frontend', either((side) => name(side).startsWith('default/frontend'))],
  ['--pod other/front', either((side) => name(side).startsWith('other/front'))],
  ['--port 5432', (flow) => l4(flow)?.source_port === 5432 || l4(flow)?.destination_port === 5432],
  ['--from-port 8080', (flow) => l4(flow)?.source_port === 8080],
  ['--protocol udp', (flow) => flow.l4?.UDP !== undefined],
  ['--protocol icmp', (flow) => flow.l4?.ICMPv4 !== undefined || flow.l4?.ICMPv6 !== undefined],
  ['--label app=stranger', either((side) => side?.labels?.includes('k8s:app=stranger') ?? false)],
  ['--to-identity world-ipv4', (flow) => flow.destination?.identity === 9],
  ['--ip 198.51.100.0/24', (flow) => [flow.IP?.source, flow.IP?.destination].includes(WORLD.ipv4)],
  ['--ipv6', (flow) => flow.IP?.ipVersion === 'IPv6'],
  ['--traffic-direction ingress', (flow) => flow.traffic_direction === 'INGRESS'],
  ['--drop-reason-desc POLICY_DENIED', (flow) => flow.drop_reason_desc === 'POLICY_DENIED'],
  ['--type drop', ({ verdict }) => verdict === 'DROPPED'],
  [
    '--type trace:to-endpoint',
    (flow) => (flow as { trace_observation_point?: string }).trace_observation_point === 'TO_ENDPOINT',
  ],
  ['--tcp-flags FIN', (flow) => flow.Summary?.includes('FIN') ?? false],
  ['--node-name node-under-*', () => true],
  ['--node-name elsewhere', () => false],
  [
    '--from-pod frontend --to-pod backend --verdict DROPPED',
    (flow) =>
      name(flow.source).startsWith('default/frontend') &&
      name(flow.destination) === 'default/backend' &&
      flow.verdict === 'DROPPED',
  ],
];
for (const [flags, wanted] of FLAGS) {
  test(`observe ${flags}: those flows and no others`, async () => {
    const uuids = (flows: readonly PrintedFlow[]) => flows.map(({ uuid }) => uuid);
    const [all, some] = await Promise.all([hubble.observe(...before), hubble.observe(...before, ...flags.split(' '))]);
    assert.equal(uuids(some), uuids(all.filter(wanted)));
    if (!flags.includes('elsewhere')) assert.ok(some.length > 0, 'some of the traffic is meant');
  });
}

test('observe --last and --since', async () => {
  const all = await hubble.observe(...before);
  const [, until = ''] = before.slice(ALL.length);
  const last = await hubble.observe('--last', '5', '--until', until);
  assert.equal(last, all.slice(-5));
  const since = all[all.length - 7]?.time ?? '';
  const sinceThen = await hubble.observe('--since', since, '--until', until);
  assert.equal(
    sinceThen,
    all.filter(({ time }) => micros(time) >= micros(since)),
  );
});

test('observe --follow shows what happens while it runs', async () => {
  await using followed = hubble.follow('--from-pod', 'default/frontend', '--to-pod', 'default/backend');
  await until(
    async () => (await guide.node.getJson<{ flows: { followers: number } }>('/v1/status')).flows.followers > 0,
    {
      what: 'the stream to begin',
    },
  );
  const [allowed, , udp] = TRUTH_TABLE as readonly [Attempt, Attempt, Attempt];
  await send(allowed, 'ipv4');
  const shown = await followed.has('the connection', (flow) => isOf(allowed, 'ipv4', flow));
  assert.is(shown.verdict, 'FORWARDED');
  await send(udp, 'ipv6');
  assert.is((await followed.has('the datagram', (flow) => isOf(udp, 'ipv6', flow))).verdict, 'DROPPED');
  assert.ok(followed.flows.every(({ source }) => name(source) === 'default/frontend'));
});

test('compact, dict and table print what happened', async () => {
  const denied = ['--from-pod', 'default/stranger', '--to-pod', 'default/backend', '--protocol', 'tcp', '-4'];
  const line = (await hubble.say('observe', ...before, ...denied)).split('\n')[0] ?? '';
  assert.match(
    line,
    /: default\/stranger:\d+ \(ID:\d+\) -> default\/backend:8080 \(ID:\d+\) Policy denied DROPPED \(TCP Flags: SYN\)$/,
  );
  const dict = await hubble.say('observe', ...before, ...denied, '-o', 'dict');
  assert.match(
    dict,
    /^ *SOURCE: default\/stranger:\d+\n *DESTINATION: default\/backend:8080\n *TYPE: Policy denied\n *VERDICT: DROPPED\n *SUMMARY: TCP Flags: SYN$/m,
  );
  assert.match(await hubble.say('observe', ...before, ...denied, '-o', 'table'), /default\/backend:8080/);
  const replies = [
    '--from-pod',
    'default/backend',
    '--to-pod',
    'default/frontend',
    '--protocol',
    'tcp',
    '--from-port',
    '8080',
    '-4',
  ];
  assert.match(
    await hubble.say('observe', ...before, ...replies),
    /: default\/frontend:\d+ \(ID:\d+\) <- default\/backend:8080 \(ID:\d+\) to-endpoint FORWARDED \(TCP Flags: .*ACK.*\)$/m,
  );
});

test('observe -o json round trip: what it printed it reads', async () => {
  const flows = await hubble.say('observe', ...before, '-o', 'json', '--verdict', 'DROPPED');
  const file = join(folder, 'flows.json');
  await writeFile(file, flows);
  assert.is(await hubble.say('observe', '--input-file', file, '-o', 'json'), flows);
});

test('a field mask of its own', async () => {
  const said = await hubble.say('observe', '--last', '1', '-o', 'json', '--field-mask', 'verdict,source.identity');
  assert.equal(Object.keys((JSON.parse(said) as { flow: object }).flow).sort(), ['source', 'verdict']);
});

test('--print-raw-filters says what it asks', async () => {
  const said = await hubble.say('observe', '--namespace', 'default', '--verdict', 'DROPPED', '--print-raw-filters');
  assert.match(said, /"source_pod":\["default\/"\],"verdict":\["DROPPED"\]/);
  assert.match(said, /"destination_pod":\["default\/"\],"verdict":\["DROPPED"\]/);
});

test('list namespaces', async () => {
  const lines = (await hubble.say('list', 'namespaces')).trim().split(/\s+/);
  assert.equal(lines, ['NAMESPACE', 'database', 'default', 'other']);
});

test('observe agent-events: the start, the policy, the pods and their addresses', async () => {
  const lines = (await hubble.say('observe', 'agent-events', '--all')).trim().split('\n');
  assert.match(lines[0] ?? '', /: AGENT_STARTED \(start time: .*\)$/);
  assert.ok(
    lines.some((line) =>
      /: POLICY_UPDATED \(labels: \[.*io\.cilium\.k8s\.policy\.name=backend-policy.*\], revision: \d+, count: [1-9]\d*\)$/.test(
        line,
      ),
    ),
    lines.join('\n'),
  );
  for (const pod of ['default/frontend', 'database/postgres']) {
    const [namespace, own] = pod.split('/');
    const created = new RegExp(`: ENDPOINT_CREATED \\(id: \\d+, namespace: ${namespace}, pod name: ${own}`);
    assert.ok(
      lines.some((line) => created.test(line)),
      lines.join('\n'),
    );
  }
  assert.ok(lines.some((line) => /: ENDPOINT_REGENERATE_SUCCESS \(id: /.test(line)));
  const { ipv4 } = guide.pods.frontend;
  const upserted = `: IPCACHE_UPSERTED (cidr: ${ipv4}/32, identity: `;
  assert.ok(
    lines.some((line) => line.includes(upserted)),
    lines.join('\n'),
  );
});

for (const [words, said] of [
  ['list nodes', /GetNodes is not served: only a relay knows other nodes/],
  ['observe --http-method GET', /whitelist\[0\]\.http_method is not served: this agent sees no application protocols/],
  ['observe --fqdn example.com', /source_fqdn is not served|destination_fqdn is not served/],
  ['observe debug-events', /GetDebugEvents is not served/],
] as const) {
  test(`${words} is refused by name`, async () => {
    const { code, stderr } = await hubble.run(...words.split(' '));
    assert.is(code, 1);
    assert.match(stderr, said);
  });
}

test.run();
