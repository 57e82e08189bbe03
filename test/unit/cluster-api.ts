/**
 * An API server in memory, for what agent/cluster/ asks of one: versions, preconditions, and watches that tell as late as the
 * test wants. Calls wait in `calls` until the test lets them happen, loses their answer, or lets them fail; with
 * `settleAll()` they happen at once.
 */
import { setImmediate as turn } from 'node:timers/promises';
import { ApiError } from '../../agent/kubernetes/api-error.ts';
import type {
  KubernetesClient,
  KubernetesObject,
  ObjectMeta,
  Patch,
  Preconditions,
} from '../../agent/kubernetes/client.ts';
import type { WatchChange, WatchOptions } from '../../agent/kubernetes/watch.ts';

// biome-ignore lint/suspicious/noExplicitAny: objects of every kind
type Any = any;
type Stored = KubernetesObject & Record<string, Any>;
type Event = { readonly path: string; readonly type: 'upsert' | 'delete'; readonly object: Stored };

export interface Call {
  /** Whose client: a name given to client(). */
  readonly by: string;
  readonly what: string;
  /** It happens and is answered. */
  answer(): void;
  /** It happens, but the answer is lost. */
  loseAnswer(): void;
  /** It does not happen. */
  fail(): void;
}

export interface FakeWatch {
  readonly by: string;
  readonly path: string;
  /** How much it has not told yet. */
  behind(): number;
  /** Tells the next events, at most so many; the first time: the list as it is now. */
  tell(most?: number): void;
}

export class FakeApi {
  readonly objects = new Map<string, Map<string, Stored>>();
  readonly events: Event[] = [];
  calls: Call[] = [];
  watches: FakeWatch[] = [];
  /** All calls that happened, by verb and collection: "update weirnodes" -> how often. */
  readonly counts = new Map<string, number>();
  /** Called after everything that changed an object. */
  onChange: (event: Event) => void = () => {};
  #version = 0;
  #uids = 0;

  /** The objects of a collection, as they are. */
  all<T = Stored>(collection: string): T[] {
    return [...(this.objects.get(collection)?.values() ?? [])] as T[];
  }

  one<T = Stored>(path: string): T | undefined {
    const [collection, name] = split(path);
    return this.objects.get(collection)?.get(name) as T | undefined;
  }

  // ---- what a server does

