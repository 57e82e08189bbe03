/** Endpoints as struct endpoint (bpf/abi/endpoint.h) and back. Pure. */
import { type Address, addressBytes, type Family, familyOf, formatAddress } from '../../model/address.ts';
import { AGGREGATION_LEVELS, type AggregationLevel } from '../../model/aggregation.ts';
import type { EndpointRow } from '../datapath.ts';
import * as abi from '../layout.gen.ts';
import { formatMac, ifindexOf, macBytes } from './addresses.ts';

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
