/** The engine's output: one table of rows per table of the kernel. */
import type { IdentityNumber } from '../model/identity.ts';
import type {
  AddressClassRow,
  IdentityClassRow,
  PolicyDelta,
  PolicyRow,
  PolicyRows,
  SubjectRow,
  VerdictRow,
} from '../model/verdict.ts';
import { verdictKey } from './compile/policy.ts';
import { addressClassKey } from './select/address-sets.ts';
import { identityClassKey } from './select/selector-sets.ts';
import { type Table, table } from './table.ts';

export type Tables = { readonly [Name in keyof PolicyRows]: Table<PolicyRows[Name][number]> };

export function createTables(): Tables {
  return {
    // Policies, verdicts and addresses are never rewritten under the same key: a change makes a new policy or set.
    policies: table<PolicyRow>(({ id }) => id, Object.is),
    verdicts: table<VerdictRow>(verdictKey, Object.is),
    identityClasses: table<IdentityClassRow>(identityClassKey, (a, b) => a.classId === b.classId),
    addressClasses: table<AddressClassRow>(addressClassKey, Object.is),
    identities: table<IdentityNumber>((number) => number, Object.is),
    subjects: table<SubjectRow>(
      ({ subject }) => subject,
      (a, b) => a.policy === b.policy,
    ),
  };
}

export function takeAll(tables: Tables): PolicyDelta {
  const policies = tables.policies.take();
  const verdicts = tables.verdicts.take();
  const identityClasses = tables.identityClasses.take();
  const addressClasses = tables.addressClasses.take();
  const identities = tables.identities.take();
  const subjects = tables.subjects.take();
  const side = (name: 'set' | 'remove'): PolicyRows => ({
    policies: policies[name],
    verdicts: verdicts[name],
    identityClasses: identityClasses[name],
    addressClasses: addressClasses[name],
    identities: identities[name],
    subjects: subjects[name],
  });
  return { set: side('set'), remove: side('remove') };
}
