/** After the epoch has changed, an established connection is judged again: by the initiator's tuple, at both pods. */
import * as assert from 'uvu/assert';
import { ConntrackFlags, DatapathCounter, EventFlags, EventType } from '../../agent/datapath/layout.gen.ts';
import { type Connection, DatapathFixture, type Run, type TestPod } from '../kit/datapath-fixture.ts';
import { allow, deny, setIdentity, setPolicy, setVerdict } from '../kit/datapath-policy.ts';
import { IPPROTO, icmpEcho, type Packet, tcp, udp } from '../kit/packet.ts';
import { privileged } from '../kit/privileged.ts';
import { suite } from '../kit/suite.ts';

const OPEN = 16;
const NO_EGRESS = 17;
const NO_INGRESS = 18;
const OTHERS = { 4: '192.0.2.7', 6: '2001:db8::7' } as const;

const test = privileged(suite('epochs'), 'root');
const datapath = DatapathFixture.open();
setPolicy(datapath, OPEN, {});
setPolicy(datapath, NO_EGRESS, { egress: { isolated: true, hasAny: true } });
setVerdict(
  datapath,
  { policy: NO_EGRESS, class: 0, direction: 'egress', protocol: IPPROTO.tcp, port: 80 },
  { normal: deny(1, 900) },
);
setPolicy(datapath, NO_INGRESS, { ingress: { isolated: true } });
for (const identity of [1, 9, 10, 1001, 1002]) setIdentity(datapath, identity);
const client = datapath.pod({ identity: 1001, policy: OPEN, ipv4: '10.9.0.2', ipv6: 'fd09::2' });
const server = datapath.pod({ identity: 1002, policy: OPEN, ipv4: '10.9.0.3', ipv6: 'fd09::3' });
test.before.each(() => {
  datapath.setEndpoint(client, { policy: OPEN, identity: 1001 });
  datapath.setEndpoint(server, { policy: OPEN, identity: 1002 });
  datapath.bumpEpoch();
});
test.after(() => datapath[Symbol.dispose]());

let nextPort = 10000;

interface Talk {
  readonly there: Packet;
  readonly back: Packet;
  send(): Promise<Run>;
  answer(): Promise<Run>;
  entry(): Connection['entry'];
  connection(): Connection;
}

/** An established connection from the client to the server pod, or to an address elsewhere. */
async function talk(family: 4 | 6, to: 'server' | 'elsewhere'): Promise<Talk> {
  const sport = nextPort++;
  const own = family === 4 ? client.ipv4 : client.ipv6;
  const other = to === 'elsewhere' ? OTHERS[family] : family === 4 ? server.ipv4 : server.ipv6;
  const there = tcp({ from: own, to: other, sport, dport: 80 });
  const back = tcp({ from: other, to: own, sport: 80, dport: sport });
  const reply = (packet: Packet): Promise<Run> =>
    to === 'server' ? datapath.fromPod(server, packet) : datapath.toPod(client, packet);
  const connection = (): Connection => {
    const found = datapath.connections().find(({ key }) => key.lowPort === sport || key.highPort === sport);
    assert.ok(found, 'there is an entry');
    return found;
  };
  await datapath.fromPod(client, there.syn());
  await reply(back.synAck());
  await datapath.fromPod(client, there.ack());
  return {
    there: there.data(),
    back: back.data(),
    send: () => datapath.fromPod(client, there.data()),
    answer: () => reply(back.data()),
    entry: () => connection().entry,
    connection,
  };
}

function switchTo(pod: TestPod, policy: number): void {
  datapath.setEndpoint(pod, { policy });
  datapath.bumpEpoch();
}

const judgedAgain = (): number => datapath.counter(DatapathCounter.COUNTER_JUDGED_AGAIN);
const has = (t: Talk, flag: number): boolean => (t.entry().flags & flag) !== 0;

