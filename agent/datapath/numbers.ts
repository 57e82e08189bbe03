/** Which numbers of policies and sets are free after a restart. Pure. */
import { FIRST_POLICY, type PolicyId, type SetId } from '../model/verdict.ts';
import type { DatapathRows } from './datapath.ts';

export interface FirstNumbers {
  readonly firstPolicy: PolicyId;
  readonly firstSet: SetId;
}

/**
 * Numbers above all that any row names: also a verdict whose policy is deleted already, and a set without members. A new
 * policy under such a number would be judged by the old one's rows until they are deleted.
 */
export function numbersAbove({ policy, endpoints }: DatapathRows): FirstNumbers {
  const { policies, verdicts, identityClasses, addressClasses } = policy;
  const directions = policies.flatMap(({ ingress, egress }) => [ingress, egress]);
  const policyIds = [
    policies.map(({ id }) => id),
    verdicts.map((row) => row.policy),
    endpoints.map((row) => row.policy),
  ];
  const setIds = [
    directions.flatMap(({ selectorSet, addressSet }) => [selectorSet, addressSet]),
    identityClasses.map(({ set }) => set),
    addressClasses.map(({ set }) => set),
  ];
  return { firstPolicy: above(FIRST_POLICY - 1, policyIds.flat()), firstSet: above(0, setIds.flat()) };
}

function above(least: number, numbers: readonly number[]): number {
  return numbers.reduce((most, number) => Math.max(most, number), least) + 1;
}
