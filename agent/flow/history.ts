/** The flow river in one piece: events in at one end, pages and streams of named flows out at the other. */
import { randomBytes } from 'node:crypto';
import type { EventListener } from '../datapath/datapath.ts';
import type { ArchiveStats, FlowArchive } from './archive/archive.ts';
import { type ArchiveWalk, archiveBackward, archiveForward } from './archive/walk.ts';
import type { FlowClock } from './clock.ts';
import type { Cursor } from './cursor.ts';
import { StoredFlow } from './decode.ts';
import { type DropReasonName, dropReason } from './drop-reason.ts';
import { type Clause, EVENT_NUMBERS, verdictOf } from './filter.ts';
import {
  FLOW_EVENTS,
  type Flow,
  type FlowEventName,
  type FlowLine,
  type LossStage,
  type LostEvents,
  type Verdict,
} from './flow.ts';
import type { Follower } from './follow.ts';
import { flowLine, lossLine, lostEvents } from './lines.ts';
import type { Names } from './names.ts';
import { presentFlow, type Teller } from './present.ts';
import { FlowRecorder } from './recorder.ts';
import { RuleHits } from './rule-hits.ts';
import { type ReadTo, walkBackward, walkForward } from './scan.ts';
import { SharedFlows } from './shared-flows.ts';
import { RecordStore, type StoreOptions } from './store.ts';
import { streamFlows, type Telling } from './stream.ts';

export interface HistoryOptions extends StoreOptions {
  readonly node: string;
  readonly names: Names;
  /** Events the kernel's ring ever lost: () => datapath.counters().eventsLost. */
  readonly ringLost: () => number;
  readonly clock?: FlowClock;
  /** The history on disk, which goes on where memory ends. */
  readonly archive?: FlowArchive | undefined;
}

/** What to read. Without a cursor: the newest or the oldest `count`. With one: the `count` that follow it. */
export interface FlowQuery {
  readonly wanted: Clause;
  readonly order: 'newest' | 'oldest';
  readonly count: number;
  readonly cursor: Cursor | undefined;
  /** ms since 1970: nothing earlier is wanted. Spares reading the disk; the clause says it too. */
  readonly sinceMs?: number | undefined;
}

export interface FlowPage {
  /** Oldest first. */
  readonly flows: readonly Flow[];
  /** Losses within the span of the page. */
  readonly lost: readonly LostEvents[];
  /** Give it to the next query: what follows this page, newer records included. */
  readonly cursor: Cursor;
  /** There is more to read right now. */
  readonly more: boolean;
  /** The cursor came from an earlier run of the agent, of which nothing is left; the page starts at the oldest flow. */
  readonly restarted: boolean;
}

export interface HistoryStats {
  readonly records: number;
  readonly capacity: number;
  /** Between the oldest record held and the newest, wall time. */
  readonly seconds: number;
  /** Records ever stored. */
  readonly seen: number;
  readonly overwritten: number;
  readonly followers: number;
  /** Names in use, and records that went without one because a table was full. */
  readonly names: number;
  readonly namesRefused: number;
  /** Events of a type this agent does not know. */
  readonly unknown: number;
}

export interface EventCount {
  readonly event: FlowEventName;
  readonly verdict: Verdict;
  readonly count: number;
}

export interface DropCount {
  readonly reason: DropReasonName;
  readonly protocol: number;
  readonly count: number;
}

/** Flows as they were told, remembered for other followers while there are any. */
const SHARED_BYTES = 16 << 20;
/** What a flow takes as an object, about. */
const LINE_BYTES = 4096;

export class FlowHistory {
  /** To be given to Datapath.onEvents. */
  readonly listener: EventListener;
  /** What the rules decided, since before this run of the agent. */
  readonly rules = new RuleHits();
  /** What followers were told, in each of their ways. */
  readonly shared = new SharedFlows(SHARED_BYTES);
  readonly #store: RecordStore;
  readonly #recorder: FlowRecorder;
  readonly #teller: Teller;
  readonly #archive: FlowArchive | undefined;
  readonly #followers = new Set<Follower>();
  /** Missed by pages, and by followers that are gone. */
  #missedBefore = 0;

  constructor(options: HistoryOptions) {
    const run = randomBytes(9).toString('hex');
    this.#store = new RecordStore({ ...options, run });
    const ringLostBefore = options.archive?.ringLostBefore;
    this.#recorder = new FlowRecorder({ ...options, ringLostBefore, store: this.#store });
    this.#teller = { node: options.node, run };
    this.listener = this.#recorder.listener;
    this.#archive = options.archive;
    this.#archive?.attach(this.#store, this.run, () => this.#recorder.ringTold);
    this.watch(this.rules.count);
  }

  /** Calls the watcher with every event as it arrives, named; the view is only valid during the call. */
  watch(watcher: (flow: StoredFlow) => void): void {
    this.#recorder.watch(watcher);
  }

  /** Of this agent's life; stands in cursors and uuids. */
  get run(): string {
    return this.#teller.run;
  }

  /** Sequence the next record will get. */
  get next(): number {
    return this.#store.next;
  }

