/** Addresses as bpf/abi has them, padded to 16 bytes; MAC addresses; indexes of interfaces. Byte order is that of the wire. Pure. */
import {
  type Address,
  addressBytes,
  bitsOf,
  type Family,
  formatAddress,
  formatPrefix,
  type Prefix,
} from '../../model/address.ts';
import * as abi from '../layout.gen.ts';

/** Host-side veth of an endpoint: the programs find the slot by subtracting the base (bpf/abi/endpoint.h). */
export function ifindexOf(endpointId: number): number {
  return abi.EndpointLimits.ENDPOINT_IFINDEX_BASE + endpointId;
}

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

export function prefixOf(bytes: Uint8Array, family: number, length: number): Prefix {
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
