/**
 * Several nodes on one network, and a world outside of it: network namespaces only, nothing runs in them.
 *
 *     node1 eth0 ┐
 *     node2 eth0 ┼ br0 [router] world0 ── eth0 [world]
 *     node3 eth0 ┘
 *
 * The router knows its two networks and no pods: what a pod sends out under its own address is never answered.
 *
 *     await using bed = await Testbed.open('network');
 *     const network = await NodeNetwork.open(bed, 2);
 *     const [one, two] = network.nodes;
 *     await one.netns.ping(two.ipv4);
 */
import { type Address, addressBytes, formatAddress, type Prefix, parsePrefix } from '../../agent/model/address.ts';
import type { NodeRecord } from '../../agent/model/object.ts';
import type { Netns, Testbed } from './netns.ts';

export const ROUTER = { ipv4: '192.0.2.1', ipv6: '2001:db8:1::1' } as const;
export const OUTSIDE = { ipv4: '198.51.100.2', ipv6: '2001:db8:2::2' } as const;
const OUTSIDE_ROUTER = { ipv4: '198.51.100.1', ipv6: '2001:db8:2::1' } as const;

export interface TestNode {
  readonly name: string;
  readonly netns: Netns;
  readonly ipv4: Address;
  readonly ipv6: Address;
  /** IPv4, then IPv6. */
  readonly podCidrs: readonly [Prefix, Prefix];
  /** The first address of each. */
  readonly routerAddresses: readonly [Address, Address];
  readonly record: NodeRecord;
}

/** What stands in for a pod: a namespace behind a veth, wired by `ip`, without programs. */
export interface PlainPod {
  readonly netns: Netns;
  readonly hostInterface: string;
  readonly ipv4: Address;
  readonly ipv6: Address;
}

export class NodeNetwork {
  readonly bed: Testbed;
  readonly router: Netns;
  readonly world: Netns;
  readonly nodes: TestNode[] = [];

  private constructor(bed: Testbed, router: Netns, world: Netns) {
    this.bed = bed;
    this.router = router;
    this.world = world;
  }

  /** The bed closes it. */
  static async open(bed: Testbed, nodes: number): Promise<NodeNetwork> {
    const network = new NodeNetwork(bed, await bed.netns('router'), await bed.netns('world'));
    const { router, world } = network;
    await bed.bridge('br0', [], router);
    await router.run(['ip', '-batch', '-'], {
      input: `address add ${ROUTER.ipv4}/24 dev br0\naddress add ${ROUTER.ipv6}/64 dev br0 nodad\n`,
    });
    await bed.veth(
      { name: 'world0', netns: router, addresses: [`${OUTSIDE_ROUTER.ipv4}/24`, `${OUTSIDE_ROUTER.ipv6}/64`] },
      { name: 'eth0', netns: world, addresses: [`${OUTSIDE.ipv4}/24`, `${OUTSIDE.ipv6}/64`] },
    );
    await defaultRoutes(world, OUTSIDE_ROUTER);
    await router.run(['sysctl', '-qw', 'net.ipv4.ip_forward=1', 'net.ipv6.conf.all.forwarding=1']);
    for (let i = 0; i < nodes; i++) await network.addNode();
    return network;
  }

  /** The n-th node has 192.0.2.(10+n), 2001:db8:1::(10+n) in hexadecimal, and pods in 10.244.n.0/24 and fd00:244:n::/64. */
  async addNode(options: { readonly mtu?: number } = {}): Promise<TestNode> {
    const number = this.nodes.length + 1;
    const name = `node${number}`;
    const netns = await this.bed.netns(name);
    const ipv4 = `192.0.2.${10 + number}` as Address;
    const ipv6 = `2001:db8:1::${(10 + number).toString(16)}` as Address;
    // Its fe80 addresses are usable at once: what a test compares does not change by itself.
    await netns.run(['sysctl', '-qw', 'net.ipv6.conf.default.accept_dad=0', 'net.ipv6.conf.all.accept_dad=0']);
    const mtu = options.mtu === undefined ? {} : { mtu: options.mtu };
    await this.bed.veth(
      { name: 'eth0', netns, addresses: [`${ipv4}/24`, `${ipv6}/64`], ...mtu },
      { name, netns: this.router, ...mtu },
    );
    await this.router.ip(`link set ${name} master br0`);
    await defaultRoutes(netns, ROUTER);
    const podCidrs = [prefixOf(`10.244.${number}.0/24`), prefixOf(`fd00:244:${number}::/64`)] as const;
    const routerAddresses = [`10.244.${number}.1` as Address, `fd00:244:${number}::1` as Address] as const;
    const record: NodeRecord = { name, addresses: [ipv4, ipv6], podCidrs, routerAddresses };
    const node = { name, netns, ipv4, ipv6, podCidrs, routerAddresses, record };
    this.nodes.push(node);
    return node;
  }

  /** The n-th pod of a node, n from 2 to 254: 10.244.x.n and fd00:244:x::n in hexadecimal. */
  async addPod(node: TestNode, n: number): Promise<PlainPod> {
    const netns = await this.bed.netns(`${node.name}-pod${n}`);
    const [ipv4, ipv6] = node.podCidrs.map((cidr) => addressIn(cidr, n)) as [Address, Address];
    const hostInterface = `weirtest${n}`;
    const [hostMac, podMac] = [`0a:00:00:00:00:${hex(n)}`, `0a:00:00:00:01:${hex(n)}`];
    await this.bed.veth(
      { name: 'eth0', netns, mac: podMac, addresses: [`${ipv4}/32`, `${ipv6}/128`] },
      { name: hostInterface, netns: node.netns, mac: hostMac },
    );
    const pod = [
      'route add 169.254.1.1 dev eth0',
      'route add default via 169.254.1.1 dev eth0',
      '-6 route add default via fe80::1 dev eth0',
      `neighbour add 169.254.1.1 lladdr ${hostMac} dev eth0 nud permanent`,
      `neighbour add fe80::1 lladdr ${hostMac} dev eth0 nud permanent`,
    ];
    const host = [ipv4, ipv6].flatMap((address) => [
      `route add ${address} dev ${hostInterface}`,
      `neighbour add ${address} lladdr ${podMac} dev ${hostInterface} nud permanent`,
    ]);
    for (const line of pod) await netns.ip(line);
    for (const line of host) await node.netns.ip(line);
    return { netns, hostInterface, ipv4, ipv6 };
  }
}

async function defaultRoutes(netns: Netns, by: { readonly ipv4: string; readonly ipv6: string }): Promise<void> {
  await netns.ip(`route add default via ${by.ipv4}`);
  await netns.ip(`-6 route add default via ${by.ipv6}`);
}

function prefixOf(text: string): Prefix {
  const prefix = parsePrefix(text);
  if (prefix === undefined) throw new TypeError(`${text} is no prefix`);
  return prefix;
}

function addressIn(prefix: Prefix, n: number): Address {
  const bytes = addressBytes(prefix.slice(0, prefix.indexOf('/')) as Address);
  bytes[bytes.length - 1] = n;
  return formatAddress(bytes);
}

const hex = (n: number): string => n.toString(16).padStart(2, '0');
