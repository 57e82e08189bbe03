/** Packets to virtual addresses, as from_pod turns them into packets to backends, and what comes back. */
import * as assert from 'uvu/assert';
import { ConntrackFlags, EventFlags, EventType, type FlowEvent } from '../../agent/datapath/layout.gen.ts';
import { DatapathFixture, type Run, type TestPod } from '../kit/datapath-fixture.ts';
import { allow, setIdentity, setPolicy, setVerdict } from '../kit/datapath-policy.ts';
import { paddedAddress } from '../kit/datapath-rows.ts';
import { removeService, removeVirtualAddress, setService } from '../kit/datapath-service.ts';
import { fragments, IPPROTO, icmpEcho, icmpError, type Packet, tcp, udp } from '../kit/packet.ts';
import { privileged } from '../kit/privileged.ts';
import { suite } from '../kit/suite.ts';

const OPEN = 16;
/** Egress only to port 8080 of identity 1002. */
const TO_8080 = 17;
/** Egress only to port 80 of identity 1002: the Service's port, which policy never sees. */
const TO_80 = 18;
const MUTE = 19;
const GATEWAY = '0a:77:65:69:72:01';

const test = privileged(suite('Services in from_pod'), 'root');
const datapath = DatapathFixture.open();
setPolicy(datapath, OPEN, {});
setPolicy(datapath, MUTE, { ingress: { isolated: true }, egress: { isolated: true } });
for (const identity of [1001, 1003, 1004, 1005, 1006]) setIdentity(datapath, identity);
setIdentity(datapath, 1002, 5, 7);
for (const [policy, port] of [
  [TO_8080, 8080],
  [TO_80, 80],
] as const) {
  setPolicy(datapath, policy, { egress: { isolated: true, identitySet: 5 } });
  setVerdict(datapath, { policy, class: 7, direction: 'egress', protocol: 6, port }, { normal: allow(1, port) });
}
const pod = (n: number, policy = OPEN): TestPod =>
  datapath.pod({ identity: 1000 + n, policy, ipv4: `10.9.0.${n + 1}`, ipv6: `fd09::${n + 1}` });
const client = pod(1);
const server = pod(2);
const other = pod(3);
const picky = pod(4, TO_8080);
const deceived = pod(5, TO_80);
const mute = pod(6, MUTE);
test.after(() => datapath[Symbol.dispose]());

let nextPort = 20000;

