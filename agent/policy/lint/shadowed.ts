/** shadowed-by-deny: allow rules that never decide anything, because a rule that goes before them denies all they allow. */
import { type Problem, refKey } from '../../model/object.ts';
import { TIERS } from '../../model/verdict.ts';
import type { PolicyRule, PolicySpec } from '../rule.ts';
import { ruleCovers, selectorCovers } from './cover.ts';
import { type Policy, specsOf, warning } from './policy.ts';

interface Placed {
  readonly policy: Policy;
  readonly spec: PolicySpec;
  readonly rule: PolicyRule;
}

export function shadowedRules(policies: readonly Policy[]): Problem[] {
  const all: Placed[] = policies.flatMap((policy) =>
    specsOf(policy).flatMap(({ spec }) => spec.rules.map((rule) => ({ policy, spec, rule }))),
  );
  const denies = all.filter(({ rule, policy }) => rule.action === 'deny' && !policy.parsed.document?.lifetime.audit);
  return all.flatMap((one) => {
    if (one.rule.action !== 'allow') return [];
    const deny = denies.find((other) => goesBefore(other.rule, one.rule) && shadows(other, one));
    if (!deny) return [];
    const { path, place, line } = deny.rule;
    const where = `${refKey(deny.rule.document)} ${path.join('.')} (${place}${line === undefined ? '' : `:${line}`})`;
    const message = `never allows anything: ${where} denies all of it`;
    return [warning(one.policy, 'shadowed-by-deny', one.rule.path, message)];
  });
}

/** In the Normal tier every deny goes before every allow, in the others the order decides. */
function goesBefore(deny: PolicyRule, allow: PolicyRule): boolean {
  const byTier = TIERS.indexOf(deny.tier) - TIERS.indexOf(allow.tier);
  if (byTier !== 0) return byTier < 0;
  return deny.tier === 'normal' || deny.order < allow.order;
}

function shadows(deny: Placed, allow: Placed): boolean {
  return selectorCovers(deny.spec.subject, allow.spec.subject) && ruleCovers(deny.rule, allow.rule);
}
