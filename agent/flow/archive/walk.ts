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
}

export interface Reached {
  /** What follows in the past; undefined: the past is read, memory goes on. */
  readonly cursor: Cursor | undefined;
  /** Where memory goes on; undefined: with its oldest record. */
  readonly memoryFrom: number | undefined;
  /** The cursor is of a run of which nothing is left. */
  readonly restarted: boolean;
}

/** @param memoryOldest records of this run from here on are memory's */
export async function archiveForward(
  walk: ArchiveWalk,
  cursor: Cursor | undefined,
  memoryOldest: number,
  count: number,
): Promise<Reached> {
  const isOurs = cursor?.run === walk.run;
  const inMemory = { cursor: undefined, memoryFrom: isOurs ? cursor.sequence : undefined, restarted: false };
  if (isOurs && cursor.sequence >= memoryOldest) return inMemory;
  const segments = segmentsFrom(walk, cursor);
  if (segments === undefined) return { cursor: undefined, memoryFrom: undefined, restarted: true };

  let left = count;
  let memoryFrom = inMemory.memoryFrom;
  for (const segment of segments) {
    const { run, first, records } = segment;
    const end = run === walk.run ? Math.min(first + records, memoryOldest) : first + records;
    const from = cursor?.run === run ? Math.max(first, cursor.sequence) : first;
    if (from >= end) continue;
    const store = await walk.archive?.read(segment, end - first);
    if (store === undefined) continue; // gone meanwhile, or unreadable, which the archive counts
    let found = 0;
    const to = walk.to(run);
    const counting: ReadTo = {
      flow(flow) {
        found++;
        to.flow(flow);
      },
      lost: to.lost,
    };
    const reached = await walkForward(store, new StoredFlow(store), from, left, walk.wanted, counting);
    left -= found;
    if (run === walk.run) memoryFrom = reached;
    if (left === 0) return { cursor: { run, sequence: reached }, memoryFrom, restarted: false };
  }
  return { cursor: undefined, memoryFrom, restarted: false };
}

/** The newest first, from before `before` down. */
export async function archiveBackward(walk: ArchiveWalk, before: Cursor, count: number): Promise<void> {
  let left = count;
  for (const segment of (segmentsFrom(walk, undefined) ?? []).toReversed()) {
    if (left === 0) return;
    const { run, first, records } = segment;
    const end = run === before.run ? Math.min(first + records, before.sequence) : first + records;
    if (end <= first) continue;
    const store = await walk.archive?.read(segment, end - first);
    if (store === undefined) continue;
    const to = walk.to(run);
    const counting: ReadTo = {
      flow(flow) {
        left--;
        to.flow(flow);
      },
      lost: to.lost,
    };
    await walkBackward(store, new StoredFlow(store), left, walk.wanted, counting);
  }
}

/** Those that can have what is wanted, oldest first; undefined when the cursor's run is not known. */
function segmentsFrom({ archive, run, sinceMs }: ArchiveWalk, cursor: Cursor | undefined): Segment[] | undefined {
  const all = archive?.segments ?? [];
  const start = cursor === undefined ? 0 : all.findIndex((one) => one.run === cursor.run);
  if (start < 0 && cursor?.run !== run) return undefined;
  const segments = start < 0 ? [] : all.slice(start);
  return segments.filter(({ endMs }) => sinceMs === undefined || endMs >= sinceMs);
}
