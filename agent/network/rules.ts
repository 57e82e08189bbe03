/**
 * The node's nftables rules, as text for `nft -f -`. Pure. One table of our own; what other tables say is theirs.
 *
 * Masquerading is decided in from_pod, which knows who opened a connection and where it leads; here its mark is obeyed.
 * Between pods the kernel's connection tracking is left out: packets that are handed on by the programs never pass it,
 * so it would see half of each connection and call the rest invalid, which other people's rules drop. But what the node
 * itself has translated on its way to a pod (hostPort) it must see whole: from_pod marks the answers.
 * The tunnel's outer packets are left out likewise.
 */
import { type Family, familyOf, type Prefix } from '../model/address.ts';
import type { NodeRecord } from '../model/object.ts';
import { NFT_TABLE, TUNNEL_DEVICE } from './names.ts';

/** Devices of pods, the tunnel's and the router's: see HOST_INTERFACE_PREFIX in datapath/wiring/wiring.ts. */
const OWN_DEVICES = '"weir*"';

export interface RulesInput {
  readonly self: NodeRecord;
  readonly uplinks: readonly string[];
  readonly masquerade: boolean;
  /** UDP port of the tunnel; undefined: there is none. */
  readonly tunnelPort: number | undefined;
  /** Prefixes of all pods of the cluster. */
  readonly podCidrs: readonly Prefix[];
  /**
   * Bits of a packet's mark (bpf/abi/mark.h): a pod's, and it leaves the cluster; a pod's to another, and the node has
   * translated their connection.
   */
  readonly mark: { readonly masquerade: number; readonly tracked: number };
}

/** Replaces the table whole, in one transaction: connections that are masqueraded stay so. */
export function rulesText(input: RulesInput): string {
  const { self, uplinks, tunnelPort, masquerade, podCidrs, mark } = input;
  const families = ([4, 6] as const).filter((family) => self.podCidrs.some((cidr) => familyOf(cidr) === family));
  // Each rule that a packet between pods need not pass is a hundredth of a stream: what is decided ends the chain.
  const tracking = families.flatMap((family) => {
    const ip = family === 4 ? 'ip' : 'ip6';
    const own = list(self.podCidrs, family);
    const routers = list(self.routerAddresses, family);
    return [
      ...(routers === undefined ? [] : [`${ip} daddr ${routers} return`]),
      `iifname ${OWN_DEVICES} ${ip} daddr @pods${family} notrack accept`,
      `iifname ${quoted([...uplinks, TUNNEL_DEVICE])} ${ip} saddr @pods${family} ${ip} daddr ${own} notrack accept`,
    ];
  });
  return lines([
    `add table inet ${NFT_TABLE}`,
    `delete table inet ${NFT_TABLE}`,
    `table inet ${NFT_TABLE} {`,
    ...families.flatMap((family) => podSet(family, podCidrs)),
    '\tchain raw_prerouting {',
    '\t\ttype filter hook prerouting priority raw; policy accept;',
    ...(tunnelPort === undefined ? [] : [`\t\tudp dport ${tunnelPort} iifname ${quoted(uplinks)} notrack accept`]),
    ...(tracking.length === 0 ? [] : [`\t\tmeta mark & ${hex(mark.tracked)} == ${hex(mark.tracked)} return`]),
    ...tracking.map((rule) => `\t\t${rule}`),
    '\t}',
    ...(tunnelPort === undefined ? [] : outputChain(tunnelPort, uplinks)),
    ...(masquerade ? masqueradeChain(mark.masquerade) : []),
    '}',
  ]);
}

export const deleteRulesText = (): string => lines([`add table inet ${NFT_TABLE}`, `delete table inet ${NFT_TABLE}`]);

function podSet(family: Family, podCidrs: readonly Prefix[]): string[] {
  const elements = podCidrs.filter((cidr) => familyOf(cidr) === family);
  return [
    `\tset pods${family} {`,
    `\t\ttype ipv${family}_addr`,
    '\t\tflags interval',
    '\t\tauto-merge',
    ...(elements.length === 0 ? [] : [`\t\telements = { ${elements.join(', ')} }`]),
    '\t}',
  ];
}

/**
 * What the tunnel sends is tracked no more than what it brings: each flow in it has a source port of its own, so the
 * node's table of connections would fill with them, and a lookup at each end costs a stream a tenth.
 */
function outputChain(tunnelPort: number, uplinks: readonly string[]): string[] {
  return [
    '\tchain raw_output {',
    '\t\ttype filter hook output priority raw; policy accept;',
    `\t\tudp dport ${tunnelPort} oifname ${quoted(uplinks)} notrack`,
    '\t}',
  ];
}

function masqueradeChain(mark: number): string[] {
  const bit = hex(mark);
  return [
    '\tchain postrouting {',
    '\t\ttype nat hook postrouting priority srcnat; policy accept;',
    // Without fully-random two connections that start at once may be given the same port, and one loses its first packet.
    `\t\tmeta mark & ${bit} == ${bit} masquerade fully-random`,
    '\t}',
  ];
}

function list(items: readonly string[], family: Family): string | undefined {
  const own = items.filter((item) => item.includes(':') === (family === 6));
  return own.length === 0 ? undefined : `{ ${own.join(', ')} }`;
}

const hex = (bit: number): string => `0x${bit.toString(16)}`;
const quoted = (names: readonly string[]): string => `{ ${names.map((name) => `"${name}"`).join(', ')} }`;
const lines = (text: readonly string[]): string => `${text.join('\n')}\n`;
