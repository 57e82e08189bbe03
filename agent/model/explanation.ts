/**
 * Why a packet would pass or not, and who may talk to whom: answers of the policy engine, offline and from the agent's API
 * alike. Plain data, JSON both ways.
 */
import type { Action, Direction, Tier } from './verdict.ts';

export interface ExplainedParty {
  /** "ns/pod", "ip:ADDR", "entity:NAME", or the labels that were asked for. */
  readonly name: string;
  readonly kind: 'pod' | 'node' | 'entity' | 'outside' | 'unmanaged';
  /** What the other side sees: "k8s:app=frontend", "reserved:host". */
  readonly labels: readonly string[];
  /** Absent when not known. */
  readonly address?: string;
}

export interface ExplainedDocument {
  readonly kind: string;
  /** '' for cluster-wide kinds. */
  readonly namespace: string;
  readonly name: string;
  /** The file; '' for an object without one. */
  readonly place: string;
  readonly line?: number;
}

export interface ExplainedRule {
  readonly document: ExplainedDocument;
  readonly direction: Direction;
  readonly tier: Tier;
  readonly action: Action;
  /** "spec.ingress[0]"; '' for rules of the agent itself. */
  readonly path: string;
  readonly line?: number;
  readonly description: string;
  /** The peers of the rule that the other side is among. */
  readonly peers: readonly string[];
  /** The ports of the rule that the packet's is among. */
  readonly ports: readonly string[];
}

/** How one side decides. */
export interface ExplainedDecision {
  readonly verdict: 'allowed' | 'denied';
  /** rule: see `rule`; default-deny: nothing matches and somebody isolates; default-allow: nothing matches. */
  readonly reason: 'rule' | 'default-allow' | 'default-deny';
  /** One sentence for people. */
  readonly sentence: string;
  readonly rule?: ExplainedRule;
}

/** A change to one document. */
export interface ExplainedEdit {
  readonly operation: 'add' | 'insert' | 'remove' | 'new-document';
  readonly document: ExplainedDocument;
  /** Where: of `add` the list or mapping that grows, of `insert` the item it comes before, of `remove` what goes. */
  readonly path: string;
  /** YAML of what is added or removed. */
  readonly snippet: string;
  readonly sentence: string;
}

export interface ExplainedSide {
  /** n/a: no policy is about this side, because it is no pod, or a pod in its node's network. */
  readonly verdict: 'allowed' | 'denied' | 'n/a';
  readonly reason: ExplainedDecision['reason'] | 'not-judged';
  readonly sentence: string;
  readonly rule?: ExplainedRule;
  /** Policies that isolate this side: what no rule allows is denied. */
  readonly isolatedBy: readonly ExplainedDocument[];
  /** What would decide if what decided were not there. */
  readonly next?: ExplainedDecision;
  /** Rules that match but do not count. */
  readonly idle: readonly (ExplainedRule & { readonly why: 'audited' | 'expired' })[];
  /** Of a denial: the smallest edits found that would allow it, tried and found to; empty if none is known. */
  readonly fix?: readonly ExplainedEdit[];
}

export interface Explanation {
  readonly from: ExplainedParty;
  readonly to: ExplainedParty;
  /** As asked. */
  readonly port: number | string;
  readonly protocol: string;
  /** The number the name stands for at `to`; of ICMP the type. */
  readonly number: number;
  readonly family: 'IPv4' | 'IPv6';
  readonly verdict: 'allowed' | 'denied';
  readonly egress: ExplainedSide;
  readonly ingress: ExplainedSide;
}

/** One cell of the matrix of who may talk to whom. */
export interface MatrixEntry {
  /** "ns/pod", "ip:ADDR" or "entity:NAME". */
  readonly from: string;
  readonly to: string;
  /** As asked: a number or a name. */
  readonly port: number | string;
  readonly protocol: string;
  readonly family: 'IPv4' | 'IPv6';
  /** What the policies about `to` say; n/a: there are none, because it is no pod or was only asked for as a peer. */
  readonly ingress: ExplainedSide['verdict'];
  /** What the policies about `from` say. */
  readonly egress: ExplainedSide['verdict'];
  readonly verdict: 'allowed' | 'denied';
}
