/** What a pod may send: only as itself, and nothing that reconfigures its neighbours. Nothing refused here leaves a connection. */
import * as assert from 'uvu/assert';
import { DatapathCounter, Direction } from '../../agent/datapath/layout.gen.ts';
import { DatapathFixture, type Run, type TestPod } from '../kit/datapath-fixture.ts';
import { setPolicy } from '../kit/datapath-policy.ts';
import {
  arp,
  BROADCAST_MAC,
  ETHERTYPE,
  Frame,
  icmp,
  icmpEcho,
  listenerReport,
  macText,
  neighbourAdvertisement,
  neighbourSolicitation,
  type Packet,
  routerAdvertisement,
  routerSolicitation,
  tcp,
  udp,
} from '../kit/packet.ts';
import { privileged } from '../kit/privileged.ts';
import { suite } from '../kit/suite.ts';

const GATEWAY_MAC = '0a:77:65:69:72:01';
const OTHER_MAC = '0a:58:ff:ff:ff:ff';
const ALL_NODES = 'ff02::1';
const OWN_LINK_LOCAL = 'fe80::858:ff:fe00:1';
const OTHERS = { 4: '192.0.2.7', 6: '2001:db8::7' } as const;

const test = privileged(suite('what a pod may send'), 'root');
const datapath = DatapathFixture.open();
setPolicy(datapath, 16, {});
const pod = datapath.pod({ identity: 1001, policy: 16, ipv4: '10.9.0.2', ipv6: 'fd09::2' });
const neighbour = datapath.pod({ identity: 1002, policy: 16, ipv4: '10.9.0.3', ipv6: 'fd09::3' });
const only4 = datapath.pod({ identity: 1003, policy: 16, ipv4: '10.9.0.4' });
const only6 = datapath.pod({ identity: 1004, policy: 16, ipv6: 'fd09::5' });
test.after(() => datapath[Symbol.dispose]());

const FAMILIES = [
  { name: 'IPv4', own: pod.ipv4, next: neighbour.ipv4, other: OTHERS[4] },
  { name: 'IPv6', own: pod.ipv6, next: neighbour.ipv6, other: OTHERS[6] },
];

async function expectDrop(sent: Packet | Frame | Uint8Array, reason: string, by: TestPod = pod): Promise<Run> {
  const before = datapath.connections().length;
  const drops = datapath.drops()[`${reason}/egress`] ?? 0;
  const run = await datapath.fromPod(by, sent);
  assert.equal([run.verdict, run.reason], ['drop', reason], `${sent}`);
  assert.is(datapath.drops()[`${reason}/egress`], drops + 1, `${sent} is counted`);
  assert.is(datapath.connections().length, before, `${sent} leaves no connection`);
  assert.is(run.events.length, 1);
  assert.is(run.events[0]?.direction, Direction.DIRECTION_EGRESS);
  assert.is(run.events[0]?.ifindex, by.ifindex);
  return run;
}

async function expectConsumed(sent: Packet | Frame, by: TestPod = pod): Promise<void> {
  const before = datapath.counter(DatapathCounter.COUNTER_CONSUMED);
  const run = await datapath.fromPod(by, sent);
  assert.equal([run.verdict, run.events.length], ['consumed', 0], `${sent}`);
  assert.is(datapath.counter(DatapathCounter.COUNTER_CONSUMED), before + 1);
}

