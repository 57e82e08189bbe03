/**
 * Keeps the WeirEndpointSlices of this node as its endpoints are: at once after a quiet time, else in batches. Nothing is
 * removed before the first list of what is there and the first word of what should be. What somebody else changed is
 * made right again, and after an outage of the API server only the difference is written.
 */
import { asWeirError, WeirError } from '../errors.ts';
import type { KubernetesClient, OwnerReference } from '../kubernetes/client.ts';
import { collectionPath, objectPath } from '../kubernetes/path.ts';
import type { WatchChange } from '../kubernetes/watch.ts';
import type { PublishedEndpoint } from '../model/object.ts';
import type { Clock } from '../run/clock.ts';
import type { Logger } from '../run/log.ts';
import { startLoop } from '../run/loop.ts';
import { isCode } from './api-codes.ts';
import { API_VERSION, type EndpointEntry, NODE_LABEL, SLICE_SIZE, SLICES, type SliceObject } from './objects.ts';
import { entryKey, pack, type SliceWrite, sameEntry } from './packing.ts';

export interface PublisherOptions {
  readonly client: Pick<KubernetesClient, 'get' | 'create' | 'update' | 'remove'>;
  readonly nodeName: string;
  /** The Node, with which the slices go. */
  readonly owner: () => Promise<OwnerReference>;
  readonly clock: Clock;
  /** Milliseconds since 1970, where numbers of endpoints begin. */
  readonly now: () => number;
  readonly log: Logger;
  readonly signal: AbortSignal;
  readonly sliceSize?: number;
}

export interface Publisher {
  /** All endpoints of this node as they are now. The first call is to come when those of before a restart are complete. */
  announce(endpoints: readonly PublishedEndpoint[]): void;
  /**
   * Resolves with true when the API server has accepted all entries of the pod, and with false when that did not happen
   * within the time, which is logged. To be called after announce() with the pod.
   */
  announced(uid: string, withinMs: number): Promise<boolean>;
  /** Resolves when the API server has accepted all that was announced before, however long that takes. */
  told(): Promise<void>;
  /** Of the watch: slices of all nodes. */
  take(changes: readonly WatchChange<SliceObject>[]): void;
  synced(): void;
  /** Entries asked for that are not accepted yet. */
  readonly pending: number;
  readonly stopped: Promise<void>;
}

/** All in milliseconds. */
const BATCH_MS = 100;
const RETRY_MS = 200;
const RESYNC_MS = 10_000;

