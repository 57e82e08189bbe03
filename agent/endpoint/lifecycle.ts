/**
 * The life of an endpoint: ADD, CHECK, DEL, GC, what is found at start, and what vanished without a DEL. One request at
 * a time per container and interface; different ones run side by side. README.md has the promises.
 */
import { asWeirError, type ErrorCode, WeirError } from '../errors.ts';
import { type Clock, systemClock } from '../run/clock.ts';
import { type Added, type AddRequest, reserve, setUp, wiringOf } from './add.ts';
import { type Progress, withinDeadline } from './deadline.ts';
import { createExclusive } from './exclusive.ts';
import { findGone } from './gone.ts';
import { isOwnNetns } from './netns.ts';
import type { EndpointsOptions } from './options.ts';
import type { RecordedEndpoint } from './record.ts';
import { type AttachmentKey, attachmentKey, createRegistry, type Entry } from './registry.ts';
import { type Restored, restoreEndpoints } from './restore.ts';

export interface CheckRequest extends AttachmentKey {
  readonly netns: string;
}

export interface EndpointCounters {
  readonly ready: number;
  /** In some other phase: being added, or not completely removed yet. */
  readonly changing: number;
  readonly added: number;
  readonly addFailures: Readonly<Partial<Record<ErrorCode, number>>>;
  readonly removed: number;
  /** Removed without a DEL: their namespace or device had vanished, or GC did not list them. */
  readonly reclaimed: number;
}

export interface Endpoints {
  /**
   * Resolves when programs, policy and identity are in force for the pod. Any failure leaves nothing behind.
   * @throws ENDPOINT_EXISTS, CNI_BAD_ENVIRONMENT, IPAM_EXHAUSTED, STATE_NOT_DURABLE, WIRING_FAILED, POD_UNKNOWN, TIMEOUT
   */
  add(request: AddRequest): Promise<Added>;
  /** What is gone or was never there is no error. Ends an ADD of the same attachment that is still running. */
  del(key: AttachmentKey): Promise<void>;
  /** What differs from what ADD made, as text; [] when nothing does. @throws CNI_UNKNOWN_CONTAINER */
  check(request: CheckRequest): Promise<string[]>;
  /** Removes what belongs to the network and is not listed; goes on after errors and rejects at the end with the first. */
  gc(network: string, valid: readonly AttachmentKey[]): Promise<number>;
  /** Once, before anything else: takes up the endpoints of before a restart, frees those that are gone. */
  restore(): Promise<Restored>;
  /** To be called every few seconds: frees endpoints whose namespace or device vanished, and finishes failed removals. */
  collect(): Promise<number>;
  find(key: AttachmentKey): RecordedEndpoint | undefined;
  /** Endpoints whose ADD was answered. */
  list(): RecordedEndpoint[];
  counters(): EndpointCounters;
}

