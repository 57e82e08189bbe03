/**
 * The node's own network between nodes: tunnel device, routes to other nodes' pods, router addresses, masquerading. Read
 * what there is, decide (desired.ts), plan the difference (plan.ts), execute (kernel.ts), and say what was done and what
 * could not be.
 */
import type { Config } from '../config/config.ts';
import type { NodeAttachment } from '../datapath/datapath.ts';
import { prepareNode } from '../datapath/wiring/node.ts';
import type { NodeRecord, Problem } from '../model/object.ts';
import type { Logger } from '../run/log.ts';
import { describe } from './describe.ts';
import { decide } from './desired.ts';
import { execute, type Failure, findNetwork } from './kernel.ts';
import { createRules } from './nft.ts';
import { plan } from './plan.ts';
import { error } from './problem.ts';

export type NetworkSettings = Pick<
  Config,
  | 'routingMode'
  | 'tunnelPort'
  | 'underlay'
  | 'uplinkDevices'
  | 'masquerade'
  | 'masqueradeExcludedCidrs'
  | 'clusterPodCidrs'
  | 'mtuBytes'
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

export interface NetworkOptions {
  readonly settings: NetworkSettings;
  readonly log: Logger;
  /** The node's namespace, a path such as /run/netns/x; absent: this process's own. */
  readonly netns?: string;
}

export function createNetwork({ settings, log, netns }: NetworkOptions): Network {
  const rules = createRules(netns);
  let latest: NetworkStatus | undefined;
  let queue: Promise<unknown> = Promise.resolve();
  /** Failures of the round before: a cause is logged once, not every few seconds. */
  let known = new Set<string>();

  async function reconcile(nodes: Nodes): Promise<NetworkStatus> {
    const wasOff = await prepareNode(netns);
    const found = await findNetwork(netns, rules);
    const { desired, problems, podMtu, attachment } = decide(settings, nodes, found);
    const operations = plan(desired, found);
    const failures = await execute(operations, netns, rules);
    const failed = failures.map(problemOf);
    for (const [i, { message }] of failed.entries()) {
      if (!known.has(message)) log.error(message, { cause: failures[i]?.cause });
    }
    known = new Set(failed.map(({ message }) => message));
    const isDone = new Set(operations);
    for (const { operation } of failures) isDone.delete(operation);
    latest = {
      changes: [...wasOff.map((family) => `IPv${family} forwarding on`), ...describe([...isDone])],
      problems: [...problems, ...failed],
      podMtu,
      attachment,
    };
    return latest;
  }

  return {
    reconcile(nodes) {
      const turn = queue.then(() => reconcile(nodes));
      queue = turn.catch(() => {}); // Whoever asked has the error.
      return turn;
    },
    status: () => latest,
  };
}

function problemOf({ operation, cause }: Failure): Problem {
  const [what = ''] = describe([operation]);
  return error('network-operation-failed', `could not: ${what}: ${cause instanceof Error ? cause.message : cause}`);
}
