/** The life of a connection: one entry for both directions, timeouts by state, ends, eviction, budget. */
import * as assert from 'uvu/assert';
import {
  ConntrackFlags,
  DatapathCounter,
  EventFlags,
  eventTypeName,
  type FlowEvent,
} from '../../agent/datapath/layout.gen.ts';
import { type Connection, DatapathFixture, type Run } from '../kit/datapath-fixture.ts';
import { allow, setPolicy, setVerdict } from '../kit/datapath-policy.ts';
import { IPPROTO, icmpEcho, ip, type Packet, sctp, TCP, type TcpPacket, tcp, udp } from '../kit/packet.ts';
import { privileged } from '../kit/privileged.ts';
import { suite } from '../kit/suite.ts';
import { until } from '../kit/until.ts';

const OPEN = 16;
/** Nobody comes in. */
const CLOSED = 17;
const OTHERS = { 4: '192.0.2.7', 6: '2001:db8::7' } as const;

const test = privileged(suite('connections'), 'root');
const datapath = DatapathFixture.open();
setPolicy(datapath, OPEN, {});
setPolicy(datapath, CLOSED, { ingress: { isolated: true } });
const pod = datapath.pod({ identity: 1001, policy: CLOSED, ipv4: '10.9.0.2', ipv6: 'fd09::2' });
test.after(() => datapath[Symbol.dispose]());

let nextPort = 10000;
const { hz } = datapath;

interface Talk {
  readonly there: TcpPacket;
  readonly back: TcpPacket;
  /** The pod sends. */
  send(packet: Packet): Promise<Run>;
  /** The other side, elsewhere, sends. */
  get(packet: Packet): Promise<Run>;
  connection(): Connection | undefined;
}

/** A TCP connection the pod opens, of either family, with a source port of its own. */
function talk(family: 4 | 6, dport = 80, sport: number = nextPort++): Talk {
  const own = family === 4 ? pod.ipv4 : pod.ipv6;
  return {
    there: tcp({ from: own, to: OTHERS[family], sport, dport }),
    back: tcp({ from: OTHERS[family], to: own, sport: dport, dport: sport }),
    send: (packet) => datapath.fromPod(pod, packet),
    get: (packet) => datapath.toPod(pod, packet),
    connection: () => find(sport),
  };
}

function find(port: number): Connection | undefined {
  return datapath.connections().find(({ key }) => key.lowPort === port || key.highPort === port);
}

function names(run: Run): string[] {
  return run.events.map((event) => (eventTypeName[event.type] ?? '').slice('EVENT_'.length));
}

/** Whole seconds until the entry expires. */
function secondsLeft(connection: Connection | undefined): number {
  assert.ok(connection, 'there is an entry');
  return Math.round(Number(connection.entry.expires - datapath.clock().jiffies) / hz);
}

async function establish(t: Talk): Promise<void> {
  await t.send(t.there.syn());
  await t.get(t.back.synAck());
  await t.send(t.there.ack());
}

