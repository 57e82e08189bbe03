/** A collection of the API kept up to date: list, then watch, for as long as the signal allows. */
import type { ApiError } from './api-error.ts';
import type { KubernetesObject, Selectors } from './client.ts';

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
  /**
   * What is different now, in order. An object that is the same as when it was last told is not told again; one that was
   * replaced by another of the same name is told as a deletion and an upsert. No deletion before `onSynced`.
   */
  onChanges(changes: readonly WatchChange<T>[]): void;
  /** The first list is complete and was told; called once. */
  onSynced(): void;
  /** Something failed and is tried again; for the log. The same failure in a row is told once. */
  onTrouble?(error: ApiError): void;
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
  /** Watches that were given up because nothing came. */
  readonly stalls: number;
  readonly bytes: number;
  /** Why it does not work right now; undefined while it does. */
  readonly trouble: ApiError | undefined;
}

export interface Watch {
  state(): WatchState;
  /** Resolves when the signal has aborted and nothing will be told any more. */
  readonly stopped: Promise<void>;
}