  create(collection: string, object: Any): Stored {
    const { name } = object.metadata;
    if (this.objects.get(collection)?.has(name)) throw refused('API_EXISTS', 409, `${collection}/${name} exists`);
    const metadata = { ...object.metadata, uid: `uid-${++this.#uids}`, creationTimestamp: stamp(this.#uids) };
    return this.#put(collection, { ...structuredClone(object), metadata });
  }

  update(path: string, object: Any): Stored {
    const [collection, name, part] = split(path);
    const before = this.#get(path);
    check(before, object.metadata);
    const next = part === 'status' ? { ...before, status: object.status } : { ...object, status: before.status };
    return this.#put(collection, { ...structuredClone(next), metadata: kept(before, object.metadata, name) });
  }

  patch(path: string, { type, body }: Patch): Stored {
    const [collection, name, part] = split(path);
    const before = this.#get(path);
    const wanted = body as Any;
    check(before, wanted.metadata ?? {});
    const next = type === 'apply' ? applyConditions(before, wanted) : merge(before, wanted);
    const object = part === 'status' ? { ...before, status: next.status } : next;
    return this.#put(collection, { ...object, metadata: kept(before, object.metadata, name) });
  }

  remove(path: string, preconditions: Preconditions = {}): void {
    const [collection, name] = split(path);
    const before = this.#get(path);
    check(before, preconditions);
    this.objects.get(collection)?.delete(name);
    this.#version++;
    this.#tell({ path: collection, type: 'delete', object: before });
  }

  #get(path: string): Stored {
    const found = this.one(path);
    if (!found) throw refused('NOT_FOUND', 404, `${path} is not there`);
    return found;
  }

  /** As the real one: an object that is written as it is gets no new version, and nobody is told. */
  #put(collection: string, object: Stored): Stored {
    const before = this.objects.get(collection)?.get(object.metadata.name);
    const bare = ({ metadata, ...rest }: Stored): string =>
      JSON.stringify([rest, { ...metadata, resourceVersion: undefined }]);
    if (before && bare(before) === bare(object)) return before;
    const stored = { ...object, metadata: { ...object.metadata, resourceVersion: String(++this.#version) } };
    const all = this.objects.get(collection) ?? new Map<string, Stored>();
    this.objects.set(collection, all);
    all.set(stored.metadata.name, stored);
    this.#tell({ path: collection, type: 'upsert', object: stored });
    return stored;
  }

  #tell(event: Event): void {
    this.events.push(event);
    this.onChange(event);
  }

  // ---- how agents see it

  client(by: string): KubernetesClient {
    const call = <T>(verb: string, path: string, options: { signal?: AbortSignal } | undefined, work: () => T) => {
      const done = Promise.withResolvers<T>();
      const what = `${verb} ${path}`;
      const end = (settle: () => void) => () => {
        this.calls = this.calls.filter((one) => one !== entry);
        settle();
      };
      const happen = (): { value: T } | { error: unknown } => {
        const [collection] = split(path);
        const counted = `${verb} ${(verb === 'list' || verb === 'create' ? path : collection).split('/').at(-1)}`;
        this.counts.set(counted, (this.counts.get(counted) ?? 0) + 1);
        try {
          return { value: structuredClone(work()) };
        } catch (error) {
          return { error };
        }
      };
      const entry: Call = {
        by,
        what,
        answer: end(() => {
          const result = happen();
          if ('value' in result) done.resolve(result.value);
          else done.reject(result.error);
        }),
        loseAnswer: end(() => {
          happen();
          done.reject(refused('API_UNREACHABLE', 0, `${what}: the answer was lost`));
        }),
        fail: end(() => done.reject(refused('API_UNREACHABLE', 0, `${what}: no connection`))),
      };
      this.calls.push(entry);
      // The agent has ended: nobody waits, but the call may still happen.
      options?.signal?.addEventListener('abort', () => done.reject(refused('API_UNREACHABLE', 0, 'aborted')));
      return done.promise as Promise<Any>;
    };
    return {
      server: 'fake',
      get: (path, options) => call('get', path, options, () => this.#get(path)),
      list: (path, options) =>
        call('list', path, options, () => ({
          items: this.all(path).filter((object) => matches(object, options ?? {})),
          resourceVersion: String(this.#version),
        })),
      create: (path, object, options) => call('create', path, options, () => this.create(path, object)),
      update: (path, object, options) => call('update', path, options, () => this.update(path, object)),
      patch: (path, patch, options) => call('patch', path, options, () => this.patch(path, patch)),
      remove: (path, preconditions, options) => call('remove', path, options, () => this.remove(path, preconditions)),
      watch: (options) => this.#watch(by, options as WatchOptions<Any>),
      close: () => {},
      elect: () => {
        throw new Error('no elections here');
      },
    };
  }

  #watch(by: string, options: WatchOptions<Any>) {
    const { path, signal } = options;
    let position = -1;
    const watch: FakeWatch = {
      by,
      path,
      behind: () => (position < 0 ? 1 : this.events.length - position),
      tell: (most = Number.POSITIVE_INFINITY) => {
        if (position < 0) {
          position = this.events.length;
          const upserts = this.all(path).map((object) => ({
            type: 'upsert' as const,
            object: structuredClone(object),
          }));
          options.onChanges(upserts.filter(({ object }) => matches(object, options)));
          options.onSynced();
          return;
        }
        const end = Math.min(this.events.length, position + most);
        const events = this.events.slice(position, end).filter((event) => event.path === path);
        position = end;
        const changes = events
          .filter(({ object }) => matches(object, options))
          .map(({ type, object }): WatchChange<Any> => {
            const { namespace = '', name, uid = '' } = object.metadata;
            if (type === 'delete') return { type, ref: { namespace, name, uid } };
            return { type, object: structuredClone(object) };
          });
        if (changes.length > 0) options.onChanges(changes);
      },
    };
    this.watches.push(watch);
    signal.addEventListener('abort', () => {
      this.watches = this.watches.filter((one) => one !== watch);
    });
    const state = () => {
      throw new Error('not here');
    };
    return { state, stopped: Promise.resolve() };
  }

  /** Everything that waits happens, in order, and what that leads to, until nothing does. */
  async settleAll(): Promise<void> {
    for (let quiet = 0; quiet < 3; ) {
      await turn();
      const calls = [...this.calls];
      const late = this.watches.filter((watch) => watch.behind() > 0);
      quiet = calls.length + late.length > 0 ? 0 : quiet + 1;
      for (const one of calls) one.answer();
      for (const one of late) one.tell();
    }
  }
}

/** "/apis/g/v/plural/name/status" -> collection, name, "status". */
function split(path: string): [collection: string, name: string, part: string] {
  const part = path.endsWith('/status') ? 'status' : '';
  const object = part === '' ? path : path.slice(0, -'/status'.length);
  const cut = object.lastIndexOf('/');
  return [object.slice(0, cut), object.slice(cut + 1), part];
}

function refused(code: 'API_EXISTS' | 'NOT_FOUND' | 'API_CONFLICT' | 'API_UNREACHABLE', status: number, text: string) {
  return new ApiError(code, 'fake', text, { status });
}

function check({ metadata }: Stored, wanted: { uid?: string | undefined; resourceVersion?: string | undefined }): void {
  for (const field of ['uid', 'resourceVersion'] as const) {
    if (wanted[field] !== undefined && wanted[field] !== metadata[field])
      throw refused('API_CONFLICT', 409, `${metadata.name}: ${field} is ${metadata[field]}, not ${wanted[field]}`);
  }
}

function kept(before: Stored, metadata: ObjectMeta, name: string): ObjectMeta {
  const { uid = '', creationTimestamp = '' } = before.metadata;
  return { ...metadata, name, uid, creationTimestamp };
}

function stamp(second: number): string {
  return new Date(Date.UTC(2026, 0, 1) + second * 1000).toISOString().replace('.000', '');
}

/** RFC 7386. */
function merge(target: Any, patch: Any): Any {
  if (typeof patch !== 'object' || patch === null || Array.isArray(patch)) return patch;
  const out = typeof target === 'object' && target !== null && !Array.isArray(target) ? { ...target } : {};
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) delete out[key];
    else out[key] = merge(out[key], value);
  }
  return out;
}

/** Server-side apply, of what is applied here: a Node's conditions, each by its type. */
function applyConditions(before: Any, wanted: Any): Any {
  const applied = wanted.status.conditions as { type: string }[];
  const others = (before.status?.conditions ?? []).filter(({ type }: Any) => applied.every((one) => one.type !== type));
  return { ...before, status: { ...before.status, conditions: [...others, ...applied] } };
}

function matches(object: Stored, { fieldSelector, labelSelector }: { fieldSelector?: string; labelSelector?: string }) {
  const [field, value] = fieldSelector?.split('=') ?? [];
  if (field === 'metadata.name' && object.metadata.name !== value) return false;
  if (field === 'spec.nodeName' && object.spec?.nodeName !== value) return false;
  const [key = '', wanted] = labelSelector?.split('=') ?? [];
  return labelSelector === undefined || object.metadata.labels?.[key] === wanted;
}
