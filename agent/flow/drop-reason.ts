/**
 * Weir's drop reasons in Hubble's words: number and enum name from cilium/cilium api/v1/flow/flow.proto (DropReason),
 * text from pkg/monitor/api/drop.go. Where Hubble has no such reason, the nearest; `weir.dropReason` stays exact.
 */
import { DROP_REASON_DOC, DropReason } from '../datapath/layout.gen.ts';

export interface DropReasonName {
  /** Weir's number, bpf/abi/drop.h. */
  readonly number: number;
  /** Weir's name: "policy_denied". */
  readonly name: string;
  /** What it means, from drop.h. */
  readonly meaning: string;
  /** Hubble's number, enum name and text. */
  readonly hubble: HubbleReason;
}

export interface HubbleReason {
  readonly number: number;
  readonly name: string;
  readonly text: string;
}

type Reason = Exclude<keyof typeof DropReason, 'DROP_NONE' | 'DROP_REASON_COUNT'>;

const hubble = (number: number, name: string, text: string): HubbleReason => ({ number, name, text });

const INVALID_SOURCE_IP = hubble(132, 'INVALID_SOURCE_IP', 'Invalid source ip');
const POLICY_DENIED = hubble(133, 'POLICY_DENIED', 'Policy denied');
const INVALID_PACKET = hubble(134, 'INVALID_PACKET_DROPPED', 'Invalid packet');
const NO_CT_ENTRY = hubble(138, 'CT_CANNOT_CREATE_ENTRY_FROM_PACKET', "CT: Can't create entry from packet");
const UNSUPPORTED_L3 = hubble(139, 'UNSUPPORTED_L3_PROTOCOL', 'Unsupported L3 protocol');
const BAD_EXTENSION = hubble(156, 'INVALID_IPV6_EXTENSION_HEADER', 'Invalid IPv6 extension header');
const FRAGMENTED = hubble(157, 'IP_FRAGMENTATION_NOT_SUPPORTED', 'IP fragmentation not supported');
const NO_BACKEND = hubble(158, 'SERVICE_BACKEND_NOT_FOUND', 'Service backend not found');
const FORBIDDEN_ICMPV6 = hubble(176, 'FORBIDDEN_ICMPV6_MESSAGE', 'Forbidden ICMPv6 message');

const TABLE: Record<Reason, HubbleReason> = {
  DROP_POLICY_DENIED: POLICY_DENIED,
  DROP_POLICY_DENY_RULE: hubble(181, 'POLICY_DENY', 'Policy denied by denylist'),
  DROP_POLICY_REVOKED: POLICY_DENIED,
  DROP_NO_POLICY: hubble(203, 'DROP_EP_NOT_READY', 'Endpoint policy program not available'),
  DROP_IDENTITY_UNKNOWN: hubble(171, 'INVALID_IDENTITY', 'Invalid identity'),
  DROP_UNKNOWN_ENDPOINT: hubble(152, 'NO_MATCHING_LOCAL_CONTAINER_FOUND', 'No matching local container found'),
  DROP_SOURCE_MAC: hubble(130, 'INVALID_SOURCE_MAC', 'Invalid source mac'),
  DROP_SOURCE_ADDRESS: INVALID_SOURCE_IP,
  DROP_ARP_SPOOF: INVALID_SOURCE_IP,
  DROP_ND_SPOOF: FORBIDDEN_ICMPV6,
  DROP_ROUTER_ADVERTISEMENT: FORBIDDEN_ICMPV6,
  DROP_DHCP_SERVER: INVALID_PACKET,
  DROP_MALFORMED: INVALID_PACKET,
  DROP_IP_OPTIONS: INVALID_PACKET,
  DROP_EXTENSION_CHAIN: BAD_EXTENSION,
  DROP_FRAGMENT_NO_FIRST: hubble(
    175,
    'FIRST_LOGICAL_DATAGRAM_FRAGMENT_NOT_FOUND',
    'First logical datagram fragment not found',
  ),
  DROP_FRAGMENT_TINY: FRAGMENTED,
  DROP_FRAGMENT_OVERLAP: FRAGMENTED,
  DROP_UNSUPPORTED_L2: hubble(166, 'UNSUPPORTED_L2_PROTOCOL', 'Unsupported L2 protocol'),
  DROP_UNSUPPORTED_L3: UNSUPPORTED_L3,
  DROP_MULTICAST: hubble(201, 'MULTICAST_HANDLED', 'Multicast handled'),
  DROP_NEW_CONNECTION_BUDGET: hubble(198, 'DROP_RATE_LIMITED', 'Rate limited'),
  DROP_CONNTRACK_INSERT: hubble(155, 'CT_MAP_INSERTION_FAILED', 'CT: Map insertion failed'),
  DROP_ICMP_UNRELATED: NO_CT_ENTRY,
  DROP_DESTINATION_GONE: hubble(151, 'STALE_OR_UNROUTABLE_IP', 'Stale or unroutable IP'),
  DROP_HOST_SPOOF: INVALID_SOURCE_IP,
  DROP_TUNNEL_FORBIDDEN: hubble(170, 'ENCAPSULATION_TRAFFIC_IS_PROHIBITED', 'Encapsulation traffic is prohibited'),
  DROP_PROGRAM_MISSING: hubble(140, 'MISSED_TAIL_CALL', 'Missed tail call'),
  DROP_SERVICE_CLASH: NO_BACKEND,
  DROP_SERVICE_NO_BACKEND: NO_BACKEND,
  DROP_SERVICE_NO_PORT: NO_BACKEND,
  DROP_TOO_BIG: hubble(136, 'CT_MISSING_TCP_ACK_FLAG', 'Fragmentation needed'),
  DROP_DENY_CIDR: hubble(181, 'POLICY_DENY', 'Policy denied by denylist'),
  DROP_TUNNEL_MISSING: hubble(
    160,
    'NO_TUNNEL_OR_ENCAPSULATION_ENDPOINT',
    'No tunnel/encapsulation endpoint (datapath BUG!)',
  ),
};

const UNKNOWN: HubbleReason = hubble(0, 'DROP_REASON_UNKNOWN', 'Unknown');

/** All reasons in the order of their numbers. */
export const DROP_REASONS: readonly DropReasonName[] = Object.entries(TABLE)
  .map(([key, value]) => {
    const number = DropReason[key as Reason];
    return {
      number,
      name: key.replace(/^DROP_/, '').toLowerCase(),
      meaning: DROP_REASON_DOC[number] ?? '',
      hubble: value,
    };
  })
  .sort((a, b) => a.number - b.number);

const BY_NUMBER = new Map(DROP_REASONS.map((reason) => [reason.number, reason]));

/** The reason with Weir's number; one that this agent does not know yet is "reason_N". */
export function dropReason(number: number): DropReasonName {
  return BY_NUMBER.get(number) ?? { number, name: `reason_${number}`, meaning: '', hubble: UNKNOWN };
}

/** Weir's numbers that a name means: Weir's own in small letters ("policy_denied"), Hubble's in capitals; [] if neither. */
export function dropReasonNumbers(name: string): number[] {
  return DROP_REASONS.filter((reason) => reason.name === name || reason.hubble.name === name).map((one) => one.number);
}
