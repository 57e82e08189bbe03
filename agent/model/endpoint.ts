/** A pod's connection to the node: what CNI ADD made and DEL removes. */
import type { Address } from './address.ts';
import type { AggregationLevel } from './aggregation.ts';
import type { IdentityNumber } from './identity.ts';
import type { Labels } from './labels.ts';
import type { NamedPort } from './object.ts';

/** Names Cilium's users know (cilium/cilium api/v1/models/endpoint_state.go). */
export type EndpointState =
  | 'restoring'
  | 'waiting-for-identity'
  | 'regenerating'
  | 'ready'
  | 'not-ready'
  | 'disconnecting';

/** What is written down durably before ADD answers; enough to free everything after any crash. */
export interface EndpointRecord {
  /** Index into the datapath's endpoint array, 1 to 4095; also the endpoint id users see. */
  readonly id: number;
  readonly containerId: string;
  readonly interfaceName: string;
  /** Path of the pod's network namespace as the runtime gave it; where it may no longer exist. */
  readonly netns: string;
  readonly namespace: string;
  readonly podName: string;
  readonly podUid: string;
  readonly addresses: readonly Address[];
  /** Pod-side MAC as "0a:01:02:03:04:05". */
  readonly mac: string;
  readonly hostInterface: string;
}

export interface Endpoint extends EndpointRecord {
  readonly state: EndpointState;
  readonly labels: Labels;
  readonly identity: IdentityNumber;
  readonly namedPorts: readonly NamedPort[];
  /** The policy revision in force for it, 0 before the first. */
  readonly revision: number;
  /** How much is told of its connections, as its pod asks; absent: as the node's setting says. */
  readonly aggregation?: AggregationLevel;
  readonly ingressEnforced: boolean;
  readonly egressEnforced: boolean;
}
