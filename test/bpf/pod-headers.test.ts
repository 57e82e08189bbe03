/** Headers and fragments: read fully and right, or dropped with the reason. In both directions the same code reads. */
import * as assert from 'uvu/assert';
import { EventFlags, type FlowEvent, fragment, fragmentKey } from '../../agent/datapath/layout.gen.ts';
import { mapEntries } from '../../native/index.ts';
import { DatapathFixture, type Run } from '../kit/datapath-fixture.ts';
import { allow, setIdentity, setPolicy, setVerdict } from '../kit/datapath-policy.ts';
import { ETHERTYPE, fragments, IPPROTO, icmpEcho, ip, type Packet, sctp, TCP, tcp, udp } from '../kit/packet.ts';
import { privileged } from '../kit/privileged.ts';
import { suite } from '../kit/suite.ts';

const test = privileged(suite('headers and fragments'), 'root');
const datapath = DatapathFixture.open();
setPolicy(datapath, 16, {});
/** Allows UDP to port 53 and echo, nothing else. */
setPolicy(datapath, 17, { egress: { isolated: true, hasAny: true } });
const only = { policy: 17, class: 0, direction: 'egress' } as const;
setVerdict(datapath, { ...only, protocol: IPPROTO.udp, port: 53 }, { normal: allow(1, 1) });
setVerdict(datapath, { ...only, protocol: IPPROTO.icmp, port: 8 << 8 }, { normal: allow(1, 2) });
setVerdict(datapath, { ...only, protocol: IPPROTO.icmpv6, port: 128 << 8 }, { normal: allow(1, 3) });
setVerdict(datapath, { ...only, protocol: IPPROTO.tcp, port: 0 }, { normal: allow(1, 4) });
setVerdict(datapath, { ...only, protocol: IPPROTO.gre, port: 0 }, { normal: allow(1, 5) });
setVerdict(datapath, { ...only, protocol: IPPROTO.ah }, { normal: allow(1, 6) });
setIdentity(datapath, 9);
const pod = datapath.pod({ identity: 1001, policy: 16, ipv4: '10.9.0.2', ipv6: 'fd09::2' });
const strict = datapath.pod({ identity: 1002, policy: 17, ipv4: '10.9.0.3', ipv6: 'fd09::3' });
test.after(() => datapath[Symbol.dispose]());

const V4 = { from: pod.ipv4, to: '192.0.2.7' };
const V6 = { from: pod.ipv6, to: '2001:db8::7' };
const BOTH = [V4, V6];

async function expectDrop(packet: Packet | Uint8Array, reason: string, by = pod): Promise<Run> {
  const run = await datapath.fromPod(by, packet);
  assert.equal([run.verdict, run.reason], ['drop', reason], `${packet}`);
  return run;
}

async function expectPass(packet: Packet | Uint8Array, by = pod): Promise<FlowEvent | undefined> {
  const run = await datapath.fromPod(by, packet);
  assert.equal([run.verdict, run.reason], ['stack', undefined], `${packet}`);
  return run.events[0];
}

test('every header may be cut short', async () => {
  for (const ends of BOTH) {
    const head = ends === V4 ? 20 : 40;
    for (const packet of [tcp(ends).syn(), udp(ends, 0), sctp(ends, 0), icmpEcho({ ...ends, length: 0 })]) {
      const whole = packet.between(pod.mac, '0a:77:65:69:72:01').bytes();
      /* the test run itself refuses frames without a whole IP header */
      for (let length = 14 + head; length < whole.length; length++) {
        const run = await datapath.fromPod(pod, whole.slice(0, length));
        assert.equal([run.verdict, run.reason], ['drop', 'MALFORMED'], `${packet} with ${length} bytes`);
      }
    }
  }
});

