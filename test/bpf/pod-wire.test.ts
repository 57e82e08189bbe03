/**
 * The programs on real devices, by way of their stubs: what BPF_PROG_TEST_RUN cannot show. Two pods whose kernels find
 * their gateway by themselves, large packets, frames whose headers are not in one piece.
 */
import * as assert from 'uvu/assert';
import { DatapathCounter, EventType } from '../../agent/datapath/layout.gen.ts';
import {
  attachClsact,
  attachTcx,
  closeFd,
  features,
  type LinkHandle,
  mapDelete,
  mapUpdate,
} from '../../native/index.ts';
import { command } from '../kit/command.ts';
import { DatapathFixture, type TestPod } from '../kit/datapath-fixture.ts';
import { setPolicy } from '../kit/datapath-policy.ts';
import { type Netns, Testbed } from '../kit/netns.ts';
import { tcp, udp } from '../kit/packet.ts';
import { privileged } from '../kit/privileged.ts';
import { suite } from '../kit/suite.ts';
import type { Peer } from '../kit/traffic.ts';
import { until } from '../kit/until.ts';

const OPEN = 16;
const MTU = 9000;

interface WiredPod extends TestPod {
  readonly netns: Netns;
  readonly peer: Peer;
}

const test = privileged(suite('pods on the wire'), 'root', 'btf');
let datapath: DatapathFixture;
let bed: Testbed;
let one: WiredPod;
let two: WiredPod;
const links: LinkHandle[] = [];

test.before(async () => {
  datapath = DatapathFixture.open();
  bed = await Testbed.open('wire');
  setPolicy(datapath, OPEN, {});
  fillSlots();
  one = await wire('one', '10.9.0.2', 'fd09::2');
  two = await wire('two', '10.9.0.3', 'fd09::3');
});
test.after(async () => {
  for (const link of links) closeFd(link.fd);
  await bed.close();
  datapath[Symbol.dispose]();
});

const slot = Uint8Array.of(0, 0, 0, 0);

function fillSlots(): void {
  for (const name of ['from_pod', 'to_pod'] as const) {
    const value = new Uint8Array(4);
    new DataView(value.buffer).setInt32(0, program(name).fd, true);
    mapUpdate(datapath.map(`${name}_slot`), slot, value);
  }
}

function program(name: string) {
  const found = datapath.object.programs[name];
  assert.ok(found, `no program ${name}`);
  return found;
}

/** The pod knows its gateway by address only: ARP and neighbour discovery are left to its kernel. */
async function wire(name: string, ipv4: string, ipv6: string): Promise<WiredPod> {
  const pod = datapath.pod({ identity: 1001, policy: OPEN, ipv4, ipv6 });
  const netns = await bed.netns(name);
  const ip = (words: string): Promise<string> => command(['ip', ...words.split(' ')]);
  await ip(`link set ${pod.innerLink} netns ${netns.name}`);
  await ip(`link set ${pod.link} mtu ${MTU} addrgenmode none up`);
  await netns.ip(`link set ${pod.innerLink} name eth0 address ${pod.mac} mtu ${MTU} up`);
  if (features().tcx) {
    links.push(attachTcx(program('stub_from_pod'), pod.ifindex, 'ingress', { head: true }));
    links.push(attachTcx(program('stub_to_pod'), pod.ifindex, 'egress', { head: true }));
  } else {
    attachClsact(program('stub_from_pod'), pod.ifindex, 'ingress', { priority: 1, handle: 1 });
    attachClsact(program('stub_to_pod'), pod.ifindex, 'egress', { priority: 1, handle: 1 });
  }
  await netns.ip(`address add ${ipv4}/32 dev eth0`);
  await netns.ip(`address add ${ipv6}/128 dev eth0 nodad`);
  await netns.ip('route add default via 169.254.1.1 dev eth0 onlink');
  await netns.ip('route add default via fe80::1 dev eth0 onlink');
  return { ...pod, netns, peer: await bed.peer(netns) };
}

test("a pod's kernel finds its gateway by ARP and neighbour discovery", async () => {
  assert.ok(await one.netns.ping(two.ipv4, 3000));
  assert.ok(await one.netns.ping(two.ipv6, 3000));
  const neighbours = await one.netns.ip('neigh show');
  assert.match(neighbours, /169\.254\.1\.1 dev eth0 lladdr 0a:77:65:69:72:01/);
  assert.match(neighbours, /fe80::1 dev eth0 lladdr 0a:77:65:69:72:01/);
  assert.ok(datapath.counter(DatapathCounter.COUNTER_ANSWERED) >= 2);
});

test('what a fresh pod says of itself is no drop', async () => {
  await until(() => datapath.counter(DatapathCounter.COUNTER_CONSUMED) >= 4, {
    what: 'DAD, MLD and router solicitation',
  });
  assert.equal(datapath.drops(), {});
});

test('connections between pods, small and large packets', async () => {
  await two.peer.serveTcp(8080);
  await two.peer.serveUdp(5353);
  for (const address of [two.ipv4, two.ipv6]) {
    assert.is(await one.peer.tcp({ address, port: 8080 }), 'ok');
    assert.is(await one.peer.udp({ address, port: 5353 }), 'ok');
    assert.ok(
      await one.netns
        .tryRun(['ping', '-n', '-q', '-c', '1', '-W', '3', '-s', '8000', address])
        .then(({ code }) => code === 0),
    );
    assert.ok(
      await one.netns
        .tryRun(['ping', '-n', '-q', '-c', '1', '-W', '3', '-s', '30000', address])
        .then(({ code }) => code === 0),
      `fragments to ${address}`,
    );
  }
  assert.equal(datapath.drops(), {});
});

test('headers are read also where they are not in one piece', async () => {
  /* a raw socket keeps only the Ethernet header of a frame beyond a page in the linear part of the skb */
  await datapath.eventsOfTraffic();
  for (const [from, to] of [
    [one.ipv4, two.ipv4],
    [one.ipv6, two.ipv6],
  ] as const) {
    for (const packet of [
      udp({ from, to, sport: 7, dport: 4242 }, 6000),
      tcp({ from, to, sport: 7, dport: 4243 }).data(6000),
    ]) {
      await one.netns.sendFrame('eth0', packet.between(one.mac, '0a:77:65:69:72:01').bytes());
      const events = await datapath.eventsOfTraffic();
      const opened = events.find((event) => event.type === EventType.EVENT_NEW && event.sourcePort === 7);
      assert.is(opened?.destinationPort, packet.parts.transport.kind === 'tcp' ? 4243 : 4242, `${packet}`);
    }
  }
});

test('a spoofed frame goes nowhere', async () => {
  const before = (await two.peer.served()).datagrams;
  const spoof = udp({ from: '10.9.0.77', to: two.ipv4, sport: 7, dport: 5353 }).between(one.mac, '0a:77:65:69:72:01');
  await one.netns.sendFrame('eth0', spoof.bytes());
  await until(() => datapath.drops()['SOURCE_ADDRESS/egress'] === 1, { what: 'the drop to be counted' });
  assert.is((await two.peer.served()).datagrams, before);
});

test('with an empty slot nothing passes, and each packet is counted', async () => {
  for (const name of ['from_pod_slot', 'to_pod_slot'] as const) mapDelete(datapath.map(name), slot);
  assert.is(await one.netns.ping(two.ipv4, 300), false);
  assert.ok((datapath.drops()['PROGRAM_MISSING/egress'] ?? 0) >= 1);
  fillSlots();
  assert.ok(await one.netns.ping(two.ipv4, 3000));
});

test.run();
