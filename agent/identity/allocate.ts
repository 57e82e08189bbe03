/**
 * Which number a set of labels has. Pure bookkeeping: no clock, no disk; store.ts makes it durable.
 *
 * A set has one number and a number one set. Numbers are given in ascending order and the search goes on behind the
 * last one given, so a number that was given up comes back only after the whole range was used (a packet or an event
 * under way must not meet its new owner). A set that nobody uses keeps its number until it is forgotten.
 */
import { FIRST_POD_IDENTITY, type Identity, type IdentityNumber, LAST_POD_IDENTITY } from '../model/identity.ts';
import { type Labels, labelsKey } from '../model/labels.ts';

/** What the journal holds: facts that, replayed in order, give the same table. */
export type IdentityRecord =
  | { readonly assign: IdentityNumber; readonly labels: readonly (readonly [string, string])[] }
  | { readonly forget: IdentityNumber }
  /** The last number given, first in a rewritten journal. */
  | { readonly last: IdentityNumber };

interface Entry extends Identity {
  readonly key: string;
  users: number;
  /** When the last user left, on the caller's clock; undefined while there are users. */
  unusedSinceMs: number | undefined;
}

export interface NumberRange {
  readonly first: IdentityNumber;
  readonly last: IdentityNumber;
}
export const POD_RANGE: NumberRange = { first: FIRST_POD_IDENTITY, last: LAST_POD_IDENTITY };

export interface IdentityTable {
  /** One user more for the labels. Undefined: they have no number and none is free. */
  acquire(labels: Labels): { readonly identity: Identity; readonly isNew: boolean } | undefined;
  /** One user fewer; the number stays reserved. Labels without a number are no error: the table was full when they came. */
  release(labels: Labels, nowMs: number): void;
  /** Forgets sets that nobody has used for that long. */
  forgetUnused(nowMs: number, graceMs: number): IdentityRecord[];
  find(labels: Labels): Identity | undefined;
  get(number: IdentityNumber): Identity | undefined;
  users(number: IdentityNumber): number;
  /** In the order of their numbers. */
  list(): Identity[];
  readonly size: number;
  /** Records that rebuild this table. */
  snapshot(): IdentityRecord[];
}

/**
 * A table from the records of a journal. Nothing has users yet: whoever lives says so within the grace.
 * @param skip how many numbers to leave out behind the last one known, for records that were lost
 */
export function replayIdentities(
  records: Iterable<IdentityRecord>,
  nowMs: number,
  skip = 0,
  range: NumberRange = POD_RANGE,
): IdentityTable {
  const table = new Table(range);
  for (const record of records) table.replay(record, nowMs);
  table.skip(skip);
  return table;
}

class Table implements IdentityTable {
  readonly #range: NumberRange;
  readonly #byKey = new Map<string, Entry>();
  readonly #byNumber = new Map<IdentityNumber, Entry>();
  #last: IdentityNumber;

  constructor(range: NumberRange) {
    this.#range = range;
    this.#last = range.first - 1;
  }

  acquire(labels: Labels): { identity: Identity; isNew: boolean } | undefined {
    const key = labelsKey(labels);
    const known = this.#byKey.get(key);
    if (known) {
      known.users++;
      known.unusedSinceMs = undefined;
      return { identity: known, isNew: false };
    }
    const number = this.#nextFree();
    if (number === undefined) return undefined;
    const entry: Entry = { number, labels, key, users: 1, unusedSinceMs: undefined };
    this.#put(entry);
    this.#last = number;
    return { identity: entry, isNew: true };
  }

  release(labels: Labels, nowMs: number): void {
    const entry = this.#byKey.get(labelsKey(labels));
    if (!entry || entry.users === 0) return;
    entry.users--;
    if (entry.users === 0) entry.unusedSinceMs = nowMs;
  }

  forgetUnused(nowMs: number, graceMs: number): IdentityRecord[] {
    const records: IdentityRecord[] = [];
    for (const entry of this.#byNumber.values()) {
      if (entry.unusedSinceMs === undefined || nowMs - entry.unusedSinceMs < graceMs) continue;
      this.#remove(entry);
      records.push({ forget: entry.number });
    }
    return records;
  }

  find(labels: Labels): Identity | undefined {
    return this.#byKey.get(labelsKey(labels));
  }

  get(number: IdentityNumber): Identity | undefined {
    return this.#byNumber.get(number);
  }

  users(number: IdentityNumber): number {
    return this.#byNumber.get(number)?.users ?? 0;
  }

  list(): Identity[] {
    return [...this.#byNumber.values()].sort((a, b) => a.number - b.number);
  }

  get size(): number {
    return this.#byNumber.size;
  }

  snapshot(): IdentityRecord[] {
    const assignments = [...this.#byNumber.values()].map(assignment);
    // After the assignments: each of them moves "last" when it is replayed.
    return [...assignments, { last: this.#last }];
  }

  replay(record: IdentityRecord, nowMs: number): void {
    if ('last' in record) {
      this.#last = record.last;
    } else if ('forget' in record) {
      const entry = this.#byNumber.get(record.forget);
      if (entry) this.#remove(entry);
    } else if (this.#inRange(record.assign)) {
      const labels = new Map(record.labels);
      const key = labelsKey(labels);
      // Records of an older, damaged journal may disagree with newer ones: the newer owner wins both ways.
      const owners = [this.#byKey.get(key), this.#byNumber.get(record.assign)];
      for (const owner of owners) if (owner) this.#remove(owner);
      this.#put({ number: record.assign, labels, key, users: 0, unusedSinceMs: nowMs });
      this.#last = record.assign;
    }
  }

  skip(count: number): void {
    for (let i = 0; i < count; i++) this.#last = this.#after(this.#last);
  }

  #put(entry: Entry): void {
    this.#byKey.set(entry.key, entry);
    this.#byNumber.set(entry.number, entry);
  }

  #remove(entry: Entry): void {
    this.#byKey.delete(entry.key);
    this.#byNumber.delete(entry.number);
  }

  #nextFree(): IdentityNumber | undefined {
    if (this.#byNumber.size > this.#range.last - this.#range.first) return undefined;
    let number = this.#after(this.#last);
    while (this.#byNumber.has(number)) number = this.#after(number);
    return number;
  }

  #after(number: IdentityNumber): IdentityNumber {
    return number >= this.#range.last || number < this.#range.first ? this.#range.first : number + 1;
  }

  #inRange(number: IdentityNumber): boolean {
    return number >= this.#range.first && number <= this.#range.last;
  }
}

/** The record of an identity. */
export function assignment(identity: Identity): IdentityRecord {
  return { assign: identity.number, labels: [...identity.labels] };
}
