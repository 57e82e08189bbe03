/** agent/network on the real kernel: three nodes on one network, each in a namespace, and a world outside. */
import * as assert from 'uvu/assert';
import type { Address, Prefix } from '../../agent/model/address.ts';
import type { NodeRecord } from '../../agent/model/object.ts';
import { createNetwork, type Network, type NetworkSettings } from '../../agent/network/network.ts';
import { findObstacles } from '../../agent/network/obstacles.ts';
import { followMtu, type PodInterface } from '../../agent/network/pod-mtu.ts';
import { listOwnNetwork, removeNetwork } from '../../agent/network/remove.ts';
import { createLogger } from '../../agent/run/log.ts';
import { type Netns, Testbed } from '../kit/netns.ts';
import { NodeNetwork, OUTSIDE, type TestNode } from '../kit/node-network.ts';
import { privileged } from '../kit/privileged.ts';
import { suite } from '../kit/suite.ts';

interface State {
  bed: Testbed;
  lan: NodeNetwork;
}
const state = {} as State;
const test = privileged(suite('network', state), 'root', 'nft');

test.before.each(async () => {
  state.bed = await Testbed.open('network');
  state.lan = await NodeNetwork.open(state.bed, 2);
});
test.after.each(() => state.bed.close());

const SETTINGS: NetworkSettings = {
  routingMode: 'native',
  tunnelPort: 8472,
  underlay: 'auto',
  uplinkDevices: '',
  masquerade: false,
  masqueradeExcludedCidrs: [],
  clusterPodCidrs: [],
  mtuBytes: 0,
};
const lines: string[] = [];
const log = createLogger({ level: 'error', format: 'text', write: (line) => lines.push(line) });
const networkOf = (node: TestNode, settings: Partial<NetworkSettings> = {}): Network =>
  createNetwork({ settings: { ...SETTINGS, ...settings }, log, netns: node.netns.path });

/** Each of the nodes knows all others. */
async function reconcileAll(networks: readonly Network[], records = state.lan.nodes.map(({ record }) => record)) {
  const status = [];
  for (const [i, network] of networks.entries()) {
    const self = records[i] as NodeRecord;
    status.push(await network.reconcile({ self, others: records.filter(({ name }) => name !== self.name) }));
  }
  return status;
}

/** All that `ip` and `nft` show, without what counts or ages. */
async function snapshot(netns: Netns): Promise<string> {
  const shown = [];
  for (const words of ['link', 'address', 'route show table all', '-6 route show table all', 'rule', '-6 rule']) {
    const parsed = JSON.parse(await netns.ip(`-j ${words}`)) as Record<string, unknown>[];
    // An fe80 address of the test's own links is tentative for a second.
    shown.push(parsed.map((row) => JSON.stringify(row).replaceAll('"tentative":true,', '')).sort());
  }
  return [...shown.flat(), await netns.run(['nft', '-s', 'list', 'ruleset'])].join('\n');
}

/** A table of somebody else's with one chain. */
const chain = (table: string, ...statements: string[]): string =>
  `table ${table} {\nchain only {\n${statements.join('\n')}\n}\n}\n`;

const reaches = async (from: Netns, to: string): Promise<void> =>
  assert.ok(await from.ping(to, 3000), `${from.name} reaches ${to}`);