for (const { name, own, next, other } of FAMILIES) {
  test(`${name}: from its own MAC and address, to the node and to its neighbour`, async () => {
    assert.is((await datapath.fromPod(pod, tcp({ from: own, to: other }).syn())).verdict, 'stack');
    assert.is((await datapath.fromPod(pod, tcp({ from: own, to: next }).syn())).verdict, 'redirect');
  });

  test(`${name}: a delivered packet has the target's MAC and comes from the gateway`, async () => {
    const { data } = await datapath.fromPod(pod, udp({ from: own, to: next }));
    assert.is(macText(data.subarray(0, 6)), neighbour.mac);
    assert.is(macText(data.subarray(6, 12)), GATEWAY_MAC);
  });

  test(`${name}: another's MAC or address`, async () => {
    await expectDrop(tcp({ from: own, to: other }).syn().fromMac(OTHER_MAC), 'SOURCE_MAC');
    await expectDrop(tcp({ from: own, to: other }).syn().fromMac(neighbour.mac), 'SOURCE_MAC');
    await expectDrop(tcp({ from: next, to: other }).syn(), 'SOURCE_ADDRESS');
    await expectDrop(udp({ from: other, to: next }), 'SOURCE_ADDRESS');
    await expectDrop(icmpEcho({ from: other, to: next }), 'SOURCE_ADDRESS');
  });

  test(`${name}: an address that differs in its last bit only`, async () => {
    const near = own.replace(/2$/, '3');
    await expectDrop(udp({ from: near, to: other }), 'SOURCE_ADDRESS');
  });

  test(`${name}: multicast and broadcast`, async () => {
    for (const to of name === 'IPv4'
      ? ['224.0.0.22', '239.1.2.3', '255.255.255.255', '240.0.0.1']
      : ['ff02::fb', 'ff0e::1']) {
      await expectDrop(udp({ from: own, to }), 'MULTICAST');
    }
  });

  test(`${name}: DHCP answers, but not DHCP questions to a server`, async () => {
    const [server, client] = name === 'IPv4' ? [67, 68] : [547, 546];
    await expectDrop(udp({ from: own, to: next, sport: server, dport: client }), 'DHCP_SERVER');
    if (name === 'IPv4')
      await expectDrop(udp({ from: own, to: '255.255.255.255', sport: 67, dport: 68 }), 'DHCP_SERVER');
    assert.is(
      (await datapath.fromPod(pod, udp({ from: own, to: next, sport: client, dport: server }))).verdict,
      'redirect',
    );
    assert.is(
      (await datapath.fromPod(pod, tcp({ from: own, to: next, sport: server, dport: client }).syn())).verdict,
      'redirect',
    );
  });

  test(`${name}: the unspecified address is nobody's, also where a pod has none of the family`, async () => {
    const unspecified = name === 'IPv4' ? '0.0.0.0' : '::';
    await expectDrop(udp({ from: unspecified, to: other }), 'SOURCE_ADDRESS');
    await expectDrop(udp({ from: unspecified, to: other }), 'SOURCE_ADDRESS', name === 'IPv4' ? only6 : only4);
  });
}

test('frames that are not plain Ethernet with IP or ARP', async () => {
  const plain = udp({ from: pod.ipv4, to: OTHERS[4] });
  await expectDrop(plain.vlan(7), 'UNSUPPORTED_L2');
  await expectDrop(plain.vlan(7, ETHERTYPE.qinq), 'UNSUPPORTED_L2');
  await expectDrop(new Frame('802.3', 0x0030, pod.mac, GATEWAY_MAC, new Uint8Array(48)), 'UNSUPPORTED_L2');
  await expectDrop(new Frame('LLDP', 0x88cc, pod.mac, '01:80:c2:00:00:0e', new Uint8Array(48)), 'UNSUPPORTED_L3');
  await expectDrop(new Frame('MPLS', 0x8847, pod.mac, GATEWAY_MAC, new Uint8Array(48)), 'UNSUPPORTED_L3');
});

test('an interface without an endpoint', async () => {
  const gone = datapath.pod({ identity: 1005, policy: 16, ipv4: '10.9.0.9' });
  datapath.setEndpoint(gone, { ifindex: 0 });
  await expectDrop(udp({ from: gone.ipv4, to: OTHERS[4] }), 'UNKNOWN_ENDPOINT', gone);
  datapath.setEndpoint(gone, { ifindex: pod.ifindex });
  await expectDrop(udp({ from: gone.ipv4, to: OTHERS[4] }), 'UNKNOWN_ENDPOINT', gone);
});

