/** What other nodes wrote, into what the agent works with. The CRDs keep most nonsense out; what is left is left out here, with a sentence. */

import { type Address, type Prefix, parseAddress, parsePrefix } from '../model/address.ts';
import { FIRST_POD_IDENTITY, LAST_POD_IDENTITY } from '../model/identity.ts';
import type { ClusterIdentity, NodeRecord, ObjectRef, PublishedEndpoint } from '../model/object.ts';
import type { EntryClaim, NodeClaim } from './address-owner.ts';
import {
  API_VERSION,
  type IdentityObject,
  identityName,
  labelsOf,
  type RecordObject,
  type SliceObject,
} from './objects.ts';

export type StateKind = 'WeirIdentity' | 'WeirEndpointSlice' | 'WeirNode';

export function refOf(
  kind: StateKind,
  { name, uid = '' }: { readonly name: string; readonly uid?: string },
): ObjectRef {
  return { apiVersion: API_VERSION, kind, namespace: '', name, uid };
}

/** Something read, or why not. */
export type Reading<T> = { readonly value: T } | { readonly problem: string };

export function readIdentity(object: IdentityObject): Reading<ClusterIdentity> {
  const { name } = object.metadata;
  const { number } = object.spec;
  const labels = labelsOf(object);
  if (identityName(labels) !== name) {
    return { problem: `WeirIdentity ${name} is ignored: its name is not that of its labels, ${identityName(labels)}` };
  }
  if (!Number.isInteger(number) || number < FIRST_POD_IDENTITY || number > LAST_POD_IDENTITY) {
    const expected = `a number from ${FIRST_POD_IDENTITY} to ${LAST_POD_IDENTITY}`;
    return { problem: `WeirIdentity ${name} is ignored: expected ${expected}, found ${number}` };
  }
  return { value: { number, labels } };
}

/** An endpoint as published, and what decides whose its addresses are. */
export interface ReadEntry extends EntryClaim {
  readonly endpoint: PublishedEndpoint;
}

export function readSlice({ metadata, spec }: SliceObject): ReadEntry[] {
  return spec.endpoints.map((entry) => {
    const { identity, namespace, pod, uid, since, namedPorts = [], workload } = entry;
    const addresses = entry.addresses.map(parseAddress).filter((address): address is Address => address !== undefined);
    const endpoint = { addresses, identity, namespace, pod, uid, namedPorts, workload };
    return { node: spec.node, slice: metadata.name, since, addresses, endpoint };
  });
}

export function readRecord({ metadata, spec }: RecordObject): {
  readonly record: NodeRecord;
  readonly claim: NodeClaim;
} {
  const addresses = (texts: readonly string[]) => texts.map(parseAddress).filter((one): one is Address => !!one);
  const podCidrs = spec.podCidrs.map(parsePrefix).filter((one): one is Prefix => one !== undefined);
  const { name, uid = '', creationTimestamp: created = '' } = metadata;
  return {
    record: {
      name,
      addresses: addresses(spec.addresses),
      podCidrs,
      routerAddresses: addresses(spec.routerAddresses),
    },
    claim: { podCidrs, created, uid },
  };
}
