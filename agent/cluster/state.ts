/** Everything a node agrees on with the others, put together: what main.ts (agent/join) makes. */
import { join } from 'node:path';
import type { KubernetesClient, KubernetesObject, OwnerReference } from '../kubernetes/client.ts';
import type { Lease } from '../kubernetes/lease.ts';
import { collectionPath, objectPath, type Resource } from '../kubernetes/path.ts';
import type { Watch, WatchChange } from '../kubernetes/watch.ts';
import type { Labels } from '../model/labels.ts';
import type { SourceChange } from '../model/object.ts';
import { type Clock, systemClock } from '../run/clock.ts';
import { openJournal } from '../run/journal.ts';
import type { Logger } from '../run/log.ts';
import { runChores } from './chores.ts';
import { createIdentities, type HeldRecord, type Identities } from './identities.ts';
import { createNodeStatus, type NodeStatusWriter } from './node-status.ts';
import {
  IDENTITIES,
  type IdentityObject,
  NODES,
  type NodeObject,
  RECORDS,
  type RecordObject,
  SLICES,
  type SliceObject,
} from './objects.ts';
import { createOwnRecord, type NodeAddresses } from './own-record.ts';
import { createOwnTaint } from './own-taint.ts';
import { createPeers } from './peers.ts';
import { createPublisher, type Publisher } from './publish.ts';

export interface ClusterStateOptions {
  readonly client: KubernetesClient;
  readonly nodeName: string;
  /** Of the agents: their Lease and their pods. */
  readonly namespace: string;
  readonly stateDirectory: string;
  readonly log: Logger;
  /** How long an identity nobody uses is kept, milliseconds. */
  readonly identityGraceMs: number;
  /**
   * How long this node claims a set that none of its endpoints has, milliseconds; longer than any request to the API server
   * can be under way. 2 minutes by default.
   */
  readonly claimGraceMs?: number;
  /** Longest that a new label set's number is waited for before its endpoint is tried again; 2 s by default. */
  readonly identityWaitMs?: number;
  /** What other nodes publish, in order; first everything there is. Identities, nodes and slices, this node's slices left out. */
  readonly onChanges: (changes: readonly SourceChange[]) => void;
  /** All first lists were told: from now on absence means deletion. */
  readonly onSynced: () => void;
  /** The number of a set in use is another one now (somebody removed its object): ask again for its endpoints. */
  readonly onRenumbered: (labels: Labels) => void;
  /** This agent holds the Lease until the signal aborts: for chores of other parts. */
  readonly onHeld?: (signal: AbortSignal) => void;
  readonly signal: AbortSignal;
  readonly clock?: Clock;
  readonly now?: () => number;
}

export interface ClusterState {
  readonly identities: Pick<Identities, 'acquire' | 'release' | 'collect' | 'size'>;
  readonly endpoints: Pick<Publisher, 'announce' | 'announced' | 'told' | 'pending'>;
  /** Where this node is reached; nothing is written before the first call. */
  describe(addresses: NodeAddresses): void;
  /** What the agent says of itself: to be called every few seconds. */
  report: NodeStatusWriter['report'];
  /** The agent can serve: its node's taint goes, now and whenever it appears. */
  setReady(isReady: boolean): void;
  /** What a person should know, one sentence each. */
  problems(): string[];
  readonly watches: readonly Watch[];
  readonly lease: Lease;
  /** Resolves when the signal has aborted and nothing is under way any more. */
  readonly stopped: Promise<void>;
}

const JOURNAL = 'cluster-identities.journal';
/** The API server ends a request after a minute. */
const CLAIM_GRACE_MS = 120_000;

