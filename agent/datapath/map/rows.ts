/**
 * The agent's rows as the kernel's structs (bpf/abi) and back: prefix lengths that count the fields before the address,
 * addresses padded to 16 bytes, flags as bits. Pure. Byte order is the business of layout.gen.ts.
 */
import {
  type Address,
  addressBytes,
  bitsOf,
  type Family,
  familyOf,
  formatAddress,
  formatPrefix,
  type Prefix,
  prefixAddress,
  prefixLength,
} from '../../model/address.ts';
import { AGGREGATION_LEVELS, type AggregationLevel } from '../../model/aggregation.ts';
import type {
  Action,
  AddressClassRow,
  Direction,
  IdentityClassRow,
  PolicyDirectionRow,
  PolicyRow,
  TierVerdict,
  TierVerdicts,
  VerdictKey,
  VerdictRow,
} from '../../model/verdict.ts';
import type {
  EndpointRow,
  NodeAttachment,
  NodeRow,
  PeerKind,
  PeerRow,
  RangeRow,
  ServiceBackend,
  ServiceFrontend,
} from '../datapath.ts';
import * as abi from '../layout.gen.ts';
import type { AddressClassKey, IdentityClassKey } from '../plan/changes.ts';

/** Host-side veth of an endpoint: the programs find the slot by subtracting the base (bpf/abi/endpoint.h). */
export function ifindexOf(endpointId: number): number {
  return abi.EndpointLimits.ENDPOINT_IFINDEX_BASE + endpointId;
}

// ---- addresses ----

/** The 16 bytes of struct ip_address: IPv4 in the first four, zeros behind. */
export function ipAddress(address: Address): Uint8Array {
  const bytes = new Uint8Array(16);
  bytes.set(addressBytes(address));
  return bytes;
}

/** The address in the first 4 or all 16 bytes. */
export function addressOf(bytes: Uint8Array, family: number): Address {
  return formatAddress(bytes.subarray(0, bitsOf(asFamily(family)) / 8));
}

function prefixOf(bytes: Uint8Array, family: number, length: number): Prefix {
  const bits = bitsOf(asFamily(family));
  if (length < 0 || length > bits) throw new RangeError(`prefix length ${length} of an IPv${family} address`);
  return formatPrefix(bytes.subarray(0, bits / 8), length);
}

function asFamily(family: number): Family {
  if (family === abi.Family.FAMILY_IPV4 || family === abi.Family.FAMILY_IPV6) return family;
  throw new RangeError(`address family ${family}: expected 4 or 6`);
}

/** "0a:01:02:03:04:05" as six bytes; TypeError when the text is no MAC address. */
export function macBytes(mac: string): Uint8Array {
  if (!/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/i.test(mac)) throw new TypeError(`not a MAC address: ${mac}`);
  return Uint8Array.from(mac.split(':'), (part) => Number.parseInt(part, 16));
}

export function formatMac(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join(':');
}

// ---- endpoints ----

/** @throws TypeError when there are two addresses of one family: the slot holds one of each. */
export function encodeEndpoint(row: EndpointRow): abi.Endpoint {
  const ofFamily = (family: Family): Address | undefined => {
    const found = row.addresses.filter((address) => familyOf(address) === family);
    if (found.length > 1)
      throw new TypeError(`endpoint ${row.id} has ${found.length} IPv${family} addresses, expected one`);
    return found[0];
  };
  const ipv4 = ofFamily(4);
  const ipv6 = ofFamily(6);
  return {
    identity: row.identity,
    policy: row.policy,
    ifindex: ifindexOf(row.id),
    aggregation: row.aggregation === undefined ? 0 : AGGREGATION[row.aggregation],
    mac: macBytes(row.mac),
    ipv4: ipv4 === undefined ? 0 : new DataView(addressBytes(ipv4).buffer).getUint32(0),
    ipv6: ipv6 === undefined ? new Uint8Array(16) : addressBytes(ipv6),
  };
}

/** Levels by enum aggregation. */
export const AGGREGATION = {
  none: abi.Aggregation.AGGREGATION_NONE,
  low: abi.Aggregation.AGGREGATION_LOW,
  medium: abi.Aggregation.AGGREGATION_MEDIUM,
  maximum: abi.Aggregation.AGGREGATION_MAXIMUM,
} as const satisfies Record<AggregationLevel, number>;

/** @throws RangeError for what another version wrote */
function aggregationOf(number: number): AggregationLevel | undefined {
  if (number === abi.Aggregation.AGGREGATION_OF_NODE) return undefined;
  const found = AGGREGATION_LEVELS.find((level) => AGGREGATION[level] === number);
  if (found === undefined) throw new RangeError(`aggregation ${number}: expected 0 to ${AGGREGATION.maximum}`);
  return found;
}

