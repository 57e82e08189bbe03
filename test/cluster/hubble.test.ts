/**
 * The unmodified hubble client and hubble-relay over two nodes: what they show is what was sent, whoever is asked; nodes
 * come and go under a follower; nobody is served without a certificate.
 */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { type Attempt, type Party, TRUTH_TABLE } from '../../demo/truth-table.ts';
import { command, tryCommand } from '../kit/command.ts';
import { privileged } from '../kit/privileged.ts';
import { stockProgram } from '../kit/stock.ts';
import type { PrintedFlow, PrintedParty, PrintedService, StockHubble } from '../kit/stock-hubble.ts';
import { suite } from '../kit/suite.ts';
import { until } from '../kit/until.ts';
import { WORLD } from './addresses.ts';
import { expectedOf, HubbleCluster, isOf, type Sent } from './hubble-cluster.ts';

const NODES = ['node1', 'node2'] as const;

const test = privileged(suite('hubble over a cluster'), 'root', 'kubernetes', 'etcd', 'containerd', 'image', 'hubble');
let bed: HubbleCluster;
let sent: readonly Sent[];
/** A span in which all that was sent lies, and to which nothing is added any more. */
let span: readonly string[];
/** What each agent's socket tells of it. */
const told = new Map<string, PrintedFlow[]>();
let all: PrintedFlow[];

test.before(async () => {
  bed = await HubbleCluster.start();
  await until(async () => (await bed.relayed.run('list', 'nodes')).stdout.match(/ Connected /g)?.length === 2, {
    what: 'the relay to know both nodes',
    timeoutMs: 90_000, // half a minute more when the relay is there before the cluster's DNS
    everyMs: 500,
  });
  const from = new Date().toISOString();
  sent = await bed.sendAll();
  // Flows know microseconds and the client's span milliseconds: it ends behind what was sent, and before what follows.
  const endMs = Date.now() + 2;
  await until(() => Date.now() > endMs, { what: 'the span to end' });
  const end = new Date(endMs).toISOString();
  // A node hands its events over in order: once a later one of each node is told, all of the span are.
  const late = [
    await bed.send(attempt('default/frontend', 'world'), 'v4', false),
    await bed.send(attempt('default/stranger', 'default/backend'), 'v4', false),
  ];
  await until(
    async () => {
      const newer = await bed.relayed.observe('--since', end);
      return late.every((one) => newer.some((flow) => isOf(one, flow)));
    },
    { what: 'the relay to tell of what came last', timeoutMs: 20_000, everyMs: 250 },
  );
  span = ['--since', from, '--until', end];
  for (const node of NODES) told.set(node, await bed.socket(node).observe(...span));
  all = NODES.flatMap((node) => told.get(node) ?? []);
});
test.after(() => bed?.[Symbol.asyncDispose]());

function attempt(from: Party, to: Party): Attempt {
  const found = TRUTH_TABLE.find((one) => one.from === from && one.to === to);
  if (found === undefined) throw new Error(`the guide has no attempt from ${from} to ${to}`);
  return found;
}

const name = (side: PrintedParty | undefined) =>
  side?.pod_name === undefined ? 'world' : `${side.namespace}/${side.pod_name}`;
const uuids = (flows: readonly PrintedFlow[]) => flows.map(({ uuid }) => uuid).sort();

test('every attempt is told by the nodes it passed, as what became of it there', () => {
  const wrong = sent.flatMap((one) => {
    const seen = all.filter((flow) => isOf(one, flow));
    const as = [
      ...new Set(
        seen.map(({ node_name, traffic_direction, verdict }) => `${node_name} ${traffic_direction} ${verdict}`),
      ),
    ].sort();
    const expected = expectedOf(one, bed.nodeOf);
    if (as.join() === expected.join()) return [];
    const words = `${one.from} -> ${one.to} ${one.protocol} ${one.port} ${one.family} ${one.service ?? ''}`;
    return [`${words}: ${as.join(', ') || 'nothing'}; expected ${expected.join(', ')}`];
  });
  assert.equal(wrong, []);
});