test('ARP: the gateway is answered, back to who asked', async () => {
  const before = datapath.counter(DatapathCounter.COUNTER_ANSWERED);
  const run = await datapath.fromPod(pod, arp({ senderMac: pod.mac, senderIp: pod.ipv4, targetIp: '169.254.1.1' }));
  const answer = arp({
    operation: 'reply',
    senderMac: GATEWAY_MAC,
    senderIp: '169.254.1.1',
    targetMac: pod.mac,
    targetIp: pod.ipv4,
  });
  assert.is(run.verdict, 'redirect');
  assert.equal(run.data, answer.bytes());
  assert.is(datapath.counter(DatapathCounter.COUNTER_ANSWERED), before + 1);
});

test('ARP: what the pod says about itself is swallowed', async () => {
  await expectConsumed(arp({ senderMac: pod.mac, senderIp: '0.0.0.0', targetIp: pod.ipv4 }));
  await expectConsumed(arp({ senderMac: pod.mac, senderIp: pod.ipv4, targetIp: pod.ipv4 }));
  await expectConsumed(arp({ senderMac: pod.mac, senderIp: pod.ipv4, targetIp: neighbour.ipv4 }));
  await expectConsumed(
    arp({
      operation: 'reply',
      senderMac: pod.mac,
      senderIp: pod.ipv4,
      targetMac: GATEWAY_MAC,
      targetIp: '169.254.1.1',
    }),
  );
});

test('ARP: what it says about others is a spoof', async () => {
  const fromMac = pod.mac;
  await expectDrop(arp({ fromMac, senderMac: OTHER_MAC, senderIp: pod.ipv4, targetIp: '169.254.1.1' }), 'ARP_SPOOF');
  await expectDrop(arp({ senderMac: pod.mac, senderIp: neighbour.ipv4, targetIp: '169.254.1.1' }), 'ARP_SPOOF');
  await expectDrop(
    arp({
      operation: 'reply',
      senderMac: pod.mac,
      senderIp: '169.254.1.1',
      targetMac: BROADCAST_MAC,
      targetIp: pod.ipv4,
    }),
    'ARP_SPOOF',
  );
  await expectDrop(arp({ senderMac: only6.mac, senderIp: pod.ipv4, targetIp: '169.254.1.1' }), 'ARP_SPOOF', only6);
  await expectDrop(
    arp({ fromMac: OTHER_MAC, senderMac: pod.mac, senderIp: pod.ipv4, targetIp: '169.254.1.1' }),
    'SOURCE_MAC',
  );
  const frame = arp({ senderMac: pod.mac, senderIp: pod.ipv4, targetIp: '169.254.1.1' });
  await expectDrop(frame.bytes().slice(0, 34), 'MALFORMED');
});

test('neighbour discovery: the gateway is answered with a valid advertisement', async () => {
  for (const mac of [pod.mac, undefined]) {
    for (const from of [pod.ipv6, OWN_LINK_LOCAL]) {
      const ask = { from, to: 'ff02::1:ff00:1', target: 'fe80::1', ...(mac === undefined ? {} : { mac }) };
      const run = await datapath.fromPod(pod, neighbourSolicitation(ask));
      const answer = neighbourAdvertisement({ from: 'fe80::1', to: from, target: 'fe80::1', mac: GATEWAY_MAC });
      assert.is(run.verdict, 'redirect');
      assert.equal(run.data, answer.between(GATEWAY_MAC, pod.mac).bytes());
    }
  }
});

test('neighbour discovery: what a fresh pod says from :: and fe80 is swallowed', async () => {
  await expectConsumed(neighbourSolicitation({ from: '::', to: 'ff02::1:ff00:2', target: pod.ipv6 }));
  await expectConsumed(neighbourSolicitation({ from: '::', to: 'ff02::1:ff00:1', target: OWN_LINK_LOCAL }));
  await expectConsumed(listenerReport({ from: '::', to: 'ff02::16' }));
  await expectConsumed(listenerReport({ from: OWN_LINK_LOCAL, to: 'ff02::16' }));
  await expectConsumed(icmp({ from: OWN_LINK_LOCAL, to: 'ff02::16', type: 131, payload: new Uint8Array(16) }));
  await expectConsumed(routerSolicitation({ from: '::', to: 'ff02::2' }));
  await expectConsumed(routerSolicitation({ from: OWN_LINK_LOCAL, to: 'ff02::2' }));
  await expectConsumed(neighbourAdvertisement({ from: pod.ipv6, to: ALL_NODES, target: pod.ipv6, mac: pod.mac }));
  await expectConsumed(
    neighbourAdvertisement({ from: OWN_LINK_LOCAL, to: ALL_NODES, target: OWN_LINK_LOCAL, mac: pod.mac }),
  );
});