export function createEndpoints(options: EndpointsOptions): Endpoints {
  const { datapath, pool, store, realize, log } = options;
  const clock: Clock = options.clock ?? systemClock;
  const at = options.at ?? (() => {});
  const registry = createRegistry();
  const exclusive = createExclusive();
  /** ADDs that run now, so that a DEL can end them. */
  const running = new Map<string, AbortController>();
  const counted = { added: 0, removed: 0, reclaimed: 0, addFailures: {} as Partial<Record<ErrorCode, number>> };

  async function add(request: AddRequest, progress: Progress): Promise<Added> {
    const left = registry.find(request);
    if (left?.phase === 'removing') await remove(left);
    if (registry.find(request)) {
      const message = `${request.interfaceName} of container ${request.containerId} exists already`;
      throw new WeirError('ENDPOINT_EXISTS', 'ADD', message);
    }
    progress.signal.throwIfAborted();
    progress.doing = 'looking at the namespace';
    if (!(await options.netnsExists(request.netns))) {
      throw new WeirError('CNI_BAD_ENVIRONMENT', 'ADD', `CNI_NETNS: ${request.netns} is not a network namespace`);
    }
    if (isOwnNetns(request.netns)) {
      const message = `CNI_NETNS: ${request.netns} is the node's own network namespace, not a pod's`;
      throw new WeirError('CNI_BAD_ENVIRONMENT', 'ADD', message);
    }
    const entry = reserve(request, registry, options);
    try {
      return await setUp(entry, request, options, progress);
    } catch (error) {
      await remove(entry).catch((cause: unknown) => {
        log.error('a failed ADD could not be undone completely; tried again until it is', { ...named(entry), cause });
      });
      throw error;
    }
  }

  /** Undoes everything an ADD may have done, in an order in which no address is free while the kernel still has it. */
  async function remove(entry: Entry): Promise<void> {
    const { record } = entry;
    entry.phase = 'removing';
    await realize.withdraw(record.id);
    await at('withdrawn');
    await datapath.unwire({ id: record.id, hostInterface: record.hostInterface });
    await at('unwired');
    try {
      store.remove(record);
    } catch (cause) {
      // The pod is off the network, which is what DEL promises. Its addresses wait until the record can be removed too:
      // a record that outlives its addresses would claim them from their next owner after a restart.
      log.error('the record cannot be removed; its addresses stay taken until it can', { ...named(entry), cause });
      return;
    }
    await at('record removed');
    pool.release(record.addresses, attachmentKey(record), entry.isAdmitted ? realize.told?.() : undefined);
    registry.delete(entry);
    await at('freed');
  }

  /** False if there was nothing. With `only`, nothing but that very entry: a name may have a new owner by now. */
  async function del(key: AttachmentKey, why: string, only?: Entry): Promise<boolean> {
    const name = attachmentKey(key);
    return withinDeadline(`removal of ${name}`, { ms: options.deleteDeadlineMs, clock }, async (progress) => {
      progress.doing = 'waiting for an earlier request of the same container';
      return exclusive(name, async () => {
        const entry = registry.find(key);
        if (!entry || (only && entry !== only)) return false;
        progress.doing = 'removing the interface pair and its policy';
        await remove(entry);
        counted.removed += 1;
        log.info('endpoint removed', { ...named(entry), why });
        return true;
      });
    });
  }

  /** Removes each; goes on after errors. Returns how many went, and the first error. */
  async function reclaim(entries: readonly Entry[], why: string): Promise<{ count: number; failure: unknown }> {
    let count = 0;
    let failure: unknown;
    for (const entry of entries) {
      try {
        if (await del(entry.record, why, entry)) count += 1;
      } catch (cause) {
        failure ??= cause;
        log.error('an endpoint could not be reclaimed; tried again', { ...named(entry), why, cause });
      }
    }
    counted.reclaimed += count;
    return { count, failure };
  }

  async function vanished(): Promise<Entry[]> {
    const all = registry.all();
    const ready = all.filter(({ phase }) => phase === 'ready').map(({ record }) => record);
    const gone = await findGone(ready, options);
    return all.filter(({ phase, record }) => phase === 'removing' || (phase === 'ready' && gone.has(record.id)));
  }

  return {
    async add(request) {
      const name = attachmentKey(request);
      const startMs = clock.nowMs();
      const cancel = new AbortController();
      let outcome: 'ok' | ErrorCode = 'ok';
      try {
        const limit = { ms: options.addDeadlineMs, clock, cancel: cancel.signal };
        const added = await withinDeadline(`ADD of ${name}`, limit, async (progress) => {
          progress.doing = 'waiting for an earlier request of the same container';
          return exclusive(name, async () => {
            running.set(name, cancel);
            try {
              return await add(request, progress);
            } finally {
              running.delete(name);
            }
          });
        });
        counted.added += 1;
        log.info('endpoint added', named({ record: added.record }));
        return added;
      } catch (cause) {
        const error = asWeirError(cause, 'ADD');
        outcome = error.code;
        counted.addFailures[outcome] = (counted.addFailures[outcome] ?? 0) + 1;
        throw error;
      } finally {
        options.onAdded?.((clock.nowMs() - startMs) / 1000, outcome);
      }
    },
    async del(key) {
      const cause = new WeirError('CNI_TRY_AGAIN', 'ADD', 'the container was deleted while it was being added');
      running.get(attachmentKey(key))?.abort(cause);
      await del(key, 'DEL');
    },
    async check(request) {
      const entry = registry.find(request);
      if (entry?.phase !== 'ready') {
        const message = `container ${request.containerId} has no interface ${request.interfaceName} here`;
        throw new WeirError('CNI_UNKNOWN_CONTAINER', 'CHECK', message);
      }
      const { record } = entry;
      const moved =
        record.netns === request.netns ? [] : [`CNI_NETNS is ${request.netns}, at ADD it was ${record.netns}`];
      return [...moved, ...(await datapath.check(wiringOf(record, 0)))];
    },
    async gc(network, valid) {
      const listed = new Set(valid.map(attachmentKey));
      const unlisted = registry
        .all()
        .filter(
          ({ record, phase }) => phase !== 'adding' && record.network === network && !listed.has(attachmentKey(record)),
        );
      const { count, failure } = await reclaim(unlisted, 'not listed by GC');
      if (failure) throw asWeirError(failure, 'GC');
      return count;
    },
    async restore() {
      const restored = await restoreEndpoints(registry, options);
      counted.reclaimed += restored.dropped.length;
      return restored;
    },
    async collect() {
      return (await reclaim(await vanished(), 'namespace or device gone')).count;
    },
    find: (key) => registry.find(key)?.record,
    list: () =>
      registry
        .all()
        .filter(({ phase }) => phase === 'ready')
        .map(({ record }) => record),
    counters() {
      const all = registry.all();
      const ready = all.filter(({ phase }) => phase === 'ready').length;
      return { ready, changing: all.length - ready, ...counted, addFailures: { ...counted.addFailures } };
    },
  };
}

function named({ record }: Pick<Entry, 'record'>): Record<string, unknown> {
  const { id, containerId, interfaceName, namespace, podName, addresses } = record;
  return { endpoint: id, container: `${containerId}/${interfaceName}`, pod: `${namespace}/${podName}`, addresses };
}
