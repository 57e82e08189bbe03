/** The cluster's identities as the watch tells of them: maybe old, never asked for what must be certain. */
import type { WatchChange } from '../kubernetes/watch.ts';
import type { IdentityNumber } from '../model/identity.ts';
import type { IdentityObject } from './objects.ts';

export interface KnownIdentities {
  take(changes: readonly WatchChange<IdentityObject>[]): void;
  get(name: string): IdentityObject | undefined;
  hasNumber(number: IdentityNumber): boolean;
  values(): Iterable<IdentityObject>;
  readonly size: number;
}

export function createKnownIdentities(): KnownIdentities {
  const byName = new Map<string, IdentityObject>();
  /** How many objects name the number: two only if somebody wrote one by hand. */
  const numbers = new Map<IdentityNumber, number>();
  const count = (object: IdentityObject | undefined, by: 1 | -1): void => {
    if (!object) return;
    const left = (numbers.get(object.spec.number) ?? 0) + by;
    if (left > 0) numbers.set(object.spec.number, left);
    else numbers.delete(object.spec.number);
  };
  return {
    take(changes) {
      for (const change of changes) {
        const name = change.type === 'upsert' ? change.object.metadata.name : change.ref.name;
        count(byName.get(name), -1);
        if (change.type === 'delete') byName.delete(name);
        else byName.set(name, change.object);
        count(byName.get(name), 1);
      }
    },
    get: (name) => byName.get(name),
    hasNumber: (number) => numbers.has(number),
    values: () => byName.values(),
    get size() {
      return byName.size;
    },
  };
}
