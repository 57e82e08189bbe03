/**
 * The Kubernetes API as a source. A watch for each kind; kinds that come with a CRD are watched while that CRD is there.
 * `synced` is told when the first lists of all of them are complete, and never before.
 */
import { ApiError } from '../../kubernetes/api-error.ts';
import type { KubernetesClient, KubernetesObject } from '../../kubernetes/client.ts';
import { collectionPath } from '../../kubernetes/path.ts';
import type { Watch, WatchChange, WatchState } from '../../kubernetes/watch.ts';
import type { Problem } from '../../model/object.ts';
import { type Clock, systemClock } from '../../run/clock.ts';
import type { Logger } from '../../run/log.ts';
import type { Sink, Source } from '../source.ts';
import { type Collection, CRDS, collectionsOf } from './collections.ts';
import { type Delivered, Delivery } from './delivery.ts';
import type { DocumentTable } from './document-table.ts';

export interface KubernetesSourceOptions {
  readonly client: KubernetesClient;
  /** The Node whose pods are watched. */
  readonly nodeName: string;
  /** More to watch beside Pods, Services and policies: what nodes publish (agent/cluster). */
  readonly collections?: readonly Collection[];
  /** Is told every version of every document, for status conditions and events; absent: nobody writes any. */
  readonly documents?: DocumentTable;
  readonly log: Logger;
  readonly clock?: Clock;
}

export interface KubernetesSource extends Source {
  /** How each watch is doing, for metrics and status. */
  watches(): WatchState[];
}

/**
 * A CRD that is there but does not serve the version that is read: after so long its kind no longer holds up the others. Until
 * then the API server may just not have come to it.
 */
const UNSERVED_MS = 10_000;

export function kubernetesSource(options: KubernetesSourceOptions): KubernetesSource {
  let running: Watching | undefined;
  return {
    name: `Kubernetes ${options.client.server}`,
    async run(sink, signal) {
      running = new Watching(options, sink, signal);
      await running.run();
    },
    watches: () => running?.states() ?? [],
  };
}

/** One collection while it is watched. */
interface Running {
  readonly watch: Watch;
  readonly stop: AbortController;
  readonly delivery: Delivery;
  cancelUnserved(): void;
}

class Watching {
  readonly #options: KubernetesSourceOptions;
  readonly #sink: Sink;
  readonly #signal: AbortSignal;
  readonly #clock: Clock;
  readonly #collections: readonly Collection[];
  readonly #running = new Map<Collection, Running>();
  /** First lists that are still awaited. */
  readonly #awaited = new Set<Collection | 'CRDs'>(['CRDs']);
  /** CRDs that are there, by name. */
  readonly #crds = new Set<string>();
  #crdWatch: Watch | undefined;
  /** Rejects when something here is broken for good. */
  readonly #broken = Promise.withResolvers<void>();
  /** Paths of which a trouble was told. */
  readonly #troubled = new Set<string>();
  readonly #ending = new Set<Promise<void>>();
  #synced = false;

  constructor(options: KubernetesSourceOptions, sink: Sink, signal: AbortSignal) {
    this.#options = options;
    this.#sink = sink;
    this.#signal = signal;
    this.#clock = options.clock ?? systemClock;
    this.#collections = [...collectionsOf(options.nodeName), ...(options.collections ?? [])];
  }

