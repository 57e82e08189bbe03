/** The engine's output: one table of rows per table of the kernel. */
import type { PolicyDelta, PolicyRows } from '../model/verdict.ts';
import { verdictKey } from './compile/policy.ts';
import { addressClassKey } from './select/address-sets.ts';
import { identityClassKey } from './select/selector-sets.ts';
import { type Table, table } from './table.ts';

export type Tables = { readonly [Name in keyof PolicyRows]: Table<PolicyRows[Name][number]> };

/** The key of each table's rows: two rows with one key are one entry of the kernel's map. */
export const tableKeys: { readonly [Name in keyof PolicyRows]: (row: PolicyRows[Name][number]) => string | number } = {
  policies: ({ id }) => id,
  verdicts: verdictKey,
  identityClasses: identityClassKey,
  addressClasses: addressClassKey,
  identities: (number) => number,
  subjects: ({ subject }) => subject,
};

export function createTables(): Tables {
  return {
    // Policies, verdicts and addresses are never rewritten under the same key: a change makes a new policy or set.
    policies: table(tableKeys.policies, Object.is),
    verdicts: table(tableKeys.verdicts, Object.is),
    identityClasses: table(tableKeys.identityClasses, (a, b) => a.classId === b.classId),
    addressClasses: table(tableKeys.addressClasses, Object.is),
    identities: table(tableKeys.identities, Object.is),
    subjects: table(tableKeys.subjects, (a, b) => a.policy === b.policy),
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
