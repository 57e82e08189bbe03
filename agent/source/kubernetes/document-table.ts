/** The policy documents of the cluster as far as writing their status needs them: names, versions, conditions. */
import type { KubernetesObject } from '../../kubernetes/client.ts';
import type { Resource } from '../../kubernetes/path.ts';
import type { WatchChange } from '../../kubernetes/watch.ts';
import type { ObjectRef } from '../../model/object.ts';
import type { Collection } from './collections.ts';

/** metav1.Condition. */
export interface Condition {
  readonly type: string;
  readonly status: string;
  readonly reason?: string;
  readonly message?: string;
  readonly lastTransitionTime?: string;
  readonly observedGeneration?: number;
}

export interface TrackedDocument {
  readonly resource: Resource;
  readonly ref: ObjectRef;
  readonly generation: number;
  readonly resourceVersion: string;
  /** Undefined: its kind has none. */
  readonly conditions: readonly Condition[] | undefined;
}

export class DocumentTable {
  readonly #byCollection = new Map<Collection, Map<string, TrackedDocument>>();
  #onChange = (): void => {};

  /** Everything that is tracked now. */
  all(): TrackedDocument[] {
    return [...this.#byCollection.values()].flatMap((documents) => [...documents.values()]);
  }

  /** One listener: the writer of conditions while there is one. */
  listen(onChange: () => void): void {
    this.#onChange = onChange;
  }

  take(collection: Collection, changes: readonly WatchChange<KubernetesObject>[]): void {
    const documents = this.#byCollection.get(collection) ?? new Map<string, TrackedDocument>();
    this.#byCollection.set(collection, documents);
    for (const change of changes) {
      const { name, namespace = '' } = change.type === 'upsert' ? change.object.metadata : change.ref;
      const key = `${namespace}/${name}`;
      if (change.type === 'upsert') documents.set(key, track(collection, change.object));
      else documents.delete(key);
    }
    this.#onChange();
  }

  /** The collection is gone. */
  clear(collection: Collection): void {
    this.#byCollection.delete(collection);
  }
}

function track(collection: Collection, object: KubernetesObject): TrackedDocument {
  const { name, namespace = '', uid = '', generation = 0, resourceVersion = '' } = object.metadata;
  const written = (object as { status?: { conditions?: unknown } }).status?.conditions;
  const conditions = Array.isArray(written) ? (written as Condition[]) : [];
  return {
    resource: collection.resource,
    ref: collection.refOf(namespace, name, uid),
    generation,
    resourceVersion,
    conditions: collection.hasConditions ? conditions : undefined,
  };
}
