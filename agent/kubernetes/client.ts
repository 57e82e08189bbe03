/**
 * What the rest of the agent sees of the Kubernetes API: verbs over paths, with raw JSON objects. Knows no Weir types.
 * Paths come from path.ts; errors are ApiErrors (api-error.ts) with a code that says whether trying again can help.
 */
import { type Clock, systemClock } from '../run/clock.ts';
import { ApiError } from './api-error.ts';
import type { Connection } from './connection.ts';
import { joinElection, type Lease, type LeaseOptions, type LeaseTimes } from './lease.ts';
import { dropManagedFields, listPages } from './list.ts';
import { createRateLimit } from './rate-limit.ts';
import { type ApiRequest, createTransport } from './transport.ts';
import { startWatch, type Watch, type WatchOptions, type WatchTimes } from './watch.ts';

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
  /** Closes idle connections. Watches end by their signals. */
  close(): void;
}

export interface ClientOptions {
  readonly connection: Connection;
  /** Calls a second in the long run, and at once after a quiet time; 50 and 100 by default, as a kubelet's. */
  readonly rate?: { readonly perSecond: number; readonly burst: number };
  readonly watchTimes?: Partial<WatchTimes>;
  readonly leaseTimes?: Partial<LeaseTimes>;
  readonly clock?: Clock;
  readonly random?: () => number;
}

const DEADLINE_MS = 30_000;
const FIELD_MANAGER = 'weir';
const PATCH_TYPES: Readonly<Record<Patch['type'], string>> = {
  merge: 'application/merge-patch+json',
  apply: 'application/apply-patch+yaml', // JSON is YAML
  json: 'application/json-patch+json',
};

export function createClient(options: ClientOptions): KubernetesClient {
  const { connection, random = Math.random } = options;
  const clock = options.clock ?? systemClock;
  const rateLimit = createRateLimit({ perSecond: 50, burst: 100, ...options.rate, clock });
  const transport = createTransport({ connection, rateLimit, clock });

  async function call<T>(request: Omit<ApiRequest, 'deadlineMs' | 'signal'>, limits: CallOptions = {}): Promise<T> {
    const { signal, deadlineMs = DEADLINE_MS } = limits;
    const answer = await transport.json({ ...request, signal, deadlineMs });
    dropManagedFields(answer as KubernetesObject);
    return answer as T;
  }

  const client: KubernetesClient = {
    server: connection.server.href.replace(/\/$/, ''),
    get: (path, limits) => call({ method: 'GET', path }, limits),
    async list<T = KubernetesObject>(
      path: string,
      { signal, deadlineMs = DEADLINE_MS, ...selectors }: CallOptions & Selectors = {},
    ) {
      const untilMs = clock.nowMs() + deadlineMs;
      let list: ObjectList<T> = { items: [], resourceVersion: '' };
      for await (const page of listPages<T & KubernetesObject>(transport, {
        path,
        ...selectors,
        signal,
        pageDeadlineMs: deadlineMs,
      })) {
        list = {
          items: page.isFirst ? page.items : [...list.items, ...page.items],
          resourceVersion: page.resourceVersion,
        };
        if (clock.nowMs() >= untilMs)
          throw new ApiError('TIMEOUT', `GET ${path}`, `GET ${path}: not all pages came within ${deadlineMs} ms`);
      }
      return list;
    },
    create: (path, body, limits) => call({ method: 'POST', path, body }, limits),
    update: (path, body, limits) => call({ method: 'PUT', path, body }, limits),
    patch(path, { type, body, fieldManager = FIELD_MANAGER, force }, limits) {
      const query = new URLSearchParams({ fieldManager, ...(type === 'apply' && force ? { force: 'true' } : {}) });
      return call({ method: 'PATCH', path: `${path}?${query}`, body, contentType: PATCH_TYPES[type] }, limits);
    },
    async remove(path, preconditions, limits) {
      const body = { kind: 'DeleteOptions', apiVersion: 'v1', ...(preconditions ? { preconditions } : {}) };
      await call({ method: 'DELETE', path, body }, limits);
    },
    watch: (watched) =>
      startWatch(watched, { transport, clock, random, ...(options.watchTimes ? { times: options.watchTimes } : {}) }),
    elect: (lease) =>
      joinElection(lease, { client, clock, random, ...(options.leaseTimes ? { times: options.leaseTimes } : {}) }),
    close: () => transport.close(),
  };
  return client;
}