  async page(query: FlowQuery): Promise<FlowPage> {
    this.#recorder.flush();
    const flows: Flow[] = [];
    const lost: LostEvents[] = [];
    const to = (teller: Teller): ReadTo => ({
      flow: (flow) => flows.push(presentFlow(flow, teller)),
      lost: (stage, count) => {
        if (stage === 'subscriber') this.#missedBefore += count;
        lost.push(lostEvents(stage, count));
      },
    });
    const store = this.#store;
    const view = new StoredFlow(store);
    if (query.order === 'newest' && query.cursor === undefined) {
      const sequence = store.next;
      const reached = await walkBackward(store, view, query.count, query.wanted, to(this.#teller));
      if (flows.length < query.count) {
        await archiveBackward(this.#walk(query, to), { run: this.run, sequence: reached }, query.count - flows.length);
      }
      flows.reverse();
      lost.reverse();
      return { flows, lost, cursor: { run: this.run, sequence }, more: sequence < store.next, restarted: false };
    }
    const past = await archiveForward(this.#walk(query, to), query.cursor, store.oldest, query.count);
    const left = query.count - flows.length;
    if (left === 0 && query.count > 0 && past.cursor !== undefined) {
      return { flows, lost, cursor: past.cursor, more: true, restarted: past.restarted };
    }
    const sequence = await walkForward(
      store,
      view,
      past.memoryFrom ?? store.oldest,
      left,
      query.wanted,
      to(this.#teller),
    );
    return { flows, lost, cursor: { run: this.run, sequence }, more: sequence < store.next, restarted: past.restarted };
  }

  #walk({ wanted, sinceMs }: Pick<FlowQuery, 'wanted' | 'sinceMs'>, to: (teller: Teller) => ReadTo): ArchiveWalk {
    return { archive: this.#archive, run: this.run, wanted, sinceMs, to: (run) => to({ ...this.#teller, run }) };
  }

  /**
   * Lines as they come, in batches, until the signal aborts. Starts with the newest `count` (order newest), everything
   * held (oldest), or what follows the cursor; on disk if that is where it is. Whoever does not ask for the next batch delays
   * nobody.
   */
  async *follow(query: FlowQuery, signal: AbortSignal): AsyncGenerator<FlowLine[], void, void> {
    const shared = this.shared.share<FlowLine>('line', () => LINE_BYTES);
    const line = (stored: StoredFlow, run: string) => flowLine(stored, { ...this.#teller, run });
    const telling: Telling<FlowLine> = {
      flow: (stored, run) =>
        run === this.run ? shared.flow(stored.sequence, () => line(stored, run)) : line(stored, run),
      lost: (stage, count) => lossLine(stage, count, this.#teller.node),
      giveWay: shared.giveWay,
    };
    try {
      yield* this.stream(query, telling, 'never', signal);
    } finally {
      shared.release();
    }
  }

  /** As {@link follow}, in the caller's own words; `ends` 'now': with the newest record there is at the call. */
  stream<Line>(
    query: FlowQuery,
    telling: Telling<Line>,
    ends: 'never' | 'now',
    signal: AbortSignal,
  ): AsyncGenerator<Line[], void, void> {
    this.#recorder.flush();
    const end = ends === 'now' ? this.#store.next : Number.POSITIVE_INFINITY;
    const source = { store: this.#store, archive: this.#archive, run: this.run };
    return streamFlows(source, { ...query, end }, telling, signal, (follower) => {
      this.#followers.add(follower);
      return () => {
        this.#followers.delete(follower);
        this.#missedBefore += follower.missed;
      };
    });
  }

  /**
   * Shows all wanted flows that are held, oldest first, and those on disk where `sinceMs` says from when on; the view is
   * only valid during the call. Resolves with what was lost.
   */
  async each(wanted: Clause, see: (flow: StoredFlow) => void, sinceMs?: number): Promise<LostEvents[]> {
    this.#recorder.flush();
    const lost: LostEvents[] = [];
    const to: ReadTo = { flow: see, lost: (stage, count) => lost.push(lostEvents(stage, count)) };
    const store = this.#store;
    const all = Number.POSITIVE_INFINITY;
    const walk = this.#walk({ wanted, sinceMs }, () => to);
    const past = sinceMs === undefined ? undefined : await archiveForward(walk, undefined, store.oldest, all);
    await walkForward(store, new StoredFlow(store), past?.memoryFrom ?? store.oldest, all, wanted, to);
    return lost;
  }

  stats(): HistoryStats {
    const { oldest, next, capacity, times, tables, overwritten } = this.#store;
    const held = next - oldest;
    const age = held === 0 ? 0 : (times[(next - 1) % capacity] as number) - (times[oldest % capacity] as number);
    const kinds = Object.values(tables);
    return {
      records: held,
      capacity,
      seconds: Math.max(0, age) / 1000,
      seen: next - 1,
      overwritten,
      followers: this.#followers.size,
      names: kinds.reduce((sum, table) => sum + table.size, 0),
      namesRefused: kinds.reduce((sum, table) => sum + table.refused, 0),
      unknown: this.#recorder.unknown,
    };
  }

  /** Of the history on disk; undefined where there is none. */
  archiveStats(): ArchiveStats | undefined {
    return this.#archive?.stats();
  }

  /** All losses since the start, by where they happened. */
  losses(): Record<LossStage, number> {
    this.#recorder.countLosses();
    let subscriber = this.#missedBefore;
    for (const follower of this.#followers) {
      follower.account();
      subscriber += follower.missed;
    }
    return { ...this.#recorder.lost, overwritten: this.#store.overwritten, subscriber };
  }

  /** Events stored since the start. */
  events(): EventCount[] {
    return FLOW_EVENTS.map((event) => {
      const type = EVENT_NUMBERS[event];
      return { event, verdict: verdictOf(type), count: this.#recorder.events[type] as number };
    });
  }

  /** Drop events stored since the start, by reason and IP protocol (0 for what is not IP); only what happened. */
  drops(): DropCount[] {
    const counts: DropCount[] = [];
    this.#recorder.drops.forEach((count, slot) => {
      if (count > 0) counts.push({ reason: dropReason(slot >> 8), protocol: slot & 255, count });
    });
    return counts;
  }
}