/** Undefined for a slot that is free. */
export function decodeEndpoint(id: number, value: abi.Endpoint): EndpointRow | undefined {
  if (value.ifindex === 0) return undefined;
  const addresses: Address[] = [];
  if (value.ipv4 !== 0) {
    const bytes = new Uint8Array(4);
    new DataView(bytes.buffer).setUint32(0, value.ipv4);
    addresses.push(formatAddress(bytes));
  }
  if (value.ipv6.some((byte) => byte !== 0)) addresses.push(formatAddress(value.ipv6));
  const aggregation = aggregationOf(value.aggregation);
  return {
    id,
    identity: value.identity,
    policy: value.policy,
    mac: formatMac(value.mac),
    addresses,
    ...(aggregation && { aggregation }),
  };
}

// ---- peers and ranges ----

const PEER_KINDS = {
  outside: abi.PeerKind.PEER_OUTSIDE,
  node: abi.PeerKind.PEER_NODE,
  pod: abi.PeerKind.PEER_POD,
} as const satisfies Record<PeerKind, number>;

function peerKindOf(kind: number): PeerKind {
  const found = (Object.keys(PEER_KINDS) as PeerKind[]).find((name) => PEER_KINDS[name] === kind);
  if (found === undefined) throw new RangeError(`peer kind ${kind}: expected 0 to 2`);
  return found;
}

export function encodePeerKey(address: Address): abi.PeerKey {
  return { family: familyOf(address), address: ipAddress(address) };
}

export function encodePeer(row: PeerRow): abi.Peer {
  return { identity: row.identity, endpoint: row.endpoint, kind: PEER_KINDS[row.kind], node: row.node ?? 0 };
}

export function decodePeer(key: abi.PeerKey, value: abi.Peer): PeerRow {
  return {
    address: addressOf(key.address, key.family),
    identity: value.identity,
    endpoint: value.endpoint,
    kind: peerKindOf(value.kind),
    ...(value.node === 0 ? {} : { node: value.node }),
  };
}

/** Bits of range_key before the address. */
const RANGE_KEY_BITS = 32;

export function encodeRangeKey(prefix: Prefix): abi.RangeKey {
  const address = prefixAddress(prefix);
  return { prefixLen: RANGE_KEY_BITS + prefixLength(prefix), family: familyOf(prefix), address: ipAddress(address) };
}

export function decodeRangeKey(key: abi.RangeKey): Prefix {
  return prefixOf(key.address, key.family, key.prefixLen - RANGE_KEY_BITS);
}

export function encodeRange(row: RangeRow): abi.Peer {
  return { identity: row.identity, endpoint: 0, kind: PEER_KINDS[row.kind], node: row.node ?? 0 };
}

export function decodeRange(key: abi.RangeKey, value: abi.Peer): RangeRow {
  return {
    prefix: decodeRangeKey(key),
    identity: value.identity,
    kind: peerKindOf(value.kind),
    ...(value.node === 0 ? {} : { node: value.node }),
  };
}

// ---- nodes ----

/** Where the tunnel to a node leads. @throws RangeError when the number is none of `tunnel_nodes` */
export function encodeTunnelNode({ number, address }: Pick<NodeRow, 'number' | 'address'>): abi.TunnelNode {
  if (!Number.isInteger(number) || number < 1 || number >= abi.TunnelLimits.TUNNEL_NODES_MAX) {
    throw new RangeError(`node number ${number}: expected 1 to ${abi.TunnelLimits.TUNNEL_NODES_MAX - 1}`);
  }
  return { family: familyOf(address), address: ipAddress(address) };
}

/** Undefined for a number no node has. */
export function decodeTunnelNode(value: abi.TunnelNode): Address | undefined {
  return value.family === 0 ? undefined : addressOf(value.address, value.family);
}

/** What the programs know of their own node. @throws TypeError for two pod CIDRs of one family: there is room for one. */
export function encodeNodeState(
  { tunnelPort, podCidrs, pathMtu, masquerade }: NodeAttachment,
  tunnelIfindex: number,
): abi.NodeState {
  const ofFamily = (family: Family): { address: Uint8Array; mask: Uint8Array } => {
    const [prefix, another] = podCidrs.filter((one) => familyOf(one) === family);
    if (another !== undefined)
      throw new TypeError(`two IPv${family} pod CIDRs, ${prefix} and ${another}: expected one`);
    if (prefix === undefined)
      return { address: new Uint8Array(bitsOf(family) / 8), mask: new Uint8Array(bitsOf(family) / 8) };
    return { address: addressBytes(prefixAddress(prefix)), mask: maskOf(prefixLength(prefix), bitsOf(family)) };
  };
  const ipv4 = ofFamily(4);
  const ipv6 = ofFamily(6);
  const number = (bytes: Uint8Array): number => new DataView(bytes.buffer, bytes.byteOffset).getUint32(0);
  return {
    tunnelIfindex,
    pathMtu,
    flags: masquerade ? abi.NodeFlags.NODE_MASQUERADES : 0,
    tunnelPort: tunnelIfindex === 0 ? 0 : tunnelPort,
    podIpv4: number(ipv4.address),
    podIpv4Mask: number(ipv4.mask),
    podIpv6: ipv6.address,
    podIpv6Mask: ipv6.mask,
  };
}

