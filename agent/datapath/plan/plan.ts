/**
 * Decides in which order a change is written, so that a packet at any moment between two writes is judged by the complete
 * old policy or the complete new one, never by half of either and never by more than both allow. Pure; apply.ts executes.
 *
 *     slots of pods that go | verdicts, classes | policy headers | identities that go, and their classes | pods' pointers
 *         | classes of sets a departing policy shares | new identities | addresses | epoch || (grace) deletions
 *
 * - What nothing points to yet (a new policy, a new set, a new class) can be written in any order before the pointer.
 * - A class miss means "matches nothing" only for an identity every policy in force was compiled with. So a new one
 *   becomes known when the last pod has left the policies compiled without it, and one that goes stops being known before
 *   the first pod is pointed to such a policy; otherwise it would slip past a deny. In between it is `identity_unknown`.
 * - A class means something only in the policies compiled with it. So a set that several policies share gets a new class
 *   when the last pod has left the policies that lack it, and loses one before the first pod comes to such a policy.
 * - A node of the tunnel is known before an address names it, and as long as one does.
 * - What only departed policies used is deleted when no packet can still be reading it: {@link Plan.later}.
 */
import type { Address, Prefix } from '../../model/address.ts';
import type { IdentityNumber } from '../../model/identity.ts';
import type {
  AddressClassRow,
  IdentityClassRow,
  PolicyId,
  PolicyRow,
  SetId,
  VerdictKey,
  VerdictRow,
} from '../../model/verdict.ts';
import type { EndpointRow, NodeRow, PeerRow, RangeRow } from '../datapath.ts';
import type { AddressClassKey, Changes, IdentityClassKey } from './changes.ts';
import { notAdditive } from './epoch.ts';
import type { Held } from './held.ts';
import { planServices, type ServiceDeletion, type ServiceOp } from './service-plan.ts';

export type Op =
  | { readonly kind: 'endpoint.clear'; readonly key: { readonly id: number } }
  | { readonly kind: 'verdict.set'; readonly row: VerdictRow }
  | { readonly kind: 'identityClass.set'; readonly row: IdentityClassRow }
  | { readonly kind: 'addressClass.set'; readonly row: AddressClassRow }
  | { readonly kind: 'identity.add'; readonly row: IdentityNumber }
  | { readonly kind: 'policy.set'; readonly row: PolicyRow }
  | { readonly kind: 'endpoint.point'; readonly row: EndpointRow }
  | { readonly kind: 'peer.set'; readonly row: PeerRow }
  | { readonly kind: 'range.set'; readonly row: RangeRow }
  | { readonly kind: 'peer.delete'; readonly key: { readonly address: Address } }
  | { readonly kind: 'range.delete'; readonly key: { readonly prefix: Prefix } }
  | { readonly kind: 'node.set'; readonly row: NodeRow }
  | { readonly kind: 'node.delete'; readonly key: { readonly number: number } }
  | { readonly kind: 'identity.delete'; readonly key: IdentityNumber }
  | { readonly kind: 'epoch.bump'; readonly because: string }
  | ServiceOp
  | Deletion;

/** Deletions of rows a packet may still be reading when the pointer has already moved on. */
export type Deletion =
  | { readonly kind: 'policy.delete'; readonly key: { readonly id: PolicyId } }
  | { readonly kind: 'verdict.delete'; readonly key: VerdictKey }
  | { readonly kind: 'identityClass.delete'; readonly key: IdentityClassKey }
  | { readonly kind: 'addressClass.delete'; readonly key: AddressClassKey }
  | ServiceDeletion;

export interface Plan {
  readonly ops: readonly Op[];
  /** To be done after a grace period, in this order, unless a later change sets the row again. */
  readonly later: readonly Deletion[];
}

