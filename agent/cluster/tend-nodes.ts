/**
 * What the holder of the Lease does about Nodes: taints those whose agent cannot wire pods, and removes what vanished ones
 * left. Kubernetes' garbage collector does the latter by owner references; this is for what it misses.
 */
import type { KubernetesClient, KubernetesObject } from '../kubernetes/client.ts';
import { collectionPath, objectPath, type Resource } from '../kubernetes/path.ts';
import type { Clock } from '../run/clock.ts';
import type { Logger } from '../run/log.ts';
import { isCode } from './api-codes.ts';
import { NODES, type NodeObject, PODS, RECORDS, type RecordObject, SLICES, type SliceObject } from './objects.ts';
import { isToBeTainted, withTaint } from './taint.ts';

export interface NodeTenderOptions {
  readonly client: Pick<KubernetesClient, 'list' | 'patch' | 'remove'>;
  readonly nodeName: string;
  readonly namespace: string;
  readonly clock: Clock;
  readonly log: Logger;
  readonly signal: AbortSignal;
  /** As the watches have them. */
  readonly records: () => Iterable<RecordObject>;
  readonly slices: () => Iterable<SliceObject>;
}

/** Pods of the agent's DaemonSet. */
export const AGENT_PODS = 'app.kubernetes.io/name=weir';

interface PodObject extends KubernetesObject {
  readonly spec?: { readonly nodeName?: string };
  readonly status?: { readonly conditions?: readonly { readonly type: string; readonly status: string }[] };
}

export function createNodeTender(options: NodeTenderOptions): { run(): Promise<void> } {
  const { client, nodeName, namespace, clock, log, signal } = options;
  /** Since when we have seen no ready agent on a node. */
  const notReadySince = new Map<string, number>();

  async function removeLeftovers(nodes: ReadonlySet<string>, seen: readonly [Resource, string, KubernetesObject][]) {
    for (const [resource, node, { metadata }] of seen) {
      if (nodes.has(node) || signal.aborted) continue;
      const path = objectPath(resource, '', metadata.name);
      await client.remove(path, { uid: metadata.uid ?? '' }, { signal }).catch(otherWasFaster);
      log.info('removed what a node that is gone left', { object: path });
    }
  }

  async function taint(nodes: readonly NodeObject[], records: ReadonlySet<string>): Promise<void> {
    const path = collectionPath(PODS, namespace);
    const pods = await client.list<PodObject>(path, { labelSelector: AGENT_PODS, signal });
    const nodeOf = ({ spec }: PodObject): string => spec?.nodeName ?? '';
    const withPod = new Set(pods.items.map(nodeOf));
    const withReady = new Set(pods.items.filter(isReady).map(nodeOf));
    // Our own pod must be among them, or we do not see agents at all, and would taint every node.
    if (!withPod.has(nodeName)) return;
    for (const node of nodes) {
      const { name, resourceVersion } = node.metadata;
      if (withReady.has(name)) notReadySince.delete(name);
      else if (!notReadySince.has(name)) notReadySince.set(name, clock.nowMs());
      const signs = {
        hasPod: withPod.has(name),
        isReady: withReady.has(name),
        hasRecord: records.has(name),
        notReadyMs: clock.nowMs() - (notReadySince.get(name) ?? clock.nowMs()),
      };
      if (!isToBeTainted(node, signs) || signal.aborted) continue;
      const body = { metadata: { resourceVersion }, spec: { taints: withTaint(node) } };
      await client.patch(objectPath(NODES, '', name), { type: 'merge', body }, { signal }).catch(otherWasFaster);
      log.warn('a node takes no new pods until its agent is ready', { node: name });
    }
    const present = new Set(nodes.map(({ metadata }) => metadata.name));
    for (const name of notReadySince.keys()) if (!present.has(name)) notReadySince.delete(name);
  }

  return {
    async run() {
      // Before the Nodes are listed: what is there now and has no Node then has none.
      const records = [...options.records()];
      const seen: [Resource, string, KubernetesObject][] = [
        ...records.map((one): [Resource, string, KubernetesObject] => [RECORDS, one.metadata.name, one]),
        ...[...options.slices()].map((one): [Resource, string, KubernetesObject] => [SLICES, one.spec.node, one]),
      ];
      const nodes = await client.list<NodeObject>(collectionPath(NODES), { signal });
      await removeLeftovers(new Set(nodes.items.map(({ metadata }) => metadata.name)), seen);
      await taint(nodes.items, new Set(records.map(({ metadata }) => metadata.name)));
    },
  };
}

function isReady({ metadata, status }: PodObject): boolean {
  if (metadata.deletionTimestamp !== undefined) return false;
  return (status?.conditions ?? []).some((one) => one.type === 'Ready' && one.status === 'True');
}

function otherWasFaster(cause: unknown): void {
  if (!isCode(cause, 'NOT_FOUND', 'API_CONFLICT')) throw cause;
}
