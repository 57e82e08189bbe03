/** WeirDenyList, weir.dev/v1alpha1. */
import { type Prefix, parsePrefix } from '../../model/address.ts';
import type { DenyList, ObjectRef } from '../../model/object.ts';
import type { Field } from './field.ts';

export function readDenyList(object: Field, ref: ObjectRef): DenyList {
  const cidrs = object.at('spec').at('cidrs');
  if (cidrs.absent) cidrs.fail('a list of prefixes');
  return { name: ref.name, prefixes: cidrs.items().flatMap(readCidr) };
}

function readCidr(field: Field): Prefix[] {
  const parsed = parsePrefix(field.text() ?? '');
  if (parsed) return [parsed];
  field.fail('a prefix such as 203.0.113.0/24');
  return [];
}
