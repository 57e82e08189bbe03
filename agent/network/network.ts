/**
 * The node's own network between nodes: tunnel device, routes to other nodes' pods, router addresses, masquerading. What
 * should be there is decided by pure functions (desired.ts, plan.ts); kernel.ts reads and executes.
 */
import type { Config } from '../config.ts';
import type { NodeAttachment } from '../datapath/datapath.ts';
import type { NodeRecord, Problem } from '../model/object.ts';

export type NetworkSettings = Pick<
  Config,
  'routingMode' | 'tunnelPort' | 'underlay' | 'uplinkDevices' | 'masquerade' | 'masqueradeExcludedCidrs' | 'mtuBytes'
>;

/** The nodes of the cluster, as this one sees them. */
export interface Nodes {
  readonly self: NodeRecord;
  /** Undefined while they are not all known yet: what leads to them is kept as it is. */
  readonly others: readonly NodeRecord[] | undefined;
}

export interface NetworkStatus {
  /** What this round changed, one sentence each; empty when all was as it should be. */
  readonly changes: readonly string[];
  /** What is not as it should be and cannot be put right from here. */
  readonly problems: readonly Problem[];
  /** MTU of pods' interfaces that ask for none of their own, bytes: the setting, else what fits between nodes. */
  readonly podMtu: number;
  /** For {@link Datapath.attachNode}. */
  readonly attachment: Omit<NodeAttachment, 'cgroup'>;
}

export interface Network {
  /** Makes the kernel have what these nodes need. To be called when they change, and every few seconds to repair. One at a time. */
  reconcile(nodes: Nodes): Promise<NetworkStatus>;
  /** Of the last round; undefined before the first. */
  status(): NetworkStatus | undefined;
}
