/** The guard on the uplink (XDP), and pods of different nodes by plain routes. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import * as assert from 'uvu/assert';
import { compileBpf } from '../kit/bpf-object.ts';
import { icmp, icmpEcho, type Packet, udp } from '../kit/packet.ts';
import { privileged } from '../kit/privileged.ts';
import { suite } from '../kit/suite.ts';
import { until } from '../kit/until.ts';
import { vxlan } from '../kit/vxlan.ts';
import { ADMITTING, Cluster, type NodePod, type RigNode, type SeenEvent, TUNNEL } from './nodes-rig.ts';
import { allowAll } from './policy-rows.ts';

for (const { xdp, attach, guard } of [
  { xdp: 'auto', attach: 'auto', guard: ['xdp', 'guard_uplink', 'generic'] },
  { xdp: 'native', attach: 'auto', guard: ['ingress', 'guarded_uplink', 'tc'] },
  { xdp: 'native', attach: 'clsact', guard: ['ingress', 'guarded_uplink', 'tc'] },
] as const) {
  const guarded = privileged(suite(`guard on the uplink, xdp mode ${xdp}, ${attach}`), 'root', 'btf', 'bpffs');
  let cluster: Cluster;
  let pod: NodePod;
  guarded.before(async () => {
    cluster = await Cluster.start(`guard${xdp}${attach}`, 2, { mode: 'tunnel', xdp, attach });
    pod = await cluster.pod(cluster.node2, 12);
  });
  guarded.after(() => cluster?.close());

  /** Node 2 counts one more drop for the reason, and says so in an event. */
  async function isDropped(reason: string, packet: Packet, from = cluster.outsider): Promise<void> {
    const name = `${reason}/ingress`;
    const before = (await cluster.node2.drops())[name] ?? 0;
    await cluster.node2.events();
    await cluster.inject(from, cluster.node2, packet);
    const dropped = async (): Promise<boolean> => ((await cluster.node2.drops())[name] ?? 0) === before + 1;
    await until(dropped, { what: `${packet} to be dropped as ${reason}` });
    const seen: SeenEvent[] = [];
    const isSeen = async (): Promise<boolean> => {
      seen.push(...(await cluster.node2.events()).filter(({ type }) => type === 'EVENT_DROP'));
      return seen.length > 0;
    };
    await until(isSeen, { what: 'the event' });
    assert.equal(
      seen.map((event) => `${event.reason} from ${event.source}`),
      [`${reason.toUpperCase()} from ${packet.parts.from}`],
    );
  }

  guarded('a node that is alone has no programs on its devices', async () => {
    await cluster.node2.replace(cluster.rows(cluster.node2));
    assert.equal(await cluster.node2.devicePrograms(), []);
    assert.not(await hasXdp(cluster.node2));
  });

  guarded('the programs are shown, and where the guard runs', async () => {
    await cluster.settle();
    const [hook, program, mode] = guard;
    assert.equal(await cluster.node2.devicePrograms(), [
      { device: 'eth0', hook, program, mode },
      { device: TUNNEL, hook: 'ingress', program: 'from_tunnel' },
      { device: TUNNEL, hook: 'egress', program: 'to_tunnel' },
    ]);
    assert.is(await hasXdp(cluster.node2), hook === 'xdp');
  });

  guarded('VXLAN is taken from nodes only', async () => {
    const inner = icmpEcho({ from: pod.ipv4, to: pod.ipv4 });
    await isDropped('tunnel_forbidden', vxlan({ from: '192.0.2.100', to: '192.0.2.2' }, 1, inner));
    await isDropped('tunnel_forbidden', vxlan({ from: '2001:db8::100', to: '2001:db8::2' }, 1, inner));
    // Extension headers and a first fragment do not hide the port.
    const hidden = udp({ from: '2001:db8::100', to: '2001:db8::2', dport: 8472 }, 64);
    await isDropped('tunnel_forbidden', hidden.extension(0, 1, 4).extension(60, 1, 4));
    await isDropped('tunnel_forbidden', hidden.fragment({ id: 7, offset: 0, length: 32, more: true }));
    const first = udp({ from: '192.0.2.100', to: '192.0.2.2', dport: 8472 }, 64);
    await isDropped('tunnel_forbidden', first.fragment({ id: 7, offset: 0, length: 32, more: true }));
  });

  guarded('headers do not hide outside the linear part of a large packet', async () => {
    for (const netns of [cluster.outsider, cluster.node2.netns]) await netns.ip('link set eth0 mtu 9000');
    for (const port of ['port100', 'port2']) await cluster.fabric.ip(`link set ${port} mtu 9000`);
    for (const ends of [
      { from: '192.0.2.100', to: '192.0.2.2' },
      { from: '2001:db8::100', to: '2001:db8::2' },
    ]) {
      await isDropped('tunnel_forbidden', udp({ ...ends, dport: 8472 }, 6000));
    }
  });

  guarded('nobody outside has the addresses of this node or of its pods', async () => {
    for (const [from, to] of [
      [pod.ipv4, '192.0.2.2'],
      ['10.61.2.200', pod.ipv4],
      ['192.0.2.2', pod.ipv4],
      [cluster.node2.routers[0] as string, '192.0.2.2'],
      [pod.ipv6, '2001:db8::2'],
      ['2001:db8::2', pod.ipv6],
    ] as const) {
      await isDropped('host_spoof', icmpEcho({ from, to }));
    }
  });

  guarded('denied ranges, 100,000 of them, in both families', async () => {
    const many = Array.from({ length: 100_000 }, (_, i) => `100.${64 + (i >> 16)}.${(i >> 8) & 255}.${i & 255}/32`);
    for (const [list, isDenied] of [
      [[...many, '192.0.2.96/28', '2001:db8::100/128'], true],
      [[], false],
      [['192.0.2.100/32', '2001:db8::/32'], true],
      [['192.0.2.101/32'], false],
    ] as const) {
      await cluster.node2.deny(list);
      for (const [from, to] of [
        ['192.0.2.100', '192.0.2.2'],
        ['2001:db8::100', '2001:db8::2'],
      ] as const) {
        if (isDenied) await isDropped('deny_cidr', icmpEcho({ from, to }));
        else assert.ok(await cluster.outsider.ping(to), `${to} answers ${from}`);
      }
    }
    await cluster.node2.deny([]);
  });

  guarded('a guard that somebody takes off comes back', async () => {
    await cluster.node2.netns.ip('link set eth0 down');
    await cluster.node2.netns.ip('link set eth0 up');
    await cluster.node2.netns.ip('-6 address replace 2001:db8::2/64 dev eth0 nodad');
    assert.equal(await cluster.node2.attach(cluster.attachment(cluster.node2)), []);
    await cluster.node2.detach();
    assert.not(await hasXdp(cluster.node2));
    assert.ok(await cluster.outsider.ping('192.0.2.2'));
    assert.is((await cluster.node2.attach(cluster.attachment(cluster.node2))).length, 3);
    await isDropped('host_spoof', icmpEcho({ from: pod.ipv4, to: '192.0.2.2' }));
  });

  guarded("where somebody else's XDP program has the place, the guard runs in tc", async () => {
    using other = compileBpf('SEC("xdp") int other(struct xdp_md *ctx) { return XDP_PASS; }');
    await cluster.node2.detach();
    await cluster.node2.netns.ip(`link set eth0 xdpgeneric object ${other.path} section xdp`);
    try {
      await cluster.node2.attach(cluster.attachment(cluster.node2));
      const [uplink] = await cluster.node2.devicePrograms();
      assert.equal(uplink, { device: 'eth0', hook: 'ingress', program: 'guarded_uplink', mode: 'tc' });
      await isDropped('host_spoof', icmpEcho({ from: pod.ipv4, to: '192.0.2.2' }));
    } finally {
      await cluster.node2.netns.ip('link set eth0 xdpgeneric off');
    }
    await cluster.node2.attach(cluster.attachment(cluster.node2));
    assert.is(await hasXdp(cluster.node2), guard[0] === 'xdp');
    await isDropped('host_spoof', icmpEcho({ from: pod.ipv4, to: '192.0.2.2' }));
  });

  guarded('what cannot be done is said, and the rest is done', async () => {
    const attachment = { ...cluster.attachment(cluster.node2), uplinks: ['eth0', 'eth7'] };
    await assertRejects(
      () => cluster.node2.attach(attachment),
      /guard_uplink is not on eth7 \(xdp\): there is no such device/,
    );
    assert.is((await cluster.node2.devicePrograms()).filter(({ fault }) => fault === undefined).length, 3);
  });

  guarded.run();
}

