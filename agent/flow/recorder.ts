/**
 * The mouth of the river: takes batches of kernel records, stores them with time and names, counts them, and writes down
 * what was lost on the way where it was lost.
 */
import type { EventListener } from '../datapath/datapath.ts';
import { eventTypeName } from '../datapath/layout.gen.ts';
import { FlowClock } from './clock.ts';
import { StoredFlow } from './decode.ts';
import { Enricher } from './enrich.ts';
import type { Names } from './names.ts';
import { AT, EVENT_SIZE, LITTLE_ENDIAN } from './record.ts';
import { LOST_RECORD, type RecordStore } from './store.ts';

/** Losses are written into the history at most once per this time, so that a flood of loss is not a flood of records. */
const LOSS_INTERVAL_MS = 1000;
/** Batches look at the ring's counter no more often: it costs a few system calls. */
const RING_READ_MS = 100;
const NS_PER_MS = 1e6;

export interface RecorderOptions {
  readonly store: RecordStore;
  readonly names: Names;
  /** Events the kernel's ring lost since it was made (DatapathCounters.eventsLost). */
  readonly ringLost: () => number;
  /** As far as the run before has told of it; undefined: what was lost before the start is not known to be this agent's. */
  readonly ringLostBefore?: number | undefined;
  readonly clock?: FlowClock;
}

export class FlowRecorder {
  /** To be given to Datapath.onEvents. */
  readonly listener: EventListener = (records, count, lost) => this.#record(records, count, lost);
  /** Events stored, by enum event_type. */
  readonly events = new Float64Array(256);
  /** Dropped packets stored, by enum drop_reason * 256 + IP protocol. */
  readonly drops = new Float64Array(256 * 256);
  /** Lost before the store, since start. */
  readonly lost = { ring: 0, queue: 0 };
  /** Records of a type this agent does not know: stored, never shown. */
  unknown = 0;
  readonly #store: RecordStore;
  readonly #clock: FlowClock;
  readonly #enricher: Enricher;
  readonly #view: StoredFlow;
  readonly #ringLost: () => number;
  readonly #watchers: ((flow: StoredFlow) => void)[] = [];
  #ringSeen: number;
  #ringReadAt = performance.now();
  #unwritten = { ring: 0, queue: 0 };
  #writtenAt = Number.NEGATIVE_INFINITY;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: RecorderOptions) {
    this.#store = options.store;
    this.#clock = options.clock ?? new FlowClock();
    this.#enricher = new Enricher(options.store, options.names);
    this.#view = new StoredFlow(options.store);
    this.#ringLost = options.ringLost;
    // a counter that is lower than it was has started over, with the machine
    const now = options.ringLost();
    this.#ringSeen = Math.min(options.ringLostBefore ?? now, now);
  }

  /** The kernel's count of lost events, as far as it is written into the store. */
  get ringTold(): number {
    return this.#ringSeen - this.#unwritten.ring;
  }

  /** Calls the watcher with every record as it is stored, named; the view is only valid during the call. */
  watch(watcher: (flow: StoredFlow) => void): void {
    this.#watchers.push(watcher);
  }

  /** Looks for losses now and writes them down, so that whoever reads next sees them. */
  flush(): void {
    this.#note(0);
    this.#write();
  }

  /** Looks for losses now and counts them. */
  countLosses(): void {
    this.#note(0);
    this.#writeInTime();
  }

  #record(records: Uint8Array, count: number, lost: number): void {
    if (records.length < count * EVENT_SIZE) {
      throw new RangeError(`flow events: ${count} records need ${count * EVENT_SIZE} bytes, got ${records.length}`);
    }
    if (lost > 0 || performance.now() - this.#ringReadAt >= RING_READ_MS) this.#note(lost);
    this.#writeInTime();
    const offset = this.#clock.sample();
    for (let first = 0; first < count; first += this.#store.capacity) {
      this.#recordSome(records, first, Math.min(count - first, this.#store.capacity), offset);
    }
    if (count > 0) this.#store.announce();
  }

  #recordSome(records: Uint8Array, first: number, count: number, offsetMs: number): void {
    const store = this.#store;
    store.append(records, first, count);
    for (let sequence = store.next - count; sequence < store.next; sequence++) {
      const flow = this.#view.at(sequence);
      store.times[sequence % store.capacity] = flow.timeNs / NS_PER_MS + offsetMs;
      this.#count(flow);
      this.#enricher.name(flow);
      for (const watcher of this.#watchers) watcher(flow);
    }
  }

  #count(flow: StoredFlow): void {
    const { type } = flow;
    if (eventTypeName[type] === undefined) this.unknown++;
    this.events[type] = (this.events[type] as number) + 1;
    if (!flow.isDrop) return;
    const slot = flow.reason * 256 + flow.protocol;
    this.drops[slot] = (this.drops[slot] as number) + 1;
  }

  /** The queue's losses come with the batch, the ring's only stand in the kernel's counter. */
  #note(queueLost: number): void {
    const ringNow = this.#ringLost();
    const ringLost = Math.max(0, ringNow - this.#ringSeen);
    this.#ringSeen = ringNow;
    this.#ringReadAt = performance.now();
    this.lost.ring += ringLost;
    this.lost.queue += queueLost;
    this.#unwritten.ring += ringLost;
    this.#unwritten.queue += queueLost;
  }

  /** At once, or when its interval has passed. */
  #writeInTime(): void {
    if (this.#unwritten.ring + this.#unwritten.queue === 0) return;
    const wait = this.#writtenAt + LOSS_INTERVAL_MS - performance.now();
    if (wait <= 0) this.#write();
    else this.#timer ??= setTimeout(() => this.#write(), wait).unref();
  }

  #write(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#unwritten.ring + this.#unwritten.queue === 0) return;
    const marker = new Uint8Array(EVENT_SIZE);
    const view = new DataView(marker.buffer);
    marker[AT.type] = LOST_RECORD;
    view.setBigUint64(AT.packets, BigInt(this.#unwritten.ring), LITTLE_ENDIAN);
    view.setBigUint64(AT.packets + 8, BigInt(this.#unwritten.queue), LITTLE_ENDIAN);
    const store = this.#store;
    store.losses.add(store.next, this.#unwritten.ring, this.#unwritten.queue);
    this.#unwritten = { ring: 0, queue: 0 };
    this.#writtenAt = performance.now();
    store.append(marker, 0, 1);
    store.times[(store.next - 1) % store.capacity] = Date.now();
    store.announce();
  }
}
