/**
 * When established connections must be judged again. Policies, classes and pods that are purely new can take nothing away
 * from a connection that is open; anything else may, and then the epoch is bumped. Pure. Source: design.md, "One conntrack
 * entry".
 */
import { isDeepStrictEqual } from 'node:util';
import type { PolicyId, SetId } from '../../model/verdict.ts';
import type { PeerRow } from '../datapath.ts';
import type { Changes } from './changes.ts';
import type { Held } from './held.ts';
import { servicesChanged } from './service-plan.ts';

/** Why the change is not purely additive, in a few words for the log; undefined when it is. */
export function notAdditive(changes: Changes, held: Held): string | undefined {
  return (
    endpointChanged(changes, held) ??
    addressChanged(changes, held) ??
    policyChanged(changes, held) ??
    classChanged(changes, held) ??
    servicesChanged(changes, held)
  );
}

function endpointChanged({ endpoints }: Changes, held: Held): string | undefined {
  for (const row of endpoints.set) {
    const before = held.endpoint(row.id);
    if (before !== undefined && !isDeepStrictEqual(before, row)) return `endpoint ${row.id} changed`;
  }
  const gone = endpoints.remove.find(({ id }) => held.endpoint(id) !== undefined);
  return gone && `endpoint ${gone.id} removed`;
}

/**
 * An address without a row is not nobody's: it was judged as the range around it, or as the world. So a new row changes
 * it too, but for a pod of this node: its own program asks about connections that it has not judged.
 */
function addressChanged({ peers, ranges }: Changes, held: Held): string | undefined {
  const isNewHere = (row: PeerRow): boolean => row.endpoint !== 0 && held.peer(row.address) === undefined;
  const peer =
    peers.set.find((row) => !isNewHere(row) && !isDeepStrictEqual(held.peer(row.address), row)) ??
    peers.remove.find(({ address }) => held.peer(address));
  if (peer) return `address ${peer.address} changed`;
  const range =
    ranges.set.find((row) => !isDeepStrictEqual(held.range(row.prefix), row)) ??
    ranges.remove.find(({ prefix }) => held.range(prefix));
  return range && `range ${range.prefix} changed`;
}

/** A policy in use was rewritten in place: its header, or verdicts under keys it had. */
function policyChanged({ policies, verdicts }: Changes, held: Held): string | undefined {
  const before = new Map([...held.policies()].map((policy): [PolicyId, unknown] => [policy.id, policy]));
  const header = policies.set.find((row) => before.has(row.id) && !isDeepStrictEqual(before.get(row.id), row));
  if (header) return `policy ${header.id} changed`;
  // Verdicts of a policy that is not there yet are new by construction; only the others are worth a lookup.
  const verdict = verdicts.set.find((row) => {
    const was = before.has(row.policy) ? held.verdict(row) : undefined;
    return was !== undefined && !isDeepStrictEqual(was, row);
  });
  return verdict && `a verdict of policy ${verdict.policy} changed`;
}

/** A peer that had been judged falls into another class of a set in use. */
function classChanged({ identityClasses, addressClasses }: Changes, held: Held): string | undefined {
  const inUse = new Set<SetId>();
  for (const { ingress, egress } of held.policies()) {
    for (const set of [ingress.selectorSet, ingress.addressSet, egress.selectorSet, egress.addressSet]) inUse.add(set);
  }
  for (const row of identityClasses.set) {
    if (!inUse.has(row.set)) continue;
    const before = held.identityClass(row);
    const matchedNothing = before === undefined && held.knows(row.identity);
    if (matchedNothing || (before !== undefined && before.classId !== row.classId)) {
      return `identity ${row.identity} changed class in set ${row.set}`;
    }
  }
  // An address is always "known": a new prefix in a set in use takes its addresses out of a shorter one, or out of none.
  const address = addressClasses.set.find(
    (row) => inUse.has(row.set) && !isDeepStrictEqual(held.addressClass(row), row),
  );
  if (address) return `${address.prefix} changed class in set ${address.set}`;
  const gone = [...identityClasses.remove, ...addressClasses.remove].find((key) => inUse.has(key.set));
  return gone && `set ${gone.set} lost a member`;
}
