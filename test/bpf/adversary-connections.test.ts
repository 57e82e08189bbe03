/** What a hostile pod, a hostile world or an unlucky moment could make of the connection table. */
import * as assert from 'uvu/assert';
import { EventType } from '../../agent/datapath/layout.gen.ts';
import { type Connection, DatapathFixture, type TestPod } from '../kit/datapath-fixture.ts';
import { setIdentity, setPolicy } from '../kit/datapath-policy.ts';
import { arp, type Packet, tcp, udp } from '../kit/packet.ts';
import { privileged } from '../kit/privileged.ts';
import { suite } from '../kit/suite.ts';

const OPEN = 16;
const CLOSED = 17;

const test = privileged(suite('adversary: connections'), 'root');
const datapath = DatapathFixture.open();
setPolicy(datapath, OPEN, {});
setPolicy(datapath, CLOSED, { ingress: { isolated: true }, egress: { isolated: true } });
for (const identity of [1, 9, 10, 1001, 1002, 1003]) setIdentity(datapath, identity);
const client = datapath.pod({ identity: 1001, policy: OPEN, ipv4: '10.9.0.2', ipv6: 'fd09::2' });
const server = datapath.pod({ identity: 1002, policy: OPEN, ipv4: '10.9.0.3', ipv6: 'fd09::3' });
test.before.each(() => {
  for (const [pod, identity] of [
    [client, 1001],
    [server, 1002],
  ] as const) {
    datapath.setEndpoint(pod, { policy: OPEN, identity });
    for (const address of [pod.ipv4, pod.ipv6]) datapath.peer(address, { identity, endpoint: pod.id, kind: 'pod' });
  }
  datapath.bumpEpoch();
});
test.after(() => datapath[Symbol.dispose]());

let nextPort = 20000;

const find = (port: number): Connection | undefined =>
  datapath.connections().find(({ key }) => key.lowPort === port || key.highPort === port);
const hasEntry = (port: number): boolean => find(port) !== undefined;

function entryOf(port: number): Connection {
  const found = find(port);
  assert.ok(found, `there is an entry for port ${port}`);
  return found;
}

for (const family of [4, 6] as const) {
  const at = (pod: TestPod): string => (family === 4 ? pod.ipv4 : pod.ipv6);
  const host = family === 4 ? '198.51.100.1' : '2001:db8:ffff::1';
  const conversation = (): { sport: number; there: Packet; back: Packet } => {
    const sport = nextPort++;
    return {
      sport,
      there: udp({ from: at(client), to: at(server), sport, dport: 53 }),
      back: udp({ from: at(server), to: at(client), sport: 53, dport: sport }),
    };
  };

  test(`IPv${family}: from outside, a pod's address is a spoof in the middle of its connection too`, async () => {
    const { there, back } = conversation();
    assert.is((await datapath.fromPod(client, there)).verdict, 'redirect');
    assert.is((await datapath.fromPod(server, back)).verdict, 'redirect');
    assert.is((await datapath.toPod(server, there)).reason, 'HOST_SPOOF');
    assert.is((await datapath.toPod(client, back)).reason, 'HOST_SPOOF');
    assert.is((await datapath.toPod(server, there, client)).verdict, 'stack', 'by its own veth and the stack');
  });

  test(`IPv${family}: a forged reset from outside does not end the connection of two pods`, async () => {
    const sport = nextPort++;
    const there = tcp({ from: at(client), to: at(server), sport, dport: 80 });
    await datapath.fromPod(client, there.syn());
    assert.is((await datapath.toPod(server, there.rst())).reason, 'HOST_SPOOF');
    assert.ok(entryOf(sport));
  });

  test(`IPv${family}: from outside, the node's address is a spoof in the middle of its connection too`, async () => {
    const sport = nextPort++;
    datapath.peer(host, { identity: 1, kind: 'node' });
    const there = udp({ from: host, to: at(server), sport, dport: 53 });
    assert.is((await datapath.toPod(server, there, 'host')).verdict, 'stack');
    assert.is((await datapath.toPod(server, there)).reason, 'HOST_SPOOF');
    assert.is((await datapath.toPod(server, there, 'host')).verdict, 'stack');
  });

  test(`IPv${family}: the new owner of a responder's address has nothing to answer`, async () => {
    const { sport, there, back } = conversation();
    await datapath.fromPod(client, there);
    await datapath.fromPod(server, back);
    const heir = datapath.pod({ identity: 1003, policy: CLOSED, [`ipv${family}`]: at(server) });
    datapath.setEndpoint(client, { policy: CLOSED });
    datapath.bumpEpoch();
    const run = await datapath.fromPod(heir, back);
    assert.is(run.reason, 'POLICY_REVOKED');
    const end = run.events.find(({ type }) => type === EventType.EVENT_END);
    assert.equal(end?.endpoint, [server.id, client.id], 'what ends was between those two');
    assert.is((await datapath.fromPod(heir, back)).reason, 'POLICY_DENIED');
    assert.not(hasEntry(sport));
  });

  test(`IPv${family}: the new owner of an initiator's address gets no late replies`, async () => {
    const { there, back } = conversation();
    await datapath.fromPod(client, there);
    await datapath.fromPod(server, back);
    datapath.pod({ identity: 1003, policy: CLOSED, [`ipv${family}`]: at(client) });
    datapath.setEndpoint(server, { policy: CLOSED });
    datapath.bumpEpoch();
    assert.is((await datapath.fromPod(server, back)).reason, 'POLICY_REVOKED');
    assert.is((await datapath.fromPod(server, back)).reason, 'POLICY_DENIED');
  });

  test(`IPv${family}: the late replies of a revoked connection come its way, or are forged`, async () => {
    const { there, back } = conversation();
    await datapath.fromPod(client, there);
    await datapath.fromPod(server, back);
    datapath.setEndpoint(client, { policy: CLOSED });
    datapath.bumpEpoch();
    assert.is((await datapath.fromPod(client, there)).reason, 'POLICY_REVOKED');
    assert.is((await datapath.toPod(client, back)).reason, 'HOST_SPOOF', 'from outside');
    assert.is((await datapath.toPod(client, back, server)).verdict, 'stack', 'by its own veth and the stack');
    assert.is((await datapath.fromPod(server, back)).verdict, 'redirect');
  });

  test(`IPv${family}: a revoked connection lets replies pass for seconds, not for the hours it might have lasted`, async () => {
    for (const first of ['initiator', 'responder'] as const) {
      datapath.setEndpoint(client, { policy: OPEN });
      datapath.bumpEpoch();
      const sport = nextPort++;
      const there = tcp({ from: at(client), to: at(server), sport, dport: 80 });
      const back = tcp({ from: at(server), to: at(client), sport: 80, dport: sport });
      await datapath.fromPod(client, there.syn());
      await datapath.fromPod(server, back.synAck());
      await datapath.fromPod(client, there.ack());
      const left = (): number => Number(entryOf(sport).entry.expires - datapath.clock().jiffies) / datapath.hz;
      assert.ok(left() > 3600);
      datapath.setEndpoint(client, { policy: CLOSED });
      datapath.bumpEpoch();
      if (first === 'initiator') assert.is((await datapath.fromPod(client, there.data())).reason, 'POLICY_REVOKED');
      assert.is((await datapath.fromPod(server, back.data())).verdict, 'redirect', 'the reply in flight');
      assert.ok(left() <= 30, `${first} first: ${left()} s`);
      datapath.setConnection(entryOf(sport), { expires: datapath.clock().jiffies - 1n });
      assert.is((await datapath.fromPod(server, back.data())).reason, 'POLICY_DENIED', 'when the time is over');
    }
  });
}