test('who sent and who was meant, by name, identity and labels, alike on both nodes', async () => {
  const identities = await publishedIdentities();
  for (const one of sent) {
    for (const flow of all.filter((each) => isOf(one, each))) {
      for (const [side, party] of [
        [flow.source, one.from],
        [flow.destination, one.to],
      ] as const) {
        assert.is(name(side), party, JSON.stringify(flow));
        const world = one.family === 'v4' ? 9 : 10;
        assert.is(side?.identity, party === 'world' ? world : identities.get(party), JSON.stringify(flow));
        const label = party === 'world' ? `reserved:world-ip${one.family}` : `k8s:app=${party.split('/')[1]}`;
        assert.ok(side?.labels?.includes(label), `${label} in ${side?.labels}`);
      }
    }
  }
});

test('addresses, family, summary, and why', () => {
  for (const one of sent) {
    for (const flow of all.filter((each) => isOf(one, each))) {
      assert.is(flow.IP?.ipVersion, one.family === 'v4' ? 'IPv4' : 'IPv6');
      const summary = { TCP: /^TCP Flags: /, UDP: /^UDP$/, ICMP: /^ICMPv[46] EchoRequest$/ }[one.protocol];
      assert.match(flow.Summary ?? '', summary);
      assert.is(flow.drop_reason_desc, flow.verdict === 'DROPPED' ? 'POLICY_DENIED' : undefined);
      const denied = [...(flow.egress_denied_by ?? []), ...(flow.ingress_denied_by ?? [])];
      assert.equal(denied, [], 'a default deny has no rule');
      const judged = flow.traffic_direction === 'EGRESS' ? one.from : one.to;
      const allowed = [...(flow.egress_allowed_by ?? []), ...(flow.ingress_allowed_by ?? [])];
      if (flow.verdict === 'FORWARDED' && judged === 'default/backend')
        assert.equal([...new Set(allowed.map((policy) => policy.name))], ['backend-policy'], JSON.stringify(flow));
    }
  }
});

function repliesTo(one: Sent): PrintedFlow[] {
  return all.filter(
    ({ IP, l4, is_reply }) =>
      is_reply === true &&
      IP?.source === one.destination &&
      IP.destination === one.source &&
      l4?.[one.protocol]?.source_port === one.port &&
      l4[one.protocol]?.destination_port === one.sourcePort,
  );
}

/** The Service the attempt was made by, as a node tells of it: the client's does, the backend's does not know. */
function serviceOf(one: Sent, node: string | undefined): PrintedService | undefined {
  if (one.service === undefined || node !== bed.nodeOf.get(one.from)) return undefined;
  const [namespace = '', pod] = one.to.split('/');
  return { name: `${pod}-${one.family}`, namespace };
}

test('what was sent to a ClusterIP names its Service where its client is, and its replies do', () => {
  let named = 0;
  for (const one of sent.filter(({ protocol }) => protocol !== 'ICMP')) {
    for (const flow of all.filter((each) => isOf(one, each))) {
      const service = serviceOf(one, flow.node_name);
      assert.equal(flow.destination_service, service, JSON.stringify(flow));
      assert.equal([flow.source_service, flow.IP?.source_xlated], [undefined, undefined], JSON.stringify(flow));
      if (service) named++;
    }
    for (const flow of repliesTo(one)) {
      const service = serviceOf(one, flow.node_name);
      assert.equal(flow.source_service, service, JSON.stringify(flow));
      assert.is(flow.IP?.source_xlated, service && one.service, JSON.stringify(flow));
      assert.is(flow.destination_service, undefined, JSON.stringify(flow));
    }
  }
  assert.ok(named >= sent.filter(({ service }) => service !== undefined).length);
});

test('where a packet was seen, and by what its verdict matched', () => {
  const [none, l3l4, everything] = [undefined, 2, 4]; // the client leaves a zero out
  for (const one of sent) {
    for (const flow of all.filter((each) => isOf(one, each))) {
      assert.ok((flow.interface?.index ?? 0) > 0, JSON.stringify(flow));
      const here = flow.traffic_direction === 'EGRESS' ? one.from : one.to;
      if (flow.traffic_direction === 'EGRESS') assert.match(flow.interface?.name ?? '', /^weir[0-9a-f]{10}$/);
      const isFirst = flow.verdict === 'DROPPED' || (flow.Summary === 'TCP Flags: SYN' && flow.trace_reason === 'NEW');
      if (!isFirst) continue;
      const isolated = here === 'default/backend';
      const expected = flow.verdict === 'DROPPED' ? none : isolated ? l3l4 : everything;
      assert.is(flow.policy_match_type, expected, JSON.stringify(flow));
    }
  }
});