/** By whatever mode: `ip` names the program. */
async function hasXdp(node: RigNode): Promise<boolean> {
  return / xdp/.test(await node.netns.ip('link show eth0'));
}

for (const mode of ['tunnel', 'native'] as const) {
  const test = privileged(suite(`the guard changes its place, ${mode}`), 'root', 'btf', 'bpffs');

  test('an agent with another xdp mode puts it there before it takes it off', async () => {
    await using cluster = await Cluster.start(`place${mode}`, 1, { mode });
    const node = cluster.node1;
    const spoofs = async () => (await node.drops())['host_spoof/ingress'] ?? 0;
    await cluster.settle();
    for (const { xdpMode, guard } of [
      { xdpMode: 'native', guard: ['ingress guarded_uplink tc'] },
      {
        xdpMode: 'auto',
        guard: ['xdp guard_uplink generic', ...(mode === 'native' ? ['ingress from_uplink undefined'] : [])],
      },
    ] as const) {
      const before = await spoofs();
      const sending = await keepSending(cluster, node, icmpEcho({ from: '10.61.1.9', to: '192.0.2.1' }));
      node.xdpMode = xdpMode;
      await node.restart();
      await cluster.settle();
      const sent = await sending.stop();
      await until(async () => (await spoofs()) === before + sent, { what: `all ${sent} to be dropped (${xdpMode})` });
      const onUplink = (await node.devicePrograms()).filter(({ device }) => device === 'eth0');
      assert.equal(
        onUplink.map((one) => `${one.hook} ${one.program} ${one.mode}`),
        guard,
      );
      assert.is(await hasXdp(node), xdpMode === 'auto');
    }
  });

  test.run();
}

