/** Node, core/v1: only what networking needs. */
import { type Address, type Prefix, parseAddress, parsePrefix } from '../../model/address.ts';
import type { Node, ObjectRef } from '../../model/object.ts';
import { describe, type Field } from './field.ts';
import { readLabels } from './metadata.ts';
import { readAddress } from './pod.ts';

export function readNode(object: Field, ref: ObjectRef): Node {
  return {
    name: ref.name,
    labels: readLabels(object),
    addresses: readNodeAddresses(object.at('status').at('addresses')),
    podCidrs: readPodCidrs(object.at('spec')),
  };
}

/**
 * Those by which nodes reach each other first: clouds list them in any order. Host names and DNS names stand in the same list
 * and are no addresses. A node that has an InternalIP is known by it whatever its cloud calls an ExternalIP.
 */
function readNodeAddresses(field: Field): Address[] {
  const items = field.items().map((item) => ({ type: item.at('type').text(), address: item.at('address') }));
  const read = (wanted: string, one: (address: Field) => Address | undefined): Address[] =>
    items.flatMap(({ type, address }) => (type === wanted ? (one(address) ?? []) : []));
  const internal = read('InternalIP', readAddress);
  const external = read('ExternalIP', internal.length > 0 ? readAddressOrWarn : readAddress);
  return [...new Set([...internal, ...external])];
}

function readAddressOrWarn(field: Field): Address | undefined {
  const text = field.text();
  if (text === undefined || text === '') return undefined;
  const address = parseAddress(text);
  if (!address) {
    field.warn('node-address', `expected an IP address, found ${describe(text)}; this ExternalIP is left out`);
  }
  return address;
}

function readPodCidrs(spec: Field): Prefix[] {
  const listed = spec.at('podCIDRs').items();
  const fields = listed.length > 0 ? listed : [spec.at('podCIDR')];
  return fields.map(readPrefix).filter((prefix) => prefix !== undefined);
}

function readPrefix(field: Field): Prefix | undefined {
  const text = field.text();
  if (text === undefined || text === '') return undefined;
  const prefix = parsePrefix(text);
  if (!prefix) field.fail('a prefix such as 10.244.1.0/24');
  return prefix;
}
