/** Walks over the history on disk, segment by segment, up to where memory goes on. */
import type { Cursor } from '../cursor.ts';
import { StoredFlow } from '../decode.ts';
import type { Clause } from '../filter.ts';
import { type ReadTo, walkBackward, walkForward } from '../scan.ts';
import type { FlowArchive, Segment } from './archive.ts';

export interface ArchiveWalk {
  /** Undefined: there is nothing on disk. */
  readonly archive: FlowArchive | undefined;
  /** Of this agent: what memory holds. */
  readonly run: string;
  readonly wanted: Clause;
  /** ms since 1970: older segments are not looked into. */
  readonly sinceMs: number | undefined;
  /** Takes the flows of a run. */
  readonly to: (run: string) => ReadTo;
  /** Nobody waits for the answer any more. */
  readonly signal?: AbortSignal;
}

export interface Reached {
  /** What follows in the past; undefined: the past is read, memory goes on. */
  readonly cursor: Cursor | undefined;
  /** Where memory goes on; undefined: with its oldest record. */
  readonly memoryFrom: number | undefined;
  /** The cursor is of a run of which nothing is left: the oldest there is follows. */
  readonly restarted: boolean;
}

/** @param memoryOldest records of this run from here on are memory's */
export async function archiveForward(
  walk: ArchiveWalk,
  cursor: Cursor | undefined,
  memoryOldest: number,
  count: number,
): Promise<Reached> {
  let at = cursor;
  let restarted = false;
  for (let left = count; left > 0; ) {
    const step = await archiveStep(walk, at, memoryOldest, left);
    restarted ||= step.restarted;
    left -= step.found;
    at = step.cursor;
    if (at === undefined) return { ...step, restarted };
  }
  return { cursor: at, memoryFrom: at?.run === walk.run ? at.sequence : undefined, restarted };
}

/**
 * Reads on in one segment, at most `count` flows. What should be on disk from the cursor on and is not (the disk refused it,
 * a crash came first, its time was over) is told as lost where it would have stood.
 */
export async function archiveStep(
  walk: ArchiveWalk,
  cursor: Cursor | undefined,
  memoryOldest: number,
  count: number,
): Promise<Reached & { readonly found: number }> {
  const isOurs = cursor?.run === walk.run;
  const over = { cursor: undefined, found: 0 };
  if (isOurs && cursor.sequence >= memoryOldest) return { ...over, memoryFrom: cursor.sequence, restarted: false };
  const { segments, restarted } = segmentsFrom(walk, cursor);
  let at = cursor;
  for (const segment of segments) {
    const { run, first, records } = segment;
    if (at !== undefined && at.run !== run) {
      tellUnwritten(walk, at);
      at = undefined;
    }
    const end = run === walk.run ? Math.min(first + records, memoryOldest) : first + records;
    const from = Math.max(first, at?.sequence ?? first);
    if (from >= end) continue;
    if (at !== undefined && first > at.sequence) walk.to(run).lost('overwritten', first - at.sequence);
    at = { run, sequence: from };
    const store = await walk.archive?.read(segment);
    const readable = Math.min(end, store?.next ?? 0);
    if (store === undefined || from >= readable) continue; // gone meanwhile, or unreadable, which the archive counts
    let found = 0;
    const to = walk.to(run);
    const counting: ReadTo = {
      flow(flow) {
        found++;
        to.flow(flow);
      },
      lost: to.lost,
    };
    const sequence = await walkForward(store, new StoredFlow(store), from, count, walk.wanted, counting, readable);
    const memoryFrom = run === walk.run ? sequence : undefined;
    return { cursor: { run, sequence }, memoryFrom, restarted, found };
  }
  if (at !== undefined && at.run !== walk.run) tellUnwritten(walk, at);
  return { ...over, memoryFrom: at?.run === walk.run ? at.sequence : undefined, restarted };
}

/** What a run that is over had still in memory. */
function tellUnwritten({ archive, to }: ArchiveWalk, { run, sequence }: Cursor): void {
  const unwritten = (archive?.endOf(run) ?? sequence) - sequence;
  if (unwritten > 0) to(run).lost('overwritten', unwritten);
}

/** The newest first, from before `before` down. Returns the oldest that was found; undefined: none. */
export async function archiveBackward(walk: ArchiveWalk, before: Cursor, count: number): Promise<Cursor | undefined> {
  let left = count;
  let oldest: Cursor | undefined;
  for (const segment of segmentsFrom(walk, undefined).segments.toReversed()) {
    if (left === 0 || walk.signal?.aborted) break;
    const { run, first, records } = segment;
    const end = run === before.run ? Math.min(first + records, before.sequence) : first + records;
    if (end <= first) continue;
    const store = await walk.archive?.read(segment);
    if (store === undefined) continue;
    const to = walk.to(run);
    const counting: ReadTo = {
      flow(flow) {
        left--;
        oldest = { run, sequence: flow.sequence };
        to.flow(flow);
      },
      lost: to.lost,
    };
    await walkBackward(store, new StoredFlow(store), left, walk.wanted, counting, Math.min(end, store.next));
  }
  return oldest;
}

/** Those that can have what is wanted, oldest first; all of them when the cursor's run is not known. */
function segmentsFrom(
  { archive, run, sinceMs }: ArchiveWalk,
  cursor: Cursor | undefined,
): { readonly segments: readonly Segment[]; readonly restarted: boolean } {
  const all = archive?.segments ?? [];
  const start = cursor === undefined ? 0 : all.findIndex((one) => one.run === cursor.run);
  const restarted = start < 0 && cursor?.run !== run;
  const from = start >= 0 ? all.slice(start) : restarted ? all : [];
  const segments = from.filter(({ endMs }) => sinceMs === undefined || endMs >= sinceMs);
  return { segments, restarted };
}