test('lengths that contradict each other', async () => {
  await expectDrop(udp(V4).statedLength(19), 'MALFORMED');
  await expectDrop(udp(V4).statedLength(20 + 7), 'MALFORMED');
  await expectDrop(udp(V4).statedLength(2000), 'MALFORMED');
  await expectDrop(udp(V6).statedLength(2000), 'MALFORMED');
  await expectDrop(udp(V6).statedLength(7), 'MALFORMED');
  await expectDrop(udp({ ...V4, sport: 28 }).patch(14, 0x44), 'MALFORMED'); // header of 16 bytes: the port would be a length
  await expectDrop(udp(V4).patch(14, 0x4f), 'MALFORMED'); // header longer than the packet
  await expectDrop(udp(V4).patch(14, 0x65), 'MALFORMED'); // version 6 in an IPv4 frame
  await expectDrop(udp(V6).patch(14, 0x45), 'MALFORMED');
  await expectDrop(udp(V4).ethertype(ETHERTYPE.ipv6), 'MALFORMED');
  for (const ends of BOTH) {
    const transport = ends === V4 ? 34 : 54;
    await expectDrop(udp(ends).patch(transport + 4, 0, 7), 'MALFORMED');
    await expectDrop(udp(ends).patch(transport + 4, 4, 0), 'MALFORMED');
    await expectDrop(
      tcp(ends)
        .syn()
        .patch(transport + 12, 0x40),
      'MALFORMED',
    );
    await expectDrop(
      tcp(ends)
        .syn()
        .patch(transport + 12, 0xf0),
      'MALFORMED',
    );
  }
});

test('bytes behind the packet do not count: Ethernet pads short frames', async () => {
  const padded = new Uint8Array(60);
  padded.set(udp(V4, 0).between(pod.mac, '0a:77:65:69:72:01').bytes());
  const event = await expectPass(padded);
  assert.is(event?.length, 28);
});

test('TCP flags no stack sends', async () => {
  for (const ends of BOTH) {
    await expectDrop(tcp(ends).flags(TCP.syn | TCP.fin), 'MALFORMED');
    await expectDrop(tcp(ends).flags(TCP.syn | TCP.rst), 'MALFORMED');
  }
});

test('TCP options are skipped, IPv4 options too, but not source routes', async () => {
  await expectPass(
    tcp({ ...V4, sport: 1 })
      .syn()
      .tcpOptions(40),
  );
  await expectPass(
    tcp({ ...V6, sport: 1 })
      .syn()
      .tcpOptions(40),
  );
  const event = await expectPass(
    tcp({ ...V4, sport: 2, dport: 81 })
      .syn()
      .options(148, 4, 0, 0),
  ); // router alert
  assert.equal([event?.sourcePort, event?.destinationPort], [2, 81]);
  await expectPass(udp({ ...V4, sport: 3 }).options(1, 1, 1, 1, 7, 7, 4, 0, 0, 0, 0, 0)); // no-ops, record route
  await expectPass(udp({ ...V4, sport: 4 }).options(0, 131, 7, 4)); // behind end-of-options nothing is read
  await expectDrop(udp(V4).options(131, 7, 4, 192, 0, 2, 1), 'IP_OPTIONS');
  await expectDrop(udp(V4).options(1, 137, 7, 4, 192, 0, 2, 1), 'IP_OPTIONS');
  await expectDrop(udp(V4).options(148, 4, 0, 0, 137, 3, 4), 'IP_OPTIONS');
  await expectDrop(udp(V4).options(7, 0, 0, 0), 'MALFORMED');
  await expectDrop(udp(V4).options(7, 1, 0, 0), 'MALFORMED');
  await expectDrop(udp(V4).options(7, 5, 0, 0), 'MALFORMED');
  const noOps = (count: number): number[] => Array.from({ length: count }, () => 1);
  await expectPass(udp({ ...V4, sport: 5 }).options(...noOps(16)));
  await expectDrop(udp(V4).options(...noOps(20)), 'IP_OPTIONS');
  await expectDrop(udp(V4).options(...noOps(37), 131, 3, 4), 'IP_OPTIONS');
});

test('IPv6 extension headers: ports are found behind them', async () => {
  const chains: [string, (packet: Packet) => Packet][] = [
    ['destination options', (p) => p.extension(IPPROTO.dstopts, 1, 4)],
    ['hop by hop', (p) => p.extension(IPPROTO.hopopts, 5, 2, 0, 0, 1, 0)],
    ['a long one', (p) => p.extension(IPPROTO.dstopts, ...new Array(100).fill(0))],
    ['authentication', (p) => p.extension(IPPROTO.ah, ...new Array(22).fill(0))],
    ['an atomic fragment', (p) => p.atomicFragment(9)],
    [
      'six',
      (p) => [1, 2, 3, 4, 5].reduce((q) => q.extension(IPPROTO.dstopts, 1, 4), p.extension(IPPROTO.hopopts, 1, 4)),
    ],
  ];
  for (const [i, [name, chain]] of chains.entries()) {
    const event = await expectPass(chain(udp({ ...V6, sport: 100 + i, dport: 53 })));
    assert.equal([event?.sourcePort, event?.destinationPort, event?.protocol], [100 + i, 53, IPPROTO.udp], name);
  }
});

