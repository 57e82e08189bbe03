/**
 * Makes the number of a label set certain, against the API server:
 *
 *     known to the cluster    claim its number, then read it: it is there, so it stays (collect-identities.ts says why)
 *     new                     take a number, which claims it, then create the object; who finds it made takes that one
 */
import { WeirError } from '../errors.ts';
import type { KubernetesClient } from '../kubernetes/client.ts';
import { collectionPath, objectPath } from '../kubernetes/path.ts';
import type { IdentityNumber } from '../model/identity.ts';
import { formatLabels, type Labels, labelsKey } from '../model/labels.ts';
import type { Clock } from '../run/clock.ts';
import { isCode } from './api-codes.ts';
import {
  IDENTITIES,
  type IdentityObject,
  identityName,
  identityObject,
  labelsOf,
  UNUSED_ANNOTATION,
} from './objects.ts';
import type { OwnRecord } from './own-record.ts';
import type { Tickets } from './tickets.ts';

export interface NumberLabelsOptions {
  readonly client: Pick<KubernetesClient, 'get' | 'create' | 'patch'>;
  readonly record: Pick<OwnRecord, 'claim'>;
  readonly tickets: Pick<Tickets, 'take' | 'settle'>;
  readonly clock: Clock;
  readonly signal: AbortSignal;
}

export interface NumberLabels {
  /** @param seen what the watch has of it. Undefined: all numbers are taken. */
  obtain(labels: Labels, seen: IdentityObject | undefined): Promise<IdentityNumber | undefined>;
  /** As obtain(), for a set that has a number that was claimed all the time: its object is made again if somebody removed it. */
  restore(labels: Labels, number: IdentityNumber): Promise<IdentityNumber | undefined>;
  /** Sent to the API server less than `graceMs` ago, with an unknown outcome: the number must stay claimed. */
  isSent(number: IdentityNumber, graceMs: number): boolean;
  /** Their claims were gone for a while: what was sent with them is looked up again, not sent again. */
  forget(numbers: ReadonlySet<IdentityNumber>): void;
}

/** Tries for one label set when others create and collect it at the same time. */
const TRIES = 10;

export function createNumberLabels(options: NumberLabelsOptions): NumberLabels {
  const { client, record, tickets, clock, signal } = options;
  /** Sent to be created, outcome unknown. The number is for these labels only, or two sets could have it. */
  const sent = new Map<string, { readonly number: IdentityNumber; readonly atMs: number }>();

  const pathOf = (name: string): string => objectPath(IDENTITIES, '', name);
  const read = (name: string): Promise<IdentityObject | undefined> =>
    client.get<IdentityObject>(pathOf(name), { signal }).catch((cause: unknown) => {
      if (!isCode(cause, 'NOT_FOUND')) throw cause;
      return undefined;
    });

  /** Claims first, and only then makes sure that it is there: from then on it stays. Undefined: it is not, or not as seen. */
  async function adopt(number: IdentityNumber, labels: Labels): Promise<IdentityNumber | undefined> {
    await record.claim([number]);
    const object = await read(identityName(labels));
    if (object?.spec.number !== number) return undefined;
    if (labelsKey(labelsOf(object)) !== labelsKey(labels)) throw forged(object, labels);
    const isDoomed = object.metadata.annotations?.[UNUSED_ANNOTATION] !== undefined;
    return !isDoomed || (await rescue(object)) ? number : undefined;
  }

  /** The collector may be about to remove it, and must see that somebody came. False: it is gone, or has changed. */
  async function rescue({ metadata }: IdentityObject): Promise<boolean> {
    const { name, uid, resourceVersion } = metadata;
    const body = { metadata: { uid, resourceVersion, annotations: { [UNUSED_ANNOTATION]: null } } };
    try {
      await client.patch(pathOf(name), { type: 'merge', body }, { signal });
      return true;
    } catch (cause) {
      if (isCode(cause, 'NOT_FOUND', 'API_CONFLICT')) return false;
      throw cause;
    }
  }

  /** Creates the object; what is there instead when somebody else was faster; undefined when that has gone again. */
  async function create(number: IdentityNumber, labels: Labels): Promise<IdentityNumber | IdentityObject | undefined> {
    const key = labelsKey(labels);
    sent.set(key, { number, atMs: clock.nowMs() });
    try {
      await client.create(collectionPath(IDENTITIES), identityObject(number, labels), { signal });
    } catch (cause) {
      if (!isCode(cause, 'API_EXISTS')) throw cause;
      const object = await read(identityName(labels));
      if (object) settle(key, number, object.spec.number === number);
      return object;
    }
    settle(key, number, true);
    return number;
  }

  function settle(key: string, number: IdentityNumber, isUsed: boolean): void {
    sent.delete(key);
    tickets.settle(number, isUsed);
  }

  async function numberFor(labels: Labels): Promise<IdentityNumber | undefined> {
    const before = sent.get(labelsKey(labels));
    if (!before) return tickets.take();
    await record.claim([before.number]);
    return before.number;
  }

  async function obtain(labels: Labels, seen: IdentityObject | undefined): Promise<IdentityNumber | undefined> {
    let number = seen?.spec.number;
    for (let tries = 0; tries < TRIES; tries++) {
      if (number !== undefined) {
        const adopted = await adopt(number, labels);
        if (adopted !== undefined) return adopted;
        number = (await read(identityName(labels)))?.spec.number;
        if (number !== undefined) continue;
      }
      const fresh = await numberFor(labels);
      if (fresh === undefined) return undefined;
      const made = await create(fresh, labels);
      if (typeof made === 'number') return made;
      number = made?.spec.number;
    }
    const name = identityName(labels);
    throw new WeirError('BUSY', 'number a label set', `identity ${name} comes and goes; try again`);
  }

  return {
    obtain,
    async restore(labels, number) {
      const object = await read(identityName(labels));
      if (object) return obtain(labels, object);
      const made = await create(number, labels);
      return typeof made === 'number' ? made : obtain(labels, made);
    },
    forget(numbers) {
      for (const [key, { number }] of sent) if (numbers.has(number)) sent.delete(key);
    },
    isSent(number, graceMs) {
      for (const [key, one] of sent) {
        // Too long ago to be under way, and nobody asks again: the number is used or never will be.
        if (clock.nowMs() - one.atMs >= graceMs) settle(key, one.number, true);
        else if (one.number === number) return true;
      }
      return false;
    },
  };
}

function forged({ metadata }: IdentityObject, labels: Labels): WeirError {
  const message = `WeirIdentity ${metadata.name} has other labels than its name stands for; expected ${formatLabels(labels).join(', ')}: remove it`;
  return new WeirError('API_REFUSED', 'number a label set', message);
}
