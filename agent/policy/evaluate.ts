/**
 * Judges one packet by rows alone, as bpf/lib/policy.h does: the same lookups in the same order. Explaining and tests use
 * it; neither rules nor documents are looked at, so that what it says is what the kernel does with these rows.
 */
import { type Address, addressBytes, familyOf, formatPrefix, type Prefix, prefixLength } from '../model/address.ts';
import type { IdentityNumber } from '../model/identity.ts';
import {
  CLASS_ANY,
  type ClassId,
  type Direction,
  POLICY_LOCKDOWN,
  POLICY_NONE,
  type PolicyId,
  type PolicyRow,
  type PolicyRows,
  type RuleId,
  type SetId,
  TIERS,
  type Tier,
  type TierVerdict,
  type VerdictRow,
} from '../model/verdict.ts';
import { verdictKey } from './compile/policy.ts';
import type { PeerKind } from './rule.ts';
import { addressClassKey } from './select/address-sets.ts';
import { identityClassKey } from './select/selector-sets.ts';

export interface Question {
  readonly policy: PolicyId;
  readonly direction: Direction;
  readonly peer: { readonly identity: IdentityNumber; readonly address: Address; readonly kind: PeerKind };
  /** IP protocol number. */
  readonly protocol: number;
  /** Destination port; for ICMP, type << 8 | code; 0 for protocols without ports. Host order. */
  readonly port: number;
  /** As if audited policies were enforced too. */
  readonly audited?: boolean;
  /** A connection that was allowed and has been answered is judged again, rather than a new one. */
  readonly established?: boolean;
}

export type Reason =
  /** A rule decided: see `rule` and `tier`. */
  | 'rule'
  /** No rule matches and nothing isolates the subject. */
  | 'default-allow'
  /** No rule matches and a policy isolates the subject. */
  | 'default-deny'
  /** Denied, were the connection not established: who denies it keeps those. `rule` as for a new connection. */
  | 'kept'
  /** The peer's identity is not compiled in yet, and that could matter. */
  | 'identity-unknown'
  /** There is no policy for the subject, or it did not fit. */
  | 'no-policy';

export interface Answer {
  readonly verdict: 'allowed' | 'denied';
  readonly reason: Reason;
  readonly rule: RuleId | undefined;
  readonly tier: Tier | undefined;
  /** The classes the peer fell into; CLASS_ANY always counts and is not listed. */
  readonly classes: readonly ClassId[];
}

export type Judge = (question: Question) => Answer;

/** One packet; for several, {@link createJudge} once. */
export function judge(rows: PolicyRows, question: Question): Answer {
  return createJudge(rows)(question);
}

export function createJudge(rows: PolicyRows): Judge {
  const policies = new Map(rows.policies.map((row) => [row.id, row]));
  const verdicts = new Map(rows.verdicts.map((row) => [verdictKey(row), row]));
  const identityClasses = new Map(rows.identityClasses.map((row) => [identityClassKey(row), row.classId]));
  const addressClasses = new Map(rows.addressClasses.map((row) => [addressClassKey(row), row]));
  const identities = new Set(rows.identities);
  /** Prefix lengths that occur in each set, longest first, so that the first hit is the longest match. */
  const lengths = lengthsBySet(rows);

  function addressClass(set: SetId, { address, kind }: Question['peer']): ClassId {
    const bytes = addressBytes(address);
    for (const length of lengths.get(`${set} ${familyOf(address)}`) ?? []) {
      const row = addressClasses.get(addressClassKey({ set, prefix: formatPrefix(bytes, length) }));
      if (row) return row[kind];
    }
    return CLASS_ANY;
  }

  function verdictOf(classId: ClassId, { policy, direction, protocol, port }: Question): VerdictRow | undefined {
    for (let portBits = 16; portBits >= 0; portBits--) {
      const block = (port >> (16 - portBits)) << (16 - portBits);
      const row = verdicts.get(verdictKey({ policy, classId, direction, protocol, port: block, portBits }));
      if (row) return row;
    }
    return verdicts.get(verdictKey({ policy, classId, direction, protocol: undefined, port: 0, portBits: 0 }));
  }

  return (question) => {
    const { peer, direction, audited = false, established = false } = question;
    const policy: PolicyRow | undefined = policies.get(question.policy);
    if (question.policy === POLICY_NONE || question.policy === POLICY_LOCKDOWN || !policy) {
      return { verdict: 'denied', reason: 'no-policy', rule: undefined, tier: undefined, classes: [] };
    }
    const row = policy[direction];
    const isolated = audited ? row.auditIsolated : row.isolated;
    const classes: ClassId[] = [];
    if (row.selectorSet !== 0) {
      const classId = identityClasses.get(identityClassKey({ set: row.selectorSet, identity: peer.identity }));
      if (classId !== undefined) classes.push(classId);
      else if (!identities.has(peer.identity) && (row.isolated || row.hasDeny)) {
        return { verdict: 'denied', reason: 'identity-unknown', rule: undefined, tier: undefined, classes };
      }
    }
    if (row.addressSet !== 0) {
      const classId = addressClass(row.addressSet, peer);
      if (classId !== CLASS_ANY) classes.push(classId);
    }
    const looked = row.hasAny ? [...classes, CLASS_ANY] : classes;
    const found = looked.map((classId) => verdictOf(classId, question)).filter((one) => one !== undefined);
    for (const [i, tier] of TIERS.entries()) {
      const best = highest(found.map((one) => (audited ? one.audited : one.enforced)[i]));
      if (best?.keep && established) return { verdict: 'allowed', reason: 'kept', rule: best.rule, tier, classes };
      if (best && best.action !== 'pass') {
        const verdict = best.action === 'allow' ? 'allowed' : 'denied';
        return { verdict, reason: 'rule', rule: best.rule, tier, classes };
      }
      if (tier === 'normal' && isolated && established && row.keepsEstablished) {
        return { verdict: 'allowed', reason: 'kept', rule: undefined, tier, classes };
      }
      if (tier === 'normal' && isolated) {
        return { verdict: 'denied', reason: 'default-deny', rule: undefined, tier, classes };
      }
    }
    return { verdict: 'allowed', reason: 'default-allow', rule: undefined, tier: undefined, classes };
  };
}

function highest(verdicts: readonly (TierVerdict | undefined)[]): TierVerdict | undefined {
  let best: TierVerdict | undefined;
  for (const one of verdicts) if (one && one.precedence > (best?.precedence ?? 0)) best = one;
  return best;
}

function lengthsBySet(rows: PolicyRows): Map<string, number[]> {
  const out = new Map<string, Set<number>>();
  for (const { set, prefix } of rows.addressClasses) {
    const key = `${set} ${familyOf(prefix)}`;
    const known = out.get(key) ?? new Set();
    out.set(key, known.add(prefixLength(prefix as Prefix)));
  }
  return new Map([...out].map(([key, lengths]) => [key, [...lengths].sort((a, b) => b - a)]));
}