test('neighbour discovery: what it says about others is a spoof', async () => {
  const spoofs = [
    neighbourAdvertisement({ from: pod.ipv6, to: ALL_NODES, target: neighbour.ipv6, mac: pod.mac }),
    neighbourAdvertisement({ from: pod.ipv6, to: ALL_NODES, target: 'fe80::1', mac: pod.mac }),
    neighbourAdvertisement({ from: pod.ipv6, to: ALL_NODES, target: pod.ipv6, mac: OTHER_MAC }),
    neighbourAdvertisement({ from: 'fe80::1', to: ALL_NODES, target: pod.ipv6, mac: pod.mac }),
    neighbourAdvertisement({ from: neighbour.ipv6, to: ALL_NODES, target: pod.ipv6, mac: pod.mac }),
    neighbourSolicitation({ from: neighbour.ipv6, to: 'ff02::1:ff00:1', target: 'fe80::1', mac: pod.mac }),
    neighbourSolicitation({ from: pod.ipv6, to: 'ff02::1:ff00:1', target: 'fe80::1', mac: OTHER_MAC }),
    neighbourSolicitation({ from: 'fe80::1', to: 'ff02::1:ff00:1', target: pod.ipv6, mac: pod.mac }),
  ];
  for (const spoof of spoofs) await expectDrop(spoof, 'ND_SPOOF');
});

test('router advertisements and redirects, from any source', async () => {
  for (const from of [pod.ipv6, OWN_LINK_LOCAL, 'fe80::1', '::', neighbour.ipv6]) {
    await expectDrop(routerAdvertisement({ from, to: ALL_NODES }), 'ROUTER_ADVERTISEMENT');
    await expectDrop(icmp({ from, to: pod.ipv6, type: 137, payload: new Uint8Array(32) }), 'ROUTER_ADVERTISEMENT');
  }
  await expectDrop(routerAdvertisement({ from: pod.ipv6, to: ALL_NODES }).extension(60, 1, 4), 'ROUTER_ADVERTISEMENT');
});

test('link-local sources are for neighbour discovery only', async () => {
  await expectDrop(udp({ from: OWN_LINK_LOCAL, to: OTHERS[6] }), 'SOURCE_ADDRESS');
  await expectDrop(icmpEcho({ from: OWN_LINK_LOCAL, to: 'fe80::1' }), 'SOURCE_ADDRESS');
  await expectDrop(listenerReport({ from: neighbour.ipv6, to: 'ff02::16' }), 'SOURCE_ADDRESS');
});

test("the node's loopback, which may be open on the pod's device (route_localnet)", async () => {
  for (const to of ['127.0.0.1', '127.255.0.1']) {
    await expectDrop(udp({ from: pod.ipv4, to }), 'MALFORMED');
    await expectDrop(tcp({ from: pod.ipv4, to }).syn(), 'MALFORMED');
  }
});

test('a pod to itself, by way of the gateway', async () => {
  for (const own of [pod.ipv4, pod.ipv6]) {
    const there = tcp({ from: own, to: own, sport: 40001, dport: 80 });
    const back = tcp({ from: own, to: own, sport: 80, dport: 40001 });
    assert.is((await datapath.fromPod(pod, there.syn())).verdict, 'redirect');
    assert.is((await datapath.fromPod(pod, back.synAck())).verdict, 'redirect');
    assert.is((await datapath.fromPod(pod, there.ack())).verdict, 'redirect');
  }
});

test.run();
