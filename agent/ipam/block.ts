/** The addresses of one prefix that pods may have, and where each stands in a list of such blocks. */
import { WeirError } from '../errors.ts';
import {
  type Address,
  addressBytes,
  bitsOf,
  familyOf,
  formatAddress,
  type Prefix,
  prefixAddress,
  prefixLength,
} from '../model/address.ts';

export interface Block {
  readonly prefix: Prefix;
  /** The first address given to pods, as a number. */
  readonly first: bigint;
  /** How many addresses from there on pods may have. */
  readonly size: bigint;
}

/**
 * Left out of each prefix: its first address (IPv4 network, IPv6 subnet-router anycast, RFC 4291 2.6.1), the second
 * (the node's own, as router) and for IPv4 the last (broadcast). @throws CONFIG_INVALID if nothing remains.
 */
export function blockOf(prefix: Prefix): Block {
  const family = familyOf(prefix);
  const all = 1n << BigInt(bitsOf(family) - prefixLength(prefix));
  const size = all - (family === 4 ? 3n : 2n);
  if (size < 1n) {
    throw new WeirError(
      'CONFIG_INVALID',
      'ipam',
      `pod CIDR ${prefix} has no address for a pod: it must be at least a /${family === 4 ? 30 : 126}`,
    );
  }
  return { prefix, first: toNumber(prefixAddress(prefix)) + 2n, size };
}

/** The address at a position, counted through all blocks from 0. */
export function addressAt(blocks: readonly Block[], position: bigint): Address {
  let rest = position;
  for (const { prefix, first, size } of blocks) {
    if (rest < size) return toAddress(first + rest, bitsOf(familyOf(prefix)) / 8);
    rest -= size;
  }
  throw new RangeError(`position ${position} is beyond the blocks`);
}

/** The inverse of {@link addressAt}; undefined for an address that is in no block. All must be of one family. */
export function positionOf(blocks: readonly Block[], address: Address): bigint | undefined {
  const number = toNumber(address);
  let before = 0n;
  for (const { first, size } of blocks) {
    if (number >= first && number < first + size) return before + number - first;
    before += size;
  }
  return undefined;
}

function toNumber(address: Address): bigint {
  return addressBytes(address).reduce((sum, byte) => (sum << 8n) | BigInt(byte), 0n);
}

function toAddress(number: bigint, length: number): Address {
  const bytes = new Uint8Array(length);
  for (let i = length - 1, rest = number; i >= 0; i--, rest >>= 8n) bytes[i] = Number(rest & 255n);
  return formatAddress(bytes);
}
