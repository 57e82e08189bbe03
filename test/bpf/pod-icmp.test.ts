/** ICMP errors: part of the connection they quote, or strangers. */
import * as assert from 'uvu/assert';
import { DatapathFixture, type Run } from '../kit/datapath-fixture.ts';
import { allow, setPolicy, setVerdict } from '../kit/datapath-policy.ts';
import { fragments, IPPROTO, icmp, icmpEcho, icmpError, ip, type Packet, sctp, tcp, udp } from '../kit/packet.ts';
import { privileged } from '../kit/privileged.ts';
import { suite } from '../kit/suite.ts';

/** May open connections, takes none. */
const ASKS = 16;
/** Neither. */
const MUTE = 17;
const OPEN = 18;

const test = privileged(suite('ICMP errors'), 'root');
const datapath = DatapathFixture.open();
setPolicy(datapath, ASKS, { ingress: { isolated: true } });
setPolicy(datapath, MUTE, { ingress: { isolated: true }, egress: { isolated: true } });
setPolicy(datapath, OPEN, {});
const pod = datapath.pod({ identity: 1001, policy: ASKS, ipv4: '10.9.0.2', ipv6: 'fd09::2' });
const server = datapath.pod({ identity: 1002, policy: OPEN, ipv4: '10.9.0.3', ipv6: 'fd09::3' });
const attacker = datapath.pod({ identity: 1003, policy: OPEN, ipv4: '10.9.0.4', ipv6: 'fd09::4' });
test.after(() => datapath[Symbol.dispose]());

let nextPort = 10000;

