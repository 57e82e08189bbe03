/**
 * What the policy engine decides, as rows of the datapath's tables. The same rows are written to the kernel,
 * printed by scenario tests and diffed after a restart. Meaning of each table: bpf/abi/policy.h.
 */
import type { Prefix } from './address.ts';
import type { IdentityNumber } from './identity.ts';
import type { ObjectRef, Path } from './object.ts';

export type Direction = 'ingress' | 'egress';
export type Action = 'allow' | 'deny' | 'pass';
/** Order of evaluation: Admin, then Normal (NetworkPolicy and Cilium), then Baseline. */
export const TIERS = ['admin', 'normal', 'baseline'] as const;
export type Tier = (typeof TIERS)[number];

/** The winner of one tier for one class and port. Of several lookups the packet takes the highest precedence per tier. */
export interface TierVerdict {
  readonly action: Action;
  /** 1 to 2^29-1, higher wins; compared only inside one tier of one policy. */
  readonly precedence: number;
  readonly rule: RuleId;
  /** A denial that does not end established connections: new ones only. */
  readonly keep?: true;
}
/** One winner per tier, in the order of {@link TIERS}; undefined: no rule of that tier matches. */
export type TierVerdicts = readonly [TierVerdict | undefined, TierVerdict | undefined, TierVerdict | undefined];
export const NO_VERDICT: TierVerdicts = [undefined, undefined, undefined];

/** Number of a rule in events: stable over restarts (a hash of document and place), never 0. */
export type RuleId = number;
/** Number of a compiled policy. Never reused while the agent runs. */
export type PolicyId = number;
/** Reserved policies every datapath has: LOCKDOWN denies all both ways (table full, or not computed yet). */
export const POLICY_NONE: PolicyId = 0;
export const POLICY_LOCKDOWN: PolicyId = 1;
export const FIRST_POLICY: PolicyId = 16;

/** Number of an interned selector set or address set. 0: the empty set. */
export type SetId = number;
/** Class of a peer inside a policy; CLASS_ANY is consulted for every peer. Address classes have bit 31 set. */
export type ClassId = number;
export const CLASS_ANY: ClassId = 0;
export const ADDRESS_CLASS_BIT = 0x80000000;

/** One direction of a compiled policy. */
export interface PolicyDirectionRow {
  /** Nothing matched means denied (default deny closes the Normal tier). */
  readonly isolated: boolean;
  /** The same, had the audited policies been enforced. */
  readonly auditIsolated: boolean;
  /** Some entry denies: then an identity not compiled in yet is dropped even where nothing isolates. */
  readonly hasDeny: boolean;
  /** Some audited rule or isolation exists: the second verdict is worth computing. */
  readonly hasAudit: boolean;
  /** Default deny does not end established connections: everybody who isolates says so. */
  readonly keepsEstablished: boolean;
  /** Entries under CLASS_ANY exist. */
  readonly hasAny: boolean;
  readonly selectorSet: SetId;
  readonly addressSet: SetId;
}

export interface PolicyRow {
  readonly id: PolicyId;
  readonly revision: number;
  readonly ingress: PolicyDirectionRow;
  readonly egress: PolicyDirectionRow;
}

export interface VerdictKey {
  readonly policy: PolicyId;
  readonly classId: ClassId;
  readonly direction: Direction;
  /** IP protocol number; undefined: any protocol (then port bits are 0). */
  readonly protocol: number | undefined;
  /** First port of the block (ICMP: type << 8), host order; bits below `portBits` are zero. */
  readonly port: number;
  /** How many leading bits of the port must match: 0 any port, 16 exact. */
  readonly portBits: number;
}
export interface VerdictRow extends VerdictKey {
  readonly enforced: TierVerdicts;
  /** As if audited policies were enforced too; equals `enforced` where none is audited. */
  readonly audited: TierVerdicts;
}

export interface IdentityClassRow {
  readonly set: SetId;
  readonly identity: IdentityNumber;
  readonly classId: ClassId;
}

/** Class of an address by the kind of peer that lives there: outside the cluster, a node, a pod. CLASS_ANY: matches nothing. */
export interface AddressClassRow {
  readonly set: SetId;
  readonly prefix: Prefix;
  readonly outside: ClassId;
  readonly node: ClassId;
  readonly pod: ClassId;
}

export interface SubjectRow {
  /** Key of a subject: see SubjectKey in policy/subject.ts. */
  readonly subject: string;
  readonly policy: PolicyId;
}

/** Complete contents of the policy tables, or one side of a change to them. */
export interface PolicyRows {
  readonly policies: readonly PolicyRow[];
  readonly verdicts: readonly VerdictRow[];
  readonly identityClasses: readonly IdentityClassRow[];
  readonly addressClasses: readonly AddressClassRow[];
  /** Identities whose classes are all written: a miss in their class table means "matches nothing". */
  readonly identities: readonly IdentityNumber[];
  readonly subjects: readonly SubjectRow[];
}

/** A change of the policy tables. Rows in `set` replace rows of the same key. */
export interface PolicyDelta {
  readonly set: PolicyRows;
  readonly remove: PolicyRows;
}

/** What a rule looks at. */
export interface RuleMatch {
  /** Whoever the peer is. */
  readonly anyPeer: boolean;
  /** IP protocols, and whether only some of their ports (or ICMP types); undefined: whatever is sent. */
  readonly protocols: readonly { readonly number: number; readonly ports: boolean }[] | undefined;
}

/** Where a rule stands, for people. Kept after the rule is gone, as long as events may name it. */
export interface RuleInfo {
  readonly id: RuleId;
  readonly policy: ObjectRef;
  readonly tier: Tier;
  readonly direction: Direction;
  readonly action: Action;
  readonly audit: boolean;
  readonly match: RuleMatch;
  /** Path of the rule in its document, e.g. ["spec", "ingress", 0]; empty for rules the agent itself adds. */
  readonly path: Path;
  readonly place: string;
  readonly line: number | undefined;
  /** One line for people: "ingress[0] of CiliumNetworkPolicy default/backend-policy". */
  readonly description: string;
  /** `log.value` of the document, or ''. */
  readonly log: string;
}

/** What is known about a compiled policy, for events: which documents isolate its subjects. */
export interface PolicyInfo {
  readonly id: PolicyId;
  readonly revision: number;
  readonly subject: string;
  readonly ingressIsolatedBy: readonly ObjectRef[];
  readonly egressIsolatedBy: readonly ObjectRef[];
  /** Audited documents that would isolate too, were they enforced. */
  readonly ingressAuditedBy: readonly ObjectRef[];
  readonly egressAuditedBy: readonly ObjectRef[];
}
