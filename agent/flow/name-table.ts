/**
 * Names that records refer to by number. Append-only as long as a record may refer to an entry: an entry is given to
 * somebody else only when every record that used it has been overwritten. Bounded: when all are in use, new names are
 * refused and counted, and the record goes without.
 */
export interface NameEntry<V> {
  /** What records hold, 1 and up; 0 means no name. */
  readonly ref: number;
  readonly key: number | string;
  readonly value: V;
  /** Sequence of the newest record that uses it. */
  lastSequence: number;
  /** False once its number may belong to another. */
  live: boolean;
}

export class NameTable<V extends object> {
  readonly capacity: number;
  /** Records that went without a name because the table was full. */
  refused = 0;
  readonly #same: (a: V, b: V) => boolean;
  readonly #current = new Map<number | string, NameEntry<V>>();
  readonly #entries: (NameEntry<V> | undefined)[] = [undefined];
  readonly #free: number[] = [];
  #sweptAt = -1;

  /** `same` says whether two answers for one key mean the same, should they not be one object. */
  constructor(capacity: number, same: (a: V, b: V) => boolean) {
    this.capacity = capacity;
    this.#same = same;
  }

  get size(): number {
    return this.#entries.length - 1 - this.#free.length;
  }

  /** The value of a reference; undefined for 0. */
  get(ref: number): V | undefined {
    return this.#entries[ref]?.value;
  }

  /**
   * The entry for this key and value, used by record `sequence`; `oldest` is the oldest record still held.
   * Undefined (and counted) when the table is full.
   */
  intern(key: number | string, value: V, sequence: number, oldest: number): NameEntry<V> | undefined {
    const current = this.#current.get(key);
    if (current !== undefined && (current.value === value || this.#same(current.value, value))) {
      current.lastSequence = sequence;
      return current;
    }
    const ref = this.#freeRef(oldest);
    if (ref === 0) {
      this.refused++;
      return undefined;
    }
    const entry = { ref, key, value, lastSequence: sequence, live: true };
    this.#entries[ref] = entry;
    this.#current.set(key, entry);
    return entry;
  }

  #freeRef(oldest: number): number {
    if (this.#free.length === 0 && this.#entries.length > this.capacity) this.#sweep(oldest);
    const free = this.#free.pop();
    if (free !== undefined) return free;
    return this.#entries.length > this.capacity ? 0 : this.#entries.length;
  }

  /** Frees what no record uses any more. Looks at all entries, so only after the history moved on by a sixteenth of them. */
  #sweep(oldest: number): void {
    if (this.#sweptAt >= 0 && oldest - this.#sweptAt < this.capacity / 16) return;
    this.#sweptAt = oldest;
    for (const entry of this.#entries) {
      if (entry === undefined || entry.lastSequence >= oldest) continue;
      entry.live = false;
      this.#entries[entry.ref] = undefined;
      this.#free.push(entry.ref);
      if (this.#current.get(entry.key) === entry) this.#current.delete(entry.key);
    }
  }
}
