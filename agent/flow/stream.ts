/** The history and what follows as a stream: from disk up to where memory goes on, then from memory as it comes. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { FlowArchive } from './archive/archive.ts';
import { type ArchiveWalk, archiveBackward, archiveStep } from './archive/walk.ts';
import type { Cursor } from './cursor.ts';
import { StoredFlow } from './decode.ts';
import type { Clause } from './filter.ts';
import type { LossStage } from './flow.ts';
import { Follower } from './follow.ts';
import { type ReadTo, walkBackward } from './scan.ts';
import type { RecordStore } from './store.ts';

/** How the reader of a stream wants to see what it gets. */
export interface Telling<Line> {
  /** `run`: of the agent that recorded it, now or before. The view is only valid during the call. */
  flow(flow: StoredFlow, run: string): Line;
  lost(stage: LossStage, count: number): Line;
  /** Waited for between two batches from memory: others may go first, for a few turns. */
  giveWay?(): Promise<void>;
}

export interface StreamSource {
  readonly store: RecordStore;
  readonly archive: FlowArchive | undefined;
  /** Of this agent: what memory holds. */
  readonly run: string;
}

export interface StreamQuery {
  readonly wanted: Clause;
  readonly order: 'newest' | 'oldest';
  /** The newest so many; with order 'oldest' everything, whatever it is. */
  readonly count: number;
  readonly cursor: Cursor | undefined;
  readonly sinceMs?: number | undefined;
  /** The stream ends with the record before; Infinity: never. */
  readonly end: number;
}

/** Flows handed over at once. */
const BATCH = 64;
/** Flows taken from disk at once: they wait, told, until they are handed over. */
const PAST_FLOWS = 512;
const NOTHING: ReadTo = { flow() {}, lost() {} };

/**
 * Batches of lines until the end or until the signal aborts. `attend` gets the follower of memory once that is reached, and
 * what it returns is called when the follower is closed.
 */
export async function* streamFlows<Line>(
  source: StreamSource,
  query: StreamQuery,
  telling: Telling<Line>,
  signal: AbortSignal,
  attend: (follower: Follower) => () => void,
): AsyncGenerator<Line[], void, void> {
  const { store, run } = source;
  const { wanted, end } = query;
  let lines: Line[] = [];
  const toOf = (teller: string): ReadTo => ({
    flow: (flow) => lines.push(telling.flow(flow, teller)),
    lost: (stage, count) => lines.push(telling.lost(stage, count)),
  });
  const walk: ArchiveWalk = { ...source, wanted, sinceMs: query.sinceMs, to: toOf, signal };

  let from = await beginning(source, query, signal);
  while (typeof from !== 'number' && !signal.aborted) {
    const step = await archiveStep(walk, from.cursor, Math.min(store.oldest, end), PAST_FLOWS);
    for (const told = lines; told.length > 0; ) yield told.splice(0, BATCH);
    await nextTurn();
    from = step.cursor ? { cursor: step.cursor } : (step.memoryFrom ?? store.oldest);
  }
  if (typeof from !== 'number') return;

  const follower = new Follower(store, new StoredFlow(store), from, wanted, end);
  const leave = attend(follower);
  const to = toOf(run);
  try {
    while (!signal.aborted && !follower.done) {
      lines = [];
      follower.read(BATCH, to);
      if (lines.length > 0) yield lines;
      if (follower.atEnd && !follower.done) await follower.wait(signal);
      else await nextTurn(); // a reader who takes all at once would else have the thread to itself
      await telling.giveWay?.();
    }
  } finally {
    follower.close();
    leave();
  }
}

/** A place in memory, or one in the past, undefined for its oldest. */
async function beginning(
  { store, archive, run }: StreamSource,
  { wanted, order, count, cursor, sinceMs }: StreamQuery,
  signal: AbortSignal,
): Promise<number | { readonly cursor: Cursor | undefined }> {
  if (cursor !== undefined || order === 'oldest') return { cursor };
  if (count === 0) return store.next;
  let left = count;
  const counting: ReadTo = { ...NOTHING, flow: () => left-- };
  const sequence = await walkBackward(store, new StoredFlow(store), count, wanted, counting);
  if (left === 0) return sequence;
  const walk: ArchiveWalk = { archive, run, wanted, sinceMs, to: () => NOTHING, signal };
  const older = await archiveBackward(walk, { run, sequence }, left);
  return older ? { cursor: older } : sequence;
}