for (const family of [4, 6] as const) {
  test(`IPv${family}: TCP from SYN to the last ACK`, async () => {
    const t = talk(family);
    const steps: [string, () => Promise<Run>, string[], number | undefined][] = [
      ['SYN', () => t.send(t.there.syn()), ['NEW'], 60],
      ['SYN again', () => t.send(t.there.syn()), [], 60],
      ['SYN+ACK', () => t.get(t.back.synAck()), ['REPLY'], 60],
      ['ACK', () => t.send(t.there.ack()), [], 8000],
      ['request', () => t.send(t.there.data(100)), [], 8000],
      ['response', () => t.get(t.back.data(1000)), [], 8000],
      ['FIN', () => t.send(t.there.fin()), ['UPDATE'], 600],
      ['more response', () => t.get(t.back.data(1000)), [], 600],
      ['FIN of the other', () => t.get(t.back.fin()), ['UPDATE'], 10],
      ['FIN again', () => t.get(t.back.fin()), [], 10],
      ['last ACK', () => t.send(t.there.ack()), ['END'], undefined],
    ];
    let last: FlowEvent | undefined;
    for (const [name, step, events, left] of steps) {
      const run = await step();
      assert.equal([run.verdict, run.reason], ['stack', undefined], name);
      assert.equal(names(run), events, name);
      if (left === undefined) assert.is(t.connection(), undefined, 'the entry is gone');
      else assert.is(secondsLeft(t.connection()), left, name);
      last = run.events[0];
    }
    assert.equal(last?.packets, [6n, 5n]);
    const header = family === 4 ? 40n : 60n;
    assert.equal(last?.bytes, [6n * header + 100n, 5n * header + 2000n]);
    assert.is(last?.tcpFlags, TCP.syn | TCP.ack | TCP.psh | TCP.fin);
    assert.ok((last?.created ?? 0n) > 0n && (last?.created ?? 0n) < (last?.time ?? 0n));
  });

  test(`IPv${family}: a reset by either side ends it at once`, async () => {
    for (const side of ['send', 'get'] as const) {
      const t = talk(family);
      await establish(t);
      const run = side === 'send' ? await t.send(t.there.rst()) : await t.get(t.back.rst());
      assert.equal([run.verdict, names(run)], ['stack', ['END']]);
      assert.is(((run.events[0]?.flags ?? 0) & EventFlags.EVENT_IS_REPLY) !== 0, side === 'get');
      assert.is(t.connection(), undefined);
    }
  });

  test(`IPv${family}: a refused connection leaves nothing`, async () => {
    const t = talk(family);
    await t.send(t.there.syn());
    assert.equal(names(await t.get(t.back.flags(TCP.rst | TCP.ack))), ['END']);
    assert.is(t.connection(), undefined);
  });

  test(`IPv${family}: what comes after the end passes, and makes no entry`, async () => {
    const t = talk(family);
    for (const packet of [t.there.ack(), t.there.fin(), t.there.rst(), t.there.synAck()]) {
      const run = await t.send(packet);
      assert.equal([run.verdict, names(run)], ['stack', []], `${packet}`);
      assert.is(t.connection(), undefined, `${packet}`);
    }
  });

  test(`IPv${family}: UDP, echo and others wait as long as they should`, async () => {
    const own = family === 4 ? pod.ipv4 : pod.ipv6;
    const ends = { from: own, to: OTHERS[family] };
    const ways: [string, (sport: number) => [Packet, Packet], number, number][] = [
      ['UDP', (sport) => [udp({ ...ends, sport }), udp({ from: ends.to, to: own, sport: 53, dport: sport })], 30, 180],
      [
        'SCTP',
        (sport) => [sctp({ ...ends, sport }), sctp({ from: ends.to, to: own, sport: 36412, dport: sport })],
        60,
        180,
      ],
      ['echo', (id) => [icmpEcho({ ...ends, id }), icmpEcho({ from: ends.to, to: own, id }).reply()], 30, 30],
    ];
    for (const [name, packets, asked, answered] of ways) {
      const port = nextPort++;
      const [there, back] = packets(port);
      assert.equal(names(await datapath.fromPod(pod, there)), ['NEW'], name);
      assert.is(secondsLeft(find(port)), asked, name);
      assert.equal(names(await datapath.toPod(pod, back)), ['REPLY'], name);
      assert.equal(names(await datapath.toPod(pod, back)), [], name);
      assert.is(secondsLeft(find(port)), answered, name);
      assert.equal(find(port)?.entry.packets, [1n, 2n], name);
    }
    const gre = ip({ ...ends, protocol: IPPROTO.gre });
    assert.equal(names(await datapath.fromPod(pod, gre)), ['NEW']);
    assert.equal(names(await datapath.toPod(pod, ip({ from: ends.to, to: own, protocol: IPPROTO.gre }))), ['REPLY']);
  });

  test(`IPv${family}: only the asked side may answer, and only the same ports`, async () => {
    const t = talk(family);
    await establish(t);
    const own = family === 4 ? pod.ipv4 : pod.ipv6;
    const port = find(Number(t.there.parts.transport.kind === 'tcp' && t.there.parts.transport.sport))?.key;
    assert.ok(port);
    const strangers = [
      tcp({ from: OTHERS[family], to: own, sport: 81, dport: nextPort - 1 }),
      tcp({ from: OTHERS[family], to: own, sport: 80, dport: nextPort }),
      tcp({ from: OTHERS[family].replace('7', '8'), to: own, sport: 80, dport: nextPort - 1 }),
    ];
    for (const packet of strangers) {
      assert.is((await t.get(packet.syn())).reason, 'POLICY_DENIED');
      assert.is((await t.get(packet.synAck())).reason, 'POLICY_DENIED');
      assert.is((await t.get(packet.rst())).reason, 'POLICY_DENIED');
    }
    const asUdp = udp({ from: OTHERS[family], to: own, sport: 80, dport: nextPort - 1 });
    assert.is((await t.get(asUdp)).reason, 'POLICY_DENIED');
  });

  test(`IPv${family}: a SYN is judged in its own direction, whatever entry there is`, async () => {
    const t = talk(family);
    await establish(t);
    const before = t.connection();
    assert.is((await t.get(t.back.syn())).reason, 'POLICY_DENIED');
    assert.equal(t.connection(), before, 'the old connection is left alone');
    assert.is((await t.get(t.back.data())).verdict, 'stack');
  });

  test(`IPv${family}: neither does a SYN from the other side ride on one that is half open`, async () => {
    const t = talk(family);
    await t.send(t.there.syn());
    assert.is((await t.get(t.back.syn())).reason, 'POLICY_DENIED');
    assert.is((await t.get(t.back.synAck())).verdict, 'stack');
  });

  test(`IPv${family}: a SYN on an established connection is a new one`, async () => {
    const t = talk(family);
    await establish(t);
    const old = t.connection();
    const run = await t.send(t.there.syn());
    assert.equal(names(run), ['END', 'NEW']);
    assert.equal(run.events[0]?.packets, old?.entry.packets);
    assert.equal(t.connection()?.entry.packets, [1n, 0n]);
    assert.is(secondsLeft(t.connection()), 60);
  });

  test(`IPv${family}: an expired entry is no entry`, async () => {
    const t = talk(family);
    await establish(t);
    const old = t.connection() as Connection;
    datapath.setConnection(old, { expires: datapath.clock().jiffies - 1n });
    assert.is((await t.get(t.back.rst())).reason, 'POLICY_DENIED');
    const run = await t.send(t.there.data());
    assert.equal(names(run), ['END', 'NEW']);
    assert.ok((run.events[0]?.flags ?? 0) & EventFlags.EVENT_EXPIRED);
    assert.equal(run.events[0]?.packets, old.entry.packets);
    assert.equal(t.connection()?.entry.packets, [1n, 0n]);
  });

  test(`IPv${family}: a connection whose entry was evicted heals, in both directions, by its policy`, async () => {
    const t = talk(family);
    /* data from the other side, which may not open connections: it can only be the answer to one the pod opened */
    const run = await t.get(t.back.data());
    assert.equal([run.verdict, names(run)], ['stack', ['NEW']]);
    assert.ok((run.events[0]?.flags ?? 0) & EventFlags.EVENT_IS_REPLY);
    assert.equal(run.events[0]?.identity, [family === 4 ? 9 : 10, 1001]);
    assert.equal(t.connection()?.entry.identity, [1001, family === 4 ? 9 : 10], 'the pod is the initiator');
    assert.is((await t.send(t.there.data())).verdict, 'stack');
    assert.ok((t.connection()?.entry.flags ?? 0) & ConntrackFlags.CONNTRACK_ESTABLISHED);
    assert.is(secondsLeft(t.connection()), 8000);

    const own = talk(family);
    assert.equal(names(await own.send(own.there.data())), ['NEW']);
    assert.equal(own.connection()?.entry.identity, [1001, family === 4 ? 9 : 10]);
  });

  test(`IPv${family}: healing is for TCP in mid-stream, and for what a policy allows`, async () => {
    const t = talk(family);
    const own = family === 4 ? pod.ipv4 : pod.ipv6;
    for (const packet of [
      t.back.syn(),
      t.back.synAck(),
      t.back.rst(),
      t.back.flags(TCP.rst | TCP.ack),
      t.back.flags(0),
      t.back.flags(TCP.fin),
    ]) {
      assert.is((await t.get(packet)).reason, 'POLICY_DENIED', `${packet}`);
    }
    assert.is(
      (await t.get(udp({ from: OTHERS[family], to: own, sport: 80, dport: nextPort++ }))).reason,
      'POLICY_DENIED',
    );
    setPolicy(datapath, 18, { ingress: { isolated: true }, egress: { isolated: true, hasAny: true } });
    setVerdict(
      datapath,
      { policy: 18, class: 0, direction: 'egress', protocol: IPPROTO.tcp, port: 443 },
      { normal: allow(1, 7) },
    );
    datapath.setEndpoint(pod, { policy: 18 });
    try {
      const wrong = talk(family, 80);
      const denied = await wrong.get(wrong.back.data());
      assert.equal(
        [denied.reason, denied.events[0]?.direction],
        ['POLICY_DENIED', 0],
        'reported as what it is: coming in',
      );
      const right = talk(family, 443);
      assert.is((await right.get(right.back.data())).verdict, 'stack');
      assert.is((await wrong.send(wrong.there.data())).reason, 'POLICY_DENIED');
    } finally {
      datapath.setEndpoint(pod, { policy: CLOSED });
    }
  });

  test(`IPv${family}: echo replies nobody asked for, and requests that borrow an id`, async () => {
    const own = family === 4 ? pod.ipv4 : pod.ipv6;
    const [there, back] = [
      { from: own, to: OTHERS[family] },
      { from: OTHERS[family], to: own },
    ];
    assert.is((await datapath.toPod(pod, icmpEcho({ ...back, id: 5 }).reply())).reason, 'POLICY_DENIED');
    for (const id of [0, 600]) {
      assert.equal(names(await datapath.fromPod(pod, icmpEcho({ ...there, id }))), ['NEW']);
      assert.is(
        (await datapath.toPod(pod, icmpEcho({ ...back, id }).request())).reason,
        'POLICY_DENIED',
        `request with id ${id}`,
      );
      assert.is((await datapath.toPod(pod, icmpEcho({ ...back, id: id + 1 }).reply())).reason, 'POLICY_DENIED');
      assert.is((await datapath.toPod(pod, icmpEcho({ ...back, id }).reply())).verdict, 'stack');
      const stray = await datapath.fromPod(pod, icmpEcho({ ...there, id }).reply());
      assert.equal([stray.verdict, names(stray)], ['stack', []], 'a reply from the asking side is no part of it');
    }
  });

  test(`IPv${family}: where both may ask, a request with the other's id passes and leaves its entry alone`, async () => {
    const own = family === 4 ? pod.ipv4 : pod.ipv6;
    const ends = { from: own, to: OTHERS[family].replace('7', '9') };
    datapath.setEndpoint(pod, { policy: OPEN });
    datapath.bumpEpoch();
    await datapath.fromPod(pod, icmpEcho({ ...ends, id: 0 }));
    const before = datapath.connections();
    const run = await datapath.toPod(pod, icmpEcho({ from: ends.to, to: own, id: 0 }));
    assert.equal([run.verdict, names(run)], ['stack', []]);
    assert.equal(datapath.connections(), before);
    datapath.setEndpoint(pod, { policy: CLOSED });
    datapath.bumpEpoch();
  });

  test(`IPv${family}: an established connection to a pod whose endpoint is somebody else by now`, async () => {
    const own = family === 4 ? pod.ipv4 : pod.ipv6;
    const gone = datapath.pod({ identity: 1009, policy: OPEN, ipv4: '10.9.0.99', ipv6: 'fd09::99' });
    const packet = udp({ from: own, to: family === 4 ? gone.ipv4 : gone.ipv6, sport: nextPort++ });
    assert.is((await datapath.fromPod(pod, packet)).verdict, 'redirect');
    datapath.setEndpoint(gone, { ipv4: 1, ipv6: new Uint8Array(16).fill(1) });
    assert.is((await datapath.fromPod(pod, packet)).reason, 'DESTINATION_GONE');
    datapath.setEndpoint(gone, { ifindex: 0 });
    assert.is((await datapath.fromPod(pod, packet)).reason, 'DESTINATION_GONE');
  });

  test(`IPv${family}: a living connection is reported every few seconds`, async () => {
    const t = talk(family);
    await establish(t);
    const { entry, ...rest } = t.connection() as Connection;
    datapath.setConnection({ entry, ...rest }, { reported: entry.reported - BigInt(5 * hz) });
    assert.equal(names(await t.send(t.there.data())), ['UPDATE']);
    assert.equal(names(await t.send(t.there.data())), []);
  });
}

