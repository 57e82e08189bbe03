/**
 * What the flow river asks about names at the moment an event arrives. Implemented by the agent (realize); an answer is
 * kept with the record, so later changes do not touch it.
 *
 * Contract: the same object is returned as long as the answer is the same, and never changed after it was returned
 * (a fresh equal object per call only costs time). What is gone is still answered until its index or address is given
 * to somebody else, because a connection's end may be reported minutes after its pod was deleted.
 */
import type { Address } from '../model/address.ts';
import type { IdentityNumber } from '../model/identity.ts';
import type { Labels } from '../model/labels.ts';
import type { PolicyId, PolicyInfo, RuleId, RuleInfo } from '../model/verdict.ts';

/** Who stands at an address or behind an endpoint index. */
export interface PartyName {
  /** Pod's namespace; '' for what has none (a node). */
  readonly namespace: string;
  /** Pod's name; '' for a node. */
  readonly pod: string;
  readonly uid: string;
  /** Name of the node, for addresses of nodes; ''. */
  readonly node: string;
  readonly workload: { readonly kind: string; readonly name: string } | undefined;
  /** All addresses of it. */
  readonly addresses: readonly Address[];
  /** The node's name of its interface; absent for what is elsewhere. */
  readonly interface?: string;
}

/** A Service, by one of its virtual addresses. */
export interface ServiceName {
  readonly namespace: string;
  readonly name: string;
}

export interface Names {
  /** The pod that has this endpoint index on this node, or had it last. */
  endpointName(endpoint: number): PartyName | undefined;
  /** The pod (of any node) or node at this address. Not asked for identities of the world. */
  nameOfAddress(address: Address): PartyName | undefined;
  /** The Service with this virtual address and port, or that had it last. `protocol`: IP protocol number. */
  serviceAt(address: Address, port: number, protocol: number): ServiceName | undefined;
  identityLabels(identity: IdentityNumber): Labels | undefined;
  rule(rule: RuleId): RuleInfo | undefined;
  policy(policy: PolicyId): PolicyInfo | undefined;
  /** False once the pod is gone, although its name is still answered; metrics then drop its series. */
  isThere(pod: PartyName): boolean;
  /** Grows whenever an answer of {@link nameOfAddress} may have changed: answers are remembered until then. */
  readonly revision: number;
  /** The same for {@link serviceAt}. */
  readonly serviceRevision: number;
}
