/**
 * The rule model: what every policy language is parsed into, and all that compiling knows of a document.
 * Nothing here depends on which pods exist; peers that need other objects (groups, nodes, Services) are named, not resolved.
 */
import type { Prefix } from '../model/address.ts';
import type { ObjectRef, Path } from '../model/object.ts';
import type { Action, Direction, RuleId, Tier } from '../model/verdict.ts';
import type { Selector } from './select/selector.ts';

/** Kinds of peer an address can belong to; see AddressClassRow. */
export type PeerKind = 'outside' | 'node' | 'pod';
export const ALL_KINDS: readonly PeerKind[] = ['outside', 'node', 'pod'];

/** Who the other side may be. A rule matches if any of its peers does. */
export type Peer =
  /** Everybody, in and out of the cluster. */
  | { readonly type: 'any' }
  | { readonly type: 'selector'; readonly selector: Selector }
  | { readonly type: 'cidr'; readonly cidr: Cidr }
  /** Prefixes of the CiliumCIDRGroups that match. */
  | { readonly type: 'group'; readonly group: GroupReference; readonly kinds: readonly PeerKind[] }
  /** Addresses of the nodes whose labels match. */
  | { readonly type: 'nodes'; readonly selector: Selector }
  /** Pods behind the Services that match. */
  | { readonly type: 'services'; readonly services: ServiceReference };

/** Addresses inside `prefix` and outside all of `except`, belonging to one of `kinds`. */
export interface Cidr {
  readonly prefix: Prefix;
  readonly except: readonly Prefix[];
  readonly kinds: readonly PeerKind[];
}
export type GroupReference = { readonly name: string } | { readonly selector: Selector };
/** `namespace` '' means any namespace. */
export type ServiceReference =
  | { readonly name: string; readonly namespace: string }
  | { readonly selector: Selector; readonly namespace: string };

/** IP protocol numbers that have ports or types. */
export const PROTOCOL = { ICMP: 1, TCP: 6, UDP: 17, ICMPv6: 58, SCTP: 132 } as const;

/** What a rule matches above L3. */
export type PortMatch =
  /** Inclusive, host order; 0 to 65535 is every port. ICMP: type << 8 to type << 8 | 255. */
  | { readonly type: 'range'; readonly protocol: number; readonly first: number; readonly last: number }
  /** A container port's name: resolved on the subject (ingress) or the peer (egress). `protocols`: those it may have. */
  | { readonly type: 'named'; readonly name: string; readonly protocols: readonly number[] };

export interface PolicyRule {
  readonly id: RuleId;
  readonly document: ObjectRef;
  /** Place in the document, e.g. ["spec", "ingress", 0]; [] for rules the engine adds by itself. */
  readonly path: Path;
  readonly place: string;
  readonly line: number | undefined;
  /** "ingress[0] of CiliumNetworkPolicy default/backend-policy". */
  readonly description: string;
  readonly log: string;
  readonly tier: Tier;
  /** Admin and Baseline: lower is decided first (priority * 1000 + index). Normal: 0, deny goes before allow. */
  readonly order: number;
  readonly action: Action;
  /** A denial that ends no established connection: see {@link Lifetime.keepEstablished}. */
  readonly keep?: true;
  readonly direction: Direction;
  /** Empty: matches nobody. */
  readonly peers: readonly Peer[];
  /** Undefined: every protocol and port. Empty: matches nothing. */
  readonly ports: readonly PortMatch[] | undefined;
}

/** One rule set of a document about one group of subjects: a `spec`. */
export interface PolicySpec {
  readonly subject: Selector;
  readonly rules: readonly PolicyRule[];
  /** The subjects are isolated in the direction: what no rule allows is denied. */
  readonly isolates: { readonly ingress: boolean; readonly egress: boolean };
}

/** Times in milliseconds since 1970; undefined: never. */
export interface Lifetime {
  /** Audited: changes no verdict, but what it would have changed is reported. */
  readonly audit: boolean;
  /** From then on it is enforced after all. */
  readonly auditUntil: number | undefined;
  /** From then on its allows are gone; its denials and isolation stay. */
  readonly expiresAt: number | undefined;
  /**
   * Its denials and its isolation are for new connections only: what was allowed and has been answered goes on, as long as
   * nothing else denies it. A direction isolated by several policies keeps what is established if all of them say so.
   */
  readonly keepEstablished: boolean;
}

/** A CiliumCIDRGroup: named prefixes. */
export interface CidrGroup {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly prefixes: readonly Prefix[];
}

/** A document in force. */
export interface ParsedDocument {
  readonly specs: readonly PolicySpec[];
  readonly lifetime: Lifetime;
  /** Set for a CiliumCIDRGroup, which has no specs. */
  readonly group: CidrGroup | undefined;
}