test('no more connections than the budget; closing one properly gives its token back', async () => {
  using small = DatapathFixture.open({ config: { newConnectionsPerSecond: 1, newConnectionBurst: 5 } });
  setPolicy(small, OPEN, {});
  const flooder = small.pod({ identity: 1001, policy: OPEN, ipv4: '10.9.0.2', ipv6: 'fd09::2' });
  const quiet = small.pod({ identity: 1002, policy: OPEN, ipv4: '10.9.0.3' });
  const open = (sport: number): Promise<Run> =>
    small.fromPod(flooder, tcp({ from: flooder.ipv4, to: OTHERS[4], sport }).syn());
  for (let sport = 1; sport <= 5; sport++) assert.is((await open(sport)).verdict, 'stack');
  assert.is((await open(6)).reason, 'NEW_CONNECTION_BUDGET');
  assert.is((await small.fromPod(flooder, udp({ from: flooder.ipv6, to: OTHERS[6] }))).reason, 'NEW_CONNECTION_BUDGET');
  assert.is((await open(5)).verdict, 'stack', 'what is open goes on');
  assert.is(
    (await small.fromPod(quiet, udp({ from: quiet.ipv4, to: OTHERS[4] }))).verdict,
    'stack',
    'others have their own',
  );
  assert.is(
    (await small.toPod(flooder, udp({ from: OTHERS[4], to: flooder.ipv4 }))).verdict,
    'stack',
    'as has what comes in',
  );
  assert.is(
    (await small.fromPod(flooder, tcp({ from: flooder.ipv4, to: OTHERS[4], sport: 1 }).rst())).verdict,
    'stack',
  );
  assert.is((await open(7)).verdict, 'stack', 'a token was given back');
  assert.is((await open(8)).reason, 'NEW_CONNECTION_BUDGET');
  const budget = small.get('budgets', flooder.id);
  assert.ok(budget);
  small.put('budgets', flooder.id, { ...budget, refilled: budget.refilled - BigInt(2 * hz) });
  assert.is((await open(9)).verdict, 'stack');
  assert.is((await open(10)).verdict, 'stack');
  assert.is((await open(11)).reason, 'NEW_CONNECTION_BUDGET', 'two seconds earn two tokens');
  small.put('budgets', flooder.id, { tokens: 0n, refilled: 0n });
  for (let sport = 20; sport < 25; sport++) assert.is((await open(sport)).verdict, 'stack');
  assert.is((await open(25)).reason, 'NEW_CONNECTION_BUDGET', 'however long it was quiet, not more than the burst');
});

