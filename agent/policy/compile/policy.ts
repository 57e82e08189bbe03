/** A compiled policy: its rows in all tables, and their upkeep while classes come and go. */
import type { ObjectRef } from '../../model/object.ts';
import {
  CLASS_ANY,
  type ClassId,
  type Direction,
  type PolicyDirectionRow,
  type PolicyId,
  type PolicyRow,
  type VerdictKey,
  type VerdictRow,
} from '../../model/verdict.ts';
import type { AddressSet, AddressSets } from '../select/address-sets.ts';
import type { PeerClass, SelectorSet, SelectorSets, SetUser } from '../select/selector-sets.ts';
import type { Steps } from '../steps.ts';
import type { Table } from '../table.ts';
import type { DirectionPlan } from './direction.ts';
import type { FlatEntry } from './flatten.ts';

/** Who isolates the subjects in one direction; audited policies count only for the audited verdict. */
export interface Isolation {
  readonly enforcedBy: readonly ObjectRef[];
  readonly auditedBy: readonly ObjectRef[];
  /** All of `enforcedBy` leave established connections alone; where nobody enforces, all of `auditedBy`. */
  readonly keepsEstablished: boolean;
}

export interface PolicyPlan {
  readonly ingress: DirectionPlan & { readonly isolation: Isolation };
  readonly egress: DirectionPlan & { readonly isolation: Isolation };
}

/** Where policies are written and what they share. */
export interface PolicyStore {
  readonly selectorSets: SelectorSets;
  readonly addressSets: AddressSets;
  readonly policies: Table<PolicyRow>;
  readonly verdicts: Table<VerdictRow>;
}

export interface CompiledPolicy {
  readonly id: PolicyId;
  readonly row: PolicyRow;
  readonly plan: PolicyPlan;
  /** What the class stands for: selectors or CIDRs of the plan; undefined for a class the policy does not have. */
  classPeers(
    direction: Direction,
    classId: ClassId,
  ): { selectors: readonly number[]; cidrs: readonly number[] } | undefined;
  remove(): Steps;
}

/** Key of a row of the verdict table. */
export function verdictKey({ policy, classId, direction, protocol, port, portBits }: VerdictKey): string {
  return `${policy} ${classId} ${direction} ${protocol ?? '*'} ${port}/${portBits}`;
}

export function* compilePolicy(
  id: PolicyId,
  revision: number,
  plan: PolicyPlan,
  store: PolicyStore,
): Steps<CompiledPolicy> {
  const ingress = yield* compileDirection(id, 'ingress', plan.ingress, store);
  const egress = yield* compileDirection(id, 'egress', plan.egress, store);
  const row = { id, revision, ingress: ingress.row, egress: egress.row };
  store.policies.set(row);
  return {
    id,
    row,
    plan,
    classPeers: (direction, classId) => (direction === 'ingress' ? ingress : egress).classPeers(classId),
    *remove() {
      yield* ingress.remove();
      yield* egress.remove();
      store.policies.remove(id);
    },
  };
}

interface CompiledDirection {
  readonly row: PolicyDirectionRow;
  classPeers: (classId: ClassId) => ReturnType<CompiledPolicy['classPeers']>;
  remove(): Steps;
}

function* compileDirection(
  policy: PolicyId,
  direction: Direction,
  plan: PolicyPlan['ingress'],
  { selectorSets, addressSets, verdicts }: PolicyStore,
): Steps<CompiledDirection> {
  const keys = new Map<ClassId, string[]>();
  const write = (classId: ClassId, entries: readonly FlatEntry[]): void => {
    const rows = entries.map((entry): VerdictRow => ({ policy, classId, direction, ...entry }));
    for (const row of rows) verdicts.set(row);
    keys.set(classId, rows.map(verdictKey));
  };
  const erase = (classId: ClassId): void => {
    for (const key of keys.get(classId) ?? []) verdicts.remove(key);
    keys.delete(classId);
  };
  const user: SetUser = {
    classAdded: (peers: PeerClass) => write(peers.id, plan.identityEntries(peers.matches, peers.named)),
    classRemoved: (peers: PeerClass) => erase(peers.id),
  };

  const anyEntries = plan.anyEntries();
  if (anyEntries.length > 0) write(CLASS_ANY, anyEntries);
  let selectorSet: SelectorSet | undefined;
  if (plan.selectors.length > 0) {
    selectorSet = yield* selectorSets.acquire(plan.selectors, plan.names, user);
    // A class that comes while this pauses is announced, and then visited as well: its rows are the same.
    for (const peers of selectorSet.classes.values()) {
      user.classAdded(peers);
      yield;
    }
  }
  let addressSet: AddressSet | undefined;
  if (plan.cidrs.length > 0) {
    addressSet = yield* addressSets.acquire(plan.cidrs);
    for (const [classId, matches] of addressSet.classes) {
      write(classId, plan.addressEntries(matches));
      yield;
    }
  }

  const { enforcedBy, auditedBy } = plan.isolation;
  return {
    row: {
      isolated: enforcedBy.length > 0,
      auditIsolated: enforcedBy.length + auditedBy.length > 0,
      hasDeny: plan.hasDeny,
      hasAudit: plan.hasAudit || auditedBy.length > 0,
      hasAny: anyEntries.length > 0,
      keepsEstablished: plan.isolation.keepsEstablished,
      selectorSet: selectorSet?.id ?? 0,
      addressSet: addressSet?.id ?? 0,
    },
    classPeers(classId) {
      const selectors = selectorSet?.classes.get(classId)?.matches;
      const cidrs = addressSet?.classes.get(classId);
      return selectors || cidrs ? { selectors: selectors ?? [], cidrs: cidrs ?? [] } : undefined;
    },
    *remove() {
      if (selectorSet) yield* selectorSets.release(selectorSet, user);
      if (addressSet) addressSets.release(addressSet);
      for (const classId of keys.keys()) {
        erase(classId);
        yield;
      }
    },
  };
}
