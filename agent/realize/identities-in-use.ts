/** Which identities pods here have, and the labels of those and of former ones. Tells the engine when the first comes and the last goes. */
import { FIRST_POD_IDENTITY, type IdentityNumber, RESERVED } from '../model/identity.ts';
import type { Labels } from '../model/labels.ts';
import type { Engine } from '../policy/engine.ts';

/** Numbers for label sets; see identity/. */
export interface IdentityNumbers {
  /** The number of the label set, durable before it is returned when it is new. One more user of it. */
  acquire(labels: Labels): Promise<IdentityNumber>;
  /** One user fewer. */
  release(labels: Labels): void;
}

export interface IdentitiesInUse extends Pick<IdentityNumbers, 'acquire'> {
  release(identity: IdentityNumber, labels: Labels): void;
  /** The cluster has this identity: pods of other nodes may have it, also before any pod here. */
  learn(identity: IdentityNumber, labels: Labels): void;
  unlearn(identity: IdentityNumber): void;
  /** Also of identities nobody has any more: events may still name them, and numbers are not used again soon. */
  readonly labels: ReadonlyMap<IdentityNumber, Labels>;
  /** With the number of pods that have them; not the reserved ones. */
  readonly users: ReadonlyMap<IdentityNumber, number>;
}

/** Label sets remembered for events when nobody has them any more. */
const FORMER_MAX = 4096;

export function createIdentitiesInUse(
  numbers: IdentityNumbers,
  engine: Pick<Engine, 'upsertIdentity' | 'removeIdentity'>,
): IdentitiesInUse {
  const users = new Map<IdentityNumber, number>();
  const learned = new Set<IdentityNumber>();
  const labelsOf = new Map<IdentityNumber, Labels>(RESERVED.map(({ number, labels }) => [number, labels]));
  /** In the order in which they were given up. */
  const former = new Set<IdentityNumber>();

  function giveUp(identity: IdentityNumber): void {
    engine.removeIdentity(identity);
    former.add(identity);
    const [oldest] = former;
    if (former.size <= FORMER_MAX || oldest === undefined) return;
    former.delete(oldest);
    labelsOf.delete(oldest);
  }

  return {
    users,
    labels: labelsOf,
    async acquire(labels) {
      const identity = await numbers.acquire(labels);
      // No number was free: denied by default. `init` keeps its own labels, or this pod's policies would select all of init.
      if (identity < FIRST_POD_IDENTITY) return identity;
      users.set(identity, (users.get(identity) ?? 0) + 1);
      labelsOf.set(identity, labels);
      former.delete(identity);
      engine.upsertIdentity(identity, labels);
      return identity;
    },
    release(identity, labels) {
      if (identity < FIRST_POD_IDENTITY) return;
      numbers.release(labels);
      const left = (users.get(identity) ?? 1) - 1;
      if (left > 0) {
        users.set(identity, left);
        return;
      }
      users.delete(identity);
      if (!learned.has(identity)) giveUp(identity);
    },
    learn(identity, labels) {
      if (identity < FIRST_POD_IDENTITY) return;
      learned.add(identity);
      labelsOf.set(identity, labels);
      former.delete(identity);
      engine.upsertIdentity(identity, labels);
    },
    unlearn(identity) {
      if (learned.delete(identity) && !users.has(identity)) giveUp(identity);
    },
  };
}