test('a packet that reached its CPU a jiffy before another CPU refilled does not fill the budget', async () => {
  using small = DatapathFixture.open({ config: { newConnectionsPerSecond: 1, newConnectionBurst: 5 } });
  setPolicy(small, OPEN, {});
  const pod = small.pod({ identity: 1001, policy: OPEN, ipv4: '10.9.0.2' });
  small.put('budgets', pod.id, { tokens: 0n, refilled: small.clock().jiffies + 1000n });
  const run = await small.fromPod(pod, udp({ from: pod.ipv4, to: '192.0.2.7', sport: 1 }));
  assert.is(run.reason, 'NEW_CONNECTION_BUDGET');
});

test('who answers without having been asked pays for the entry, not whom he names as the opener', async () => {
  using small = DatapathFixture.open({ config: { newConnectionsPerSecond: 1, newConnectionBurst: 5 } });
  setPolicy(small, OPEN, {});
  setPolicy(small, CLOSED, { ingress: { isolated: true } });
  const victim = small.pod({ identity: 1001, policy: CLOSED, ipv4: '10.9.0.2' });
  const liar = small.pod({ identity: 1002, policy: OPEN, ipv4: '10.9.0.3' });
  const answer = (from: string, dport: number): Packet => tcp({ from, to: victim.ipv4, sport: 80, dport }).data();
  for (let port = 1; port <= 5; port++) {
    assert.is((await small.fromPod(liar, answer(liar.ipv4, port))).verdict, 'redirect');
    assert.is((await small.toPod(victim, answer('192.0.2.7', port))).verdict, 'stack');
  }
  assert.is((await small.fromPod(liar, answer(liar.ipv4, 6))).reason, 'NEW_CONNECTION_BUDGET');
  const own = tcp({ from: victim.ipv4, to: '192.0.2.8', sport: 1000, dport: 443 }).syn();
  assert.is((await small.fromPod(victim, own)).verdict, 'stack');
});

test('whatever a pod sends, the drop names it: by its veth, not by what it claims', async () => {
  const frames: [string, Parameters<typeof datapath.fromPod>[1]][] = [
    ['ARP_SPOOF', arp({ operation: 'reply', senderMac: client.mac, senderIp: server.ipv4, targetIp: client.ipv4 })],
    ['SOURCE_MAC', udp({ from: client.ipv4, to: server.ipv4 }).between(server.mac, '0a:77:65:69:72:01')],
    ['SOURCE_ADDRESS', udp({ from: server.ipv4, to: client.ipv4 })],
    ['SOURCE_ADDRESS', udp({ from: server.ipv6, to: client.ipv6 })],
    ['FRAGMENT_NO_FIRST', udp({ from: client.ipv4, to: server.ipv4 }).fragment({ id: 77, offset: 64, more: false })],
    ['MULTICAST', udp({ from: client.ipv4, to: '224.0.0.1' })],
  ];
  for (const [reason, frame] of frames) {
    const run = await datapath.fromPod(client, frame);
    const [event] = run.events;
    assert.equal([run.reason, event?.endpoint[0], event?.identity[0]], [reason, client.id, 1001]);
    assert.is(event?.endpoint[1], 0);
  }
});

test.run();