test('a flood evicts, and established connections go on', async () => {
  using small = DatapathFixture.open({ maxEntries: { conntrack4: 128 } });
  setPolicy(small, OPEN, {});
  setPolicy(small, CLOSED, { ingress: { isolated: true } });
  const server = small.pod({ identity: 1001, policy: CLOSED, ipv4: '10.9.0.2' });
  const flooder = small.pod({ identity: 1002, policy: OPEN, ipv4: '10.9.0.3' });
  const [there, back] = [
    tcp({ from: server.ipv4, to: OTHERS[4], sport: 1000, dport: 80 }),
    tcp({ from: OTHERS[4], to: server.ipv4, sport: 80, dport: 1000 }),
  ];
  await small.fromPod(server, there.syn());
  await small.toPod(server, back.synAck());
  await small.fromPod(server, there.ack());
  for (let sport = 1; sport < 2000; sport++) {
    const packet = tcp({ from: flooder.ipv4, to: OTHERS[4], sport }).syn().between(flooder.mac, '0a:77:65:69:72:01');
    assert.is(small.runOnly('from_pod', flooder, packet.bytes()).retval, -1);
  }
  assert.ok(small.connections().length <= 128);
  assert.is((await small.toPod(server, back.data())).verdict, 'stack');
  assert.is((await small.fromPod(server, there.data())).verdict, 'stack');
});

