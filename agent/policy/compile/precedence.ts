/**
 * Which of two rules wins, settled before the kernel sees them: every rule of one direction of one policy gets a number
 * of its own inside its tier, higher wins.
 * Normal: deny before allow, whatever the policy kinds or prefix lengths (reference policy-language.md, B5, rule 5).
 * Admin and Baseline: priority, then the rule's place in its document; equal priorities are settled by name, so that
 * every node decides alike.
 */
import { formatPath, refKey } from '../../model/object.ts';
import { TIERS } from '../../model/verdict.ts';
import type { PolicyRule } from '../rule.ts';

export function precedences(rules: readonly PolicyRule[]): Map<PolicyRule, number> {
  const out = new Map<PolicyRule, number>();
  for (const tier of TIERS) {
    const ofTier = rules.filter((rule) => rule.tier === tier).map((rule) => ({ rule, place: place(rule) }));
    const sorted = ofTier.sort(compare);
    for (const [i, { rule }] of sorted.entries()) out.set(rule, sorted.length - i);
  }
  return out;
}

interface Placed {
  readonly rule: PolicyRule;
  /** Made once: every rule is compared many times. */
  readonly place: string;
}

/** Negative if `a` goes before `b`. */
function compare({ rule: a, place: placeOfA }: Placed, { rule: b, place: placeOfB }: Placed): number {
  if (a.tier === 'normal') {
    const byAction = rank(a) - rank(b);
    if (byAction !== 0) return byAction;
  }
  return a.order - b.order || text(placeOfA, placeOfB);
}

/**
 * Deny, before it a deny that also ends what is established; then what documents allow, then what the engine allows by
 * itself: attribution goes to the user's own rule.
 */
function rank(rule: PolicyRule): number {
  if (rule.action === 'deny') return rule.keep ? 1 : 0;
  return rule.path.length > 0 ? 2 : 3;
}

function place(rule: PolicyRule): string {
  return `${refKey(rule.document)} ${formatPath(rule.path)}`;
}

function text(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