test('native: nodes and pods reach each other; nodes join, move and leave; nothing else is touched', async () => {
  const { lan } = state;
  const [one, two] = lan.nodes as [TestNode, TestNode];
  const networks = [networkOf(one), networkOf(two)];
  const pods = [await lan.addPod(one, 9), await lan.addPod(two, 9)] as const;
  await one.netns.ip('route add 203.0.113.0/24 via 192.0.2.1 proto static');
  await one.netns.ip('route add 10.9.0.0/16 via 192.0.2.1 proto 120');

  for (const { problems, changes } of await reconcileAll(networks)) {
    assert.equal(problems, []);
    assert.ok(changes.length > 0);
  }
  for (const { problems, changes } of await reconcileAll(networks)) assert.equal([...problems, ...changes], []);
  await reaches(pods[0].netns, pods[1].ipv4);
  await reaches(pods[0].netns, pods[1].ipv6);
  await reaches(one.netns, pods[1].ipv4);
  await reaches(one.netns, pods[1].ipv6);
  // The node speaks with its router address, which the other node publishes as remote-node.
  assert.match(await one.netns.ip(`route get ${pods[1].ipv4}`), /via 192\.0\.2\.12 dev eth0 src 10\.244\.1\.1 /);
  assert.match(await one.netns.ip(`-6 route get ${pods[1].ipv6}`), /via 2001:db8:1::c dev eth0 .*src fd00:244:1::1 /);
  // And with nothing else: the router's addresses are nobody's source by themselves.
  assert.match(await one.netns.ip(`route get ${pods[0].ipv4}`), /src 192\.0\.2\.11 /);
  assert.match(await one.netns.ip(`-6 route get ${pods[0].ipv6}`), /src 2001:db8:1::b /);
  assert.match(await one.netns.ip('-4 address show weir-router'), /inet 10\.244\.1\.1\/32 scope link weir-router/);
  // A pod that is gone.
  assert.is((await one.netns.tryRun(['ip', 'route', 'get', '10.244.1.77'])).code, 2);

  const three = await lan.addNode();
  networks.push(networkOf(three));
  await reconcileAll(networks);
  await reaches(three.netns, pods[0].ipv4);
  await reaches(three.netns, pods[1].ipv6);

  // It gets other addresses.
  await three.netns.ip('-4 address flush dev eth0');
  await three.netns.ip('address add 192.0.2.99/24 dev eth0');
  await three.netns.ip('route add default via 192.0.2.1');
  const moved = { ...three.record, addresses: ['192.0.2.99' as Address, three.ipv6] };
  const [afterMove] = await reconcileAll(networks, [one.record, two.record, moved]);
  assert.equal(afterMove?.changes.slice(0, 1), ['route 10.244.3.0/24 set by 192.0.2.99 on eth0']);
  await reaches(pods[0].netns, '10.244.3.1');

  // It goes.
  const [afterLeave] = await reconcileAll(networks.slice(0, 2), [one.record, two.record]);
  assert.equal(
    afterLeave?.changes.filter((change) => change.startsWith('route')),
    ['route 10.244.3.0/24 removed', 'route fd00:244:3::/64 removed'],
  );
  const routes = await one.netns.ip('route');
  assert.match(routes, /203\.0\.113\.0\/24 via 192\.0\.2\.1/);
  assert.match(routes, /10\.9\.0\.0\/16 via 192\.0\.2\.1 dev eth0 proto 120/);
});

test('native: a node behind a router, and a route somebody else made, are told and left', async () => {
  const { lan } = state;
  const [one, two] = lan.nodes as [TestNode, TestNode];
  const far: NodeRecord = {
    ...two.record,
    name: 'far',
    addresses: [OUTSIDE.ipv4 as string as Address],
    podCidrs: ['10.244.7.0/24' as Prefix],
  };
  await one.netns.ip('route add 10.244.2.0/24 via 192.0.2.1');
  const { problems } = await networkOf(one).reconcile({ self: one.record, others: [two.record, far] });
  assert.equal(problems.map(({ code }) => code).sort(), ['node-not-adjacent', 'route-taken']);
  assert.match(problems[0]?.message ?? '', /node far \(198\.51\.100\.2\) .* must route 10\.244\.7\.0\/24/);
  const routes = await one.netns.ip('route');
  assert.match(routes, /10\.244\.2\.0\/24 via 192\.0\.2\.1/);
  assert.not.match(routes, /10\.244\.7\.0/);
});