export function createPublisher(options: PublisherOptions): Publisher {
  const { client, nodeName, clock, log, signal, sliceSize = SLICE_SIZE } = options;
  /** Our slices as the API server has them, as far as we know. */
  const slices = new Map<string, SliceObject>();
  let wanted: ReadonlyMap<string, EndpointEntry> | undefined;
  let isListed = false;
  let lastSince = 0;
  let waiting: { readonly uid: string; readonly done: (accepted: boolean) => void }[] = [];
  let failure: WeirError | undefined;
  /** How many announcements there were that changed something, and how many of the first of them are accepted. */
  const count = { announced: 0, accepted: 0 };
  let untold: { readonly count: number; readonly done: () => void }[] = [];

  const isOurs = (slice: SliceObject): boolean => slice.spec.node === nodeName && isOurName(slice.metadata.name);
  const isOurName = (name: string): boolean =>
    name.startsWith(`${nodeName}-`) && /^[0-9]+$/.test(name.slice(nodeName.length + 1));

  const loop = startLoop({
    name: 'publishing endpoints',
    minMs: BATCH_MS,
    retryMs: RETRY_MS,
    resyncMs: RESYNC_MS,
    clock,
    signal,
    run: publish,
    onError(cause, failures) {
      failure = asWeirError(cause, 'publish endpoints');
      if (failures === 1) log.warn('endpoints could not be published; trying again', { cause });
    },
  });

  async function publish(): Promise<void> {
    if (!isListed || !wanted) return;
    const { announced } = count;
    // A slice that names another node now was changed by somebody: nothing in it is as it should be.
    const present = [...slices].map(([name, { spec }]) => ({
      name,
      endpoints: spec.node === nodeName ? spec.endpoints : [],
    }));
    for (const write of pack(nodeName, present, wanted, sliceSize)) {
      if (signal.aborted) return;
      await carryOut(write);
    }
    failure = undefined;
    settle();
    count.accepted = announced;
    for (const one of untold) if (one.count <= announced) one.done();
    untold = untold.filter((one) => one.count > announced);
  }

  async function carryOut(write: SliceWrite): Promise<void> {
    const { name } = write;
    const path = objectPath(SLICES, '', name);
    const before = slices.get(name);
    try {
      if (write.kind === 'remove') {
        await client.remove(path, { uid: before?.metadata.uid ?? '' }, { signal });
        slices.delete(name);
        return;
      }
      const metadata = { ...before?.metadata, name, ...(await ownership()) };
      const spec = { node: nodeName, endpoints: write.endpoints };
      const object: SliceObject = { apiVersion: API_VERSION, kind: 'WeirEndpointSlice', metadata, spec };
      const saved = before
        ? await client.update(path, object, { signal })
        : await client.create(collectionPath(SLICES), object, { signal });
      slices.set(name, saved);
    } catch (cause) {
      // Somebody else was there: see what is, and plan anew.
      if (isCode(cause, 'API_CONFLICT', 'API_EXISTS', 'NOT_FOUND')) await read(name, path);
      throw cause;
    }
  }

  async function read(name: string, path: string): Promise<void> {
    const there = await client.get<SliceObject>(path, { signal }).catch((cause: unknown) => {
      if (!isCode(cause, 'NOT_FOUND')) throw cause;
      return undefined;
    });
    if (there) slices.set(name, there);
    else slices.delete(name);
  }

  async function ownership() {
    const ownerReferences = [await options.owner()];
    // A label's value has at most 63 letters, a node's name up to 253.
    return nodeName.length <= 63 ? { ownerReferences, labels: { [NODE_LABEL]: nodeName } } : { ownerReferences };
  }

  /** Tells those whose entries all stand there as wanted. */
  function settle(): void {
    const accepted = new Map([...slices.values()].flatMap(({ spec }) => spec.endpoints.map((e) => [entryKey(e), e])));
    const open = new Set<string>();
    for (const [key, entry] of wanted ?? []) {
      const there = accepted.get(key);
      if (!there || !sameEntry(there, entry)) open.add(entry.uid);
    }
    const known = new Set([...(wanted?.values() ?? [])].map(({ uid }) => uid));
    for (const { uid, done } of [...waiting]) if (known.has(uid) && !open.has(uid)) done(true);
  }

  /** Ours have numbers from before a restart; a new one is greater than all that were. */
  function entryOf(endpoint: PublishedEndpoint, known: ReadonlyMap<string, EndpointEntry>): EndpointEntry {
    const { addresses, identity, namespace, pod, uid, namedPorts, workload } = endpoint;
    const key = entryKey(endpoint);
    const since = wanted?.get(key)?.since ?? known.get(key)?.since ?? nextSince();
    return {
      ...{ addresses, identity, namespace, pod, uid, since },
      ...(namedPorts.length > 0 ? { namedPorts } : {}),
      ...(workload ? { workload } : {}),
    };
  }

  function nextSince(): number {
    lastSince = Math.max(lastSince + 1, Math.floor(options.now()));
    return lastSince;
  }

  /** What was announced before the first list: only now their numbers of before can be known. */
  let early: readonly PublishedEndpoint[] | undefined;

  function announce(endpoints: readonly PublishedEndpoint[]): void {
    if (!isListed) {
      early = endpoints;
      count.announced += 1;
      return;
    }
    const known = new Map(
      wanted ? [] : [...slices.values()].flatMap(({ spec }) => spec.endpoints.map((e) => [entryKey(e), e] as const)),
    );
    const next = new Map(endpoints.map((endpoint) => [entryKey(endpoint), entryOf(endpoint, known)]));
    const isSame =
      wanted?.size === next.size &&
      [...next].every(([key, entry]) => {
        const before = wanted?.get(key);
        return before && sameEntry(before, entry);
      });
    wanted = next;
    if (isSame) return;
    count.announced += 1;
    loop.trigger();
  }

  return {
    announce,
    stopped: loop.stopped,
    announced(uid, withinMs) {
      const answer = Promise.withResolvers<boolean>();
      const done = (accepted: boolean): void => {
        cancel();
        waiting = waiting.filter((one) => one !== entry);
        if (!accepted) {
          const cause = failure ?? new WeirError('TIMEOUT', 'publish endpoints', 'the API server has not answered yet');
          log.warn('other nodes may not know of a pod yet: its entry is not accepted', { uid, withinMs, cause });
        }
        answer.resolve(accepted);
      };
      const entry = { uid, done };
      const cancel = clock.after(withinMs, () => done(false));
      waiting.push(entry);
      settle();
      return answer.promise;
    },
    async told() {
      if (count.accepted === count.announced) return;
      const answer = Promise.withResolvers<void>();
      untold.push({ count: count.announced, done: answer.resolve });
      await answer.promise;
    },
    take(changes) {
      let isChanged = false;
      for (const change of changes) {
        const name = change.type === 'upsert' ? change.object.metadata.name : change.ref.name;
        const before = slices.get(name);
        if (change.type === 'delete') {
          if (before?.metadata.uid !== change.ref.uid) continue; // Of one that we have made anew since.
          slices.delete(name);
        } else {
          if (!isOurs(change.object) && !before) continue;
          if (before && !isNewer(change.object, before)) continue; // Our own writes come back late.
          slices.set(name, change.object);
          for (const { since } of change.object.spec.endpoints) lastSince = Math.max(lastSince, since);
        }
        isChanged = true;
      }
      if (isChanged && isListed) loop.trigger();
    },
    synced() {
      isListed = true;
      if (early) announce(early);
      early = undefined;
      loop.trigger();
    },
    get pending() {
      const accepted = new Map([...slices.values()].flatMap(({ spec }) => spec.endpoints.map((e) => [entryKey(e), e])));
      return [...(wanted ?? [])].filter(([key, entry]) => {
        const there = accepted.get(key);
        return !there || !sameEntry(there, entry);
      }).length;
    },
  };
}

/** Versions of one collection can be compared as numbers (KEP-5504; they are etcd's revisions). */
function isNewer(a: SliceObject, b: SliceObject): boolean {
  return BigInt(a.metadata.resourceVersion ?? 0) > BigInt(b.metadata.resourceVersion ?? 0);
}
