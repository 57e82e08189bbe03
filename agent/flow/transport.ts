/** Hubble's `l4` and `Summary` of a flow. */
import type { StoredFlow } from './decode.ts';
import { DESTINATION, SOURCE } from './decode.ts';
import { IPPROTO } from './filter.ts';
import { type Layer4, type Ports, TCP_FLAG_NAMES, type TcpFlags } from './flow.ts';
import { icmpText } from './icmp.ts';

/** `{ l4 }`, or nothing for a protocol Hubble has no field for. */
export function layer4(flow: StoredFlow): { l4?: Layer4 } {
  if (flow.family === 0) return {};
  const icmp = { type: flow.icmpType, code: flow.icmpCode };
  switch (flow.protocol) {
    case IPPROTO.TCP:
      return { l4: { TCP: { ...ports(flow), flags: tcpFlags(flow.tcpFlags) } } };
    case IPPROTO.UDP:
      return { l4: { UDP: ports(flow) } };
    case IPPROTO.SCTP:
      return { l4: { SCTP: ports(flow) } };
    case IPPROTO.ICMP:
      return { l4: { ICMPv4: icmp } };
    case IPPROTO.ICMPV6:
      return { l4: { ICMPv6: icmp } };
    case IPPROTO.VRRP:
      return { l4: { VRRP: {} } };
    case IPPROTO.IGMP:
      return { l4: { IGMP: {} } };
    default:
      return {};
  }
}

/** As Hubble's compact output has it: "TCP Flags: SYN, ACK", "UDP", "ICMPv4 EchoRequest". */
export function summary(flow: StoredFlow): string {
  if (flow.family === 0) return 'not IP';
  switch (flow.protocol) {
    case IPPROTO.TCP:
      return `TCP Flags: ${flagsInWords(flow.tcpFlags)}`;
    case IPPROTO.UDP:
      return 'UDP';
    case IPPROTO.SCTP:
      return 'SCTP';
    case IPPROTO.VRRP:
      return 'VRRP';
    case IPPROTO.IGMP:
      return 'IGMP';
    case IPPROTO.ICMP:
    case IPPROTO.ICMPV6:
      return `${protocolName(flow.protocol)} ${icmpName(flow)}`;
    default:
      return `IP protocol ${flow.protocol}`;
  }
}

/** Kind of an ICMP message, as {@link icmpText} writes it; undefined for what is no ICMP. */
export function icmpName({ protocol, icmpType, icmpCode }: StoredFlow): string | undefined {
  if (protocol !== IPPROTO.ICMP && protocol !== IPPROTO.ICMPV6) return undefined;
  return icmpText(protocol === IPPROTO.ICMP ? 4 : 6, icmpType, icmpCode);
}

const PROTOCOL_NAMES: Readonly<Record<number, string>> = {
  [IPPROTO.TCP]: 'TCP',
  [IPPROTO.UDP]: 'UDP',
  [IPPROTO.SCTP]: 'SCTP',
  [IPPROTO.ICMP]: 'ICMPv4',
  [IPPROTO.ICMPV6]: 'ICMPv6',
};

/** As answers about traffic name it; all else is "other". */
export function protocolName(protocol: number): string {
  return PROTOCOL_NAMES[protocol] ?? 'other';
}

/** What Hubble has no field for in a flow's `l4`. */
export const UNKNOWN_LAYER_4 = 'Unknown L4';

/** The label `protocol` of Hubble's metrics: FlowProtocol in pkg/hubble/api/v1 of Cilium 1.19. 0: not IP. */
export function hubbleProtocolName(protocol: number): string {
  if (protocol === IPPROTO.VRRP) return 'VRRP';
  if (protocol === IPPROTO.IGMP) return 'IGMP';
  return PROTOCOL_NAMES[protocol] ?? UNKNOWN_LAYER_4;
}

function ports(flow: StoredFlow): Ports {
  return { source_port: flow.port(SOURCE), destination_port: flow.port(DESTINATION) };
}

/** The usual ones first. */
const SAID_FIRST = ['SYN', 'ACK', 'RST'] as const;
const SAID = [...SAID_FIRST, ...TCP_FLAG_NAMES.filter((name) => !(SAID_FIRST as readonly string[]).includes(name))];

function flagsInWords(bits: number): string {
  const set = tcpFlags(bits);
  return SAID.filter((name) => set[name]).join(', ');
}

function tcpFlags(bits: number): TcpFlags {
  return Object.fromEntries(TCP_FLAG_NAMES.filter((_, bit) => bits & (1 << bit)).map((name) => [name, true]));
}
