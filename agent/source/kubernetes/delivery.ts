/**
 * From what a watch tells to what the sink is told: reads each object, leaves out what changed nothing the agent reads (a
 * kubelet's heartbeat, a condition that we wrote ourselves), and keeps what was in force when an object cannot be read. Pure.
 */
import { hash } from 'node:crypto';
import type { KubernetesObject } from '../../kubernetes/client.ts';
import type { WatchChange } from '../../kubernetes/watch.ts';
import { type Origin, type Problem, refKey, type SourceChange } from '../../model/object.ts';
import type { Collection } from './collections.ts';

export interface Delivered {
  readonly changes: SourceChange[];
  /** Places whose problems are different now, with all of them. */
  readonly problems: ReadonlyMap<string, readonly Problem[]>;
}

/** Where kubectl keeps the whole object once more. */
const LAST_APPLIED = 'kubectl.kubernetes.io/last-applied-configuration';

export class Delivery {
  readonly #collection: Collection;
  /** What was delivered of each object, by place. */
  readonly #delivered = new Map<
    string,
    { readonly change: SourceChange & { type: 'delete' }; readonly fingerprint: string }
  >();
  /** Places with problems. */
  readonly #troubled = new Set<string>();

  constructor(collection: Collection) {
    this.#collection = collection;
  }

  take(changes: readonly WatchChange<KubernetesObject>[]): Delivered {
    const out = { changes: [] as SourceChange[], problems: new Map<string, readonly Problem[]>() };
    for (const change of changes) {
      if (change.type === 'upsert') this.#upsert(change.object, out);
      else this.#remove(change.ref.namespace, change.ref.name, change.ref.uid, out);
    }
    return out;
  }

  /** The collection itself is gone, and everything in it. */
  clear(): Delivered {
    const changes = [...this.#delivered.values()].map(({ change }) => change);
    const problems = new Map([...this.#troubled].map((place) => [place, []]));
    this.#delivered.clear();
    this.#troubled.clear();
    return { changes, problems };
  }

  #upsert(object: KubernetesObject, out: { changes: SourceChange[]; problems: Map<string, readonly Problem[]> }): void {
    const { name, namespace = '', uid = '' } = object.metadata;
    const place = refKey(this.#collection.refOf(namespace, name, uid));
    if (this.#collection.kind === 'Document') strip(object);
    const reading = this.#collection.read(object, originAt(place));
    if (reading.problems.length > 0 || this.#troubled.delete(place)) out.problems.set(place, reading.problems);
    if (reading.problems.length > 0) this.#troubled.add(place);
    // An object that cannot be read keeps what it had in force.
    if (!reading.object) return;
    const fingerprint = hash('sha1', JSON.stringify([reading.object.ref.uid, reading.object.value], plain), 'base64');
    if (this.#delivered.get(place)?.fingerprint === fingerprint) return;
    const { kind, ref } = reading.object;
    this.#delivered.set(place, { change: { type: 'delete', kind, ref }, fingerprint });
    out.changes.push({ type: 'upsert', object: reading.object });
  }

  #remove(
    namespace: string,
    name: string,
    uid: string,
    out: { changes: SourceChange[]; problems: Map<string, readonly Problem[]> },
  ): void {
    const place = refKey(this.#collection.refOf(namespace, name, uid));
    const delivered = this.#delivered.get(place);
    this.#delivered.delete(place);
    if (delivered) out.changes.push(delivered.change);
    if (this.#troubled.delete(place)) out.problems.set(place, []);
  }
}

/** An object of the API has no lines. */
function originAt(place: string): Origin {
  return { place, line: () => undefined };
}

/** What says nothing about a policy and is often most of it. `metadata.generation` stays: it names what status is said of. */
function strip(object: KubernetesObject): void {
  const { metadata } = object as {
    metadata: { resourceVersion?: string; annotations?: Record<string, string> };
    status?: unknown;
  };
  delete (object as { status?: unknown }).status;
  delete metadata.resourceVersion;
  if (metadata.annotations) delete metadata.annotations[LAST_APPLIED];
}

/** Maps and big integers stand in some values. */
function plain(_key: string, value: unknown): unknown {
  if (typeof value === 'bigint') return value.toString();
  return value instanceof Map ? [...value] : value;
}