test('replies go the other way, of connections that were allowed only', () => {
  for (const one of sent.filter(({ protocol }) => protocol !== 'ICMP')) {
    const replies = repliesTo(one);
    assert.is(replies.length > 0, one.allowed, JSON.stringify(one));
    assert.ok(replies.every(({ verdict, source }) => verdict === 'FORWARDED' && name(source) === one.to));
  }
});

test('the TLS port tells what the socket tells', async () => {
  for (const node of NODES) assert.equal(await bed.tls(node).observe(...span), told.get(node));
});

test('the relay tells what all agents tell, each flow once, unchanged', async () => {
  const relayed = await bed.relayed.observe(...span);
  assert.equal(uuids(relayed), uuids(all));
  const byUuid = new Map(all.map((flow) => [flow.uuid, flow]));
  for (const flow of relayed) assert.equal(flow, byUuid.get(flow.uuid));
});

const nameOf = (service: PrintedService | undefined) => (service ? `${service.namespace}/${service.name}` : '');
const FLAGS: readonly (readonly [string, (flow: PrintedFlow) => boolean])[] = [
  ['--namespace other', ({ source, destination }) => [source, destination].some((side) => side?.namespace === 'other')],
  ['--verdict DROPPED', ({ verdict }) => verdict === 'DROPPED'],
  ['--not --verdict DROPPED', ({ verdict }) => verdict !== 'DROPPED'],
  ['--from-pod default/stranger', ({ source }) => name(source) === 'default/stranger'],
  ['--to-label app=postgres', ({ destination }) => destination?.labels?.includes('k8s:app=postgres') ?? false],
  ['--protocol udp', ({ l4 }) => l4?.UDP !== undefined],
  ['--ipv6', ({ IP }) => IP?.ipVersion === 'IPv6'],
  ['--to-ip 198.51.100.0/24', ({ IP }) => IP?.destination === WORLD.v4],
  ['--traffic-direction egress', ({ traffic_direction }) => traffic_direction === 'EGRESS'],
  ['--node-name node2', ({ node_name }) => node_name === 'node2'],
  ['--node-name default/node*', () => true],
  ['--to-service default/backend-v4', ({ destination_service: to }) => nameOf(to) === 'default/backend-v4'],
  ['--from-service database/post', ({ source_service: from }) => nameOf(from).startsWith('database/post')],
  ['--snat-ip 10.0.0.0/8', ({ IP }) => IP?.source_xlated?.startsWith('10.') ?? false],
  ['--type drop --to-port 5433', ({ verdict, l4 }) => verdict === 'DROPPED' && l4?.TCP?.destination_port === 5433],
];
for (const [flags, wanted] of FLAGS) {
  test(`the relay: observe ${flags}: those flows and no others`, async () => {
    const flows = await bed.relayed.observe(...span, ...flags.split(' '));
    assert.equal(uuids(flows), uuids(all.filter(wanted)));
    assert.ok(flows.length > 0);
  });
}

test('the relay: --last tells the newest, in the order of time', async () => {
  const [, , ...upTo] = span;
  const flows = await bed.relayed.observe('--last', '20', ...upTo);
  const times = flows.map(({ time }) => Date.parse(time));
  assert.equal(
    times,
    [...times].sort((a, b) => a - b),
  );
  const newest = [...all].sort((a, b) => (a.time < b.time ? 1 : -1)).slice(0, 20);
  assert.equal(
    newest.filter(({ uuid }) => !flows.some((flow) => flow.uuid === uuid)),
    [],
  );
});

test('the filters the client prints are filters it takes, and mean the same', async () => {
  const flags = ['--pod', 'default/stranger', '--verdict', 'DROPPED', '--protocol', 'tcp'];
  const printed = await bed.relayed.say('observe', ...flags, '--print-raw-filters');
  const filters = [...printed.matchAll(/^\s*- '(.*)'$/gm)].map((match) => match[1] ?? '');
  assert.ok(filters.length > 0, printed);
  const again = await bed.relayed.observe(...span, ...filters.flatMap((filter) => ['--allowlist', filter]));
  const direct = await bed.relayed.observe(...span, ...flags);
  assert.ok(direct.length > 0);
  assert.equal(uuids(again), uuids(direct));
});

