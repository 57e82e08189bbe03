/** The address a node keeps of each of its pod CIDRs for itself: with it the node speaks to pods of other nodes. */
import { type Address, addressBytes, formatAddress, type Prefix, prefixAddress } from './address.ts';
import type { Node } from './object.ts';

/** The first address behind the prefix's own: 10.1.2.1 of 10.1.2.0/24, fd00::1 of fd00::/64. Pods never get it (ipam/block.ts). */
export function routerAddress(podCidr: Prefix): Address {
  const bytes = addressBytes(prefixAddress(podCidr));
  // The prefix is long enough to have room for pods, so this carries into nothing.
  bytes[bytes.length - 1] = (bytes.at(-1) as number) + 1;
  return formatAddress(bytes);
}

/**
 * By all these addresses rules mean a node, and it is one when it speaks to pods elsewhere: its own, and the router address of
 * each of its pod CIDRs.
 */
export function nodeAddresses({ addresses, podCidrs }: Pick<Node, 'addresses' | 'podCidrs'>): Address[] {
  return [...new Set([...addresses, ...podCidrs.map(routerAddress)])];
}