/** A thousand frames a second from the outsider, until `stop` tells how many there were. */
async function keepSending(cluster: Cluster, to: RigNode, packet: Packet) {
  const frame = packet.between(await cluster.macOf(cluster.outsider), await cluster.macOf(to.netns)).bytes();
  const [program = '', ...words] = cluster.outsider.enter([
    'python3',
    '-c',
    SENDER,
    Buffer.from(frame).toString('hex'),
  ]);
  const child = spawn(program, words, { stdio: ['pipe', 'pipe', 'inherit'] });
  await once(child.stdout, 'data'); // It has begun.
  return {
    async stop(): Promise<number> {
      child.stdin.end();
      const [count] = (await once(child.stdout, 'data')) as [Buffer];
      return Number(count);
    },
  };
}

const SENDER = `
import select, socket, sys
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
wire.bind(('eth0', 0))
count = 0
while not select.select([sys.stdin], [], [], 0.001)[0]:
    wire.send(bytes.fromhex(sys.argv[1]))
    count += 1
    if count == 1: print('begun', flush=True)
print(count, flush=True)
`;

async function assertRejects(work: () => Promise<unknown>, message: RegExp): Promise<void> {
  const error = await work().then(
    () => undefined,
    (reason: Error) => reason,
  );
  assert.match(error?.message ?? 'no error', message);
}

