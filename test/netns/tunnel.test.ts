/** Pods of different nodes through VXLAN, with the real loader: both underlays, both families inside. */
import * as assert from 'uvu/assert';
import { icmpEcho, udp } from '../kit/packet.ts';
import { privileged } from '../kit/privileged.ts';
import { suite } from '../kit/suite.ts';
import { until } from '../kit/until.ts';
import { vxlan } from '../kit/vxlan.ts';
import { ADMITTING, Cluster, type NodePod, type RigNode, TUNNEL } from './nodes-rig.ts';
import { allowAll } from './policy-rows.ts';

for (const { underlay, attach } of [
  { underlay: 4, attach: 'auto' },
  { underlay: 6, attach: 'clsact' },
] as const) {
  const test = privileged(suite(`tunnel over IPv${underlay}, ${attach}`), 'root', 'btf', 'bpffs');
  let cluster: Cluster;
  let one: NodePod;
  let two: NodePod;
  test.before(async () => {
    cluster = await Cluster.start(`tun${underlay}`, 2, { mode: 'tunnel', underlay, attach });
    [one, two] = await cluster.servers();
  });
  test.after(() => cluster?.close());

  test('pods reach each other, small and large', async () => {
    for (const [from, to] of [
      [one, two],
      [two, one],
    ] as const) {
      for (const address of [to.ipv4, to.ipv6]) {
        assert.is(await from.peer.tcp({ address, port: 80 }), 'ok', `TCP to ${address}`);
        assert.is(await from.peer.udp({ address, port: 53 }), 'ok', `UDP to ${address}`);
        assert.ok(await from.netns.ping(address));
      }
    }
    assert.equal(await cluster.node1.drops(), {});
    assert.equal(await cluster.node2.drops(), {});
  });

  test('a node reaches the pods of another and is answered', async () => {
    for (const address of [two.ipv4, two.ipv6]) {
      assert.ok(await cluster.node1.netns.ping(address), `node 1 to ${address}`);
    }
    for (const address of cluster.node2.routers) {
      assert.ok(await one.netns.ping(address), `a pod of node 1 to the router address ${address} of node 2`);
      assert.ok(await cluster.node1.netns.ping(address), `node 1 to ${address}`);
    }
    assert.equal(await cluster.node1.drops(), {});
    assert.equal(await cluster.node2.drops(), {});
  });

  test('what is too large for the tunnel is answered, and smaller afterwards', async () => {
    const large = await cluster.pod(cluster.node1, 13, { mtu: 1500 });
    await cluster.settle();
    for (const address of [two.ipv4, two.ipv6]) {
      const echo = ['ping', '-n', '-c', '1', '-W', '2', '-M', 'do', '-s', '1440', address];
      const { stdout, stderr } = await large.netns.tryRun(echo);
      assert.match(
        stdout + stderr,
        new RegExp(`mtu ?= ?${cluster.pathMtu}|Packet too big: mtu=${cluster.pathMtu}`),
        address,
      );
      const connection = await large.peer.open({ address, port: 80 });
      assert.is(await large.peer.say(connection, 'x'.repeat(200_000), 5000), 'ok', `TCP to ${address}`);
      assert.ok(await large.netns.ping(address));
      // Fragmented by the pod's own kernel, by what it has learned.
      const pings = ['ping', '-n', '-q', '-c', '2', '-i', '0.2', '-W', '2', '-M', 'dont', '-s', '4000', address];
      assert.is((await large.netns.tryRun(pings)).code, 0, `fragments to ${address}`);
    }
    const drops = await cluster.node1.drops();
    assert.ok((drops['too_big/egress'] ?? 0) >= 2, JSON.stringify(drops));
    assert.equal(Object.keys(drops), ['too_big/egress']);
    const events = (await cluster.node1.events()).filter(({ reason }) => reason === 'TOO_BIG');
    assert.ok(events.every(({ length, identity }) => length > cluster.pathMtu && identity[1] === two.identity));
  });

  test('the first packet of a pod nobody has heard of is judged by what the tunnel says of it', async () => {
    cluster.node2.policy = ADMITTING;
    cluster.node2.admitted = [one.identity];
    const other = await cluster.pod(cluster.node1, 14);
    await cluster.settle();
    await cluster.node2.replace(cluster.rows(cluster.node2, [one, other]));
    for (const address of [two.ipv4, two.ipv6]) {
      assert.is(await one.peer.tcp({ address, port: 80 }), 'ok', `one to ${address}`);
      assert.is(await other.peer.tcp({ address, port: 80, timeoutMs: 300 }), 'timeout', `other to ${address}`);
      assert.not.ok(await cluster.node1.netns.ping(address, 300), 'another node is not admitted');
    }
    cluster.node2.policy = allowAll(20);
    cluster.node2.admitted = [];
    await cluster.settle();
  });

  /** One frame, and the reason for which node 2 drops it. */
  async function refusal(at: RigNode, send: () => Promise<void>): Promise<string> {
    await at.events();
    await send();
    let reasons: string[] = [];
    await until(
      async () => {
        reasons = [
          ...reasons,
          ...(await at.events()).filter(({ type }) => type === 'EVENT_DROP').map(({ reason }) => reason),
        ];
        return reasons.length > 0;
      },
      { what: 'a drop' },
    );
    return reasons.join();
  }

  test('a node speaks only for what is behind it, and only for known identities', async () => {
    const ends = underlay === 4 ? { from: '192.0.2.1', to: '192.0.2.2' } : { from: '2001:db8::1', to: '2001:db8::2' };
    const inner = (from: string) => icmpEcho({ from, to: from.includes(':') ? two.ipv6 : two.ipv4 });
    const forged = (vni: number, from: string) =>
      refusal(cluster.node2, () => cluster.inject(cluster.node1.netns, cluster.node2, vxlan(ends, vni, inner(from))));
    assert.is(await forged(1011, '10.61.2.99'), 'HOST_SPOOF', 'a pod range of the receiver');
    assert.is(await forged(1011, two.ipv6), 'HOST_SPOOF', 'a pod of the receiver');
    assert.is(await forged(1, cluster.node2.routers[0] as string), 'HOST_SPOOF', 'the receiver itself');
    assert.is(await forged(1011, '203.0.113.9'), 'TUNNEL_FORBIDDEN', 'the world');
    assert.is(await forged(1, one.ipv4), 'TUNNEL_FORBIDDEN', 'a pod as a node');
    assert.is(await forged(1011, cluster.node1.routers[1] as string), 'TUNNEL_FORBIDDEN', 'a node as a pod');
    for (const vni of [0, 2, 8, 9, 10, 255]) assert.is(await forged(vni, one.ipv4), 'TUNNEL_FORBIDDEN', `VNI ${vni}`);
  });

  test('no pod sends into a tunnel by itself', async () => {
    const vni = vxlan({ from: one.ipv4, to: '192.0.2.2' }, 1011, icmpEcho({ from: one.ipv4, to: two.ipv4 }));
    const gateway = '0a:77:65:69:72:01';
    for (const packet of [
      vni,
      udp({ from: one.ipv6, to: '2001:db8::1', dport: 8472 }),
      udp({ from: one.ipv4, to: cluster.node1.routers[0] as string, dport: 8472 }),
    ]) {
      const send = () => one.netns.sendFrame('eth0', packet.between(one.wiring.mac, gateway).bytes());
      assert.is(await refusal(cluster.node1, send), 'TUNNEL_FORBIDDEN', `${packet}`);
    }
  });

  test('the tunnel takes nothing from who is no node, even without a guard on the uplink', async () => {
    await cluster.node2.attach({ ...cluster.attachment(cluster.node2), uplinks: [] });
    const ends =
      underlay === 4 ? { from: '192.0.2.100', to: '192.0.2.2' } : { from: '2001:db8::100', to: '2001:db8::2' };
    const packet = vxlan(ends, 1011, icmpEcho({ from: one.ipv4, to: two.ipv4 }));
    const send = () => cluster.inject(cluster.outsider, cluster.node2, packet);
    assert.is(await refusal(cluster.node2, send), 'TUNNEL_FORBIDDEN');
    await cluster.node2.attach(cluster.attachment(cluster.node2));
  });

  test('what only the tunnel leads to is not taken from the uplink', async () => {
    const packet = icmpEcho({ from: one.ipv4, to: two.ipv4 });
    const send = () => cluster.inject(cluster.outsider, cluster.node2, packet);
    assert.is(await refusal(cluster.node2, send), 'HOST_SPOOF');
  });

  test('an established connection is followed only by its way, and only as long as the sender is the same', async () => {
    for (const [from, to] of [
      [one.ipv4, two.ipv4],
      [one.ipv6, two.ipv6],
    ] as const) {
      assert.is(await one.peer.udp({ address: to, port: 53, sourcePort: 5353 }), 'ok');
      const forged = udp({ from, to, sport: 5353, dport: 53 });
      const send = () => cluster.inject(cluster.outsider, cluster.node2, forged);
      assert.is(await refusal(cluster.node2, send), 'HOST_SPOOF', `${forged}`);
    }
    cluster.node2.policy = ADMITTING;
    cluster.node2.admitted = [one.identity];
    await cluster.settle();
    const connection = await one.peer.open({ address: two.ipv4, port: 80 });
    assert.is(await one.peer.say(connection, 'as myself'), 'ok');
    // Only the sender's node knows of it.
    const rows = cluster.rows(cluster.node1);
    const endpoints = rows.endpoints.map((row) => (row.id === one.wiring.id ? { ...row, identity: 1999 } : row));
    await cluster.node1.replace({ ...rows, endpoints });
    assert.is(await one.peer.say(connection, 'as somebody else', 500), 'timeout');
    cluster.node2.policy = allowAll(20);
    cluster.node2.admitted = [];
    await cluster.settle();
  });

  test("through a tunnel other nodes' own addresses are outside: their network does not know pods", async () => {
    const counters = ['192.0.2.2', '2001:db8::2', '10.61.2.1', 'fd61:0:0:2::1'].map(
      (to) => `${to.includes(':') ? 'ip6' : 'ip'} daddr ${to} meta mark 0x1000000 counter comment "${to}"`,
    );
    const chain = ['chain pre { type filter hook prerouting priority -300; policy accept;', ...counters, '}'];
    const input = ['table inet wt {', ...chain, '}'].join('\n');
    await cluster.node1.netns.run(['nft', '-f', '-'], { input });
    await cluster.node1.attach({ ...cluster.attachment(cluster.node1), masquerade: true });
    for (const to of ['192.0.2.2', '2001:db8::2']) await one.netns.ping(to, 200);
    for (const to of ['10.61.2.1', 'fd61:0:0:2::1']) assert.ok(await one.netns.ping(to), to);
    const listed = await cluster.node1.netns.run(['nft', 'list', 'table', 'inet', 'wt']);
    const marked = [...listed.matchAll(/packets (\d+) bytes \d+ comment "([^"]+)"/g)].map(([, packets]) => packets);
    assert.equal(marked, ['1', '1', '0', '0'], listed);
    await cluster.node1.attach(cluster.attachment(cluster.node1));
  });

  test('a restarted agent loses no packet; programs that somebody takes off come back', async () => {
    const ticker = await one.peer.startTicker('udp', { address: two.ipv4, port: 53 }, 2);
    for (const how of [undefined, 'SIGKILL'] as const) {
      await cluster.node2.restart(how);
      await cluster.node2.replace(cluster.rows(cluster.node2));
      const done = await cluster.node2.attach(cluster.attachment(cluster.node2));
      assert.is(done.length, 3, `guard_uplink, from_tunnel, to_tunnel: ${done.join()}`);
      assert.equal(await cluster.node2.attach(cluster.attachment(cluster.node2)), []);
    }
    const { sent, received } = await one.peer.stopTicker(ticker);
    assert.is(received, sent);
    await cluster.node2.netns.ip(`link del ${TUNNEL}`);
    await cluster.node2.netns.ip(`link add ${TUNNEL} type vxlan external dstport 8472 nolearning`);
    await cluster.node2.netns.ip(`link set ${TUNNEL} mtu ${cluster.pathMtu} arp off up`);
    const done = await cluster.node2.attach(cluster.attachment(cluster.node2));
    assert.equal(done, [`ingress of ${TUNNEL}: from_tunnel attached`, `egress of ${TUNNEL}: to_tunnel attached`]);
    assert.is(await one.peer.udp({ address: two.ipv4, port: 53 }), 'ok');
  });

  test.run();
}