  states(): WatchState[] {
    const watches = [...this.#running.values()].map(({ watch }) => watch);
    return [...(this.#crdWatch ? [this.#crdWatch] : []), ...watches].map((watch) => watch.state());
  }

  async run(): Promise<void> {
    if (this.#signal.aborted) return;
    for (const collection of this.#collections) {
      if (collection.crd === undefined) this.#start(collection);
    }
    this.#crdWatch = this.#options.client.watch({
      path: collectionPath(CRDS),
      metadataOnly: true, // Their schemas are large, and others' are many.
      signal: this.#signal,
      onChanges: (changes) => this.#takeCrds(changes),
      onSynced: () => this.#arrived('CRDs'),
      onTrouble: (error) => this.#trouble(collectionPath(CRDS), error),
    });
    this.#follow(this.#crdWatch.stopped);
    const aborted = new Promise<void>((resolve) =>
      this.#signal.addEventListener('abort', () => resolve(), { once: true }),
    );
    await Promise.race([aborted, this.#broken.promise]);
    for (const running of this.#running.values()) running.cancelUnserved();
    await Promise.allSettled(this.#ending);
  }

  /** Waits for it at the end; fails with it at once. */
  #follow(stopped: Promise<void>): void {
    this.#ending.add(stopped);
    stopped.then(() => this.#ending.delete(stopped), this.#broken.reject);
  }

  #start(collection: Collection): void {
    const path = collectionPath(collection.resource);
    const stop = new AbortController();
    const onAbort = (): void => stop.abort(this.#signal.reason);
    this.#signal.addEventListener('abort', onAbort, { once: true });
    if (!this.#synced) this.#awaited.add(collection);
    const delivery = new Delivery(collection);
    let cancelUnserved = (): void => {};
    const { fieldSelector, labelSelector } = collection;
    const watch = this.#options.client.watch<KubernetesObject>({
      path,
      ...(fieldSelector === undefined ? {} : { fieldSelector }),
      ...(labelSelector === undefined ? {} : { labelSelector }),
      signal: stop.signal,
      onChanges: (changes) => {
        // First: what is delivered of a document has no status any more.
        if (collection.kind === 'Document') this.#options.documents?.take(collection, changes);
        this.#deliver(delivery.take(changes));
      },
      onSynced: () => this.#arrived(collection),
      onTrouble: (error) => {
        cancelUnserved();
        if (error?.code !== 'NOT_FOUND' || collection.crd === undefined) this.#trouble(path, error);
        else cancelUnserved = this.#clock.after(UNSERVED_MS, () => this.#unserved(collection));
      },
    });
    this.#running.set(collection, { watch, stop, delivery, cancelUnserved: () => cancelUnserved() });
    this.#follow(watch.stopped.finally(() => this.#signal.removeEventListener('abort', onAbort)));
  }

  #unserved(collection: Collection): void {
    const path = collectionPath(collection.resource);
    const message = `the CRD ${collection.crd} does not serve ${collection.resource.apiVersion}: nothing of this kind is in force`;
    this.#trouble(path, new ApiError('NOT_FOUND', `GET ${path}`, message));
    this.#arrived(collection);
  }

  /** The CRD is gone, and with it, by the API server's own doing, all objects of its kind. */
  #stop(collection: Collection): void {
    const running = this.#running.get(collection);
    if (!running) return;
    this.#running.delete(collection);
    running.cancelUnserved();
    running.stop.abort(new Error(`the CRD ${collection.crd} is gone`));
    this.#options.documents?.clear(collection);
    const path = collectionPath(collection.resource);
    if (this.#troubled.delete(path)) this.#sink.problems(placeOf(path), []);
    this.#deliver(running.delivery.clear());
    this.#arrived(collection);
  }

  #takeCrds(changes: readonly WatchChange<KubernetesObject>[]): void {
    for (const change of changes) {
      const name = change.type === 'upsert' ? change.object.metadata.name : change.ref.name;
      const was = this.#crds.has(name);
      const is = change.type === 'upsert';
      if (was === is) continue;
      if (is) this.#crds.add(name);
      else this.#crds.delete(name);
      for (const collection of this.#collections.filter(({ crd }) => crd === name)) {
        this.#options.log.info(is ? 'its CRD is there: watching' : 'its CRD is gone: nothing of it is in force', {
          crd: name,
        });
        if (is) this.#start(collection);
        else this.#stop(collection);
      }
    }
  }

  #deliver({ changes, problems }: Delivered): void {
    if (this.#signal.aborted) return;
    for (const [place, list] of problems) this.#sink.problems(place, list);
    if (changes.length > 0) this.#sink.change(changes);
  }

  #arrived(what: Collection | 'CRDs'): void {
    if (!this.#awaited.delete(what) || this.#awaited.size > 0 || this.#synced || this.#signal.aborted) return;
    this.#synced = true;
    this.#sink.synced();
  }

  /** When the API server is away all watches fail alike: the log says so once. */
  #trouble(path: string, error: ApiError | undefined): void {
    if (this.#signal.aborted || (!error && !this.#troubled.has(path))) return;
    const { log } = this.#options;
    const place = placeOf(path);
    if (error) {
      const level = this.#troubled.size === 0 || !error.retryable ? 'warn' : 'debug';
      this.#troubled.add(path);
      log[level](`${place} does not work; trying again`, { cause: error });
    } else {
      this.#troubled.delete(path);
      if (this.#troubled.size === 0) log.info('watching the API server works again');
    }
    this.#sink.problems(place, error ? [problemOf(place, error)] : []);
  }
}

function placeOf(path: string): string {
  return `watching ${path}`;
}

function problemOf(place: string, error: ApiError): Problem {
  return { severity: 'error', code: 'unreachable', message: error.message, path: [], place, line: undefined };
}
