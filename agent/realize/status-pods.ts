/** Pods that no node publishes, of other nodes or of none: known by the addresses in their status, if any. */
import type { IdentityNumber } from '../model/identity.ts';
import type { Labels } from '../model/labels.ts';
import type { Namespace, Pod } from '../model/object.ts';
import { drain } from './drain.ts';
import type { IdentitiesInUse } from './identities-in-use.ts';
import type { Inventory } from './inventory.ts';
import type { NamedPorts } from './named-ports.ts';
import { CLAIM_RANK, type PeerTable } from './peer-table.ts';

export interface StatusPodsOptions {
  readonly inventory: Pick<Inventory, 'pods' | 'namespaces'>;
  readonly identities: Pick<IdentitiesInUse, 'acquire' | 'release'>;
  readonly peers: Pick<PeerTable, 'claim' | 'withdraw'>;
  readonly namedPorts: NamedPorts;
  readonly labelsOf: (pod: Pod, namespace: Namespace | undefined) => Labels;
}

export interface StatusPods {
  /** By podKey: it came, changed or went. */
  podChanged(key: string): void;
  namespaceChanged(name: string): void;
  /** Begins with everything that changed. What fails is told, stays as it was and is tried again with the next call. */
  resolve(failed: (cause: unknown) => void): Promise<void>[];
}

export function createStatusPods({
  inventory,
  identities,
  peers,
  namedPorts,
  labelsOf,
}: StatusPodsOptions): StatusPods {
  const known = new Map<string, { labels: Labels; identity: IdentityNumber }>();
  const dirty = new Set<string>();

  async function resolvePod(key: string): Promise<void> {
    const pod = inventory.pods.get(key);
    const before = known.get(key);
    if (!pod || pod.hostNetwork || pod.addresses.length === 0) {
      peers.withdraw(`pod ${key}`);
      namedPorts.remove(`pod ${key}`);
      known.delete(key);
    } else {
      const labels = labelsOf(pod, inventory.namespaces.get(pod.namespace));
      const identity = await identities.acquire(labels);
      known.set(key, { labels, identity });
      namedPorts.set(`pod ${key}`, identity, pod.namedPorts);
      peers.claim(
        `pod ${key}`,
        CLAIM_RANK.remotePod,
        pod.addresses.map((address) => ({ address, identity, endpoint: 0, kind: 'pod' })),
      );
    }
    if (before) identities.release(before.identity, before.labels);
  }

  return {
    podChanged(key) {
      dirty.add(key);
    },
    namespaceChanged(name) {
      for (const [key, pod] of inventory.pods) if (pod.namespace === name) dirty.add(key);
    },
    resolve(failed) {
      return drain(dirty).map((key) =>
        resolvePod(key).catch((cause: unknown) => {
          dirty.add(key);
          failed(cause);
        }),
      );
    },
  };
}
