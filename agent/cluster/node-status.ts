/** What this agent says of itself: status of its WeirNode. Written when something changed, and seldom when only counts did. */
import type { KubernetesClient } from '../kubernetes/client.ts';
import { objectPath } from '../kubernetes/path.ts';
import type { Clock } from '../run/clock.ts';
import type { Logger } from '../run/log.ts';
import { isCode } from './api-codes.ts';
import { type NodeStatus, RECORDS } from './objects.ts';

export interface NodeStatusOptions {
  readonly client: Pick<KubernetesClient, 'patch'>;
  readonly nodeName: string;
  readonly clock: Clock;
  /** Milliseconds since 1970, for `updated`. */
  readonly now: () => number;
  readonly log: Logger;
  readonly signal: AbortSignal;
}

/** At least so long between two writes, and between two that tell of nothing but counts. Milliseconds. */
const PACE_MS = 2000;
const COUNTS_PACE_MS = 60_000;
/** The CRD takes so many, and so long a sentence. */
const MOST = 100;
const LONGEST = 4096;

export interface NodeStatusWriter {
  /** To be called every few seconds: what is not due yet is written by a later call. */
  report(status: NodeStatus): void;
  /** Resolves when no write is under way. */
  idle(): Promise<void>;
}

export function createNodeStatus(options: NodeStatusOptions): NodeStatusWriter {
  const { client, nodeName, clock, log, signal } = options;
  let written = { matter: '', counts: '' };
  let writtenMs = Number.NEGATIVE_INFINITY;
  let writing: Promise<void> | undefined;
  let isFailing = false;

  async function write(status: NodeStatus): Promise<void> {
    const body = { status: { ...status, updated: new Date(options.now()).toISOString() } };
    try {
      await client.patch(`${objectPath(RECORDS, '', nodeName)}/status`, { type: 'merge', body }, { signal });
      isFailing = false;
    } catch (cause) {
      written = { matter: '', counts: '' }; // Written again by a later call.
      // Not there yet: the record is made first (own-record.ts).
      if (!isFailing && !isCode(cause, 'NOT_FOUND') && !signal.aborted) {
        isFailing = true;
        log.warn('the status of this node could not be written; trying again', { cause });
      }
    }
  }

  return {
    report(full) {
      const status = limited(full);
      const { drops, endpoints, identities, ...rest } = status;
      const next = { matter: JSON.stringify(rest), counts: `${drops} ${endpoints} ${identities}` };
      const sinceMs = clock.nowMs() - writtenMs;
      const isDue =
        (next.matter !== written.matter && sinceMs >= PACE_MS) ||
        (next.counts !== written.counts && sinceMs >= COUNTS_PACE_MS);
      if (!isDue || writing || signal.aborted) return;
      written = next;
      writtenMs = clock.nowMs();
      writing = write(status).finally(() => {
        writing = undefined;
      });
    },
    idle: async () => writing,
  };
}

function limited(status: NodeStatus): NodeStatus {
  const refused = status.refused.slice(0, MOST).map((one) => ({ ...one, reason: one.reason.slice(0, LONGEST) }));
  return { ...status, refused, problems: status.problems.slice(0, MOST).map((text) => text.slice(0, LONGEST)) };
}