for (const family of [4, 6] as const) {
  const of = (one: TestPod): string => (family === 4 ? one.ipv4 : one.ipv6);
  const vip = (n: number): string => (family === 4 ? `10.96.0.${n}` : `fd96::${n}`);
  const remote = family === 4 ? '10.9.1.9' : 'fd09:1::9';
  const hairpin = family === 4 ? '169.254.42.1' : '100::42:1';
  const name = (what: string): string => `IPv${family}: ${what}`;
  datapath.peer(remote, { identity: 1002, kind: 'pod' });
  /** The packet as it should leave from_pod towards a pod of this node. */
  const delivered = (packet: Packet, to: TestPod): Uint8Array => packet.between(GATEWAY, to.mac).bytes();
  const passed = (packet: Packet, from: TestPod): Uint8Array => packet.between(from.mac, GATEWAY).bytes();
  const leads = () => datapath.connections().filter(({ entry }) => entry.flags & ConntrackFlags.CONNTRACK_LEAD);

  test(name('a TCP connection goes to the backend and its answers come from the virtual address'), async () => {
    setService(datapath, 'tcp', vip(1), 80, [[of(server), 8080]]);
    const sport = nextPort++;
    const asked = { from: of(client), to: vip(1), sport, dport: 80 };
    const there = { ...asked, to: of(server), dport: 8080 };
    const back = { from: of(server), to: of(client), sport: 8080, dport: sport };
    const answered = { ...back, from: vip(1), sport: 80 };
    const before = leads().length;
    const steps: [TestPod, TestPod, Packet, Packet][] = [
      [client, server, tcp(asked).syn(), tcp(there).syn()],
      [server, client, tcp(back).synAck(), tcp(answered).synAck()],
      [client, server, tcp(asked).ack(), tcp(there).ack()],
      [client, server, tcp(asked).data(101), tcp(there).data(101)],
      [server, client, tcp(back).data(1000), tcp(answered).data(1000)],
    ];
    for (const [from, to, packet, expected] of steps) {
      const run = await datapath.fromPod(from, packet);
      assert.equal([run.verdict, run.data], ['redirect', delivered(expected, to)], `${packet}`);
    }
    const run = await datapath.fromPod(client, tcp(asked).data(10));
    assert.equal(run.events, [], 'an established packet says nothing');
    assert.is(leads().length, before + 1);
    await datapath.fromPod(client, tcp(asked).rst());
    assert.is(leads().length, before, 'the lead goes with its connection');
  });

  test(name('UDP: to a pod elsewhere and back by to_pod, checksum 0 stays'), async () => {
    setService(datapath, 'udp', vip(1), 53, [[remote, 5353]]);
    const sport = nextPort++;
    const asked = { from: of(client), to: vip(1), sport, dport: 53 };
    const there = { ...asked, to: remote, dport: 5353 };
    const back = { from: remote, to: of(client), sport: 5353, dport: sport };
    for (let i = 0; i < 2; i++) {
      const run = await datapath.fromPod(client, udp(asked, 33 + i));
      assert.equal([run.verdict, run.data], ['stack', passed(udp(there, 33 + i), client)]);
      const answer = await datapath.toPod(client, udp(back, 77 + i));
      const expected = udp({ ...back, from: vip(1), sport: 53 }, 77 + i).between(GATEWAY, client.mac);
      assert.equal([answer.verdict, answer.data], ['stack', expected.bytes()]);
    }
    if (family === 6) return;
    const unsummed = (packet: Packet): Packet => packet.patch(40, 0, 0);
    const run = await datapath.fromPod(client, unsummed(udp(asked)));
    assert.equal(run.data, passed(unsummed(udp(there)), client));
  });

  test(name('events say what was asked for: of requests, replies, the end, a denial; of nothing else'), async () => {
    setService(datapath, 'tcp', vip(1), 80, [[of(server), 8080]]);
    const asked = { from: of(client), to: vip(1), sport: nextPort++, dport: 80 };
    const back = { from: of(server), to: of(client), sport: 8080, dport: asked.sport };
    const [zeros, virtual] = [new Uint8Array(16), paddedAddress(vip(1))];
    const only = ({ events }: Run): FlowEvent => {
      assert.is(events.length, 1);
      return events[0] as FlowEvent;
    };
    const opened = only(await datapath.fromPod(client, tcp(asked).syn()));
    assert.equal([opened.type, opened.service, opened.servicePort], [EventType.EVENT_NEW, virtual, 80]);
    assert.equal([opened.destination, opened.destinationPort], [paddedAddress(of(server)), 8080], 'to its backend');
    const replied = only(await datapath.fromPod(server, tcp(back).synAck()));
    assert.equal([replied.type, replied.service, replied.servicePort], [EventType.EVENT_REPLY, virtual, 80]);
    assert.equal([replied.source, replied.flags & EventFlags.EVENT_IS_REPLY], [paddedAddress(of(server)), 1]);
    const ended = only(await datapath.fromPod(client, tcp(asked).rst()));
    assert.equal([ended.type, ended.service, ended.servicePort], [EventType.EVENT_END, virtual, 80]);

    const straight = { from: of(client), to: of(server), sport: nextPort++, dport: 8080 };
    const direct = only(await datapath.fromPod(client, tcp(straight).syn()));
    assert.equal([direct.type, direct.service, direct.servicePort], [EventType.EVENT_NEW, zeros, 0]);

    const syn = tcp({ from: of(deceived), to: vip(1), sport: nextPort++, dport: 80 }).syn();
    const denied = only(await datapath.fromPod(deceived, syn));
    assert.equal([denied.type, denied.service, denied.servicePort], [EventType.EVENT_DROP, virtual, 80]);
    const spoofed = only(await datapath.fromPod(deceived, tcp({ ...straight, from: of(client) }).syn()));
    assert.equal([spoofed.type, spoofed.service], [EventType.EVENT_DROP, zeros], 'not that of the packet before');
  });

  test(name('policy judges the backend, not the virtual address'), async () => {
    setService(datapath, 'tcp', vip(2), 80, [[of(server), 8080]]);
    const syn = (from: TestPod): Packet => tcp({ from: of(from), to: vip(2), sport: nextPort++, dport: 80 }).syn();
    assert.is((await datapath.fromPod(picky, syn(picky))).verdict, 'redirect');
    const denied = await datapath.fromPod(deceived, syn(deceived));
    assert.equal([denied.verdict, denied.reason], ['drop', 'POLICY_DENIED']);
    assert.is(denied.events[0]?.destinationPort, 8080, 'the drop names who was to get it');
    setService(datapath, 'tcp', vip(2), 8080, [[of(server), 80]]);
    const packet = tcp({ from: of(picky), to: vip(2), sport: nextPort++, dport: 8080 }).syn();
    assert.is((await datapath.fromPod(picky, packet)).reason, 'POLICY_DENIED');
  });

  test(name('a policy that takes the backend away ends the connection through the Service'), async () => {
    setService(datapath, 'tcp', vip(2), 81, [[of(server), 8080]]);
    const ends = { from: of(picky), to: vip(2), sport: nextPort++, dport: 81 };
    await datapath.fromPod(picky, tcp(ends).syn());
    await datapath.fromPod(server, tcp({ from: of(server), to: of(picky), sport: 8080, dport: ends.sport }).synAck());
    assert.is((await datapath.fromPod(picky, tcp(ends).ack())).verdict, 'redirect');
    datapath.setEndpoint(picky, { policy: MUTE });
    datapath.bumpEpoch();
    assert.is((await datapath.fromPod(picky, tcp(ends).data(5))).reason, 'POLICY_REVOKED');
    datapath.setEndpoint(picky, { policy: TO_8080 });
    datapath.bumpEpoch();
    const again = await datapath.fromPod(picky, tcp(ends).data(5));
    assert.equal(again.data, delivered(tcp({ ...ends, to: of(server), dport: 8080 }).data(5), server));
  });

  test(name('nobody there: a reset, or port unreachable, and a count'), async () => {
    setService(datapath, 'tcp', vip(3), 80, []);
    setService(datapath, 'udp', vip(3), 53, []);
    for (const [dport, reason] of [
      [80, 'SERVICE_NO_BACKEND'],
      [81, 'SERVICE_NO_PORT'],
    ] as const) {
      const asked = { from: of(client), to: vip(3), sport: nextPort++, dport };
      const before = datapath.drops()[`${reason}/egress`] ?? 0;
      const run = await datapath.fromPod(client, tcp(asked).syn());
      assert.equal([run.verdict, run.events.map((event) => event.reason > 0)], ['redirect', [true]]);
      assert.is((datapath.drops()[`${reason}/egress`] ?? 0) - before, 1);
      const ends = { from: vip(3), to: of(client), sport: dport, dport: asked.sport };
      const reset = tcp(ends).rst().between(GATEWAY, client.mac).bytes();
      const expected = new DataView(reset.buffer);
      const got = new DataView(run.data.buffer, run.data.byteOffset);
      const at = family === 4 ? 34 : 54;
      assert.is(run.data.length, at + 20);
      assert.is(got.getUint16(at + 12) & 0x3f, 0x14, 'RST and ACK');
      const [seq] = sequence(tcp(asked).syn(), at);
      assert.is(got.getUint32(at + 8), (seq as number) + 1);
      assert.ok(checksumHolds(run.data, family, 6), 'TCP checksum');
      assert.equal(run.data.slice(0, 14), reset.slice(0, 14));
      assert.equal(
        run.data.slice(at - (family === 4 ? 8 : 32), at + 4),
        reset.slice(at - (family === 4 ? 8 : 32), at + 4),
      );
      assert.ok(expected);
      const silent = await datapath.fromPod(client, tcp(asked).rst());
      assert.is(silent.verdict, 'drop', 'a reset is not answered');
    }
    for (const dport of [53, 54]) {
      const datagram = udp({ from: of(client), to: vip(3), sport: nextPort++, dport }, 40);
      const run = await datapath.fromPod(client, datagram);
      assert.is(run.verdict, 'redirect');
      const icmp = family === 4 ? 34 : 54;
      assert.equal([run.data[icmp], run.data[icmp + 1]], family === 4 ? [3, 3] : [1, 4]);
      const quoted = datagram.ip().slice(0, family === 4 ? 28 : 48);
      assert.equal(run.data.slice(icmp + 8), quoted);
      assert.ok(checksumHolds(run.data, family, family === 4 ? 1 : 58), 'ICMP checksum');
    }
    const echo = await datapath.fromPod(client, icmpEcho({ from: of(client), to: vip(3) }));
    assert.equal([echo.verdict, echo.reason], ['drop', 'SERVICE_NO_PORT']);
    const reserved = await datapath.fromPod(client, udp({ from: of(client), to: hairpin, sport: 1, dport: 2 }));
    assert.equal([reserved.verdict, reserved.reason], ['drop', 'SERVICE_NO_PORT']);
  });

  test(name('later fragments follow the first, both ways'), async () => {
    setService(datapath, 'udp', vip(4), 53, [[of(server), 5353]]);
    const sport = nextPort++;
    const asked = { from: of(client), to: vip(4), sport, dport: 53 };
    const there = { ...asked, to: of(server), dport: 5353 };
    const id = 5000 + sport;
    const pieces = (packet: Packet): Packet[] => fragments(packet, 800, id);
    const sent = pieces(udp(asked, 2000));
    const expected = pieces(udp(there, 2000));
    for (const [i, packet] of sent.entries()) {
      const run = await datapath.fromPod(client, packet);
      assert.equal([run.verdict, run.data], ['redirect', delivered(expected[i] as Packet, server)], `${packet}`);
    }
    const back = { from: of(server), to: of(client), sport: 5353, dport: sport };
    const answer = pieces(udp(back, 2000));
    const seen = pieces(udp({ ...back, from: vip(4), sport: 53 }, 2000));
    for (const [i, packet] of answer.entries()) {
      const run = await datapath.fromPod(server, packet);
      assert.equal([run.verdict, run.data], ['redirect', delivered(seen[i] as Packet, client)], `${packet}`);
    }
  });

  test(name('an error about a packet to a Service quotes what the client sent'), async () => {
    setService(datapath, 'udp', vip(5), 53, [[of(server), 5353]]);
    const sport = nextPort++;
    const asked = udp({ from: of(client), to: vip(5), sport, dport: 53 }, 100);
    const there = udp({ from: of(client), to: of(server), sport, dport: 5353 }, 100);
    await datapath.fromPod(client, asked);
    const [type, code] = family === 4 ? [3, 3] : [1, 4];
    const error = icmpError({ from: of(server), to: of(client), type, code, quoting: there });
    const run = await datapath.fromPod(server, error);
    const expected = icmpError({ from: vip(5), to: of(client), type, code, quoting: asked });
    assert.equal([run.verdict, quoteOf(run.data, family)], ['redirect', quoteOf(delivered(expected, client), family)]);
    assert.ok(checksumHolds(run.data, family, family === 4 ? 1 : 58), 'ICMP checksum');
    const router = family === 4 ? '203.0.113.1' : '2001:db8:1::1';
    const tooBig = await datapath.toPod(client, icmpError({ from: router, to: of(client), quoting: there }));
    const seen = icmpError({ from: router, to: of(client), quoting: asked })
      .between(GATEWAY, client.mac)
      .bytes();
    assert.equal([tooBig.verdict, quoteOf(tooBig.data, family)], ['stack', quoteOf(seen, family)]);
    assert.ok(checksumHolds(tooBig.data, family, family === 4 ? 1 : 58), 'ICMP checksum');
  });

  test(name('an error about a datagram in fragments quotes what the client sent'), async () => {
    setService(datapath, 'udp', vip(5), 55, [[of(server), 5353]]);
    const sport = nextPort++;
    const [asked] = fragments(udp({ from: of(client), to: vip(5), sport, dport: 55 }, 2000), 800);
    const [there] = fragments(udp({ from: of(client), to: of(server), sport, dport: 5353 }, 2000), 800);
    assert.ok(asked && there);
    assert.equal((await datapath.fromPod(client, asked)).data, delivered(there, server));
    const router = family === 4 ? '203.0.113.1' : '2001:db8:1::1';
    const run = await datapath.toPod(client, icmpError({ from: router, to: of(client), quoting: there }));
    const seen = icmpError({ from: router, to: of(client), quoting: asked })
      .between(GATEWAY, client.mac)
      .bytes();
    const ports = family === 4 ? [42, 42 + 24] : [62, 62 + 52]; // Behind the fragment header of IPv6.
    const shown = (frame: Uint8Array): string => Buffer.from(frame.subarray(...ports)).toString('hex');
    assert.equal([run.verdict, shown(run.data)], ['stack', shown(seen)]);
    assert.ok(checksumHolds(run.data, family, family === 4 ? 1 : 58), 'ICMP checksum');
  });

  test(name('the client complains about an answer: the backend hears of its own packet'), async () => {
    setService(datapath, 'udp', vip(5), 54, [[of(server), 5353]]);
    const sport = nextPort++;
    await datapath.fromPod(client, udp({ from: of(client), to: vip(5), sport, dport: 54 }));
    const back = { from: of(server), to: of(client), sport: 5353, dport: sport };
    await datapath.fromPod(server, udp(back));
    const [type, code] = family === 4 ? [3, 3] : [1, 4];
    const answered = udp({ ...back, from: vip(5), sport: 54 });
    const run = await datapath.fromPod(
      client,
      icmpError({ from: of(client), to: vip(5), type, code, quoting: answered }),
    );
    const expected = icmpError({ from: of(client), to: of(server), type, code, quoting: udp(back) });
    assert.equal([run.verdict, quoteOf(run.data, family)], ['redirect', quoteOf(delivered(expected, server), family)]);
    assert.ok(checksumHolds(run.data, family, family === 4 ? 1 : 58), 'ICMP checksum');
    const stranger = icmpError({
      from: of(client),
      to: vip(5),
      type,
      code,
      quoting: udp({ ...back, from: vip(5), sport: 99 }),
    });
    assert.equal((await datapath.fromPod(client, stranger)).reason, 'SERVICE_NO_PORT');
  });

  test(name('a pod reaches itself through a Service, whatever its policy'), async () => {
    for (const own of [client, mute]) {
      setService(datapath, 'tcp', vip(6), 80, [[of(own), 8080]]);
      const sport = nextPort++;
      const asked = { from: of(own), to: vip(6), sport, dport: 80 };
      const there = { from: hairpin, to: of(own), sport, dport: 8080 };
      const back = { from: of(own), to: hairpin, sport: 8080, dport: sport };
      const answered = { from: vip(6), to: of(own), sport: 80, dport: sport };
      const steps: [Packet, Packet][] = [
        [tcp(asked).syn(), tcp(there).syn()],
        [tcp(back).synAck(), tcp(answered).synAck()],
        [tcp(asked).data(9), tcp(there).data(9)],
        [tcp(back).data(9), tcp(answered).data(9)],
      ];
      for (const [packet, expected] of steps) {
        const run = await datapath.fromPod(own, packet);
        assert.equal([run.verdict, run.data], ['redirect', delivered(expected, own)], `${packet}`);
      }
      for (const again of [steps.slice(2), steps.slice(2).reverse()]) {
        datapath.bumpEpoch();
        for (const [packet, expected] of again) {
          const run = await datapath.fromPod(own, packet);
          assert.equal([run.verdict, run.data], ['redirect', delivered(expected, own)], `after an epoch, ${packet}`);
        }
      }
    }
  });

  test(name('two Services that meet on one backend are kept apart'), async () => {
    for (const [protocol, make] of [
      ['tcp', (ends: Parameters<typeof tcp>[0]): Packet => tcp(ends).syn()],
      ['udp', (ends: Parameters<typeof udp>[0]): Packet => udp(ends)],
    ] as const) {
      setService(datapath, protocol, vip(7), 80, [[of(server), 8080]]);
      setService(datapath, protocol, vip(8), 80, [[of(server), 8080]]);
      setService(datapath, protocol, vip(9), 80, [
        [of(server), 8080],
        [of(other), 8080],
      ]);
      const sport = nextPort++;
      await datapath.fromPod(client, make({ from: of(client), to: vip(7), sport, dport: 80 }));
      const second = await datapath.fromPod(client, make({ from: of(client), to: vip(8), sport, dport: 80 }));
      assert.is(second.verdict, 'redirect');
      const at = family === 4 ? 34 : 54;
      const port = new DataView(second.data.buffer).getUint16(at);
      assert.is.not(port, sport, 'the second has another source port');
      const third = await datapath.fromPod(client, make({ from: of(client), to: vip(9), sport, dport: 80 }));
      const expected = make({ from: of(client), to: of(other), sport, dport: 8080 });
      assert.equal(third.data, delivered(expected, other), 'the third has another backend');
      const direct = await datapath.fromPod(client, make({ from: of(client), to: of(server), sport, dport: 8080 }));
      assert.equal([direct.verdict, direct.reason], ['drop', 'SERVICE_CLASH']);
      if (protocol !== 'udp') continue;
      const answer = udp({ from: of(server), to: of(client), sport: 8080, dport: port });
      const seen = await datapath.fromPod(server, answer);
      assert.equal(seen.data, delivered(udp({ from: vip(8), to: of(client), sport: 80, dport: sport }), client));
      const more = await datapath.fromPod(client, udp({ from: of(client), to: vip(8), sport, dport: 80 }));
      assert.equal(more.data, delivered(udp({ from: of(client), to: of(server), sport: port, dport: 8080 }), server));
    }
  });

  test(name('affinity: one client, one backend, while it lasts and the backend is there'), async () => {
    const backends = [10, 11, 12, 13].map((n): [string, number] => [remote.replace(/9$/, `${n}`), 8080]);
    setService(datapath, 'tcp', vip(10), 80, backends, 600);
    const ask = async (): Promise<string> => {
      const run = await datapath.fromPod(
        client,
        tcp({ from: of(client), to: vip(10), sport: nextPort++, dport: 80 }).syn(),
      );
      return destinationOf(run.data, family);
    };
    const first = await ask();
    for (let i = 0; i < 20; i++) assert.is(await ask(), first);
    const index = backends.findIndex(([address]) => hex(address) === first);
    setService(datapath, 'tcp', vip(10), 80, backends.toSpliced(index, 1), 600);
    const second = await ask();
    assert.is.not(second, first);
    setService(datapath, 'tcp', vip(10), 80, backends, 600);
    for (let i = 0; i < 5; i++) assert.is(await ask(), second, 'it does not go back');
    setService(datapath, 'tcp', vip(10), 80, backends);
    const spread = new Set<string>();
    for (let i = 0; i < 40; i++) spread.add(await ask());
    assert.is(spread.size, 4, 'without affinity every backend gets some');
  });

  test(name('a backend that goes: TCP goes on, UDP and what nobody answered move'), async () => {
    const [one, two] = [remote, remote.replace(/9$/, '8')];
    for (const protocol of ['tcp', 'udp'] as const) setService(datapath, protocol, vip(11), 80, [[one, 8080]]);
    const established = { from: of(client), to: vip(11), sport: nextPort++, dport: 80 };
    const opening = { ...established, sport: nextPort++ };
    const datagram = { ...established, sport: nextPort++ };
    await datapath.fromPod(client, tcp(established).syn());
    await datapath.toPod(client, tcp({ from: one, to: of(client), sport: 8080, dport: established.sport }).synAck());
    await datapath.fromPod(client, tcp(established).ack());
    await datapath.fromPod(client, tcp(opening).syn());
    await datapath.fromPod(client, udp(datagram));
    for (const protocol of ['tcp', 'udp'] as const) setService(datapath, protocol, vip(11), 80, [[two, 8080]]);
    datapath.bumpEpoch();
    const goes = async (packet: Packet): Promise<string> =>
      destinationOf((await datapath.fromPod(client, packet)).data, family);
    assert.is(await goes(tcp(established).data(4)), hex(one));
    assert.is(await goes(tcp(opening).syn()), hex(two));
    assert.is(await goes(udp(datagram)), hex(two));
    assert.is(await goes(tcp({ ...established, sport: nextPort++ }).syn()), hex(two));
    for (const protocol of ['tcp', 'udp'] as const) removeService(datapath, protocol, vip(11), 80);
    datapath.bumpEpoch();
    assert.is(await goes(tcp(established).data(4)), hex(one), 'also when the Service is gone');
    const run = await datapath.fromPod(client, udp(datagram));
    assert.is(run.events.at(-1)?.reason, 34, 'SERVICE_NO_PORT');
    removeVirtualAddress(datapath, vip(11));
    assert.is((await datapath.fromPod(client, udp(datagram))).verdict, 'stack', 'an address like any other');
  });

  test(name('datagrams that began before the Service was known are taken up by it'), async () => {
    const ends = { from: of(client), to: vip(12), sport: nextPort++, dport: 53 };
    assert.is((await datapath.fromPod(client, udp(ends))).verdict, 'stack');
    setService(datapath, 'udp', vip(12), 53, [[of(server), 5353]]);
    datapath.bumpEpoch();
    const run = await datapath.fromPod(client, udp(ends));
    assert.equal(run.data, delivered(udp({ ...ends, to: of(server), dport: 5353 }), server));
  });

  test(name('a lead that was evicted is found again'), async () => {
    setService(datapath, 'tcp', vip(13), 80, [[of(server), 8080]]);
    const ends = { from: of(client), to: vip(13), sport: nextPort++, dport: 80 };
    await datapath.fromPod(client, tcp(ends).syn());
    await datapath.fromPod(server, tcp({ from: of(server), to: of(client), sport: 8080, dport: ends.sport }).synAck());
    const lead = leads().find(({ key }) => key.lowPort === ends.sport || key.highPort === ends.sport);
    assert.ok(lead);
    if (family === 4) datapath.delete('conntrack4', lead.key as never);
    else datapath.delete('conntrack6', lead.key as never);
    const before = leads().length;
    const run = await datapath.fromPod(client, tcp(ends).ack());
    assert.equal(run.data, delivered(tcp({ ...ends, to: of(server), dport: 8080 }).ack(), server));
    assert.is(leads().length, before + 1);
  });
}