for (const underlay of ['ipv4', 'ipv6'] as const) {
  test(`tunnel over ${underlay}: nodes reach pods elsewhere in both families, at full size`, async () => {
    const { lan } = state;
    const [one, two] = lan.nodes as [TestNode, TestNode];
    const networks = [
      networkOf(one, { routingMode: 'tunnel', underlay }),
      networkOf(two, { routingMode: 'tunnel', underlay }),
    ];
    const pod = await lan.addPod(two, 9);
    const [status] = await reconcileAll(networks);
    assert.equal(status?.problems, []);
    const mtu = underlay === 'ipv4' ? 1450 : 1430;
    assert.equal([status?.podMtu, status?.attachment.pathMtu, status?.attachment.tunnel], [mtu, mtu, 'weir-vxlan']);
    await standInForTunnelPrograms(one, two, underlay, [pod.ipv4, pod.ipv6]);
    await standInForTunnelPrograms(two, one, underlay, one.routerAddresses);
    for (const [address, headers] of [
      [pod.ipv4, 28],
      [pod.ipv6, 48],
    ] as const) {
      await reaches(one.netns, address);
      const full = ['ping', '-n', '-q', '-c', '1', '-W', '3', '-M', 'do', '-s', String(mtu - headers), address];
      assert.is((await one.netns.tryRun(full)).code, 0, `${mtu} bytes to ${address}`);
    }
    assert.equal(
      await outerStates(one, pod.ipv4),
      ['untracked', 'untracked'],
      'of what goes out and comes in, one source port each',
    );
    for (const { changes } of await reconcileAll(networks)) assert.equal(changes, []);
  });
}

/** What the kernel's connection tracking calls the tunnel's packets at a node, once it is switched on: on the way out, and in. */
async function outerStates(node: TestNode, pod: string): Promise<string[]> {
  const port = 'udp dport 8472 ct state';
  const states = ['untracked', 'new', 'established', 'invalid'];
  const rules = states.map((one) => `${port} ${one} counter`);
  for (const hook of ['output', 'input'])
    await node.netns.run(['nft', '-f', '-'], {
      input: chain(`inet seen_${hook}`, `type filter hook ${hook} priority 0`, ...rules),
    });
  await reaches(node.netns, pod);
  const seen = async (hook: string) => {
    const listed = await node.netns.run(['nft', 'list', 'table', 'inet', `seen_${hook}`]);
    return states.filter((one) => new RegExp(`ct state ${one} counter packets [1-9]`).test(listed)).join(' and ');
  };
  return [await seen('output'), await seen('input')];
}

/**
 * What the programs of the tunnel device do, by other means for one pod: the far end and key by a route of its own, and
 * the far end's MAC so that it takes the frame for its own.
 */
async function standInForTunnelPrograms(
  node: TestNode,
  other: TestNode,
  underlay: 'ipv4' | 'ipv6',
  addresses: readonly string[],
): Promise<void> {
  const [{ address: mac }] = JSON.parse(await other.netns.ip('-j link show weir-vxlan')) as [{ address: string }];
  for (const address of addresses) {
    const ip = address.includes(':') ? '-6 ' : '';
    const source = node.routerAddresses[address.includes(':') ? 1 : 0];
    const encapsulation = `encap ${underlay === 'ipv4' ? 'ip' : 'ip6'} id 7 csum dst ${other[underlay]}`;
    await node.netns.ip(`${ip}route add ${address} ${encapsulation} dev weir-vxlan src ${source}`);
    await node.netns.ip(`neighbour add ${address} lladdr ${mac} dev weir-vxlan nud permanent`);
  }
}

