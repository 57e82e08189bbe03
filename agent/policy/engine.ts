/**
 * The policy engine: documents, identities and subjects in; rows of the policy tables out. Pure: no clock, no disk, no
 * kernel. The agent, the CLI and the tests use the same one. Picture and terms: agent/policy/README.md.
 */
import type { IdentityNumber } from '../model/identity.ts';
import type { Labels } from '../model/labels.ts';
import type { Document, NamedPort, Node, ObjectRef, Problem, Service } from '../model/object.ts';
import type {
  Direction,
  PolicyDelta,
  PolicyId,
  PolicyInfo,
  PolicyRows,
  RuleId,
  RuleInfo,
  SetId,
} from '../model/verdict.ts';
import type { Subject, SubjectKey } from './subject.ts';

/** Cilium's policyEnforcementMode: isolate where a policy says so, everywhere, or nowhere (no policy is enforced at all). */
export type EnforcementMode = 'default' | 'always' | 'never';

export interface EngineOptions {
  readonly enforcement?: EnforcementMode;
  /** Name in CLUSTER_LABEL of this cluster's pods; default "default". */
  readonly clusterName?: string;
  /** The node's own processes may reach its pods unless a rule denies it (kubelet probes); default true. */
  readonly allowLocalHost?: boolean;
  /** fromCIDR and toCIDR match nodes too (Cilium's policyCIDRMatchMode: nodes); default false. */
  readonly cidrMatchesNodes?: boolean;
  /** First numbers to use, above what the kernel holds after a restart; defaults FIRST_POLICY and 1. */
  readonly firstPolicy?: PolicyId;
  readonly firstSet?: SetId;
  /** Milliseconds since 1970, until {@link Engine.setNow} is called; default 0. */
  readonly now?: number;
}

/**
 * - valid: in force as written
 * - kept-previous: refused; the last valid version stays in force
 * - isolating: refused, no valid version; isolates what its selector selects and allows nothing
 * - unreadable: refused, and not even its selector can be read; only reported
 */
export type DocumentState = 'valid' | 'kept-previous' | 'isolating' | 'unreadable';

export interface DocumentResult {
  readonly status: DocumentState;
  /** Errors and warnings, in the order of the document. */
  readonly problems: readonly Problem[];
}

export interface DocumentStatus extends DocumentResult {
  readonly ref: ObjectRef;
  /** Revision (of the take() that carried it) since which the document is compiled as it is now; 0 before. */
  readonly revision: number;
  /** Compiled policies that contain its rules or isolation at present. */
  readonly policies: readonly PolicyId[];
  readonly audited: boolean;
  readonly expired: boolean;
}

export interface Engine {
  /** Takes a document over, in place of the version before. Never throws for bad input: see {@link DocumentResult}. */
  upsertDocument(document: Document): DocumentResult;
  removeDocument(ref: ObjectRef): void;
  /** The last valid version of every document, as it came: to be kept on disk and upserted first after a restart. */
  lastValid(): Document[];
  documents(): DocumentStatus[];

  /** Nodes matter to fromNodes, toNodes and `nodes` peers only. */
  upsertNode(node: Node): void;
  removeNode(name: string): void;
  /** Services matter to toServices only. */
  upsertService(service: Service): void;
  removeService(namespace: string, name: string): void;

  /** Identities peers may have. The reserved ones are always known; upserting one replaces its labels. */
  upsertIdentity(number: IdentityNumber, labels: Labels): void;
  removeIdentity(number: IdentityNumber): void;
  /** All container ports of the pods with this identity: what egress rules by port name mean for that peer. */
  setNamedPorts(identity: IdentityNumber, ports: readonly NamedPort[]): void;

  /** One more endpoint of this subject; the first one makes its policy. Returns the key of its SubjectRow. */
  addSubject(subject: Subject): SubjectKey;
  /** One endpoint fewer; the last one removes the policy. */
  removeSubject(key: SubjectKey): void;

  /** Time for annotations, in milliseconds since 1970; never goes back. */
  setNow(now: number): void;
  /** When the next annotation takes effect, or undefined: call setNow and take then. */
  nextDeadline(): number | undefined;

  /** All changes since the last call, to be applied as one; also raises the revision if there are any. */
  take(): PolicyDelta;
  /** True if take() would return something. */
  pending(): boolean;
  /** Number of the last take() that returned something. */
  revision(): number;
  /** Everything, as of the last take(). */
  rows(): PolicyRows;
  /** The policy of a subject as of the last take(); undefined for an unknown subject. */
  policyOf(key: SubjectKey): PolicyId | undefined;
  /** Also for rules that are gone, as long as events may name them (bounded). */
  rule(id: RuleId): RuleInfo | undefined;
  policyInfo(id: PolicyId): PolicyInfo | undefined;
  /** What a class of a policy stands for, for people: the selectors or prefixes its peers match. */
  classInfo(policy: PolicyId, direction: Direction, classId: number): readonly string[];
}