/** 20 of 32 is 255.255.240.0. */
function maskOf(length: number, bits: number): Uint8Array {
  return Uint8Array.from({ length: bits / 8 }, (_, i) => (0xff00 >> Math.min(8, Math.max(0, length - 8 * i))) & 0xff);
}

// ---- policy headers ----

const FLAGS: readonly (readonly [keyof PolicyDirectionRow, number])[] = [
  ['isolated', abi.PolicyFlags.POLICY_ISOLATED],
  ['auditIsolated', abi.PolicyFlags.POLICY_AUDIT_ISOLATED],
  ['hasDeny', abi.PolicyFlags.POLICY_HAS_DENY],
  ['hasAudit', abi.PolicyFlags.POLICY_HAS_AUDIT],
  ['hasAny', abi.PolicyFlags.POLICY_HAS_ANY],
  ['keepsEstablished', abi.PolicyFlags.POLICY_KEEP_ESTABLISHED],
];

function encodeDirectionRow(row: PolicyDirectionRow): abi.PolicyDirection {
  const flags = FLAGS.reduce((bits, [name, bit]) => (row[name] ? bits | bit : bits), 0);
  return { identitySet: row.selectorSet, addressSet: row.addressSet, flags };
}

function decodeDirectionRow(value: abi.PolicyDirection): PolicyDirectionRow {
  const has = (bit: number): boolean => (value.flags & bit) !== 0;
  return {
    isolated: has(abi.PolicyFlags.POLICY_ISOLATED),
    auditIsolated: has(abi.PolicyFlags.POLICY_AUDIT_ISOLATED),
    hasDeny: has(abi.PolicyFlags.POLICY_HAS_DENY),
    hasAudit: has(abi.PolicyFlags.POLICY_HAS_AUDIT),
    hasAny: has(abi.PolicyFlags.POLICY_HAS_ANY),
    keepsEstablished: has(abi.PolicyFlags.POLICY_KEEP_ESTABLISHED),
    selectorSet: value.identitySet,
    addressSet: value.addressSet,
  };
}

export function encodePolicy(row: PolicyRow): abi.Policy {
  return {
    revision: BigInt(row.revision),
    direction: [encodeDirectionRow(row.ingress), encodeDirectionRow(row.egress)],
  };
}

export function decodePolicy(id: number, value: abi.Policy): PolicyRow {
  const [ingress, egress] = value.direction.map(decodeDirectionRow) as [PolicyDirectionRow, PolicyDirectionRow];
  return { id, revision: Number(value.revision), ingress, egress };
}

// ---- verdicts ----

const DIRECTIONS = {
  ingress: abi.Direction.DIRECTION_INGRESS,
  egress: abi.Direction.DIRECTION_EGRESS,
} as const satisfies Record<Direction, number>;

const ACTIONS = {
  allow: abi.PolicyAction.ACTION_ALLOW,
  deny: abi.PolicyAction.ACTION_DENY,
  pass: abi.PolicyAction.ACTION_PASS,
} as const satisfies Record<Action, number>;

/** @throws TypeError for port bits without a protocol: the longest-prefix order has the protocol first. */
export function encodeVerdictKey(key: VerdictKey): abi.VerdictKey {
  if (key.protocol === undefined && key.portBits !== 0) throw new TypeError('a verdict for a port needs a protocol');
  const prefixLen =
    key.protocol === undefined
      ? abi.VerdictPrefix.VERDICT_PREFIX_ANY_PROTOCOL
      : abi.VerdictPrefix.VERDICT_PREFIX_ANY_PORT + key.portBits;
  const { policy, classId, port } = key;
  return { prefixLen, policy, class: classId, direction: DIRECTIONS[key.direction], protocol: key.protocol ?? 0, port };
}