test('tunnel: the device is made anew when its port changes or another has its name, changed when the uplink does', async () => {
  const [one, two] = state.lan.nodes as [TestNode, TestNode];
  const nodes = { self: one.record, others: [two.record] };
  await one.netns.ip('link add weir-vxlan type bridge');
  const network = networkOf(one, { routingMode: 'tunnel' });
  assert.equal((await network.reconcile(nodes)).problems, []);
  assert.match(await one.netns.ip('-d link show weir-vxlan'), /vxlan external .*dstport 8472/s);
  assert.match(await one.netns.ip('link show weir-vxlan'), /NOARP,UP/);

  const elsewhere = networkOf(one, { routingMode: 'tunnel', tunnelPort: 4789 });
  assert.equal((await elsewhere.reconcile(nodes)).problems, []);
  assert.match(await one.netns.ip('-d link show weir-vxlan'), /dstport 4789/);
  assert.match(await one.netns.ip('route'), /10\.244\.2\.0\/24 dev weir-vxlan proto 119 scope link src 10\.244\.1\.1/);

  await one.netns.ip('link set eth0 mtu 1400');
  const { changes, podMtu } = await elsewhere.reconcile(nodes);
  assert.equal([podMtu, ...changes], [1350, 'device weir-vxlan set to mtu 1350']);
  await one.netns.ip('link set eth0 mtu 1300');
  const narrow = await elsewhere.reconcile(nodes);
  assert.equal(
    narrow.problems.map(({ code }) => code),
    ['mtu-too-small'],
  );

  const native = await networkOf(one).reconcile(nodes);
  assert.ok(native.changes.includes('device weir-vxlan removed'));
  assert.match(await one.netns.ip('route'), /10\.244\.2\.0\/24 via 192\.0\.2\.12 dev eth0 proto 119 src 10\.244\.1\.1/);
});

test('tunnel: a UDP port that another plugin has is told, with its device', async () => {
  const [one, two] = state.lan.nodes as [TestNode, TestNode];
  await one.netns.ip('link add flannel.1 type vxlan id 1 dstport 8472 dev eth0 nolearning');
  await one.netns.ip('link set flannel.1 up');
  const { problems } = await networkOf(one, { routingMode: 'tunnel' }).reconcile({
    self: one.record,
    others: [two.record],
  });
  assert.match(
    problems.find(({ code }) => code === 'tunnel-port-taken')?.message ?? '',
    /flannel\.1 has UDP port 8472/,
  );
  assert.ok(await one.netns.ip('link show flannel.1'));
});

test('pods that are there follow the MTU of the uplink, unless they asked for less', async () => {
  const { lan } = state;
  const [one] = lan.nodes as [TestNode];
  const pods = [await lan.addPod(one, 9), await lan.addPod(one, 10), await lan.addPod(one, 11)];
  const [, small, large] = pods.map(({ netns }) => netns) as [Netns, Netns, Netns];
  await one.netns.ip('link set weirtest10 mtu 1300');
  await small.ip('link set eth0 mtu 1300');
  await one.netns.ip('link set weirtest11 mtu 9000');
  await large.ip('link set eth0 mtu 9000');
  const gone = { hostInterface: 'weirtest99', interfaceName: 'eth0', netns: '/run/netns/wt-network-none' };
  const interfaces = pods.map(({ hostInterface, netns }) => ({
    hostInterface,
    interfaceName: 'eth0',
    netns: netns.path,
  }));
  const mtus = async () => {
    const shown = [];
    for (const { netns, hostInterface } of pods) {
      const inside = /mtu (\d+)/.exec(await netns.ip('link show eth0'))?.[1];
      shown.push([inside, /mtu (\d+)/.exec(await one.netns.ip(`link show ${hostInterface}`))?.[1]]);
    }
    return shown;
  };
  const follow = (from: number | undefined, to: number) =>
    followMtu([...interfaces, gone], { from, to, netns: one.netns.path });
  assert.is(await follow(1500, 1450), 2);
  assert.equal(await mtus(), [
    ['1450', '1450'],
    ['1300', '1300'],
    ['1450', '1450'],
  ]);
  assert.is(await follow(1450, 8950), 2);
  assert.equal(await mtus(), [
    ['8950', '8950'],
    ['1300', '1300'],
    ['8950', '8950'],
  ]);
  assert.is(await follow(undefined, 9000), 0, 'what they were given is not known: larger is no harm');
});