test('IPv6 extension headers: what is refused', async () => {
  const seven = [1, 2, 3, 4, 5, 6].reduce(
    (p) => p.extension(IPPROTO.dstopts, 1, 4),
    udp(V6).extension(IPPROTO.hopopts, 1, 4),
  );
  await expectDrop(seven, 'EXTENSION_CHAIN');
  await expectDrop(udp(V6).extension(IPPROTO.routing, 0, 0), 'IP_OPTIONS');
  await expectDrop(udp(V6).extension(IPPROTO.dstopts, 1, 4).extension(IPPROTO.routing, 4, 0), 'IP_OPTIONS');
  await expectDrop(udp(V6).extension(IPPROTO.dstopts, 1, 4).extension(IPPROTO.hopopts, 1, 4), 'EXTENSION_CHAIN');
  await expectDrop(udp(V6).extension(IPPROTO.hopopts, 194, 4, 0, 1, 0, 0), 'EXTENSION_CHAIN');
  await expectDrop(udp(V6).extension(IPPROTO.hopopts, 194, 4, 0, 1, 0, 0).statedLength(0), 'EXTENSION_CHAIN');
  await expectDrop(
    udp(V6)
      .extension(IPPROTO.dstopts, 1, 4)
      .patch(14 + 40 + 1, 200),
    'MALFORMED',
  );
  await expectDrop(udp(V6).extension(IPPROTO.dstopts, 1, 4).statedLength(4), 'MALFORMED');
  await expectDrop(tcp(V6).syn().extension(IPPROTO.dstopts, 1, 4).cut(1), 'MALFORMED');
});

test('protocols without ports never match a rule with a port, only one for the whole protocol', async () => {
  const v4 = { from: strict.ipv4, to: '192.0.2.7' };
  const v6 = { from: strict.ipv6, to: '2001:db8::7' };
  for (const ends of [v4, v6]) {
    for (const protocol of [IPPROTO.gre, IPPROTO.esp, IPPROTO.none, 253]) {
      await expectDrop(ip({ ...ends, protocol }), 'POLICY_DENIED', strict);
    }
  }
  await expectPass(ip({ ...v4, protocol: IPPROTO.ah }), strict);
  /* the ports must be the packet's own, not those of what a longer chain hides */
  await expectDrop(
    tcp({ ...v6, dport: 22 })
      .syn()
      .extension(IPPROTO.dstopts, 1, 4),
    'POLICY_DENIED',
    strict,
  );
  await expectDrop(ip({ ...v6, protocol: IPPROTO.esp, payload: Uint8Array.of(0, 1, 0, 53) }), 'POLICY_DENIED', strict);
  /* the numbers of ICMP and ICMPv6 in the other family are protocols like any other */
  await expectDrop(
    ip({ ...v4, protocol: IPPROTO.icmpv6, payload: Uint8Array.of(128, 0, 0, 0, 0, 1, 0, 1) }),
    'POLICY_DENIED',
    strict,
  );
  await expectDrop(
    ip({ ...v6, protocol: IPPROTO.icmp, payload: Uint8Array.of(8, 0, 0, 0, 0, 1, 0, 1) }),
    'POLICY_DENIED',
    strict,
  );
});

test('fragments: in order they pass, with the ports of the first', async () => {
  for (const ends of [
    { from: strict.ipv4, to: '192.0.2.7' },
    { from: strict.ipv6, to: '2001:db8::7' },
  ]) {
    for (const packet of [udp({ ...ends, dport: 53 }, 4000), icmpEcho({ ...ends, length: 4000 })]) {
      const pieces = fragments(packet, 1480, packet.parts.protocol);
      assert.is(pieces.length, 3);
      const first = await expectPass(pieces[0] as Packet, strict);
      assert.ok((first?.flags ?? 0) & EventFlags.EVENT_FRAGMENT);
      for (const piece of pieces.slice(1)) await expectPass(piece, strict);
      const [connection] = datapath
        .connections()
        .filter(({ key }) => key.protocol === packet.parts.protocol)
        .slice(-1);
      assert.ok(connection);
    }
  }
});

test('fragments: all of one datagram are one connection', async () => {
  const pieces = fragments(udp({ ...V4, sport: 7001, dport: 7002 }, 4000), 1480, 70);
  for (const piece of pieces) await expectPass(piece);
  const found = datapath.connections().filter(({ key }) => key.lowPort === 7001 || key.highPort === 7001);
  assert.is(found.length, 1);
  assert.is(found[0]?.entry.packets[0], 3n);
});