/** The sequence and acknowledgement numbers of a packet whose TCP header is at `at`. */
function sequence(packet: Packet, at: number): number[] {
  const view = new DataView(packet.bytes().buffer);
  return [view.getUint32(at + 4), view.getUint32(at + 8)];
}

function hex(address: string): string {
  return destinationOf(
    udp({ from: address.includes(':') ? '::1' : '127.0.0.1', to: address }).bytes(),
    address.includes(':') ? 6 : 4,
  );
}

function destinationOf(frame: Uint8Array, family: number): string {
  return Buffer.from(family === 4 ? frame.slice(30, 34) : frame.slice(38, 54)).toString('hex');
}

/** Addresses of an ICMP error and what it quotes up to the ports: the transport's own checksum is nobody's business. */
function quoteOf(frame: Uint8Array, family: number): string {
  const outer = family === 4 ? frame.slice(26, 34) : frame.slice(22, 54);
  const quote = family === 4 ? frame.slice(42, 42 + 24) : frame.slice(62, 62 + 44);
  const type = family === 4 ? frame.slice(34, 36) : frame.slice(54, 56);
  return Buffer.concat([outer, type, quote]).toString('hex');
}

/** Does the checksum of TCP or ICMP cover what the packet says? The header of IPv4 too. */
function checksumHolds(frame: Uint8Array, family: number, protocol: number): boolean {
  const sum = (bytes: Uint8Array, start = 0): number => {
    let total = start;
    for (let i = 0; i < bytes.length; i += 2) total += ((bytes[i] ?? 0) << 8) | (bytes[i + 1] ?? 0);
    while (total > 0xffff) total = (total & 0xffff) + (total >>> 16);
    return total;
  };
  const at = family === 4 ? 34 : 54;
  const message = frame.slice(at);
  if (family === 4 && sum(frame.slice(14, 34)) !== 0xffff) return false;
  if (protocol === IPPROTO.icmp) return sum(message) === 0xffff;
  const addresses = family === 4 ? frame.slice(26, 34) : frame.slice(22, 54);
  return sum(message, sum(addresses) + protocol + message.length) === 0xffff;
}

test.run();