for (const family of [4, 6] as const) {
  for (const to of ['server', 'elsewhere'] as const) {
    const name = `IPv${family}, ${to}`;
    const passes = to === 'server' ? 'redirect' : 'stack';

    test(`${name}: judged once per epoch, and goes on while allowed`, async () => {
      const t = await talk(family, to);
      const before = judgedAgain();
      assert.is((await t.send()).verdict, passes);
      assert.is(judgedAgain(), before, 'nothing has changed');
      datapath.bumpEpoch();
      for (let i = 0; i < 3; i++) assert.is((await t.send()).verdict, passes);
      assert.is((await t.answer()).verdict, to === 'server' ? 'redirect' : 'stack');
      assert.is(judgedAgain(), before + 1);
      assert.is(t.entry().epoch, datapath.epoch);
    });

    test(`${name}: before the epoch changes a switched policy does not touch it`, async () => {
      const t = await talk(family, to);
      datapath.setEndpoint(client, { policy: NO_EGRESS });
      assert.is((await t.send()).verdict, passes);
      datapath.bumpEpoch();
      assert.is((await t.send()).reason, 'POLICY_REVOKED');
    });

    test(`${name}: revoked by the initiator's policy: it drops, replies in flight pass, nothing is renewed`, async () => {
      const t = await talk(family, to);
      switchTo(client, NO_EGRESS);
      const first = await t.send();
      assert.equal([first.reason, first.events[0]?.direction], ['POLICY_REVOKED', 1]);
      assert.equal(
        [first.events[0]?.policy[1], first.events[0]?.rule[1]],
        [NO_EGRESS, 900],
        'with the rule that denies',
      );
      assert.ok((first.events[0]?.flags ?? 0) & EventFlags.EVENT_REVOKED);
      assert.ok(has(t, ConntrackFlags.CONNTRACK_REVOKED));
      const again = judgedAgain();
      const short = { expires: datapath.clock().jiffies + BigInt(100 * datapath.hz) };
      datapath.setConnection(t.connection(), short);
      for (let i = 0; i < 3; i++) {
        const run = await t.send();
        assert.equal([run.reason, run.events[0]?.direction], ['POLICY_REVOKED', 1]);
        assert.equal([run.events[0]?.policy[1], run.events[0]?.rule[1]], [NO_EGRESS, 900]);
        const answer = await t.answer();
        assert.equal([answer.verdict, answer.events], [to === 'server' ? 'redirect' : 'stack', []]);
      }
      assert.is(judgedAgain(), again, 'judged once');
      assert.is(t.entry().expires, short.expires);
    });

    test(`${name}: allowed again at a later epoch, it lives again`, async () => {
      const t = await talk(family, to);
      switchTo(client, NO_EGRESS);
      assert.is((await t.send()).reason, 'POLICY_REVOKED');
      datapath.bumpEpoch();
      assert.is((await t.send()).reason, 'POLICY_REVOKED');
      switchTo(client, OPEN);
      assert.is((await t.send()).verdict, passes);
      assert.is(has(t, ConntrackFlags.CONNTRACK_REVOKED), false);
    });

    test(`${name}: a rule that comes without a new epoch is enough to revive it`, async () => {
      const t = await talk(family, to);
      setPolicy(datapath, 25, { egress: { isolated: true, hasAny: true } });
      switchTo(client, 25);
      assert.is((await t.send()).reason, 'POLICY_REVOKED');
      const place = { policy: 25, class: 0, direction: 'egress', protocol: IPPROTO.tcp } as const;
      setVerdict(datapath, place, { normal: allow(1, 250) });
      assert.is((await t.send()).verdict, passes);
      assert.is(has(t, ConntrackFlags.CONNTRACK_REVOKED), false);
      assert.is(t.entry().rule[0], 250);
      setVerdict(datapath, place, { normal: deny(1, 251) });
    });

    test(`${name}: a reply is judged by the initiator's tuple, not by its own`, async () => {
      const t = await talk(family, to);
      /* the client may send, and nobody may open connections to it: the answer is no new connection */
      switchTo(client, NO_INGRESS);
      if (to === 'server') datapath.setEndpoint(server, { policy: NO_EGRESS });
      assert.is((await t.answer()).verdict, to === 'server' ? 'redirect' : 'stack');
      assert.is(has(t, ConntrackFlags.CONNTRACK_REVOKED), false);
      assert.is((await t.send()).verdict, passes);
    });

    test(`${name}: a reply that finds it denied passes, and the next packet of the initiator does not`, async () => {
      const t = await talk(family, to);
      switchTo(client, NO_EGRESS);
      assert.is((await t.answer()).verdict, to === 'server' ? 'redirect' : 'stack');
      assert.ok(has(t, ConntrackFlags.CONNTRACK_REVOKED));
      assert.is((await t.send()).reason, 'POLICY_REVOKED');
    });

    test(`${name}: a revoked connection cannot be opened again, nor a SYN revive it`, async () => {
      const t = await talk(family, to);
      switchTo(client, NO_EGRESS);
      await t.send();
      const port = t.there.parts.transport.kind === 'tcp' ? t.there.parts.transport.sport : 0;
      const syn = tcp({ from: t.there.parts.from, to: t.there.parts.to, sport: port, dport: 80 }).syn();
      assert.is((await datapath.fromPod(client, syn)).reason, 'POLICY_DENY_RULE');
      assert.ok(has(t, ConntrackFlags.CONNTRACK_REVOKED));
      switchTo(client, OPEN);
      const types = (await datapath.fromPod(client, syn)).events.map((event) => event.type);
      assert.equal(types, [EventType.EVENT_END, EventType.EVENT_NEW]);
      assert.is(has(t, ConntrackFlags.CONNTRACK_REVOKED), false);
    });
  }

  test(`IPv${family}: revoked by the responder's policy, in either pod's program`, async () => {
    for (const first of ['send', 'answer'] as const) {
      datapath.setEndpoint(server, { policy: OPEN });
      datapath.bumpEpoch();
      const t = await talk(family, 'server');
      switchTo(server, NO_INGRESS);
      if (first === 'answer') assert.is((await t.answer()).verdict, 'redirect');
      for (let i = 0; i < 2; i++) {
        const run = await t.send();
        assert.equal([run.reason, run.events[0]?.direction], ['POLICY_REVOKED', 0], `first ${first}`);
        assert.is(run.events[0]?.policy[0], NO_INGRESS);
      }
    }
  });

  test(`IPv${family}: what came in is judged again where it arrives, with the peer as it is now`, async () => {
    const own = family === 4 ? server.ipv4 : server.ipv6;
    const sport = nextPort++;
    const packet = udp({ from: OTHERS[family], to: own, sport });
    const answer = udp({ from: own, to: OTHERS[family], sport: 53, dport: sport });
    const set = 70;
    setPolicy(datapath, 19, { ingress: { isolated: true, identitySet: set } });
    setIdentity(datapath, 2001, set, 5);
    setIdentity(datapath, 2002);
    setVerdict(datapath, { policy: 19, class: 5, direction: 'ingress' }, { normal: allow(1, 55) });
    datapath.setEndpoint(server, { policy: 19 });
    datapath.peer(OTHERS[family], { identity: 2001, kind: 'pod' });
    assert.is((await datapath.toPod(server, packet)).verdict, 'stack');
    datapath.peer(OTHERS[family], { identity: 2002, kind: 'pod' });
    datapath.bumpEpoch();
    const run = await datapath.toPod(server, packet);
    const dropped = run.events.find(({ type }) => type === EventType.EVENT_DROP);
    assert.equal([run.reason, dropped?.direction, dropped?.identity[0]], ['POLICY_REVOKED', 0, 2002]);
    assert.is((await datapath.fromPod(server, answer)).verdict, 'stack', 'the pod itself may send');
    datapath.peer(OTHERS[family], { identity: 2001, kind: 'pod' });
    datapath.bumpEpoch();
    assert.is((await datapath.toPod(server, packet)).verdict, 'stack');
    datapath.delete('peers', { family, address: new Uint8Array(run.events[0]?.source ?? []) });
  });

  test(`IPv${family}: the node's own connection stays the node's, also when a reply is judged`, async () => {
    const own = family === 4 ? server.ipv4 : server.ipv6;
    const host = family === 4 ? '198.51.100.1' : '2001:db8:ffff::1'; // an address that is no peer
    const set = 71;
    setPolicy(datapath, 20, { ingress: { isolated: true, identitySet: set } });
    setIdentity(datapath, 1, set, 6);
    setVerdict(datapath, { policy: 20, class: 6, direction: 'ingress' }, { normal: allow(1, 66) });
    datapath.setEndpoint(server, { policy: 20 });
    const sport = nextPort++;
    assert.is((await datapath.toPod(server, udp({ from: host, to: own, sport }), 'host')).verdict, 'stack');
    datapath.bumpEpoch();
    assert.is((await datapath.fromPod(server, udp({ from: own, to: host, sport: 53, dport: sport }))).verdict, 'stack');
    assert.is((await datapath.toPod(server, udp({ from: host, to: own, sport }), 'host')).verdict, 'stack');
  });

  test(`IPv${family}: echo is judged again as a request, also by its reply`, async () => {
    const own = family === 4 ? client.ipv4 : client.ipv6;
    const [there, back] = [
      { from: own, to: OTHERS[family] },
      { from: OTHERS[family], to: own },
    ];
    const [protocol, request] = family === 4 ? [IPPROTO.icmp, 8] : [IPPROTO.icmpv6, 128];
    setPolicy(datapath, 21, { egress: { isolated: true, hasAny: true } });
    setVerdict(
      datapath,
      { policy: 21, class: 0, direction: 'egress', protocol, port: request << 8 },
      { normal: allow(1, 77) },
    );
    await datapath.fromPod(client, icmpEcho({ ...there, id: 9 }));
    switchTo(client, 21);
    assert.is((await datapath.toPod(client, icmpEcho({ ...back, id: 9 }).reply())).verdict, 'stack');
    assert.is((await datapath.fromPod(client, icmpEcho({ ...there, id: 9 }))).verdict, 'stack');
    switchTo(client, NO_EGRESS);
    assert.is((await datapath.fromPod(client, icmpEcho({ ...there, id: 9 }))).reason, 'POLICY_REVOKED');
  });
}

test('a side that was never asked is asked when the packet reaches it', async () => {
  /* the client sends to an address that becomes a local pod's only afterwards: its entry has egress judged, not ingress */
  const late = '10.9.0.77';
  const sport = nextPort++;
  assert.is((await datapath.fromPod(client, udp({ from: client.ipv4, to: late, sport }))).verdict, 'stack');
  const pod = datapath.pod({ identity: 1003, policy: NO_INGRESS, ipv4: late });
  const run = await datapath.toPod(pod, udp({ from: client.ipv4, to: late, sport }), client);
  assert.equal([run.reason, run.events[0]?.direction], ['POLICY_REVOKED', 0]);
  datapath.setEndpoint(pod, { policy: OPEN });
  datapath.bumpEpoch();
  assert.is((await datapath.fromPod(client, udp({ from: client.ipv4, to: late, sport }))).verdict, 'redirect');
});

test.run();