/** The ordered writes that make `changes` true of a kernel that holds `held`. */
export function plan(changes: Changes, held: Held): Plan {
  const { policies, verdicts, identityClasses, addressClasses, identities, endpoints, peers, ranges, nodes } = changes;
  const departing = setsOf(departingPolicies(changes, held));
  const remaining = setsOf(remainingPolicies(changes, held));
  const setLate = (row: { readonly set: SetId }): boolean => departing.has(row.set);
  const setEarly = (row: { readonly set: SetId }): boolean => !setLate(row);
  const deleteEarly = (key: { readonly set: SetId }): boolean => remaining.has(key.set);
  const deleteLate = (key: { readonly set: SetId }): boolean => !deleteEarly(key);
  const services = planServices(changes, held);
  const because = notAdditive(changes, held);

  const ops: Op[] = [
    ...endpoints.remove.map((key): Op => ({ kind: 'endpoint.clear', key })),
    ...verdicts.set.map((row): Op => ({ kind: 'verdict.set', row })),
    ...identityClasses.set.filter(setEarly).map((row): Op => ({ kind: 'identityClass.set', row })),
    ...addressClasses.set.filter(setEarly).map((row): Op => ({ kind: 'addressClass.set', row })),
    ...policies.set.map((row): Op => ({ kind: 'policy.set', row })),
    ...identities.remove.map((key): Op => ({ kind: 'identity.delete', key })),
    ...identityClasses.remove.filter(deleteEarly).map((key): Op => ({ kind: 'identityClass.delete', key })),
    ...addressClasses.remove.filter(deleteEarly).map((key): Op => ({ kind: 'addressClass.delete', key })),
    ...endpoints.set.map((row): Op => ({ kind: 'endpoint.point', row })),
    ...identityClasses.set.filter(setLate).map((row): Op => ({ kind: 'identityClass.set', row })),
    ...addressClasses.set.filter(setLate).map((row): Op => ({ kind: 'addressClass.set', row })),
    ...identities.set.map((row): Op => ({ kind: 'identity.add', row })),
    ...nodes.set.map((row): Op => ({ kind: 'node.set', row })),
    ...peers.set.map((row): Op => ({ kind: 'peer.set', row })),
    ...ranges.set.map((row): Op => ({ kind: 'range.set', row })),
    ...services.ops, // A backend is known before a Service leads to it, and as long as one does.
    ...peers.remove.map((key): Op => ({ kind: 'peer.delete', key })),
    ...ranges.remove.map((key): Op => ({ kind: 'range.delete', key })),
    ...nodes.remove.map((key): Op => ({ kind: 'node.delete', key })),
  ];
  if (because !== undefined) ops.push({ kind: 'epoch.bump', because });

  const later: Deletion[] = [
    ...policies.remove.map((key): Deletion => ({ kind: 'policy.delete', key })),
    ...identityClasses.remove.filter(deleteLate).map((key): Deletion => ({ kind: 'identityClass.delete', key })),
    ...addressClasses.remove.filter(deleteLate).map((key): Deletion => ({ kind: 'addressClass.delete', key })),
    ...verdicts.remove.map((key): Deletion => ({ kind: 'verdict.delete', key })),
    ...services.later,
  ];
  return { ops, later };
}

function departingPolicies(changes: Changes, held: Held): PolicyRow[] {
  const removed = new Set(changes.policies.remove.map((key) => key.id));
  return [...held.policies()].filter((policy) => removed.has(policy.id));
}

function remainingPolicies(changes: Changes, held: Held): PolicyRow[] {
  const settled = new Set([...changes.policies.remove, ...changes.policies.set].map((key) => key.id));
  return [...[...held.policies()].filter((policy) => !settled.has(policy.id)), ...changes.policies.set];
}

/** Every set the policies consult. Selector and address sets are numbered apart but a clash only costs caution. */
function setsOf(policies: readonly PolicyRow[]): Set<SetId> {
  const sets = policies.flatMap(({ ingress, egress }) => [
    ingress.selectorSet,
    ingress.addressSet,
    egress.selectorSet,
    egress.addressSet,
  ]);
  return new Set(sets.filter((set) => set !== 0));
}