test('a pod whose MTU cannot be set is told, and keeps no other from following', async () => {
  const { lan } = state;
  const [one] = lan.nodes as [TestNode];
  const pods = [await lan.addPod(one, 9), await lan.addPod(one, 10)];
  const [odd, fine] = pods.map(({ hostInterface, netns }) => ({
    hostInterface,
    interfaceName: 'eth0',
    netns: netns.path,
  })) as [PodInterface, PodInterface];
  const notNetwork = { ...odd, netns: '/proc/self/ns/mnt' };
  try {
    await followMtu([notNetwork, fine], { from: 1500, to: 1450, netns: one.netns.path });
    assert.unreachable();
  } catch (error) {
    assert.match((error as Error).message, new RegExp(`^MTU 1450 of the pod at ${odd.hostInterface}: `));
  }
  assert.match(await one.netns.ip(`link show ${odd.hostInterface}`), /mtu 1500/);
  assert.match(await one.netns.ip(`link show ${fine.hostInterface}`), /mtu 1450/);
  // The next round has only the one left.
  assert.is(await followMtu([odd, fine], { from: 1500, to: 1450, netns: one.netns.path }), 1);
});

test('what other software does in the way of pods is found', async () => {
  const [one] = state.lan.nodes as [TestNode];
  const find = () => findObstacles(['eth0'], one.netns.path);
  await networkOf(one, { masquerade: true }).reconcile({ self: one.record, others: [] });
  assert.equal(await find(), []);
  const load = (text: string) => one.netns.run(['nft', '-f', '-'], { input: text });
  // What iptables-nft makes of `iptables -P FORWARD DROP`.
  await load('table ip filter {\nchain FORWARD {\ntype filter hook forward priority filter; policy drop;\n}\n}\n');
  await one.netns.ip('link add cni0 type bridge');
  await one.netns.run(['sysctl', '-qw', 'net.ipv4.conf.eth0.rp_filter=1']);
  const found = await find();
  assert.equal(
    found.map(({ code }) => code),
    ['forward-drop', 'other-plugin', 'reverse-path-filter'],
  );
  assert.match(
    found[0]?.message ?? '',
    /chain FORWARD of nftables table ip filter .* iptables -I FORWARD -i weir\+ -j ACCEPT/,
  );
  await load('insert rule ip filter FORWARD iifname "weir*" counter accept\n');
  assert.equal(
    (await find()).map(({ code }) => code),
    ['other-plugin', 'reverse-path-filter'],
  );
});

test('masquerade: only what carries the mark gets an address of the node, in both families', async () => {
  const { lan } = state;
  const [one, two] = lan.nodes as [TestNode, TestNode];
  const nodes = { self: one.record, others: [two.record] };
  const network = networkOf(one, { masquerade: true });
  assert.equal((await network.reconcile(nodes)).problems, []);
  const pod = await lan.addPod(one, 9);
  for (const address of [OUTSIDE.ipv4, OUTSIDE.ipv6]) {
    assert.is(await pod.netns.ping(address, 500), false, 'nobody outside knows the way to a pod');
  }
  // As from_pod will, before any hook of netfilter.
  await one.netns.run(['nft', '-f', '-'], {
    input: chain('netdev standin', 'type filter hook ingress device weirtest9 priority 0', 'meta mark set 0x1000000'),
  });
  await reaches(pod.netns, OUTSIDE.ipv4);
  await reaches(pod.netns, OUTSIDE.ipv6);
  // A new agent loads the rules again; connections do not notice.
  const server = await state.bed.peer(lan.world);
  await server.serveTcp(80);
  const client = await state.bed.peer(pod.netns);
  const connections = [
    await client.open({ address: OUTSIDE.ipv4, port: 80 }),
    await client.open({ address: OUTSIDE.ipv6, port: 80 }),
  ];
  const restarted = await networkOf(one, { masquerade: true }).reconcile(nodes);
  assert.equal(restarted.changes, ['nftables rules loaded']);
  for (const connection of connections) assert.is(await client.say(connection, 'still there'), 'ok');
  await networkOf(one).reconcile(nodes); // masquerade off
  assert.is(await pod.netns.ping(OUTSIDE.ipv4, 500), false);
});

