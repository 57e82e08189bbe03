/** Two pods that can talk, with something in between: what the network workloads (W1, W2, W3) run on. */
import type { Netns, Testbed } from '../kit/netns.ts';

export interface Site {
  readonly name: string;
  readonly client: Netns;
  readonly server: Netns;
  readonly ipv4: string;
  readonly ipv6: string;
}

/** Where iperf3 listens; in the range that the sites' policies allow. */
export const IPERF_PORT = '5201';

const GATEWAY = { ipv4: '169.254.1.1', ipv6: 'fe80::1', mac: '0a:77:65:69:72:01' };

/**
 * Bare veth pairs and the kernel's routing, wired as Weir wires pods (a /32 and /128, a gateway with a permanent
 * neighbour, no bridge), and nothing attached. `rules` are nftables rules of the node in between.
 */
export async function routed(bed: Testbed, name: string, rules?: string): Promise<Site & { readonly node: Netns }> {
  const node = await bed.netns('node');
  await node.run(['sysctl', '-qw', 'net.ipv4.ip_forward=1', 'net.ipv6.conf.all.forwarding=1']);
  const client = await routedPod(bed, node, 'client', 10);
  const server = await routedPod(bed, node, 'server', 20);
  if (rules !== undefined) await node.run(['nft', '-f', '-'], { input: rules });
  return { name, node, client, server, ...addressesOf(20) };
}

/** nftables as kube-proxy and kindnet use it: conntrack, then one verdict map by address, protocol and port. */
export const NFTABLES_POLICY = `
table inet pods {
  map allowed4 {
    type ipv4_addr . ipv4_addr . inet_proto . inet_service : verdict
    flags interval
    elements = { ${addressesOf(10).ipv4} . ${addressesOf(20).ipv4} . tcp . 5000-8000 : accept }
  }
  map allowed6 {
    type ipv6_addr . ipv6_addr . inet_proto . inet_service : verdict
    flags interval
    elements = { ${addressesOf(10).ipv6} . ${addressesOf(20).ipv6} . tcp . 5000-8000 : accept }
  }
  chain forward {
    type filter hook forward priority filter; policy drop;
    ct state established,related accept
    ip saddr . ip daddr . meta l4proto . th dport vmap @allowed4
    ip6 saddr . ip6 daddr . meta l4proto . th dport vmap @allowed6
  }
}`;

/** Connection tracking and nothing else. */
export const CONNTRACK_ONLY = `
table inet conntrack {
  chain forward {
    type filter hook forward priority filter; policy accept;
    ct state invalid drop
  }
}`;

function addressesOf(number: number) {
  return { ipv4: `10.66.0.${number}`, ipv6: `fd66::${number}` };
}

async function routedPod(bed: Testbed, node: Netns, what: string, number: number): Promise<Netns> {
  const pod = await bed.netns(what);
  const { ipv4, ipv6 } = addressesOf(number);
  const podMac = `0a:00:00:00:00:${number}`;
  const host = `pod${number}`;
  await bed.veth(
    { name: 'eth0', netns: pod, mac: podMac, addresses: [`${ipv4}/32`, `${ipv6}/128`] },
    { name: host, netns: node, mac: GATEWAY.mac },
  );
  await batch(pod, [
    `neighbour add ${GATEWAY.ipv4} lladdr ${GATEWAY.mac} dev eth0 nud permanent`,
    `neighbour add ${GATEWAY.ipv6} lladdr ${GATEWAY.mac} dev eth0 nud permanent`,
    `route add default via ${GATEWAY.ipv4} dev eth0 onlink`,
    `-6 route add default via ${GATEWAY.ipv6} dev eth0 onlink`,
  ]);
  await batch(node, [
    `route add ${ipv4}/32 dev ${host}`,
    `-6 route add ${ipv6}/128 dev ${host}`,
    `neighbour add ${ipv4} lladdr ${podMac} dev ${host} nud permanent`,
    `neighbour add ${ipv6} lladdr ${podMac} dev ${host} nud permanent`,
  ]);
  return pod;
}

async function batch(netns: Netns, lines: readonly string[]): Promise<void> {
  // `ip -batch` takes no -6 inside a line.
  for (const line of lines) await netns.ip(line);
}
