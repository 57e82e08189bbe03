/**
 * Numbers for new identities, taken from the WeirIdentityRange a few at a time.
 *
 * Why no two agents use one number, without a lock: who has tickets first claims their numbers (own-record.ts) and then reads
 * the range; who moves the range on a whole lap later first writes the range and then reads all claims and identities.
 * Whichever came second sees the other and takes other numbers. While the claim stands that stays so.
 */
import { WeirError } from '../errors.ts';
import type { NumberRange } from '../identity/allocate.ts';
import type { KubernetesClient } from '../kubernetes/client.ts';
import { collectionPath, objectPath } from '../kubernetes/path.ts';
import type { IdentityNumber } from '../model/identity.ts';
import type { Clock } from '../run/clock.ts';
import { isCode } from './api-codes.ts';
import { chooseTickets, isCurrent, isFirstLap, numberOf, sizeOf, type Ticket } from './number-range.ts';
import {
  API_VERSION,
  IDENTITIES,
  type IdentityObject,
  RANGE_NAME,
  RANGES,
  type RangeObject,
  RECORDS,
  type RecordObject,
} from './objects.ts';
import type { OwnRecord } from './own-record.ts';

/** Numbers taken at once: new label sets mostly come alone or a few together; what a restart loses is small. */
const BLOCK = 8;
/** Tries when other agents were faster, or callers took a block before us. */
const TRIES = 20;

export interface TicketsOptions {
  readonly client: Pick<KubernetesClient, 'get' | 'list' | 'create' | 'update'>;
  readonly record: Pick<OwnRecord, 'claim'>;
  readonly range: NumberRange;
  readonly clock: Clock;
  /** Numbers in use as far as is known: only spares tries, and may be old. */
  readonly isTaken: (number: IdentityNumber) => boolean;
  readonly signal: AbortSignal;
}

export interface Tickets {
  /** A number that no label set has and nobody else will use while it is claimed, and it is. Undefined: all are taken. */
  take(): Promise<IdentityNumber | undefined>;
  /** What became of a number from take(): used, so that it is the identity's now, or certainly not, so that it can be taken again. */
  settle(number: IdentityNumber, isUsed: boolean): void;
  /** Numbers held for later, or given out and not settled: their claims are to stay. */
  held(): IdentityNumber[];
  /** Leaves numbers that were not needed for so long to others. */
  expire(graceMs: number): void;
  /** Their claims were gone for a while: somebody else may have them. */
  forget(numbers: ReadonlySet<IdentityNumber>): void;
}

export function createTickets(options: TicketsOptions): Tickets {
  const { client, record, range, clock, isTaken, signal } = options;
  const path = objectPath(RANGES, '', RANGE_NAME);
  /** Claimed, and seen to be ours. */
  let pool: { readonly number: IdentityNumber; readonly sinceMs: number }[] = [];
  const given = new Set<IdentityNumber>();
  let taking: Promise<boolean> | undefined;

  const readRange = (): Promise<RangeObject | undefined> =>
    client.get<RangeObject>(path, { signal }).catch((cause: unknown) => {
      if (!isCode(cause, 'NOT_FOUND')) throw cause;
      return undefined;
    });

  async function moveOn(): Promise<Ticket[] | undefined> {
    const before = await readRange();
    const chosen = chooseTickets(before?.spec.next ?? (await firstTicket()), BLOCK, isTaken, range);
    if (chosen.tickets.length === 0) return [];
    const spec = { next: chosen.next };
    try {
      if (before) await client.update(path, { ...before, spec }, { signal });
      else {
        const object = { apiVersion: API_VERSION, kind: 'WeirIdentityRange', metadata: { name: RANGE_NAME }, spec };
        await client.create(collectionPath(RANGES), object, { signal });
      }
    } catch (cause) {
      // NOT_FOUND: somebody removed it just now; the next try makes it anew.
      if (isCode(cause, 'API_CONFLICT', 'API_EXISTS', 'NOT_FOUND')) return undefined;
      throw cause;
    }
    return chosen.tickets;
  }

  /** Somebody may have removed the range: then nothing is known of the first lap any more, and all is looked up as on later ones. */
  async function firstTicket(): Promise<Ticket> {
    return (await inUse()).size === 0 ? range.first : range.last + 1;
  }

  /** Fills the pool; false when all numbers are taken. */
  async function takeBlock(): Promise<boolean> {
    for (let tries = 0; tries < TRIES; tries++) {
      const tickets = await moveOn();
      if (tickets === undefined) continue;
      if (tickets.length === 0) return (await inUse()).size < sizeOf(range) ? Promise.reject(busy()) : false;
      const used = tickets.every((ticket) => isFirstLap(ticket, range)) ? undefined : await inUse();
      const free = tickets.filter((ticket) => isFirstLap(ticket, range) || !used?.has(numberOf(ticket, range)));
      const ours = await secure(free);
      pool.push(...ours.map((number) => ({ number, sinceMs: clock.nowMs() })));
      if (ours.length > 0) return true;
      if (used && used.size >= sizeOf(range)) return false;
    }
    throw busy();
  }

  /** Claims the numbers; those that nobody else can have got meanwhile. */
  async function secure(tickets: readonly Ticket[]): Promise<IdentityNumber[]> {
    if (tickets.length === 0) return [];
    await record.claim(tickets.map((ticket) => numberOf(ticket, range)));
    const now = await readRange();
    // A range that is gone is a person's doing: what was taken from it proves nothing any more.
    const current = tickets.filter((ticket) => now && isCurrent(ticket, now.spec.next, range));
    return current.map((ticket) => numberOf(ticket, range));
  }

  /** Claims first: a claim is given up only when the identity exists, so whoever moves from one to the other is seen. */
  async function inUse(): Promise<Set<IdentityNumber>> {
    const records = await client.list<RecordObject>(collectionPath(RECORDS), { signal });
    const identities = await client.list<IdentityObject>(collectionPath(IDENTITIES), { signal });
    const used = new Set<IdentityNumber>();
    for (const { spec } of records.items) for (const number of spec.identities ?? []) used.add(number);
    for (const { spec } of identities.items) used.add(spec.number);
    return used;
  }

  return {
    async take() {
      for (let tries = 0; tries < TRIES; tries++) {
        const one = pool.shift();
        if (one) {
          given.add(one.number);
          return one.number;
        }
        taking ??= takeBlock().finally(() => {
          taking = undefined;
        });
        if (!(await taking)) return undefined;
      }
      throw busy();
    },
    settle(number, isUsed) {
      if (given.delete(number) && !isUsed) pool.push({ number, sinceMs: clock.nowMs() });
    },
    held: () => [...pool.map(({ number }) => number), ...given],
    expire(graceMs) {
      pool = pool.filter(({ sinceMs }) => clock.nowMs() - sinceMs < graceMs);
    },
    forget(numbers) {
      pool = pool.filter(({ number }) => !numbers.has(number));
      for (const number of numbers) given.delete(number);
    },
  };
}

function busy(): WeirError {
  return new WeirError(
    'BUSY',
    'take identity numbers',
    'other agents are taking identity numbers at the same time; try again',
  );
}
