/** A collection of the API kept up to date: list, then watch, for as long as the signal allows. */
import { type BackoffTimes, backoffMs } from '../run/backoff.ts';
import { type Clock, systemClock } from '../run/clock.ts';
import { ApiError, errorOfAnswer, unreachable } from './api-error.ts';
import type { KubernetesObject, Selectors } from './client.ts';
import { isNotNewer, KnownObjects, OutOfOrder } from './known-objects.ts';
import { LineSplitter, LineTooLong } from './lines.ts';
import { acceptOf, listPages, presentVersion, withQuery } from './list.ts';
import { sleep } from './rate-limit.ts';
import type { Transport } from './transport.ts';
import { readEvent, Unreadable } from './watch-event.ts';

/** One object of a collection. `namespace` is '' for cluster-wide kinds. */
export interface WatchedRef {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
}

export type WatchChange<T> =
  | { readonly type: 'upsert'; readonly object: T }
  | { readonly type: 'delete'; readonly ref: WatchedRef };

export interface WatchOptions<T extends KubernetesObject> extends Selectors {
  /** The collection, from path.ts. */
  readonly path: string;
  /** Only metadata of the objects is wanted: for kinds that are large. */
  readonly metadataOnly?: boolean;
  /**
   * What is different now, in order. An object that is the same as when it was last told is not told again; one that was
   * replaced by another of the same name is told as a deletion and an upsert. Must not throw: that ends the watch.
   */
  onChanges(changes: readonly WatchChange<T>[]): void;
  /** The first list is complete and was told; called once. */
  onSynced(): void;
  /** Something failed and is tried again, or works again (undefined); for the log. The same failure in a row is told once. */
  onTrouble?(error: ApiError | undefined): void;
  readonly signal: AbortSignal;
}

/** How a watch is doing, for metrics and status. */
export interface WatchState {
  readonly path: string;
  readonly synced: boolean;
  readonly objects: number;
  /** Seconds since the API server last said anything here, be it a bookmark. */
  readonly ageSeconds: number;
  /** Lists asked for in full, the first one included. */
  readonly lists: number;
  /** Watches opened. */
  readonly watches: number;
  /** Lines that could not be understood; each led to a new list. */
  readonly unreadable: number;
  /** Watches that were opened anew because nothing came. */
  readonly stalls: number;
  /** What the watches brought; lists are not counted. */
  readonly bytes: number;
  /** Why it does not work right now; undefined while it does. */
  readonly trouble: ApiError | undefined;
}

export interface Watch {
  state(): WatchState;
  /** Resolves when the signal has aborted and nothing will be told any more; rejects with what `onChanges` threw. */
  readonly stopped: Promise<void>;
}

/** All in milliseconds. */
export interface WatchTimes {
  /** Waits after failures in a row. */
  readonly backoff: BackoffTimes;
  /**
   * A watch on which nothing comes for so long is opened anew. The API server sends a bookmark every minute, but none for a
   * kind of which it has seen nothing since its start, where etcd notifies of no progress: so this is no failure by itself.
   */
  readonly stallMs: number;
  /** The collection is listed again after so long, in case an event was lost on the way. */
  readonly relistMs: number;
  /** For a page of a list, and the beginning of a watch. */
  readonly answerMs: number;
}

export const WATCH_TIMES: WatchTimes = {
  backoff: { firstMs: 500, maxMs: 10_000 },
  stallMs: 90_000,
  relistMs: 3_600_000,
  answerMs: 60_000,
};

/** The server ends a watch after this many seconds, up to twice as many, at random: not all nodes at once. As client-go does. */
const WATCH_SECONDS = 300;
/** A list that was made only in case an event was lost, and failed, is tried again after this. */
const RELIST_RETRY_MS = 60_000;
/** A watch that lived so long was no failure, however it ended. */
const HEALTHY_MS = 10_000;

export interface WatchParts {
  readonly transport: Transport;
  readonly times?: Partial<WatchTimes>;
  readonly clock?: Clock;
  readonly random?: () => number;
}

export function startWatch<T extends KubernetesObject>(options: WatchOptions<T>, parts: WatchParts): Watch {
  const watched = new Watched(options, parts);
  return { state: () => watched.state(), stopped: watched.run() };
}

