/**
 * Writes what nodes refuse into the status of documents, and an Event: a chore of the one agent that holds the Lease. Each
 * version of a document is written once; whatever nodes do, no more than a few writes a second.
 */
import { createHash } from 'node:crypto';
import { RECORDS, type RecordObject } from '../../cluster/objects.ts';
import { ApiError } from '../../kubernetes/api-error.ts';
import type { KubernetesClient } from '../../kubernetes/client.ts';
import { collectionPath, objectPath, type Resource } from '../../kubernetes/path.ts';
import { sleep } from '../../kubernetes/rate-limit.ts';
import type { RefusedDocument } from '../../model/refused-document.ts';
import { type Clock, systemClock } from '../../run/clock.ts';
import type { Logger } from '../../run/log.ts';
import { startLoop } from '../../run/loop.ts';
import { planStatus, type Refusal, type StatusWrite } from './conditions.ts';
import type { DocumentTable } from './document-table.ts';

export interface DocumentStatusOptions {
  readonly client: KubernetesClient;
  readonly nodeName: string;
  /** The one the source fills. */
  readonly documents: DocumentTable;
  /**
   * What this node refuses now, undefined before it has judged anything; of the others it is read from their WeirNode
   * objects.
   */
  refused(): readonly RefusedDocument[] | undefined;
  readonly log: Logger;
  /** Aborts when the Lease is lost. */
  readonly signal: AbortSignal;
  readonly clock?: Clock;
  readonly times?: Partial<StatusTimes>;
}

/** All in milliseconds. */
export interface StatusTimes {
  /** What changes within it is written as one. */
  readonly settleMs: number;
  /** Between two writes. */
  readonly paceMs: number;
  /** Between two writes to one document that stays valid, or stays refused. */
  readonly restMs: number;
}

const TIMES: StatusTimes = { settleMs: 2000, paceMs: 200, restMs: 30_000 };
const EVENTS: Resource = { apiVersion: 'v1', plural: 'events' };
/** Events of cluster-wide objects stand there. */
const CLUSTER_EVENTS = 'default';
/** Limit of the newer Events API. */
const LONGEST_NOTE = 1024;
/** Versions of documents whose Event was written; the API server keeps Events for an hour. */
const MOST_TOLD = 10_000;

/** Works until the signal aborts. */
export function startDocumentStatus(options: DocumentStatusOptions): { readonly stopped: Promise<void> } {
  const { client, documents, signal, log } = options;
  const times = { ...TIMES, ...options.times };
  const clock = options.clock ?? systemClock;
  const refused = new Map<string, readonly RefusedDocument[]>();
  const writtenMs = new Map<string, number>();
  const told = new Set<string>();
  let nodesKnown = false;

  const loop = startLoop({
    name: 'status of documents',
    minMs: times.settleMs,
    retryMs: times.settleMs,
    resyncMs: times.restMs,
    signal,
    clock,
    run: turn,
    onError: (cause, failures) =>
      log.warn('the status of documents could not be written; trying again', { cause, failures }),
  });
  documents.listen(() => loop.trigger());
  const nodes = client.watch<RecordObject>({
    path: collectionPath(RECORDS),
    signal,
    onChanges(changes) {
      for (const change of changes) {
        if (change.type === 'upsert') refused.set(change.object.metadata.name, change.object.status?.refused ?? []);
        else refused.delete(change.ref.name);
      }
      loop.trigger();
    },
    onSynced() {
      nodesKnown = true;
      loop.trigger();
    },
    onTrouble: (error) => error && log.warn('what nodes refuse cannot be watched; trying again', { cause: error }),
  });

  async function turn(): Promise<void> {
    // Before all nodes were heard, a document would be called valid that one of them refuses.
    const own = options.refused();
    if (!nodesKnown || own === undefined) return;
    refused.set(options.nodeName, own);
    const plan = planStatus(documents.all(), refused, new Date().toISOString());
    const refusedWrites: unknown[] = [];
    for (const work of [
      ...plan.writes.map((write) => () => writeStatus(write)),
      ...plan.refusals.map((refusal) => () => writeEvent(refusal)),
    ]) {
      await work().catch((cause: unknown) => {
        // What is refused of one document (its namespace is being terminated) says nothing about the others.
        if (!(cause instanceof ApiError) || cause.retryable) throw cause;
        refusedWrites.push(cause);
      });
    }
    if (refusedWrites.length > 0) throw refusedWrites[0];
  }

  async function writeStatus({ document, conditions, isTurn }: StatusWrite): Promise<void> {
    const { ref, resource, resourceVersion } = document;
    const rested = clock.nowMs() - (writtenMs.get(ref.uid) ?? Number.NEGATIVE_INFINITY) >= times.restMs;
    if (!isTurn && !rested) return; // The loop comes by again.
    const path = `${objectPath(resource, ref.namespace, ref.name)}/status`;
    await write(() =>
      // The version makes sure that no condition somebody else just wrote is undone.
      client.patch(
        path,
        { type: 'merge', body: { metadata: { resourceVersion }, status: { conditions } } },
        { signal },
      ),
    );
    if (writtenMs.size >= MOST_TOLD) writtenMs.clear();
    writtenMs.set(ref.uid, clock.nowMs());
  }

  async function writeEvent({ document, message }: Refusal): Promise<void> {
    const { ref, generation, resourceVersion } = document;
    const { apiVersion, kind, name, uid } = ref;
    const version = `${uid} ${generation}`;
    if (told.has(version)) return;
    const namespace = ref.namespace || CLUSTER_EVENTS;
    // One name for each version of a document: the next holder of the Lease finds it written.
    const digest = createHash('sha256').update(version).digest('hex').slice(0, 16);
    const now = new Date().toISOString();
    await write(() =>
      client.create(
        collectionPath(EVENTS, namespace),
        {
          apiVersion: 'v1',
          kind: 'Event',
          metadata: { name: `${name.slice(0, 200)}.${digest}`, namespace },
          involvedObject: { apiVersion, kind, name, uid, resourceVersion, ...(ref.namespace ? { namespace } : {}) },
          type: 'Warning',
          reason: 'Refused',
          message: message.length > LONGEST_NOTE ? `${message.slice(0, LONGEST_NOTE - 3)}...` : message,
          firstTimestamp: now,
          lastTimestamp: now,
          count: 1,
          source: { component: 'weir-agent', host: options.nodeName },
          reportingComponent: 'weir.dev/agent',
          reportingInstance: options.nodeName,
        },
        { signal },
      ),
    );
    if (told.size >= MOST_TOLD) told.clear();
    told.add(version);
  }

  async function write(send: () => Promise<unknown>): Promise<void> {
    await sleep(times.paceMs, clock, signal);
    try {
      await send();
    } catch (error) {
      // Changed or gone meanwhile: the watch tells, and then it is planned anew. Exists: another holder wrote it.
      const isPast = error instanceof ApiError && ['API_CONFLICT', 'NOT_FOUND', 'API_EXISTS'].includes(error.code);
      if (!isPast) throw error;
    }
  }

  const stopped = Promise.all([loop.stopped, nodes.stopped]).then(() => documents.listen(() => {}));
  return { stopped };
}