test('between pods the kernel tracks no connection; with the node itself and outside it does', async () => {
  const { lan } = state;
  const [one, two] = lan.nodes as [TestNode, TestNode];
  const networks = [networkOf(one), networkOf(two)];
  await reconcileAll(networks);
  const pods = [await lan.addPod(one, 9), await lan.addPod(two, 9)] as const;
  // Somebody's rules switch tracking on, and drop what it does not understand, as kube-proxy's do.
  await one.netns.run(['nft', '-f', '-'], {
    input: chain(
      'inet other',
      'type filter hook forward priority 0',
      'ct state invalid drop',
      'ct state new,established counter',
      'ct state untracked counter',
    ),
  });
  await reaches(pods[0].netns, pods[1].ipv4);
  await reaches(pods[0].netns, pods[1].ipv6);
  const seen = async () =>
    [...(await one.netns.run(['nft', 'list', 'table', 'inet', 'other'])).matchAll(/packets (\d+)/g)].map(([, n]) =>
      Number(n),
    );
  assert.equal(await seen(), [0, 4]);
  await one.netns.run(['nft', '-f', '-'], {
    input: chain(
      'inet firewall',
      'type filter hook input priority 0; policy drop',
      'ct state established accept',
      'icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept',
    ),
  });
  await reaches(one.netns, pods[0].ipv4); // a stateful firewall of the node's own goes on working
  await reaches(one.netns, pods[1].ipv4);
  await reaches(one.netns, pods[1].ipv6);
});

test('what somebody removes or changes by hand is put back, and said', async () => {
  const [one, two] = state.lan.nodes as [TestNode, TestNode];
  const nodes = { self: one.record, others: [two.record] };
  const network = networkOf(one, { routingMode: 'tunnel', masquerade: true });
  await network.reconcile(nodes);
  const asItWas = await snapshot(one.netns);
  for (const [harm, told] of [
    ['ip link del weir-vxlan', 'device weir-vxlan made'],
    ['ip link del weir-router', 'device weir-router made'],
    ['ip link set weir-vxlan down', 'device weir-vxlan set to up on'],
    ['ip link set weir-vxlan arp on', 'device weir-vxlan set to arp off'],
    ['ip link set weir-vxlan mtu 1500', 'device weir-vxlan set to mtu 1450'],
    ['ip link set weir-vxlan address 02:00:00:00:00:01', /^device weir-vxlan set to mac /],
    ['ip address flush dev weir-router', 'address 10.244.1.1 added to weir-router'],
    [
      'ip -6 address change fd00:244:1::1/128 dev weir-router preferred_lft forever valid_lft forever',
      'address fd00:244:1::1 added to weir-router',
    ],
    ['ip address add 10.244.1.200/32 dev weir-router', 'address 10.244.1.200 removed from weir-router'],
    ['ip route del 10.244.2.0/24', 'route 10.244.2.0/24 set by weir-vxlan'],
    ['ip -6 route del blackhole fd00:244:1::/64', 'route fd00:244:1::/64 set to nowhere'],
    ['ip route replace 10.244.2.0/24 via 192.0.2.1 proto 119', 'route 10.244.2.0/24 set by weir-vxlan'],
    ['ip route add 10.244.66.0/24 via 192.0.2.1 proto 119', 'route 10.244.66.0/24 removed'],
    ['nft delete table inet weir', 'nftables rules loaded'],
    ['nft flush ruleset', 'nftables rules loaded'],
    ['nft add rule inet weir postrouting counter', 'nftables rules loaded'],
    ['sysctl -qw net.ipv6.conf.weir-vxlan.disable_ipv6=1', 'net/ipv6/conf/weir-vxlan/disable_ipv6 set to 0'],
    ['sysctl -qw net.ipv4.ip_forward=0', 'IPv4 forwarding on'],
    ['sysctl -qw net.ipv6.conf.all.forwarding=0', 'IPv6 forwarding on'],
  ] as const) {
    await one.netns.run(harm.split(' '));
    const { changes, problems } = await network.reconcile(nodes);
    assert.equal(problems, [], harm);
    assert.ok(
      changes.some((change) => (typeof told === 'string' ? change === told : told.test(change))),
      `${harm}: ${changes.join('; ')}`,
    );
    await network.reconcile(nodes); // What the kernel took along is back by the second look.
    assert.equal((await network.reconcile(nodes)).changes, [], harm);
    assert.equal(withoutIndexes(await snapshot(one.netns)), withoutIndexes(asItWas), harm);
  }
});