class Watched<T extends KubernetesObject> {
  readonly #options: WatchOptions<T>;
  readonly #transport: Transport;
  readonly #times: WatchTimes;
  readonly #clock: Clock;
  readonly #random: () => number;
  readonly #known = new KnownObjects<T>();
  /** From where a watch goes on; undefined: a list is needed. */
  #version: string | undefined;
  #synced = false;
  #heardMs: number;
  #relistAtMs = 0;
  #lists = 0;
  #watches = 0;
  #unreadable = 0;
  #stalls = 0;
  #bytes = 0;
  #trouble: ApiError | undefined;

  constructor(options: WatchOptions<T>, parts: WatchParts) {
    this.#options = options;
    this.#transport = parts.transport;
    this.#times = { ...WATCH_TIMES, ...parts.times };
    this.#clock = parts.clock ?? systemClock;
    this.#random = parts.random ?? Math.random;
    this.#heardMs = this.#clock.nowMs();
  }

  state(): WatchState {
    return {
      path: this.#options.path,
      synced: this.#synced,
      objects: this.#known.size,
      ageSeconds: (this.#clock.nowMs() - this.#heardMs) / 1000,
      lists: this.#lists,
      watches: this.#watches,
      unreadable: this.#unreadable,
      stalls: this.#stalls,
      bytes: this.#bytes,
      trouble: this.#trouble,
    };
  }

  async run(): Promise<void> {
    const { signal } = this.#options;
    let failures = 0;
    while (!signal.aborted) {
      const startMs = this.#clock.nowMs();
      try {
        if (this.#version === undefined) await this.#list();
        else if (startMs >= this.#relistAtMs) await this.#listAgain();
        const watchStartMs = this.#clock.nowMs();
        if (await this.#watch()) await this.#compareVersions();
        // The server ended it, which is usual; one that ends at once each time must not become a storm.
        failures = this.#clock.nowMs() - watchStartMs < HEALTHY_MS ? failures + 1 : 0;
      } catch (cause) {
        if (signal.aborted) return;
        if (cause instanceof Told) throw cause.cause;
        if (this.#clock.nowMs() - startMs >= HEALTHY_MS) failures = 0;
        failures++;
        const trouble = this.#judge(cause);
        // A version that was forgotten is nobody's trouble: a new list follows.
        if (trouble.code !== 'API_GONE') this.#note(trouble);
      }
      if (failures === 0) continue;
      const waitMs = Math.max(backoffMs(failures, this.#times.backoff, this.#random), this.#trouble?.retryAfterMs ?? 0);
      await sleep(waitMs, this.#clock, signal).catch(() => {}); // Aborted: the loop ends.
    }
  }

  /** What failed, and whether a watch can go on from where it was. */
  #judge(cause: unknown): ApiError {
    const { path } = this.#options;
    if (cause instanceof Unreadable || cause instanceof LineTooLong || cause instanceof OutOfOrder) {
      this.#unreadable++;
      this.#version = undefined;
      const message = `watching ${path}: ${cause.message}; listing again`;
      return new ApiError('API_UNREACHABLE', `WATCH ${path}`, message, { cause });
    }
    const error = cause instanceof ApiError ? cause : unreachable(`WATCH ${path}`, cause);
    // 410 Gone; and what says that our question is wrong will not become right by asking it again.
    if (error.code === 'API_GONE' || error.code === 'API_REFUSED') this.#version = undefined;
    return error;
  }

  #note(trouble: ApiError | undefined): void {
    const isNew = this.#trouble?.message !== trouble?.message;
    this.#trouble = trouble;
    if (isNew) this.#options.onTrouble?.(trouble);
  }

  #tell(changes: readonly WatchChange<T>[]): void {
    if (changes.length === 0 || this.#options.signal.aborted) return;
    try {
      this.#options.onChanges(changes);
    } catch (error) {
      throw new Told(error);
    }
  }

  async #list(): Promise<void> {
    const { signal } = this.#options;
    this.#lists++;
    let version = '';
    const request = { ...this.#options, pageDeadlineMs: this.#times.answerMs };
    for await (const page of listPages<T>(this.#transport, request)) {
      signal.throwIfAborted();
      if (page.isFirst) this.#known.startList();
      this.#heardMs = this.#clock.nowMs();
      version = page.resourceVersion;
      this.#tell(this.#known.listed(page.items));
    }
    this.#tell(this.#known.endList());
    this.#version = version;
    this.#relistAtMs = this.#clock.nowMs() + this.#times.relistMs * (1 - this.#random() / 4);
    this.#note(undefined);
    if (this.#synced || signal.aborted) return;
    this.#synced = true;
    this.#options.onSynced();
  }

  /** In case an event was lost. Where that fails, what is known goes on being watched. */
  async #listAgain(): Promise<void> {
    try {
      await this.#list();
    } catch (cause) {
      if (cause instanceof Told || this.#options.signal.aborted) throw cause;
      const trouble = this.#judge(cause);
      if (this.#version === undefined) throw cause;
      this.#note(trouble);
      this.#relistAtMs = this.#clock.nowMs() + RELIST_RETRY_MS;
    }
  }

  /**
   * A watch that is silent may be one from a version of the future: after etcd was restored from a backup the API server takes
   * it, and leaves out all that happens until it comes to that version again.
   */
  async #compareVersions(): Promise<void> {
    const present = await presentVersion(this.#transport, { ...this.#options, pageDeadlineMs: this.#times.answerMs });
    if (this.#version !== undefined && present !== this.#version && isNotNewer(present, this.#version)) {
      this.#version = undefined;
    }
  }

  /** True when the server said nothing any more, false when it ended the watch; rejects with everything else. */
  async #watch(): Promise<boolean> {
    const { path, fieldSelector, labelSelector, metadataOnly, signal } = this.#options;
    const query = {
      fieldSelector,
      labelSelector,
      watch: 'true',
      allowWatchBookmarks: 'true',
      resourceVersion: this.#version,
      timeoutSeconds: String(Math.round(WATCH_SECONDS * (1 + this.#random()))),
    };
    const accept = acceptOf(metadataOnly, false);
    const deadlineMs = this.#times.answerMs;
    const stream = await this.#transport.stream({
      method: 'GET',
      path: withQuery(path, query),
      accept,
      signal,
      deadlineMs,
    });
    const end = (why: unknown): void => {
      stream.destroy(why instanceof Error ? why : new Error(String(why)));
    };
    const onAbort = (): void => end(signal.reason);
    let cancelStall = (): void => {};
    let isStalled = false;
    const heard = (): void => {
      this.#heardMs = this.#clock.nowMs();
      cancelStall();
      cancelStall = this.#clock.after(this.#times.stallMs, () => {
        isStalled = true;
        end('nothing came any more');
      });
    };
    this.#watches++;
    signal.addEventListener('abort', onAbort, { once: true });
    heard();
    this.#note(undefined);
    try {
      if (signal.aborted) throw signal.reason;
      const lines = new LineSplitter();
      for await (const chunk of stream) {
        heard();
        this.#bytes += (chunk as Buffer).length;
        this.#events(lines.push(chunk as Buffer));
      }
    } catch (error) {
      if (!isStalled) throw error;
      this.#stalls++;
    } finally {
      cancelStall();
      signal.removeEventListener('abort', onAbort);
      stream.destroy();
    }
    return isStalled;
  }

  /** The events that came together are told together, also those before one that cannot be understood. */
  #events(lines: readonly string[]): void {
    const changes: WatchChange<T>[] = [];
    try {
      for (const line of lines) {
        const event = readEvent<T>(line);
        if (event.type === 'ERROR') throw errorOfAnswer(`WATCH ${this.#options.path}`, 0, event.status);
        if (event.type !== 'BOOKMARK') {
          changes.push(...this.#known.event(event.type, event.object, this.#version ?? ''));
        }
        if (this.#version === undefined || !isNotNewer(event.version, this.#version)) this.#version = event.version;
      }
    } finally {
      this.#tell(changes);
    }
  }
}

/** Carries what a listener threw past the retries. */
class Told extends Error {
  constructor(cause: unknown) {
    super('the listener of a watch threw', { cause });
  }
}
