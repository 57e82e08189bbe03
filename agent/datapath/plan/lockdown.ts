/**
 * What to do when a policy does not fit: it is held back as a whole, its endpoints are pointed to the lockdown policy,
 * and the rest of the change goes on. Pure. Source: design.md, "Fail closed, by construction".
 */
import { POLICY_LOCKDOWN, type PolicyId, type PolicyRow, type SetId } from '../../model/verdict.ts';
import type { EndpointRow } from '../datapath.ts';
import type { Change, Changes } from './changes.ts';
import type { Op } from './plan.ts';
import type { Tables } from './tables.ts';

export interface Split {
  /** The change without the policies: what can go on, with their endpoints locked down. */
  readonly now: Changes;
  /** Their rows and pointers, to be tried again. */
  readonly waiting: Changes;
  /** Takes back what may have been written of policies nothing points to, so that others find room. */
  readonly undo: readonly Op[];
}

/** Policies that cannot be in force without the row the operation would have written; [] when it is no policy's row. */
export function policiesNeeding(op: Op, changes: Changes, held: Tables): PolicyId[] {
  switch (op.kind) {
    case 'verdict.set':
      return [op.row.policy];
    case 'policy.set':
      return [op.row.id];
    case 'identityClass.set':
    case 'addressClass.set':
      return policiesAfter(changes, held)
        .filter((policy) => setsOf(policy).includes(op.row.set))
        .map(({ id }) => id);
    default:
      return [];
  }
}

/** Splits the policies off a change. */
export function holdBack(changes: Changes, policies: ReadonlySet<PolicyId>, held: Tables): Split {
  const others = policiesAfter(changes, held).filter(({ id }) => !policies.has(id));
  const usedByOthers = new Set<SetId>(others.flatMap(setsOf));
  const isHeld = (row: { readonly policy: PolicyId }): boolean => policies.has(row.policy);
  const isHeldPolicy = (row: { readonly id: PolicyId }): boolean => policies.has(row.id);
  const isHeldSet = (row: { readonly set: SetId }): boolean => !usedByOthers.has(row.set);

  const [verdicts, heldVerdicts] = split(changes.verdicts, isHeld);
  const [headers, heldHeaders] = split(changes.policies, isHeldPolicy);
  const [identityClasses, heldIdentityClasses] = split(changes.identityClasses, isHeldSet);
  const [addressClasses, heldAddressClasses] = split(changes.addressClasses, isHeldSet);

  const settled = new Set([...changes.endpoints.set, ...changes.endpoints.remove].map(({ id }) => id));
  const stranded = [...held.endpoints()].filter((row) => isHeld(row) && !settled.has(row.id));
  const pointers = [...changes.endpoints.set.filter(isHeld), ...stranded];
  const lockedDown = pointers.map((row): EndpointRow => ({ ...row, policy: POLICY_LOCKDOWN }));
  const nothing = { set: [], remove: [] };

  const live = new Set([...held.policies()].map(({ id }) => id));
  const isNew = (id: PolicyId): boolean => policies.has(id) && !live.has(id);
  const newVerdicts = heldVerdicts.set.filter((row) => isNew(row.policy));
  return {
    now: {
      ...changes,
      verdicts,
      policies: headers,
      identityClasses,
      addressClasses,
      endpoints: {
        set: [...changes.endpoints.set.filter((row) => !isHeld(row)), ...lockedDown],
        remove: changes.endpoints.remove,
      },
    },
    waiting: {
      verdicts: heldVerdicts,
      policies: heldHeaders,
      identityClasses: heldIdentityClasses,
      addressClasses: heldAddressClasses,
      identities: nothing,
      endpoints: { set: pointers, remove: [] },
      peers: nothing,
      ranges: nothing,
      nodes: nothing,
      services: nothing,
    },
    undo: newVerdicts.map((key): Op => ({ kind: 'verdict.delete', key })),
  };
}

/** Rows to be set are parted; what is to be removed always goes on. */
function split<Row, Key>(
  change: Change<Row, Key>,
  isHeld: (row: Row) => boolean,
): [Change<Row, Key>, Change<Row, Key>] {
  return [
    { set: change.set.filter((row) => !isHeld(row)), remove: change.remove },
    { set: change.set.filter(isHeld), remove: [] },
  ];
}

/** Policies there will be, including those still to be written. */
function policiesAfter(changes: Changes, held: Tables): PolicyRow[] {
  const settled = new Set([...changes.policies.remove, ...changes.policies.set].map(({ id }) => id));
  return [...[...held.policies()].filter(({ id }) => !settled.has(id)), ...changes.policies.set];
}

function setsOf({ ingress, egress }: PolicyRow): SetId[] {
  return [ingress.selectorSet, ingress.addressSet, egress.selectorSet, egress.addressSet].filter((set) => set !== 0);
}