for (const attach of ['auto', 'clsact'] as const) {
  const test = privileged(suite(`native routing, ${attach}`), 'root', 'btf', 'bpffs');
  let cluster: Cluster;
  let one: NodePod;
  let two: NodePod;
  test.before(async () => {
    cluster = await Cluster.start(`native${attach}`, 2, { mode: 'native', attach });
    [one, two] = await cluster.servers();
  });
  test.after(() => cluster?.close());

  test('pods and nodes reach each other', async () => {
    for (const [from, to] of [
      [one, two],
      [two, one],
    ] as const) {
      for (const address of [to.ipv4, to.ipv6]) {
        assert.is(await from.peer.tcp({ address, port: 80 }), 'ok', `TCP to ${address}`);
        assert.is(await from.peer.udp({ address, port: 53 }), 'ok', `UDP to ${address}`);
        assert.ok(await from.node.netns.ping(address), `${from.node.number} to ${address}`);
        const pings = ['ping', '-n', '-q', '-c', '1', '-W', '2', '-s', '4000', address];
        assert.is((await from.netns.tryRun(pings)).code, 0, `fragments to ${address}`);
      }
    }
    for (const address of [cluster.node2.ipv4, cluster.node2.ipv6]) {
      assert.ok(await one.netns.ping(address), `a pod to ${address}`);
    }
    assert.equal(await cluster.node1.drops(), {});
    assert.equal(await cluster.node2.drops(), {});
  });

  test('ingress is judged by what is known of the address', async () => {
    cluster.node2.policy = ADMITTING;
    cluster.node2.admitted = [one.identity];
    const other = await cluster.pod(cluster.node1, 14);
    await cluster.settle();
    for (const address of [two.ipv4, two.ipv6]) {
      assert.is(await one.peer.tcp({ address, port: 80 }), 'ok', `one to ${address}`);
      assert.is(await other.peer.tcp({ address, port: 80, timeoutMs: 300 }), 'timeout', `other to ${address}`);
    }
    assert.ok(((await cluster.node2.drops())['policy_denied/ingress'] ?? 0) > 0);
    cluster.node2.policy = allowAll(20);
    cluster.node2.admitted = [];
    await cluster.settle();
  });

  test('what no router passes on reaches no pod: nobody is its gateway but the node', async () => {
    const dropped = async (): Promise<number> => (await cluster.node2.drops())['host_spoof/ingress'] ?? 0;
    const before = await dropped();
    for (const type of [134, 136, 137]) {
      await cluster.inject(cluster.outsider, cluster.node2, icmp({ from: 'fe80::1', to: two.ipv6, type }));
    }
    await until(async () => (await dropped()) >= before + 3, { what: 'advertisements and a redirect to be dropped' });
  });

  test('what is too large for the network is answered, DF or not', async () => {
    await cluster.node1.netns.ip('link set eth0 mtu 1400');
    await cluster.node1.attach({ ...cluster.attachment(cluster.node1), pathMtu: 1400 });
    for (const address of [two.ipv4, two.ipv6]) {
      for (const df of ['do', 'dont']) {
        const echo = ['ping', '-n', '-c', '1', '-W', '1', '-M', df, '-s', '1420', address];
        await one.netns.tryRun(echo);
      }
      const connection = await one.peer.open({ address, port: 80 });
      assert.is(await one.peer.say(connection, 'x'.repeat(200_000), 5000), 'ok', `TCP to ${address}`);
    }
    const { 'too_big/egress': refused = 0 } = await cluster.node1.drops();
    assert.ok(refused >= 2, `${refused}`);
    await cluster.node1.netns.ip('link set eth0 mtu 1500');
    await cluster.node1.attach(cluster.attachment(cluster.node1));
  });

  test('only what a pod opens to the outside of the cluster is marked for masquerading', async () => {
    const rules = [
      'table inet wt {',
      'chain pre { type filter hook prerouting priority -300; policy accept;',
      ...['10.61.2.0/24', '192.0.2.2', '192.0.2.100', '203.0.113.0/24'].flatMap((to) => [
        `ip daddr ${to} meta mark & 0x1000000 == 0x1000000 counter comment "marked ${to}"`,
        `ip daddr ${to} meta mark == 0 counter comment "plain ${to}"`,
      ]),
      '}',
      '}',
    ].join('\n');
    await cluster.node1.netns.run(['nft', '-f', '-'], { input: rules });
    await cluster.node1.attach({
      ...cluster.attachment(cluster.node1),
      masquerade: true,
      masqueradeExcluded: ['203.0.113.0/24' as never],
    });
    for (const to of [two.ipv4, '192.0.2.2', '192.0.2.100', '203.0.113.9']) await one.netns.ping(to, 200);
    // What the outside opens is answered by the address it has asked.
    await cluster.outsider.ip('route add 10.61.1.0/24 via 192.0.2.1');
    assert.ok(await cluster.outsider.ping(one.ipv4));
    const listed = await cluster.node1.netns.run(['nft', 'list', 'table', 'inet', 'wt']);
    const counts = Object.fromEntries(
      [...listed.matchAll(/packets (\d+) bytes \d+ comment "([^"]+)"/g)].map(([, packets, name]) => [
        name,
        Number(packets),
      ]),
    );
    assert.equal(counts, {
      'marked 10.61.2.0/24': 0,
      'plain 10.61.2.0/24': 1,
      'marked 192.0.2.2': 0,
      'plain 192.0.2.2': 1,
      'marked 192.0.2.100': 1,
      'plain 192.0.2.100': 1,
      'marked 203.0.113.0/24': 0,
      'plain 203.0.113.0/24': 1,
    });
  });

  test.run();
}
