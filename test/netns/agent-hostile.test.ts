/** Faults 10, 25, 31, 33, 34 and 46: a pod with CAP_NET_RAW does its worst; what it forges is dropped, counted, and harms nobody. */
import * as assert from 'uvu/assert';
import { type Guide, startGuide } from '../kit/guide.ts';
import { NODE, WORLD } from '../kit/node.ts';
import {
  arp,
  type Frame,
  icmpEcho,
  icmpError,
  neighbourAdvertisement,
  type Packet,
  routerAdvertisement,
  tcp,
  udp,
} from '../kit/packet.ts';
import { suite } from '../kit/suite.ts';
import { until } from '../kit/until.ts';

const test = suite('a hostile pod');
const GATEWAY_MAC = '0a:77:65:69:72:01';
let guide: Guide;
let mac = '';

test.before(async () => {
  guide = await startGuide('hostile');
  const [link] = JSON.parse(await guide.pods.stranger.netns.ip('-j link show eth0')) as { address: string }[];
  mac = link?.address ?? '';
});
test.after(() => guide?.node.close());

async function dropped(reason: string): Promise<number> {
  const { body } = await guide.node.get('/metrics');
  const rows = body.split('\n').filter((row) => row.startsWith('weir_dropped_packets_total{'));
  const ours = rows.filter((row) => row.includes(`reason="${reason}"`));
  return ours.reduce((sum, row) => sum + Number(row.split(' ').at(-1)), 0);
}

/** Sends the frame from the stranger's pod and waits until it is counted under the reason. */
async function isDropped(frame: Packet | Frame, reason: string): Promise<void> {
  const before = await dropped(reason);
  await guide.pods.stranger.netns.sendFrame('eth0', frame.bytes());
  await until(async () => (await dropped(reason)) > before, {
    what: `${frame} to be dropped as ${reason}`,
    timeoutMs: 3000,
  });
}

/** The frame as the stranger's own kernel would address it. */
const from = (packet: Packet): Packet => packet.between(mac, GATEWAY_MAC);

test('addresses and MACs that are not its own', async () => {
  const { frontend, backend } = guide.pods;
  await isDropped(from(tcp({ from: frontend.ipv4, to: backend.ipv4 }).syn()), 'source_address');
  await isDropped(from(tcp({ from: frontend.ipv6, to: backend.ipv6 }).syn()), 'source_address');
  await isDropped(from(udp({ from: NODE.ipv4, to: backend.ipv4 })), 'source_address');
  await isDropped(from(udp({ from: WORLD.ipv6, to: backend.ipv6 })), 'source_address');
  const { ipv4 } = guide.pods.stranger;
  await isDropped(tcp({ from: ipv4, to: backend.ipv4 }).syn().between('0a:00:00:00:00:99', GATEWAY_MAC), 'source_mac');
});

test("claims to be the gateway or another pod: ARP, neighbour and router advertisements, a DHCP server's reply", async () => {
  const { frontend, stranger } = guide.pods;
  await isDropped(
    arp({ operation: 'reply', senderMac: mac, senderIp: frontend.ipv4, targetIp: stranger.ipv4 }),
    'arp_spoof',
  );
  await isDropped(
    arp({ operation: 'reply', senderMac: mac, senderIp: '169.254.1.1', targetIp: stranger.ipv4 }),
    'arp_spoof',
  );
  const claim = { from: stranger.ipv6, to: 'ff02::1', target: frontend.ipv6, mac };
  await isDropped(from(neighbourAdvertisement(claim)), 'nd_spoof');
  await isDropped(from(routerAdvertisement({ from: 'fe80::1', to: 'ff02::1' })), 'router_advertisement');
  await isDropped(from(udp({ from: stranger.ipv4, to: frontend.ipv4, sport: 67, dport: 68 })), 'dhcp_server');
});

test('TCP without a connection, forged ICMP errors and echo replies open nothing', async () => {
  const { stranger, backend, frontend } = guide.pods;
  for (const [a, b, c] of [
    [stranger.ipv4, backend.ipv4, frontend.ipv4],
    [stranger.ipv6, backend.ipv6, frontend.ipv6],
  ] as const) {
    await isDropped(from(tcp({ from: a, to: b })), 'policy_denied');
    await isDropped(from(icmpEcho({ from: a, to: b }).reply()), 'policy_denied');
    const quoted = tcp({ from: b, to: c, sport: 8080, dport: 40000 });
    await isDropped(from(icmpError({ from: a, to: b, quoting: quoted })), 'icmp_unrelated');
  }
});

test('fragments without their first, tiny and overlapping ones', async () => {
  const { stranger, frontend } = guide.pods;
  const segment = tcp({ from: stranger.ipv4, to: frontend.ipv4 }).syn();
  await isDropped(from(segment.fragment({ id: 1, offset: 64, more: false })), 'fragment_no_first');
  await isDropped(from(segment.fragment({ id: 2, offset: 0, length: 8, more: true })), 'fragment_tiny');
  await isDropped(from(segment.fragment({ id: 3, offset: 8, more: false })), 'fragment_overlap');
});

test('after all that the guide still holds, and the flows say who it was', async () => {
  const { stranger, backend, frontend } = guide.pods;
  assert.is(await frontend.peer.tcp({ address: backend.ipv4, port: 8080 }), 'ok');
  assert.is(await stranger.peer.tcp({ address: backend.ipv6, port: 8080, timeoutMs: 300 }), 'timeout');
  const { flows } = await guide.node.getJson<{ flows: { source: { pod_name?: string } }[] }>(
    '/v1/flows?drop_reason=arp_spoof&last=1',
  );
  assert.is(flows[0]?.source.pod_name, 'stranger');
});

test('the agent is out of reach: its sockets are for root, and nothing listens on the node', async () => {
  const { stat } = await import('node:fs/promises');
  assert.is((await stat(guide.node.apiSocket)).mode & 0o777, 0o600);
  assert.is((await stat(`${guide.node.folder}/run`)).mode & 0o777, 0o700);
  assert.is((await guide.node.netns.run(['ss', '-Htuln'])).trim(), '');
});

test('many new connections at once use up the own budget, not the table of the others', async () => {
  const { stranger, frontend, backend } = guide.pods;
  const talk = await frontend.peer.startTicker('tcp', { address: backend.ipv4, port: 8080 }, 5);
  const script = `import socket,struct,sys
s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)
for i in range(60000):
  try: s.sendto(b'x',('${guide.pods.postgres.ipv4}',1024+i))
  except OSError: pass
`;
  await stranger.netns.run(['python3', '-c', script]);
  assert.ok((await dropped('new_connection_budget')) > 0);
  const stats = await frontend.peer.stopTicker(talk, 500);
  assert.is(stats.received, stats.sent);
});

test.run();