test('fragments: a later one alone, of another id, or of a first one that was denied', async () => {
  for (const ends of [
    { from: strict.ipv4, to: '192.0.2.8' },
    { from: strict.ipv6, to: '2001:db8::8' },
  ]) {
    const [first, later] = fragments(udp({ ...ends, dport: 53 }, 2000), 1480, 801) as [Packet, Packet];
    await expectDrop(later, 'FRAGMENT_NO_FIRST', strict);
    await expectPass(first, strict);
    await expectPass(later, strict);
    const [, other] = fragments(udp({ ...ends, dport: 53 }, 2000), 1480, 802) as [Packet, Packet];
    await expectDrop(other, 'FRAGMENT_NO_FIRST', strict);
    const [denied, behind] = fragments(udp({ ...ends, dport: 54 }, 2000), 1480, 803) as [Packet, Packet];
    await expectDrop(denied, 'POLICY_DENIED', strict);
    await expectDrop(behind, 'FRAGMENT_NO_FIRST', strict);
  }
});

test('fragments: the memory of a first one ends', async () => {
  const [first, later] = fragments(udp(V4, 2000), 1480, 90) as [Packet, Packet];
  await expectPass(first);
  const { keys, values, count } = mapEntries(datapath.map('fragments'));
  const at = Array.from({ length: count }, (_, i) => i).find(
    (i) => fragmentKey.decode(keys, i * fragmentKey.size).id === 90 << 16,
  );
  assert.ok(at !== undefined);
  const key = fragmentKey.decode(keys, at * fragmentKey.size);
  const memory = fragment.decode(values, at * fragment.size);
  const wait = memory.expires - datapath.clock().jiffies;
  assert.ok(wait > 0n && wait <= 30n * 1000n);
  datapath.put('fragments', key, { ...memory, expires: datapath.clock().jiffies - 1n });
  await expectDrop(later, 'FRAGMENT_NO_FIRST');
});

test('fragments: a first one without its whole transport header', async () => {
  for (const ends of BOTH) {
    for (const packet of [tcp(ends).syn(), udp(ends, 100), sctp(ends, 100), icmpEcho(ends)]) {
      const needed = { [IPPROTO.tcp]: 20, [IPPROTO.sctp]: 12 }[packet.parts.protocol] ?? 8;
      for (let length = 0; length < needed; length += 4) {
        await expectDrop(packet.fragment({ id: 1, offset: 0, length, more: true }), 'FRAGMENT_TINY');
      }
    }
    await expectDrop(
      tcp(ends).syn().tcpOptions(20).fragment({ id: 1, offset: 0, length: 24, more: true }),
      'FRAGMENT_TINY',
    );
  }
});

test('fragments: one that would write over the transport header', async () => {
  for (const ends of BOTH) {
    const [first] = fragments(tcp(ends).data(2000), 1480, 91);
    await expectPass(first as Packet);
    for (const offset of [8, 16]) {
      await expectDrop(tcp(ends).data(2000).fragment({ id: 91, offset, length: 64, more: true }), 'FRAGMENT_OVERLAP');
    }
    await expectPass(tcp(ends).data(2000).fragment({ id: 91, offset: 24, length: 64, more: false }));
    await expectDrop(sctp(ends, 200).fragment({ id: 92, offset: 8, length: 64, more: true }), 'FRAGMENT_OVERLAP');
  }
});

test('fragments: beyond the largest datagram', async () => {
  for (const ends of BOTH) {
    await expectPass(udp({ ...ends, sport: 99 }, 1000).fragment({ id: 93, offset: 0, length: 800, more: true }));
    const last = udp({ ...ends, sport: 99 }, 65500).fragment({ id: 93, offset: 65496, more: false });
    const beyond = ends === V4 ? last.patch(14 + 6, 0x1f, 0xff) : last.patch(14 + 40 + 2, 0xff, 0xf8);
    await expectDrop(beyond, 'MALFORMED');
  }
});

test('fragments: extension headers behind the fragment header', async () => {
  const hidden = ip({ ...V6, protocol: IPPROTO.dstopts, payload: new Uint8Array([17, 0, ...new Array(62).fill(0)]) });
  await expectDrop(hidden.fragment({ id: 94, offset: 0, more: true }), 'EXTENSION_CHAIN');
  await expectDrop(hidden.fragment({ id: 94, offset: 8, more: false }), 'EXTENSION_CHAIN');
});

test.run();