export async function createClusterState(options: ClusterStateOptions): Promise<ClusterState> {
  const { client, nodeName, log, signal, clock = systemClock, now = Date.now } = options;
  const opened = await openJournal<HeldRecord>(join(options.stateDirectory, JOURNAL));
  const parts = { client, nodeName, clock, now, log, signal };
  const record = createOwnRecord({
    ...parts,
    owner: ownNode,
    onTrouble: (cause) => log.warn('the record of this node cannot be written; trying again', { cause }),
  });
  const identities = createIdentities({
    ...parts,
    record,
    journal: opened.journal,
    // Of a damaged journal nothing is believed that may have been dropped since.
    held: opened.damage === undefined ? opened.records : [],
    graceMs: options.claimGraceMs ?? CLAIM_GRACE_MS,
    waitMs: options.identityWaitMs ?? 2000,
    onRenumbered: options.onRenumbered,
  });
  if (opened.damage !== undefined) {
    log.warn('identities of before the restart are asked for again', { damage: opened.damage });
    await opened.journal.rewrite(() => []).catch((cause) => log.warn('the journal cannot be written', { cause }));
  }
  const endpoints = createPublisher({ ...parts, owner: ownNode });
  const status = createNodeStatus(parts);
  const taint = createOwnTaint(parts);
  const peers = createPeers(nodeName);
  const records = new Map<string, RecordObject>();
  /** Whose they are, without their endpoints. */
  const slices = new Map<string, SliceObject>();
  let node: NodeObject | undefined;

  async function ownNode(): Promise<OwnerReference> {
    node ??= await client.get<NodeObject>(objectPath(NODES, '', nodeName), { signal });
    return { apiVersion: 'v1', kind: 'Node', name: nodeName, uid: node.metadata.uid ?? '' };
  }

  let unsynced = 3;
  function watch<T extends KubernetesObject>(
    resource: Resource,
    take: (changes: readonly WatchChange<T>[]) => readonly SourceChange[],
    synced: () => void,
  ): Watch {
    return client.watch<T>({
      path: collectionPath(resource),
      signal,
      onChanges(changes) {
        const told = take(changes);
        if (told.length > 0) options.onChanges(told);
      },
      onSynced() {
        synced();
        if (--unsynced === 0) options.onSynced();
      },
      onTrouble: (cause) => troubled(resource.plural, cause),
    });
  }

  function troubled(what: string, cause: unknown): void {
    if (cause) log.warn(`watching ${what} does not work; trying again`, { cause });
    else log.info(`watching ${what} works again`);
  }

  const watches = [
    watch<IdentityObject>(
      IDENTITIES,
      (changes) => {
        identities.take(changes);
        return peers.takeIdentities(changes);
      },
      () => identities.synced(),
    ),
    watch<RecordObject>(
      RECORDS,
      (changes) => {
        note(records, changes);
        ownRecordSeen(changes);
        return peers.takeRecords(changes);
      },
      () => {},
    ),
    watch<SliceObject>(
      SLICES,
      (changes) => {
        noteSlices(slices, changes);
        endpoints.take(changes);
        return peers.takeSlices(changes);
      },
      () => endpoints.synced(),
    ),
    client.watch<NodeObject>({
      path: collectionPath(NODES),
      fieldSelector: `metadata.name=${nodeName}`,
      signal,
      onChanges(changes) {
        for (const change of changes) {
          node = change.type === 'upsert' ? change.object : undefined;
          taint.take(node);
        }
      },
      onSynced() {},
      onTrouble: (cause) => troubled('the own node', cause),
    }),
  ];

  /** Where our claims are gone, what we hold may have been collected since. */
  function ownRecordSeen(changes: readonly WatchChange<RecordObject>[]): void {
    for (const change of changes) {
      const name = change.type === 'upsert' ? change.object.metadata.name : change.ref.name;
      if (name !== nodeName || signal.aborted) continue;
      if (change.type === 'delete') node = undefined; // Gone with its Node, maybe: the next one has another uid.
      identities.claimsLost(record.seen(change.type === 'upsert' ? change.object : undefined));
    }
  }

  const lease = runChores({
    ...parts,
    namespace: options.namespace,
    graceMs: options.identityGraceMs,
    identities: () => identities.known.values(),
    records: () => records.values(),
    slices: () => slices.values(),
    ...(options.onHeld ? { onHeld: options.onHeld } : {}),
  });

  const stopped = Promise.all([
    ...watches.map((one) => one.stopped),
    ...[lease.stopped, record.stopped, endpoints.stopped, taint.stopped],
  ]).then(async () => {
    await status.idle();
    await opened.journal.close();
  });

  return {
    identities,
    endpoints,
    describe: record.describe,
    report: status.report,
    setReady: taint.setReady,
    problems: () => [...peers.problems(), ...(identities.exhausted === undefined ? [] : [identities.exhausted])],
    watches,
    lease,
    stopped,
  };
}

function noteSlices(all: Map<string, SliceObject>, changes: readonly WatchChange<SliceObject>[]): void {
  note(
    all,
    changes.map((change) => {
      if (change.type === 'delete') return change;
      const { name, uid = '' } = change.object.metadata;
      return {
        type: 'upsert',
        object: { metadata: { name, uid }, spec: { node: change.object.spec.node, endpoints: [] } },
      };
    }),
  );
}

function note<T extends KubernetesObject>(all: Map<string, T>, changes: readonly WatchChange<T>[]): void {
  for (const change of changes) {
    if (change.type === 'upsert') all.set(change.object.metadata.name, change.object);
    else all.delete(change.ref.name);
  }
}