test('nft is asked only after somebody changed rules, whichever', async () => {
  const [one, two] = state.lan.nodes as [TestNode, TestNode];
  const nodes = { self: one.record, others: [two.record] };
  const network = networkOf(one, { routingMode: 'tunnel', masquerade: true });
  await network.reconcile(nodes);
  const { PATH } = process.env;
  const withoutPrograms = async () => {
    process.env.PATH = '/nowhere';
    try {
      return await network.reconcile(nodes);
    } finally {
      process.env.PATH = PATH;
    }
  };
  for (const change of ['add table inet wtother', 'add rule inet weir postrouting counter', 'flush ruleset']) {
    for (let look = 0; look < 3; look++) assert.equal((await withoutPrograms()).changes, []);
    await one.netns.run(['nft', ...change.split(' ')]);
    const refused = await withoutPrograms().then(
      () => 'not asked',
      (error: Error) => error.message,
    );
    assert.match(refused, 'cannot be started', change);
    await network.reconcile(nodes);
    assert.match(await one.netns.run(['nft', 'list', 'table', 'inet', 'weir']), 'masquerade fully-random', change);
  }
});

/** A device that was made again has another number, and the router's another MAC; the kernel says a little later that it is up. */
const withoutIndexes = (text: string): string[] =>
  text
    .replace(/"ifindex":\d+,|"link_index":\d+,|"operstate":"\w+",/g, '')
    .replace(/("ifname":"weir-router.*"address":")[0-9a-f:]{17}/g, '$1')
    .split('\n')
    .sort();

test('a node that learns its default route from advertisements goes on doing so when it forwards', async () => {
  const [one] = state.lan.nodes as [TestNode];
  const accepts = (device: string) => one.netns.run(['sysctl', '-n', `net.ipv6.conf.${device}.accept_ra`]);
  await one.netns.run(['sysctl', '-qw', 'net.ipv6.conf.eth0.accept_ra=1', 'net.ipv6.conf.lo.accept_ra=0']);
  const { changes } = await networkOf(one).reconcile({ self: one.record, others: [] });
  assert.ok(changes.includes('IPv6 forwarding on'));
  // 2: also on a device that forwards. Where it was off it stays off, and on our own devices too.
  assert.equal([await accepts('eth0'), await accepts('lo'), await accepts('weir-router')], ['2\n', '0\n', '0\n']);
});

test('removal leaves the namespace as it was, and a restarted agent before its first complete list changes nothing', async () => {
  const [one, two] = state.lan.nodes as [TestNode, TestNode];
  const nodes = { self: one.record, others: [two.record] };
  await one.netns.run(['sysctl', '-qw', 'net.ipv4.ip_forward=1', 'net.ipv6.conf.all.forwarding=1']);
  await one.netns.run(['nft', 'add', 'table', 'inet', 'other']);
  await one.netns.ip('route add 10.9.0.0/16 via 192.0.2.1 proto 120');
  const asItWas = await snapshot(one.netns);
  assert.equal(await listOwnNetwork(one.netns.path), []);
  for (const routingMode of ['native', 'tunnel'] as const) {
    await networkOf(one, { routingMode, masquerade: true }).reconcile(nodes);
    const inForce = await snapshot(one.netns);
    const restarted = networkOf(one, { routingMode, masquerade: true });
    const { changes } = await restarted.reconcile({ self: one.record, others: undefined });
    assert.equal([changes, await snapshot(one.netns)], [[], inForce]);
    assert.equal((await restarted.reconcile(nodes)).changes, ['nftables rules loaded']);
    assert.equal(await snapshot(one.netns), inForce);

    assert.ok((await listOwnNetwork(one.netns.path)).length > 4);
    const removed = await removeNetwork(one.netns.path);
    assert.ok(removed.includes('nftables table inet weir'), removed.join());
    assert.equal(await listOwnNetwork(one.netns.path), []);
    assert.equal((await snapshot(one.netns)).split('\n'), asItWas.split('\n'));
  }
});

test.run();