test('JSON that it printed it reads, and prints again', async () => {
  const printed = await bed.relayed.say('observe', ...span, '-o', 'jsonpb');
  const file = join(bed.folder, 'flows.json');
  await writeFile(file, printed);
  assert.is(await bed.relayed.say('observe', '--input-file', file, '-o', 'jsonpb'), printed);
});

test('status of an agent, and of all by the relay', async () => {
  for (const hubble of [bed.socket('node1'), bed.tls('node2')]) {
    const said = await hubble.say('status');
    assert.match(said, /^Healthcheck \(via .*\): Ok$/m);
    assert.match(said, /^Current\/Max Flows: [1-9]/m);
  }
  const said = await bed.relayed.say('status');
  assert.match(said, /: Ok$/m);
  assert.match(said, /^Connected Nodes: 2\/2$/m);
  const sum = async (field: string) => {
    const all = await Promise.all(NODES.map((node) => bed.socket(node).say('status', '-o', 'json')));
    return all.reduce((total, json) => total + Number((JSON.parse(json) as Record<string, string>)[field]), 0);
  };
  const before = await sum('seen_flows');
  const relayed = Number(
    (JSON.parse(await bed.relayed.say('status', '-o', 'json')) as Record<string, string>).seen_flows,
  );
  assert.ok(relayed >= before && relayed <= (await sum('seen_flows')), 'as many as the agents have seen');
});

test('list nodes by the relay, by the port-forward that hubble makes itself', async () => {
  const words = [stockProgram('hubble'), '-P', '--kubeconfig', bed.cluster.kubeconfig, 'list', 'nodes', '-o', 'json'];
  const said = await command(words, { env: { HOME: bed.folder, XDG_CONFIG_HOME: bed.folder } });
  const nodes = JSON.parse(said) as readonly Record<string, unknown>[];
  const known = nodes.map((node) => [node.name, node.state, node.address, node.version, node.tls]);
  const addresses = bed.cluster.nodes.map(({ addresses }) => `${addresses.v4}:4244`);
  const at = (node: (typeof NODES)[number], address = '') => [
    node,
    'NODE_CONNECTED',
    address,
    'weir v0.1.0',
    { enabled: true, server_name: `${node}.default.hubble-grpc.cilium.io` },
  ];
  assert.equal(known, [at('node1', addresses[0]), at('node2', addresses[1])]);
});

test('list namespaces: of all nodes', async () => {
  const lines = (await bed.relayed.say('list', 'namespaces')).trim().split(/\s+/);
  for (const namespace of ['database', 'default', 'other']) assert.ok(lines.includes(namespace), lines.join());
});

test('watch peers: every node, where it is asked, and the name in its certificate', async () => {
  for (const hubble of [bed.socket('node1'), bed.tls('node2')]) {
    const said = await firstLines(hubble, ['watch', 'peers'], 2);
    for (const { name: node, addresses } of bed.cluster.nodes) {
      const words = `PEER_ADDED +${addresses.v4}:4244 ${node} \\(TLS\\.ServerName: ${node}\\.default\\.hubble-grpc\\.cilium\\.io\\)`;
      assert.match(said, new RegExp(words));
    }
  }
});

/** The client is ended when it has said so many lines. */
async function firstLines(hubble: StockHubble, args: readonly string[], count: number): Promise<string> {
  const words = ['sh', '-c', `timeout -s INT 10 "$@" | head -n ${count}`, 'sh', ...hubble.words(args)];
  return command(words, { env: { HOME: bed.folder, XDG_CONFIG_HOME: bed.folder }, timeoutMs: 20_000 });
}

test('list nodes of one agent is refused: only a relay knows', async () => {
  const { code, stderr } = await bed.socket('node1').run('list', 'nodes');
  assert.is(code, 1);
  assert.match(stderr, /GetNodes is not served: only a relay knows other nodes/);
});

