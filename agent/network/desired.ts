/** What devices, addresses, routes, settings and rules this node should have, of the settings and the nodes. Pure. */
import { createHash } from 'node:crypto';
import type { NodeAttachment } from '../datapath/datapath.ts';
import { PacketMark } from '../datapath/layout.gen.ts';
import { type Address, familyOf, type Prefix } from '../model/address.ts';
import type { Problem } from '../model/object.ts';
import type { Found } from './found.ts';
import { ROUTER_DEVICE, TUNNEL_DEVICE } from './names.ts';
import type { NetworkSettings, Nodes } from './network.ts';
import { error, warning } from './problem.ts';
import { blackholes, byAddress, type DesiredRoute, routesToNodes, throughTunnel, withoutForeign } from './routes.ts';
import { rulesText } from './rules.ts';
import { findUplinks, IPV6_LEAST_MTU, TUNNEL_OVERHEAD_BYTES, underlayFamily } from './uplinks.ts';

export interface DesiredDevice {
  readonly name: string;
  readonly kind: 'vxlan' | 'veth';
  /** Absent: as the kernel chooses. */
  readonly mac?: string;
  readonly mtu?: number;
  /** UDP port. Its key and far end come with each packet, nothing is learned. */
  readonly port?: number;
  readonly addresses: readonly Address[];
}

export interface Desired {
  readonly devices: readonly DesiredDevice[];
  readonly routes: readonly DesiredRoute[];
  /** False while the nodes are not all known: a route to one that is not listed stays. */
  readonly routesAreComplete: boolean;
  /** For nft; undefined: no table. */
  readonly rules: string | undefined;
}

export interface Decision {
  readonly desired: Desired;
  readonly problems: readonly Problem[];
  readonly podMtu: number;
  readonly attachment: Omit<NodeAttachment, 'cgroup'>;
}

export function decide(settings: NetworkSettings, nodes: Nodes, found: Found): Decision {
  const { self } = nodes;
  const { routingMode } = settings;
  const isTunnel = routingMode === 'tunnel';
  const uplinks = findUplinks(settings, self, found);
  const pathMtu = uplinks.mtu - (isTunnel ? TUNNEL_OVERHEAD_BYTES[underlayFamily(settings, self)] : 0);
  const podMtu = settings.mtuBytes === 0 ? pathMtu : settings.mtuBytes;

  const toNodes =
    routingMode === 'none'
      ? { routes: [], problems: [] }
      : routesToNodes(nodes, isTunnel ? throughTunnel : byAddress(found));
  const fitting = toNodes.routes.filter(({ dst }) => !isTunnel || pathMtu >= IPV6_LEAST_MTU || familyOf(dst) === 4);
  const routes = withoutForeign([...blackholes(self.podCidrs), ...fitting], found);
  const uplinkNames = uplinks.devices.map(({ name }) => name);
  const needsRules = routingMode !== 'none' || settings.masquerade;
  return {
    desired: {
      devices: [
        ...(isTunnel ? [tunnelDevice(self.name, settings.tunnelPort, pathMtu)] : []),
        ...(routingMode === 'none'
          ? []
          : [{ name: ROUTER_DEVICE, kind: 'veth' as const, addresses: self.routerAddresses }]),
      ],
      routes: routes.routes,
      routesAreComplete: nodes.others !== undefined || routingMode === 'none',
      rules: needsRules
        ? rulesText({
            self,
            uplinks: uplinkNames,
            tunnelPort: isTunnel && uplinkNames.length > 0 ? settings.tunnelPort : undefined,
            masquerade: settings.masquerade,
            podCidrs: podCidrsOf(settings, nodes),
            mark: { masquerade: PacketMark.MARK_MASQUERADE, tracked: PacketMark.MARK_TRACKED },
          })
        : undefined,
    },
    problems: [
      ...uplinks.problems,
      ...toNodes.problems,
      ...routes.problems,
      ...(isTunnel ? tunnelProblems(settings, nodes, found) : []),
      ...mtuProblems(settings, nodes, pathMtu),
    ],
    podMtu,
    attachment: {
      uplinks: uplinkNames,
      tunnel: isTunnel ? TUNNEL_DEVICE : undefined,
      tunnelPort: settings.tunnelPort,
      podCidrs: self.podCidrs,
      pathMtu,
      masquerade: settings.masquerade,
      masqueradeExcluded: settings.masqueradeExcludedCidrs,
    },
  };
}

function tunnelDevice(node: string, port: number, mtu: number): DesiredDevice {
  return { name: TUNNEL_DEVICE, kind: 'vxlan', mac: tunnelMac(node), mtu, port, addresses: [] };
}

/**
 * A MAC of the node's name, locally administered: the receiver drops a packet with its own as source
 * (drivers/net/vxlan, vxlan_set_mac), so no two nodes may have the same, which machines made of one image easily do.
 */
export function tunnelMac(node: string): string {
  const bytes = createHash('sha256').update(node).digest().subarray(0, 6);
  bytes[0] = ((bytes[0] as number) & 0xfc) | 0x02;
  return bytes.toString('hex').replace(/(..)(?!$)/g, '$1:');
}

function podCidrsOf(settings: NetworkSettings, { self, others = [] }: Nodes): Prefix[] {
  const all =
    settings.clusterPodCidrs.length > 0 ? settings.clusterPodCidrs : others.flatMap(({ podCidrs }) => podCidrs);
  return [...new Set([...self.podCidrs, ...all])].sort();
}

function tunnelProblems(settings: NetworkSettings, { self, others = [] }: Nodes, found: Found): Problem[] {
  const family = underlayFamily(settings, self);
  const without = [self, ...others].filter(
    ({ addresses }) => !addresses.some((address) => familyOf(address) === family),
  );
  const rivals = found.links.filter(
    ({ name, kind, vxlan }) => kind === 'vxlan' && name !== TUNNEL_DEVICE && vxlan?.port === settings.tunnelPort,
  );
  return [
    ...without.map(({ name }) =>
      error('node-without-address', `node ${name} has no IPv${family} address, which the tunnel goes by (underlay)`),
    ),
    ...rivals.map(({ name }) =>
      error(
        'tunnel-port-taken',
        `device ${name} has UDP port ${settings.tunnelPort}: another network plugin's? Remove it, or choose another tunnelPort`,
      ),
    ),
  ];
}

function mtuProblems({ mtuBytes }: NetworkSettings, { self }: Nodes, pathMtu: number): Problem[] {
  const hasIpv6 = self.podCidrs.some((cidr) => familyOf(cidr) === 6);
  return [
    ...(mtuBytes > pathMtu
      ? [
          warning(
            'mtu-too-large',
            `mtuBytes is ${mtuBytes}, but ${pathMtu} bytes fit between nodes: larger packets are refused`,
          ),
        ]
      : []),
    ...(hasIpv6 && pathMtu < IPV6_LEAST_MTU
      ? [
          error(
            'mtu-too-small',
            `${pathMtu} bytes fit between nodes, IPv6 needs ${IPV6_LEAST_MTU}: raise the uplink's MTU`,
          ),
        ]
      : []),
  ];
}
