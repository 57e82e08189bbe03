/** What other nodes wrote, into what the agent works with. The CRDs keep most nonsense out; what is left is left out here, with a sentence. */

import { type Address, type Prefix, parseAddress, parsePrefix } from '../model/address.ts';
import { FIRST_POD_IDENTITY, type IdentityNumber, LAST_POD_IDENTITY, RESERVED_IDENTITIES } from '../model/identity.ts';
import type { ClusterIdentity, NamedPort, NodeRecord, ObjectRef, PublishedEndpoint } from '../model/object.ts';
import type { EntryClaim, NodeClaim } from './address-owner.ts';
import {
  API_VERSION,
  type EndpointEntry,
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

/** `before`: the same slice as it was. Entries that are still so are returned as the same objects. */
export function readSlice({ metadata, spec }: SliceObject, before: readonly ReadEntry[] = []): ReadEntry[] {
  const known = new Map(before.map((entry) => [entry.since, entry]));
  return spec.endpoints.map((entry) => {
    const same = known.get(entry.since);
    known.delete(entry.since); // Of two that claim one number, which nobody should write, each is an object of its own.
    return same?.node === spec.node && isUnchanged(same, entry) ? same : readEntry(spec.node, metadata.name, entry);
  });
}

/** Reserved identities that a pod may have. No node makes one of its pods an API server, or another node. */
const OF_PODS: readonly IdentityNumber[] = [
  RESERVED_IDENTITIES.unmanaged,
  RESERVED_IDENTITIES.health,
  RESERVED_IDENTITIES.init,
];

const podIdentity = (number: IdentityNumber): IdentityNumber =>
  number >= FIRST_POD_IDENTITY || OF_PODS.includes(number) ? number : RESERVED_IDENTITIES.unmanaged;

function readEntry(node: string, slice: string, entry: EndpointEntry): ReadEntry {
  const { namespace, pod, uid, since, namedPorts = [], workload } = entry;
  const identity = podIdentity(entry.identity);
  const addresses = entry.addresses.map(parseAddress).filter((address): address is Address => address !== undefined);
  const endpoint = { addresses, identity, namespace, pod, uid, namedPorts, workload };
  return { node, slice, since, addresses, endpoint };
}

/** An address written in an unusual form counts as changed, which only costs reading it again. */
function isUnchanged({ endpoint }: ReadEntry, entry: EndpointEntry): boolean {
  const { namedPorts = [], workload, addresses } = entry;
  return (
    endpoint.uid === entry.uid &&
    endpoint.identity === entry.identity &&
    endpoint.namespace === entry.namespace &&
    endpoint.pod === entry.pod &&
    endpoint.workload?.kind === workload?.kind &&
    endpoint.workload?.name === workload?.name &&
    sameList(endpoint.addresses, addresses, (a, b) => a === b) &&
    sameList(endpoint.namedPorts, namedPorts, samePort)
  );
}

function samePort(a: NamedPort, b: NamedPort): boolean {
  return a.name === b.name && a.protocol === b.protocol && a.port === b.port;
}

function sameList<T, U>(a: readonly T[], b: readonly U[], same: (a: T, b: U) => boolean): boolean {
  return a.length === b.length && a.every((one, i) => same(one, b[i] as U));
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
      age: { created, uid },
    },
    claim: { podCidrs, created, uid },
  };
}