export function decodeVerdictKey(key: abi.VerdictKey): VerdictKey {
  const anyProtocol = key.prefixLen === abi.VerdictPrefix.VERDICT_PREFIX_ANY_PROTOCOL;
  const portBits = anyProtocol ? 0 : key.prefixLen - abi.VerdictPrefix.VERDICT_PREFIX_ANY_PORT;
  if (portBits < 0 || portBits > 16) throw new RangeError(`verdict prefix length ${key.prefixLen}`);
  return {
    policy: key.policy,
    classId: key.class,
    direction: key.direction === DIRECTIONS.ingress ? 'ingress' : 'egress',
    protocol: anyProtocol ? undefined : key.protocol,
    port: key.port,
    portBits,
  };
}

function encodeTier(verdict: TierVerdict | undefined): abi.TierVerdict {
  if (verdict === undefined) return { choice: 0, rule: 0 };
  // Unsigned: a precedence has up to 29 bits.
  const action = verdict.keep ? abi.PolicyAction.ACTION_DENY_KEEP : ACTIONS[verdict.action];
  const choice = ((verdict.precedence << abi.PolicyAction.ACTION_BITS) | action) >>> 0;
  return { choice, rule: verdict.rule };
}

function decodeTier(value: abi.TierVerdict): TierVerdict | undefined {
  const bits = value.choice & ((1 << abi.PolicyAction.ACTION_BITS) - 1);
  if (bits === abi.PolicyAction.ACTION_NONE) return undefined;
  const rest = { precedence: value.choice >>> abi.PolicyAction.ACTION_BITS, rule: value.rule };
  if (bits === abi.PolicyAction.ACTION_DENY_KEEP) return { action: 'deny', ...rest, keep: true };
  const action = (Object.keys(ACTIONS) as Action[]).find((name) => ACTIONS[name] === bits);
  if (action === undefined) throw new RangeError(`policy action ${bits}`);
  return { action, ...rest };
}

export function encodeVerdict(row: VerdictRow): abi.Verdict {
  return { enforced: row.enforced.map(encodeTier), audited: row.audited.map(encodeTier) };
}

export function decodeVerdict(key: abi.VerdictKey, value: abi.Verdict): VerdictRow {
  const tiers = (of: readonly abi.TierVerdict[]): TierVerdicts => of.map(decodeTier) as unknown as TierVerdicts;
  return { ...decodeVerdictKey(key), enforced: tiers(value.enforced), audited: tiers(value.audited) };
}

// ---- classes ----

export function encodeIdentityClassKey(key: IdentityClassKey): abi.IdentityClassKey {
  return { set: key.set, identity: key.identity };
}

export function decodeIdentityClass(key: abi.IdentityClassKey, classId: number): IdentityClassRow {
  return { set: key.set, identity: key.identity, classId };
}

/** Bits of address_class_key before the address. */
const ADDRESS_CLASS_KEY_BITS = 64;

export function encodeAddressClassKey(key: AddressClassKey): abi.AddressClassKey {
  return {
    prefixLen: ADDRESS_CLASS_KEY_BITS + prefixLength(key.prefix),
    set: key.set,
    family: familyOf(key.prefix),
    address: ipAddress(prefixAddress(key.prefix)),
  };
}

export function encodeAddressClasses(row: AddressClassRow): abi.AddressClasses {
  return { outside: row.outside, node: row.node, pod: row.pod };
}

export function decodeAddressClass(key: abi.AddressClassKey, value: abi.AddressClasses): AddressClassRow {
  const prefix = prefixOf(key.address, key.family, key.prefixLen - ADDRESS_CLASS_KEY_BITS);
  return { set: key.set, prefix, ...value };
}

// ---- Services ----

const PROTOCOLS = { TCP: 6, UDP: 17 } as const satisfies Record<ServiceFrontend['protocol'], number>;

export function encodeFrontend({ address, port, protocol }: ServiceFrontend): abi.ServiceKey {
  return { address: ipAddress(address), port, protocol: PROTOCOLS[protocol], family: familyOf(address) };
}

/** The key by which an address is known to be a Service's. */
export function encodeVirtualKey(address: Address): abi.ServiceKey {
  return { address: ipAddress(address), port: 0, protocol: 0, family: familyOf(address) };
}

/** Its value, which is not read. */
export const NO_BACKENDS: abi.Service = { slots: 0, count: 0, affinitySeconds: 0, flags: 0 };

/** Undefined for the row that stands for the address alone. */
export function decodeFrontend(key: abi.ServiceKey): ServiceFrontend | undefined {
  const address = addressOf(key.address, key.family);
  if (key.protocol === 0) return undefined;
  return { address, protocol: key.protocol === PROTOCOLS.TCP ? 'TCP' : 'UDP', port: key.port };
}

export function encodeBackend({ address, port }: ServiceBackend): abi.Backend {
  return { address: ipAddress(address), port, family: familyOf(address) };
}

export function decodeBackend(value: abi.Backend): ServiceBackend {
  return { address: addressOf(value.address, value.family), port: value.port };
}
