/** What one agent does for all, while it holds the Lease. Each holder begins with clocks of its own. */
import type { KubernetesClient } from '../kubernetes/client.ts';
import type { Lease } from '../kubernetes/lease.ts';
import type { Clock } from '../run/clock.ts';
import type { Logger } from '../run/log.ts';
import { startLoop } from '../run/loop.ts';
import { createIdentityCollector } from './collect-identities.ts';
import type { IdentityObject, RecordObject, SliceObject } from './objects.ts';
import { createNodeTender } from './tend-nodes.ts';

export interface ChoresOptions {
  readonly client: Pick<KubernetesClient, 'list' | 'patch' | 'remove' | 'elect'>;
  readonly nodeName: string;
  /** Of the agents: their Lease and their pods. */
  readonly namespace: string;
  readonly clock: Clock;
  readonly log: Logger;
  /** How long an identity nobody uses is kept, milliseconds. */
  readonly graceMs: number;
  readonly identities: () => Iterable<IdentityObject>;
  readonly records: () => Iterable<RecordObject>;
  readonly slices: () => Iterable<SliceObject>;
  /** More chores of the holder, e.g. the status of documents; the signal aborts when the Lease is lost. */
  readonly onHeld?: (signal: AbortSignal) => void;
  readonly signal: AbortSignal;
}

export const LEASE_NAME = 'weir-chores';
const IDENTITIES_MS = 30_000;
/** A new node waits at most this long for its taint. */
const NODES_MS = 5000;

export function runChores(options: ChoresOptions): Lease {
  const { client, nodeName, namespace, clock, log, signal } = options;
  return client.elect({
    namespace,
    name: LEASE_NAME,
    identity: nodeName,
    signal,
    onTrouble: (error) => log.warn('the Lease for chores cannot be asked for; trying again', { cause: error }),
    onHeld(held) {
      log.info('this agent does the chores of the cluster', { lease: `${namespace}/${LEASE_NAME}` });
      const parts = { ...options, signal: held };
      const collector = createIdentityCollector(parts);
      const tender = createNodeTender(parts);
      const chore = (name: string, everyMs: number, run: () => Promise<unknown>) =>
        startLoop({
          name,
          minMs: everyMs,
          retryMs: everyMs,
          resyncMs: everyMs,
          clock,
          signal: held,
          run: async () => void (await run()),
          onError: (cause, failures) => {
            if (failures === 1) log.warn(`${name} failed; trying again`, { cause });
          },
        }).trigger();
      chore('collecting identities', Math.min(IDENTITIES_MS, Math.max(1000, options.graceMs)), () => collector.run());
      chore('tending nodes', NODES_MS, () => tender.run());
      options.onHeld?.(held);
    },
  });
}
