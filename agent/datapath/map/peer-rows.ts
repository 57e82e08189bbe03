/**
 * Who is at an address: peers, ranges and nodes as structs (bpf/abi/peer.h, tunnel.h, node.h) and back. Prefix lengths
 * count the fields before the address. Pure.
 */
import {
  type Address,
  addressBytes,
  bitsOf,
  type Family,
  familyOf,
  type Prefix,
  prefixAddress,
  prefixLength,
} from '../../model/address.ts';
import type { NodeAttachment, NodeRow, PeerKind, PeerRow, RangeRow } from '../datapath.ts';
import * as abi from '../layout.gen.ts';
import { addressOf, ipAddress, prefixOf } from './addresses.ts';

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
