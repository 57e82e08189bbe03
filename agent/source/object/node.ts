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
    addresses: object
      .at('status')
      .at('addresses')
      .items()
      .map(readNodeAddress)
      .filter((address) => address !== undefined),
    podCidrs: readPodCidrs(object.at('spec')),
  };
}

/** Host names and DNS names stand in the same list and are no addresses. */
function readNodeAddress(field: Field): Address | undefined {
  const type = field.at('type').text();
  return type === 'InternalIP' || type === 'ExternalIP' ? readAddress(field.at('address')) : undefined;
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