test('what the ring buffer has no room for is counted', async () => {
  using small = DatapathFixture.open({ maxEntries: { events: 4096 } });
  const mute = small.pod({ identity: 1001, policy: 0, ipv4: '10.9.0.2' });
  const packet = udp({ from: mute.ipv4, to: OTHERS[4] }).between(mute.mac, '0a:77:65:69:72:01').bytes();
  small.runOnly('from_pod', mute, packet, 20_000);
  const lost = small.counter(DatapathCounter.COUNTER_EVENTS_LOST);
  const dropped = small.drops()['NO_POLICY/egress'] ?? 0;
  assert.ok(lost > 0 && dropped >= 20_000, `of ${dropped} some were lost: ${lost}`);
  await until(() => small.eventsReceived + lost === dropped, {
    what: 'every packet to be reported or counted as lost',
  });
});

test('counters of the direction count what passes', async () => {
  const [egress, ingress] = [DatapathCounter.COUNTER_FORWARD_EGRESS, DatapathCounter.COUNTER_FORWARD_INGRESS];
  const before = [datapath.counter(egress), datapath.counter(ingress)];
  const t = talk(4);
  await establish(t);
  assert.equal([datapath.counter(egress), datapath.counter(ingress)], [(before[0] ?? 0) + 2, (before[1] ?? 0) + 1]);
});

test.run();
