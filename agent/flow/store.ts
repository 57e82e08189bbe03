/**
 * The last records, packed: three parallel rings in typed arrays, no object per event.
 *
 *     slot            0        1        2    ...   capacity-1        slot = sequence % capacity
 *     events     [ 160 bytes | 160 bytes | ...                ]      as the kernel sent them
 *     times      [ ms        | ms        | ...                ]      wall time at arrival
 *     refs       [ 9 numbers | 9 numbers | ...                ]      into the name tables (name-table.ts)
 *
 * Sequence numbers start at 1 and have no gaps; oldest <= held < next. Losses before the store stand in it as records
 * of type LOST_RECORD, where the events would have been.
 */
import type { Labels } from '../model/labels.ts';
import { labelsKey } from '../model/labels.ts';
import type { PolicyInfo, RuleInfo } from '../model/verdict.ts';
import { LossLog } from './loss-log.ts';
import { NameTable } from './name-table.ts';
import type { PartyName, ServiceName } from './names.ts';
import { EVENT_SIZE } from './record.ts';

/** Which name each of a record's references is. Rules and policies: one per direction (enum direction). */
export const REFS = {
  source: 0,
  destination: 1,
  sourceLabels: 2,
  destinationLabels: 3,
  rules: 4,
  policies: 6,
  service: 8,
} as const;
export const REFS_PER_RECORD = 9;

/** Type byte of a record that counts losses: packets[0] in the ring, packets[1] in the queue. Not in enum event_type. */
export const LOST_RECORD = 255;

/** Bytes of memory one record takes in the rings. */
export const RECORD_BYTES = EVENT_SIZE + Float64Array.BYTES_PER_ELEMENT + 4 * REFS_PER_RECORD;

export const DEFAULT_STORE_BYTES = 32 << 20;

export interface StoreOptions {
  /** Of the agent's life that recorded what is in it; default ''. */
  readonly run?: string;
  /** Memory of the rings, bytes; default 32 MiB (about 164,000 records). */
  readonly memoryBytes?: number;
  /** Most distinct names of each kind; default 32768. */
  readonly maxNames?: number;
}

export interface NameTables {
  readonly parties: NameTable<PartyName>;
  readonly labels: NameTable<Labels>;
  readonly rules: NameTable<RuleInfo>;
  readonly policies: NameTable<PolicyInfo>;
  readonly services: NameTable<ServiceName>;
}

export class RecordStore {
  readonly run: string;
  readonly capacity: number;
  readonly events: Uint8Array;
  readonly view: DataView;
  readonly times: Float64Array;
  readonly refs: Uint32Array;
  readonly tables: NameTables;
  /** Of the records of type LOST_RECORD. */
  readonly losses = new LossLog();
  /** Sequence the next record will get. */
  next = 1;
  readonly #listeners = new Set<() => void>();

  constructor(options: StoreOptions = {}) {
    this.run = options.run ?? '';
    this.capacity = Math.floor((options.memoryBytes ?? DEFAULT_STORE_BYTES) / RECORD_BYTES);
    if (this.capacity < 1) throw new RangeError(`flow store: expected at least ${RECORD_BYTES} bytes of memory`);
    this.events = new Uint8Array(this.capacity * EVENT_SIZE);
    this.view = new DataView(this.events.buffer);
    this.times = new Float64Array(this.capacity);
    this.refs = new Uint32Array(this.capacity * REFS_PER_RECORD);
    const names = options.maxNames ?? 32768;
    this.tables = {
      parties: new NameTable(names, sameParty),
      labels: new NameTable(names, (a, b) => labelsKey(a) === labelsKey(b)),
      rules: new NameTable(names, sameRule),
      policies: new NameTable(names, (a, b) => a.id === b.id && a.revision === b.revision),
      services: new NameTable(names, (a, b) => a.namespace === b.namespace && a.name === b.name),
    };
  }

  /** Sequence of the oldest record held; equals `next` when there is none. */
  get oldest(): number {
    return Math.max(1, this.next - this.capacity);
  }

  /** Records that made room for newer ones. */
  get overwritten(): number {
    return this.oldest - 1;
  }

  /**
   * Copies `count` records, from record `first` of `records` on, behind the newest; times and references are 0 until the
   * caller fills them in. At most `capacity` at a time.
   */
  append(records: Uint8Array, first: number, count: number): void {
    if (count > this.capacity) throw new RangeError(`flow store: ${count} records at once, room for ${this.capacity}`);
    let from = first;
    let left = count;
    while (left > 0) {
      const slot = this.next % this.capacity;
      const run = Math.min(left, this.capacity - slot);
      this.events.set(records.subarray(from * EVENT_SIZE, (from + run) * EVENT_SIZE), slot * EVENT_SIZE);
      this.times.fill(0, slot, slot + run);
      this.refs.fill(0, slot * REFS_PER_RECORD, (slot + run) * REFS_PER_RECORD);
      this.next += run;
      from += run;
      left -= run;
    }
  }

  /** Calls the listener after records were appended; returns how to stop that. */
  onAppend(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Tells the listeners. The one who appends calls it once per batch, when names are filled in. */
  announce(): void {
    for (const listener of this.#listeners) listener();
  }
}

function sameParty(a: PartyName, b: PartyName): boolean {
  return (
    a.uid === b.uid &&
    a.pod === b.pod &&
    a.namespace === b.namespace &&
    a.node === b.node &&
    a.interface === b.interface &&
    a.workload?.kind === b.workload?.kind &&
    a.workload?.name === b.workload?.name &&
    a.addresses.join() === b.addresses.join()
  );
}

function sameRule(a: RuleInfo, b: RuleInfo): boolean {
  return (
    a.id === b.id &&
    a.line === b.line &&
    a.place === b.place &&
    a.description === b.description &&
    a.log === b.log &&
    sameMatch(a.match, b.match)
  );
}

function sameMatch(a: RuleInfo['match'], b: RuleInfo['match']): boolean {
  return a === b || JSON.stringify(a) === JSON.stringify(b);
}
