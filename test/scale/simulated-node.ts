/** What a node's agent writes into the API server, by the agent's own code (agent/cluster), without the rest of it. */
import { createNodeStatus } from '../../agent/cluster/node-status.ts';
import { NODES, type NodeObject } from '../../agent/cluster/objects.ts';
import { createOwnRecord } from '../../agent/cluster/own-record.ts';
import { createPublisher } from '../../agent/cluster/publish.ts';
import type { KubernetesClient, OwnerReference } from '../../agent/kubernetes/client.ts';
import { objectPath } from '../../agent/kubernetes/path.ts';
import type { NodeRecord, PublishedEndpoint } from '../../agent/model/object.ts';
import { systemClock } from '../../agent/run/clock.ts';
import { createLogger } from '../../agent/run/log.ts';

export interface SimulatedNode {
  readonly name: string;
  /** All its pods as they are now; resolves when the API server has accepted that. */
  publish(pods: readonly PublishedEndpoint[]): Promise<void>;
  /** Resolves when its writer has ended; what it wrote stays. */
  stop(): Promise<void>;
}

const WARNINGS = createLogger({ level: 'warn', format: 'text' });
/** A loaded API server takes long; a write that failed is tried again within. */
const ACCEPT_MS = 120_000;

/** Its Node must be there. Resolves when its WeirNode is. `identities`: numbers its pods have. */
export async function simulateNode(
  client: KubernetesClient,
  node: NodeRecord,
  identities: readonly number[],
): Promise<SimulatedNode> {
  const end = new AbortController();
  const owner = async (): Promise<OwnerReference> => {
    const { metadata } = await client.get<NodeObject>(objectPath(NODES, '', node.name));
    return { apiVersion: 'v1', kind: 'Node', name: node.name, uid: metadata.uid ?? '' };
  };
  const reference = owner();
  const parts = {
    client,
    nodeName: node.name,
    owner: () => reference,
    clock: systemClock,
    now: Date.now,
    log: WARNINGS,
    signal: end.signal,
  };
  const record = createOwnRecord({
    ...parts,
    onTrouble: (cause) => WARNINGS.warn('a simulated node has no record yet', { cause }),
  });
  record.describe(node);
  await record.claim(identities);
  const status = createNodeStatus(parts);
  const publisher = createPublisher(parts);
  publisher.synced(); // Nothing of it was there before.

  return {
    name: node.name,
    async publish(pods) {
      publisher.announce(pods);
      const accepted = await Promise.all(pods.map(({ uid }) => publisher.announced(uid, ACCEPT_MS)));
      if (accepted.includes(false)) throw new Error(`${node.name}: not all pods were accepted by the API server`);
      status.report({
        ...{ agentVersion: 'simulated', ready: true, policyRevision: 1, desiredPolicyRevision: 1, drops: 0 },
        ...{ endpoints: pods.length, identities: identities.length, refused: [], refusedCount: 0, problems: [] },
      });
      await status.idle();
    },
    async stop() {
      end.abort();
      await Promise.all([record.stopped, publisher.stopped]);
    },
  };
}
