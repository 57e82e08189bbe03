/**
 * What the rest of the agent sees of the Kubernetes API: verbs over paths, with raw JSON objects. Knows no Weir types.
 * Paths come from path.ts; errors are ApiErrors (api-error.ts) with a code that says whether trying again can help.
 */
import type { Lease, LeaseOptions } from './lease.ts';
import type { Watch, WatchOptions } from './watch.ts';

export interface ObjectMeta {
  readonly name: string;
  readonly namespace?: string;
  readonly uid?: string;
  readonly resourceVersion?: string;
  readonly generation?: number;
  readonly creationTimestamp?: string;
  readonly deletionTimestamp?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly ownerReferences?: readonly OwnerReference[];
  readonly finalizers?: readonly string[];
}

export interface OwnerReference {
  readonly apiVersion: string;
  readonly kind: string;
  readonly name: string;
  readonly uid: string;
  readonly controller?: boolean;
  readonly blockOwnerDeletion?: boolean;
}

/** Any object of the API, as it came, without metadata.managedFields. */
export interface KubernetesObject {
  readonly apiVersion?: string;
  readonly kind?: string;
  readonly metadata: ObjectMeta;
}

/** Which objects of a collection. The syntax is the API's: `spec.nodeName=node-1`, `app in (a,b)`. */
export interface Selectors {
  readonly fieldSelector?: string;
  readonly labelSelector?: string;
}

export interface CallOptions {
  readonly signal?: AbortSignal;
  /** The whole call, with its retries, takes at most this long, milliseconds; 30,000 by default. */
  readonly deadlineMs?: number;
}

export interface ObjectList<T> {
  readonly items: T[];
  /** As of which version of the collection: a watch goes on from here. */
  readonly resourceVersion: string;
}

/** What must still be so for a deletion to happen; else API_CONFLICT. */
export interface Preconditions {
  readonly uid?: string;
  readonly resourceVersion?: string;
}

export interface Patch {
  /** merge: RFC 7386. apply: server-side apply, `body` is the whole object as its manager wants it. json: RFC 6902. */
  readonly type: 'merge' | 'apply' | 'json';
  readonly body: unknown;
  /** Who owns the fields; needed for apply. "weir" by default. */
  readonly fieldManager?: string;
  /** apply: take fields over from other managers. */
  readonly force?: boolean;
}

/**
 * The verbs. All calls share one rate limit; 429 is retried after what the server asks for; 401 once with credentials read
 * anew. Rejections are ApiErrors.
 */
export interface KubernetesClient {
  /** The API server, for messages: "https://10.96.0.1:443". */
  readonly server: string;
  get<T = KubernetesObject>(objectPath: string, options?: CallOptions): Promise<T>;
  /** All objects, asked for in pages. */
  list<T = KubernetesObject>(collectionPath: string, options?: CallOptions & Selectors): Promise<ObjectList<T>>;
  /** API_EXISTS when there is one of that name. */
  create<T>(collectionPath: string, object: T, options?: CallOptions): Promise<T>;
  /** Replaces the object; API_CONFLICT when its metadata.resourceVersion is not the present one. */
  update<T>(objectPath: string, object: T, options?: CallOptions): Promise<T>;
  patch<T = KubernetesObject>(objectPath: string, patch: Patch, options?: CallOptions): Promise<T>;
  /** NOT_FOUND when there is none; API_CONFLICT when a precondition does not hold. */
  remove(objectPath: string, preconditions?: Preconditions, options?: CallOptions): Promise<void>;
  /** Keeps a collection up to date until the signal aborts; begins at once. */
  watch<T extends KubernetesObject>(options: WatchOptions<T>): Watch;
  /** Takes part in the election for a Lease until the signal aborts. */
  elect(options: LeaseOptions): Lease;
}