for (const family of [4, 6] as const) {
  const [own, serverAddress, attackerAddress] =
    family === 4 ? [pod.ipv4, server.ipv4, attacker.ipv4] : [pod.ipv6, server.ipv6, attacker.ipv6];
  const other = family === 4 ? '192.0.2.7' : '2001:db8::7';
  const router = family === 4 ? '203.0.113.1' : '2001:db8:1::1';
  const types: [number, number][] =
    family === 4
      ? [
          [3, 4],
          [3, 1],
          [3, 3],
          [4, 0],
          [11, 0],
          [12, 0],
        ]
      : [
          [1, 4],
          [2, 0],
          [3, 0],
          [4, 1],
        ];

  const conversations = (): [string, Packet][] => {
    const sport = nextPort++;
    return [
      ['TCP', tcp({ from: own, to: other, sport }).syn()],
      ['UDP', udp({ from: own, to: other, sport })],
      ['SCTP', sctp({ from: own, to: other, sport })],
      ['echo', icmpEcho({ from: own, to: other, id: sport })],
    ];
  };
  const fromRouter = (quoting: Packet, type?: number, code?: number): Promise<Run> =>
    datapath.toPod(
      pod,
      icmpError({ from: router, to: own, quoting, ...(type === undefined ? {} : { type, code: code ?? 0 }) }),
    );

  test(`IPv${family}: an error about what the pod sent reaches it, through a policy that lets nothing in`, async () => {
    for (const [name, packet] of conversations()) {
      await datapath.fromPod(pod, packet);
      const entries = datapath.connections();
      for (const [type, code] of types) {
        const run = await fromRouter(packet, type, code);
        assert.equal([run.verdict, run.events], ['stack', []], `${name}, type ${type}`);
      }
      assert.equal(datapath.connections(), entries, 'nothing is counted, prolonged or made');
    }
  });

  test(`IPv${family}: an error about a datagram in fragments quotes the first, and reaches the pod`, async () => {
    const packet = udp({ from: own, to: other, sport: nextPort++ }, 2000);
    const [first, later] = fragments(packet, 1000) as [Packet, Packet];
    await datapath.fromPod(pod, first);
    const run = await fromRouter(first);
    assert.equal([run.verdict, run.events], ['stack', []]);
    assert.is((await fromRouter(later)).reason, 'ICMP_UNRELATED', 'nobody knows its ports');
  });

  test(`IPv${family}: an error about what the other side sent leaves the pod`, async () => {
    const sport = nextPort++;
    const there = udp({ from: own, to: other, sport });
    const back = udp({ from: other, to: own, sport: 53, dport: sport });
    await datapath.fromPod(pod, there);
    await datapath.toPod(pod, back);
    datapath.setEndpoint(pod, { policy: MUTE });
    const run = await datapath.fromPod(
      pod,
      icmpError({ from: own, to: other, type: family === 4 ? 3 : 1, code: 3, quoting: back }),
    );
    assert.equal([run.verdict, run.events], ['stack', []]);
    datapath.setEndpoint(pod, { policy: ASKS });
  });

  test(`IPv${family}: between pods of the node it is delivered to the one it is for`, async () => {
    const packet = udp({ from: own, to: serverAddress, sport: nextPort++ });
    await datapath.fromPod(pod, packet);
    const run = await datapath.fromPod(server, icmpError({ from: serverAddress, to: own, quoting: packet }));
    assert.equal([run.verdict, run.events], ['redirect', []]);
    assert.equal(
      run.data.subarray(0, 6),
      Uint8Array.from(pod.mac.split(':'), (part) => Number.parseInt(part, 16)),
    );
  });

  test(`IPv${family}: quotes that fit no connection`, async () => {
    const sport = nextPort++;
    const sent = udp({ from: own, to: other, sport });
    await datapath.fromPod(pod, sent);
    const strangers: [string, Packet][] = [
      ['another port', udp({ from: own, to: other, sport: sport + 500 })],
      ['another protocol', tcp({ from: own, to: other, sport, dport: 53 })],
      ['another destination', udp({ from: own, to: router, sport })],
      ['sent by the other side', udp({ from: other, to: own, sport: 53, dport: sport })],
      ['sent by somebody else', udp({ from: serverAddress, to: other, sport })],
      ['a protocol without ports', ip({ from: own, to: other, protocol: IPPROTO.gre })],
    ];
    for (const [name, quoting] of strangers) {
      assert.is((await fromRouter(quoting)).reason, 'ICMP_UNRELATED', name);
    }
    const whole = icmpError({ from: router, to: own, quoting: sent });
    const quote = 14 + (family === 4 ? 20 : 40) + 8;
    const later = family === 4 ? whole.patch(quote + 6, 0, 9) : whole.patch(quote + 6, IPPROTO.fragment);
    assert.is((await datapath.toPod(pod, later)).reason, 'ICMP_UNRELATED', 'a later fragment has no ports');
    assert.is((await datapath.toPod(pod, whole.patch(quote, family === 4 ? 0x65 : 0x45))).reason, 'ICMP_UNRELATED');
    if (family === 4) {
      /* a header of 4 bytes would have the id (1) and the flags (0x4000) stand where ports are read */
      await datapath.fromPod(pod, udp({ from: own, to: other, sport: 1, dport: 0x4000 }));
      assert.is((await datapath.toPod(pod, whole.patch(quote, 0x41))).reason, 'ICMP_UNRELATED');
    }
    const header = family === 4 ? 28 : 48;
    for (const missing of [header, header - 7, 4]) {
      const short = icmp({
        from: router,
        to: own,
        type: family === 4 ? 3 : 1,
        payload: sent.ip().slice(0, header - missing),
      });
      assert.is(
        (await datapath.toPod(pod, short)).reason,
        'ICMP_UNRELATED',
        `a quote without its last ${missing} bytes`,
      );
    }
    assert.is((await fromRouter(sent)).verdict, 'stack', 'and the right one passes');
  });

  test(`IPv${family}: a pod cannot forge an error about a connection that is not its own`, async () => {
    const packet = tcp({ from: own, to: serverAddress, sport: nextPort++ }).syn();
    await datapath.fromPod(pod, packet);
    const forged = icmpError({ from: attackerAddress, to: own, quoting: packet });
    assert.is((await datapath.fromPod(attacker, forged)).reason, 'ICMP_UNRELATED');
  });

  test(`IPv${family}: not for connections that expired, were revoked, or are not judged yet in this epoch`, async () => {
    const sport = nextPort++;
    const packet = udp({ from: own, to: other, sport });
    const entry = () => {
      const found = datapath.connections().find(({ key }) => key.lowPort === sport || key.highPort === sport);
      assert.ok(found);
      return found;
    };
    await datapath.fromPod(pod, packet);
    datapath.bumpEpoch();
    assert.is((await fromRouter(packet)).reason, 'ICMP_UNRELATED');
    await datapath.fromPod(pod, packet);
    assert.is((await fromRouter(packet)).verdict, 'stack');
    datapath.setEndpoint(pod, { policy: MUTE });
    datapath.bumpEpoch();
    assert.is((await datapath.fromPod(pod, packet)).reason, 'POLICY_REVOKED');
    assert.is((await fromRouter(packet)).reason, 'ICMP_UNRELATED');
    datapath.setEndpoint(pod, { policy: ASKS });
    datapath.bumpEpoch();
    await datapath.fromPod(pod, packet);
    datapath.setConnection(entry(), { expires: datapath.clock().jiffies - 1n });
    assert.is((await fromRouter(packet)).reason, 'ICMP_UNRELATED');
  });

  test(`IPv${family}: a stranger passes where policy allows that ICMP, and makes no connection`, async () => {
    const quoting = udp({ from: own, to: other, sport: nextPort++ });
    const [protocol, type] = family === 4 ? [IPPROTO.icmp, 3] : [IPPROTO.icmpv6, 2];
    setPolicy(datapath, 19, { ingress: { isolated: true, hasAny: true } });
    setVerdict(
      datapath,
      { policy: 19, class: 0, direction: 'ingress', protocol, port: type << 8, portBits: 8 },
      { normal: allow(1, 7) },
    );
    datapath.setEndpoint(pod, { policy: 19 });
    const before = datapath.connections().length;
    assert.is((await fromRouter(quoting)).verdict, 'stack');
    assert.is((await fromRouter(quoting, family === 4 ? 11 : 3)).reason, 'ICMP_UNRELATED');
    datapath.setEndpoint(pod, { policy: OPEN });
    assert.is((await fromRouter(quoting, family === 4 ? 11 : 3)).verdict, 'stack');
    assert.is(datapath.connections().length, before);
    datapath.setEndpoint(pod, { policy: ASKS });
  });
}

test.run();
