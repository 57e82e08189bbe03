/** Node, core/v1: only what networking needs. */
import { type Address, type Prefix, parsePrefix } from '../../model/address.ts';
import type { Node, ObjectRef } from '../../model/object.ts';
import type { Field } from './field.ts';
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
 * and are no addresses.
 */
function readNodeAddresses(field: Field): Address[] {
  const items = field.items().map((item) => ({ type: item.at('type').text(), address: item.at('address') }));
  const wanted = ['InternalIP', 'ExternalIP'].flatMap((wantedType) => items.filter(({ type }) => type === wantedType));
  return [...new Set(wanted.map(({ address }) => readAddress(address)))].filter((address) => address !== undefined);
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