test('without the right certificate the TLS port serves nobody', async () => {
  const trusting = bed.certificates('node1').slice(0, 5);
  const none = await bed.tls('node1', trusting).run('status');
  assert.is(none.code, 1);
  await tryCommand([
    'openssl',
    'req',
    '-x509',
    '-newkey',
    'ec',
    '-pkeyopt',
    'ec_paramgen_curve:P-256',
    '-nodes',
    '-days',
    '1',
    '-subj',
    '/CN=*.hubble-relay.cilium.io',
    '-keyout',
    join(bed.folder, 'own.key'),
    '-out',
    join(bed.folder, 'own.crt'),
  ]);
  const own = [
    '--tls-client-cert-file',
    join(bed.folder, 'own.crt'),
    '--tls-client-key-file',
    join(bed.folder, 'own.key'),
  ];
  assert.is((await bed.tls('node1', [...trusting, ...own]).run('status')).code, 1);
  assert.is((await bed.tls('node1', []).run('status')).code, 1, 'plain text');
  assert.is((await bed.tls('node1').run('status')).code, 0, 'and with the right one it does');
});

test('a node dies under --follow and comes back: the others go on, it is named, and told of again', async () => {
  await using followed = bed.relayed.follow(...['8080', '8081', '5432'].flatMap((port) => ['--to-port', port]));
  // Nothing tells when the relay has opened its streams to the agents: knock until then. It hands flows on when it has 100
  // or none came for a second: the ports leave out the kubelet's probes, and one does not knock faster.
  const knocks: Sent[] = [];
  await until(
    async () => {
      knocks.push(await bed.send(attempt('default/stranger', 'default/backend'), 'v4', false));
      return followed.flows.some((flow) => flow.node_name === 'node2' && knocks.some((knock) => isOf(knock, flow)));
    },
    { what: 'a flow of node2', everyMs: 1500, timeoutMs: 30_000, detail: () => followed.said },
  );

  const node2 = bed.cluster.nodes.find((node) => node.name === 'node2');
  await node2?.crash();
  const alone = await bed.send(attempt('default/frontend', 'database/postgres'), 'v4', false);
  await followed.has('a flow of node1', (flow) => isOf(alone, flow));
  // Until its connection is given up a relay waits for a silent node, and the client for the relay.
  const connected = async (nodes: string) =>
    (await bed.relayed.run('status')).stdout.includes(`Connected Nodes: ${nodes}\n`);
  await until(() => connected('1/2'), { what: 'the relay to miss node2', timeoutMs: 120_000, everyMs: 1000 });
  const missing = /^Unavailable Nodes: 1\n +- node2$/m;
  await until(async () => missing.test((await bed.relayed.run('status')).stdout), {
    what: 'the relay to name node2',
    timeoutMs: 60_000,
    everyMs: 1000,
  });

  await node2?.boot();
  await node2?.startContainerd();
  await node2?.startKubelet();
  await until(() => connected('2/2'), {
    what: 'the relay to find node2 again',
    timeoutMs: 180_000, // it tries less and less often, at last every two minutes
    everyMs: 1000,
    detail: () => followed.said,
  });
  await bed.cluster.kubectl('wait', '--for=condition=Ready', 'pod/backend', '--timeout=90s');
  const { status } = await bed.cluster.get<{ status: { podIP: string } }>('pod', 'backend');
  const { peer } = bed.guide.pod('default/frontend');
  // The relay takes a node it found again into open streams every few seconds: knock until then.
  await until(
    async () => {
      await peer.tcp({ address: status.podIP, port: 8081, timeoutMs: 300 });
      return followed.flows.find(
        ({ node_name, IP, verdict }) =>
          node_name === 'node2' && IP?.destination === status.podIP && verdict === 'DROPPED',
      );
    },
    { what: 'a flow of node2 after its return', timeoutMs: 60_000, everyMs: 1500, detail: () => followed.said },
  );
});

async function publishedIdentities(): Promise<Map<Party, number>> {
  const { items } = await bed.cluster.get<{
    items: { spec: { endpoints: { namespace: string; pod: string; identity: number }[] } }[];
  }>('weirendpointslices');
  return new Map(
    items.flatMap(({ spec }) =>
      spec.endpoints.map(({ namespace, pod, identity }) => [`${namespace}/${pod}` as Party, identity] as const),
    ),
  );
}

test.run();
