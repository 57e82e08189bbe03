/**
 * Which objects of a collection were told, and in which version: what a list or an event changes about that. Pure. Holds no
 * objects, only their names, uids and versions.
 */
import type { KubernetesObject } from './client.ts';
import type { WatchChange, WatchedRef } from './watch.ts';

interface Known {
  readonly ref: WatchedRef;
  readonly version: string;
}

/** An event that cannot be in the order the API server promises: only a new list says what is. */
export class OutOfOrder extends Error {}

/** True if `version` is not newer than `than`. Versions of etcd are numbers; others cannot be compared and count as newer. */
export function isNotNewer(version: string, than: string): boolean {
  if (!/^\d+$/.test(version) || !/^\d+$/.test(than)) return false;
  return BigInt(version) <= BigInt(than);
}

export class KnownObjects<T extends KubernetesObject> {
  readonly #known = new Map<string, Known>();
  #seen = new Set<string>();

  get size(): number {
    return this.#known.size;
  }

  /** A list begins, or begins again. */
  startList(): void {
    this.#seen = new Set();
  }

  /** Part of the list that was begun. A list is always believed: after a restored backup versions go back. */
  listed(items: readonly T[]): WatchChange<T>[] {
    return items.flatMap((object) => {
      const key = keyOf(object);
      this.#seen.add(key);
      return this.#put(key, object);
    });
  }

  /** The list is complete: what it did not have is gone. */
  endList(): WatchChange<T>[] {
    const gone = [...this.#known].filter(([key]) => !this.#seen.has(key));
    this.#seen = new Set();
    for (const [key] of gone) this.#known.delete(key);
    return gone.map(([, { ref }]) => ({ type: 'delete', ref }));
  }

  /** Everything is gone. */
  clear(): WatchChange<T>[] {
    this.startList();
    return this.endList();
  }

  /**
   * An event of a watch. What is known in that version or a later one is left alone, so that duplicates and late comers change
   * nothing. Throws OutOfOrder where a version from before `latest` would bring an object back that may have been deleted since:
   * one that is not known, also where another of its name is.
   * @param latest the newest version this watch has seen
   */
  event(type: 'ADDED' | 'MODIFIED' | 'DELETED', object: T, latest: string): WatchChange<T>[] {
    const key = keyOf(object);
    const known = this.#known.get(key);
    const version = object.metadata.resourceVersion ?? '';
    if (type === 'DELETED') {
      // Of an object that made room for another of its name: that one stays.
      if (!known || known.ref.uid !== (object.metadata.uid ?? '') || isOlder(version, known.version)) return [];
      this.#known.delete(key);
      return [{ type: 'delete', ref: known.ref }];
    }
    if (known && isNotNewer(version, known.version)) return [];
    if (known?.ref.uid !== (object.metadata.uid ?? '') && isNotNewer(version, latest)) {
      throw new OutOfOrder(`${key} in version ${version} after version ${latest}`);
    }
    return this.#put(key, object);
  }

  #put(key: string, object: T): WatchChange<T>[] {
    const before = this.#known.get(key);
    const { name, namespace = '', uid = '', resourceVersion: version = '' } = object.metadata;
    if (before && before.ref.uid === uid && before.version === version) return [];
    this.#known.set(key, { ref: { namespace, name, uid }, version });
    const upsert: WatchChange<T> = { type: 'upsert', object };
    return before && before.ref.uid !== uid ? [{ type: 'delete', ref: before.ref }, upsert] : [upsert];
  }
}

function isOlder(version: string, than: string): boolean {
  return version !== than && isNotNewer(version, than);
}

function keyOf({ metadata: { name, namespace = '' } }: KubernetesObject): string {
  return `${namespace}/${name}`;
}
