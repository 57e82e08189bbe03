/** The objects through which nodes agree, as the API server keeps them: weir.dev/v1alpha1, all cluster-wide (crds/). */
import { createHash } from 'node:crypto';
import type { KubernetesObject } from '../kubernetes/client.ts';
import type { Resource } from '../kubernetes/path.ts';
import { type Labels, labelsKey } from '../model/labels.ts';
import type { NamedPort } from '../model/object.ts';
import type { RefusedDocument } from '../model/refused-document.ts';

export const API_VERSION = 'weir.dev/v1alpha1';
export const IDENTITIES: Resource = { apiVersion: API_VERSION, plural: 'weiridentities' };
export const RANGES: Resource = { apiVersion: API_VERSION, plural: 'weiridentityranges' };
export const SLICES: Resource = { apiVersion: API_VERSION, plural: 'weirendpointslices' };
export const RECORDS: Resource = { apiVersion: API_VERSION, plural: 'weirnodes' };
export const NODES: Resource = { apiVersion: 'v1', plural: 'nodes' };
export const PODS: Resource = { apiVersion: 'v1', plural: 'pods' };

/** The one WeirIdentityRange. */
export const RANGE_NAME = 'default';
/** Label of a slice: the node that publishes it. */
export const NODE_LABEL = 'weir.dev/node';
/** On an identity that nobody claimed when the collector looked: it goes when that stays so. The value is who wrote it. */
export const UNUSED_ANNOTATION = 'weir.dev/unused';
/** Keeps pods away from a node whose agent cannot wire them. */
export const NOT_READY_TAINT = 'node.weir.dev/agent-not-ready';
/**
 * Most endpoints an agent puts into one slice (the CRD takes 100): what changes for one of them is sent for all of them, to
 * every node; many small slices cost more requests when many pods come at once.
 */
export const SLICE_SIZE = 32;

export interface IdentityObject extends KubernetesObject {
  readonly spec: { readonly number: number; readonly labels: Readonly<Record<string, string>> };
}

export interface RangeObject extends KubernetesObject {
  /** The next ticket (number-range.ts). */
  readonly spec: { readonly next: number };
}

/** One endpoint in a slice. */
export interface EndpointEntry {
  readonly addresses: readonly string[];
  readonly identity: number;
  readonly namespace: string;
  readonly pod: string;
  readonly uid: string;
  /** Grows with every endpoint of the node: of two that name one address, the greater one has it (address-owner.ts). */
  readonly since: number;
  readonly namedPorts?: readonly NamedPort[];
  readonly workload?: { readonly kind: string; readonly name: string };
}

export interface SliceObject extends KubernetesObject {
  readonly spec: { readonly node: string; readonly endpoints: readonly EndpointEntry[] };
}

export interface NodeStatus {
  readonly agentVersion: string;
  /** Its last complete policy is in force, and it takes new pods. */
  readonly ready: boolean;
  /** Policy revision in force, and the one asked for; equal when there is nothing to do. */
  readonly policyRevision: number;
  readonly desiredPolicyRevision: number;
  readonly endpoints: number;
  readonly identities: number;
  /** Packets dropped since the programs were loaded. */
  readonly drops: number;
  /** Documents this node refuses: the first hundred, and how many there are. */
  readonly refused: readonly RefusedDocument[];
  readonly refusedCount: number;
  /** What a person should know, one sentence each. */
  readonly problems: readonly string[];
}

export interface NodeSpec {
  readonly addresses: readonly string[];
  readonly podCidrs: readonly string[];
  readonly routerAddresses: readonly string[];
  /** Numbers this node claims: while a number stands here nobody collects its identity or gives it to other labels. */
  readonly identities: readonly number[];
}

export interface RecordObject extends KubernetesObject {
  readonly spec: NodeSpec;
  /** `updated`: when it was written, RFC 3339. */
  readonly status?: Partial<NodeStatus> & { readonly updated?: string };
}

/** What is read of a Node. */
export interface NodeObject extends KubernetesObject {
  readonly spec?: { readonly podCIDRs?: readonly string[]; readonly taints?: readonly Taint[] };
  readonly status?: { readonly conditions?: readonly Condition[] };
}

export interface Taint {
  readonly key: string;
  readonly value?: string;
  readonly effect: string;
  readonly timeAdded?: string;
}

export interface Condition {
  readonly type: string;
  readonly status: string;
  readonly reason?: string;
}

/** As many labels a WeirIdentity takes (crds/weir/identity.ts). */
export const MOST_IDENTITY_LABELS = 256;

/** Name of the identity of a label set: one name, so one object, for each. 40 hex digits of SHA-256 over labelsKey(). */
export function identityName(labels: Labels): string {
  return createHash('sha256').update(labelsKey(labels)).digest('hex').slice(0, 40);
}

export function identityObject(number: number, labels: Labels): IdentityObject {
  return {
    apiVersion: API_VERSION,
    kind: 'WeirIdentity',
    metadata: { name: identityName(labels) },
    spec: { number, labels: Object.fromEntries([...labels].sort(([a], [b]) => (a < b ? -1 : 1))) },
  };
}

export function labelsOf(identity: IdentityObject): Labels {
  return new Map(Object.entries(identity.spec.labels));
}
