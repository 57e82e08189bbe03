/**
 * Walks over the store in pieces, giving way to other work in between, so that nobody waits for a long scan. Records may
 * be overwritten meanwhile: a forward walk then counts what it could not read, a backward walk ends earlier.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { StoredFlow } from './decode.ts';
import { type Clause, eventName } from './filter.ts';
import type { LossStage } from './flow.ts';
import { LOST_RECORD, type RecordStore } from './store.ts';

/** How long one looks at records before others get a turn; with a filter that costs little, some 16,000 records. */
const TURN_MS = 1;
/** Records between two looks at the clock. */
const LOOK_EVERY = 16;

/** A turn that begins now: asked once per record, says when it is over. */
export function turn(): () => boolean {
  const end = performance.now() + TURN_MS;
  let records = 0;
  return () => ++records % LOOK_EVERY === 0 && performance.now() >= end;
}

/** Where a reader's events can be lost: before the store, or because it was overtaken. */
export type MissedStage = 'ring' | 'queue' | 'subscriber';

/** Receives what a walk finds. The view is only valid during the call. */
export interface ReadTo {
  flow(flow: StoredFlow): void;
  /**
   * ring, queue: lost before the store, at this place. subscriber: overwritten before this walk came there. overwritten:
   * a gap in the history on disk.
   */
  lost(stage: LossStage, count: number): void;
}

/** Looks at one record; true if it is a wanted flow. */
export function visit(flow: StoredFlow, wanted: Clause, to: ReadTo): boolean {
  if (flow.type === LOST_RECORD) {
    if (flow.packets(0) > 0) to.lost('ring', flow.packets(0));
    if (flow.packets(1) > 0) to.lost('queue', flow.packets(1));
    return false;
  }
  if (eventName(flow.type) === undefined || !wanted(flow)) return false;
  to.flow(flow);
  return true;
}

/** What a reader who is overtaken missed by the records `from` to `to`: events, and words of losses before the store. */
export function missedBetween(store: RecordStore, from: number, to: number): Readonly<Record<MissedStage, number>> {
  const { records, ring, queue } = store.losses.between(from, to);
  return { ring, queue, subscriber: to - from - records };
}

/** Tells them, in the order in which they are met on the way up. */
export function tellMissed(missed: Readonly<Record<MissedStage, number>>, to: ReadTo): void {
  for (const stage of ['ring', 'queue', 'subscriber'] as const) if (missed[stage] > 0) to.lost(stage, missed[stage]);
}

/** From `from` up to the record before `end` [the newest now], at most `count` flows. Returns the sequence to go on from. */
export async function walkForward(
  store: RecordStore,
  view: StoredFlow,
  from: number,
  count: number,
  wanted: Clause,
  to: ReadTo,
  end = store.next,
): Promise<number> {
  let next = from;
  let left = count;
  while (left > 0 && next < end) {
    if (next < store.oldest) {
      tellMissed(missedBetween(store, next, store.oldest), to);
      next = store.oldest;
    }
    for (const isOver = turn(); left > 0 && next < end && !isOver(); next++) {
      if (visit(view.at(next), wanted, to)) left--;
    }
    if (left > 0 && next < end) await nextTurn();
  }
  return Math.max(next, from);
}

/**
 * From the record before `end` [the newest now] down to the oldest, at most `count` flows, newest first. Returns the sequence
 * of the last record looked at.
 */
export async function walkBackward(
  store: RecordStore,
  view: StoredFlow,
  count: number,
  wanted: Clause,
  to: ReadTo,
  end = store.next,
): Promise<number> {
  let next = end - 1;
  let left = count;
  while (left > 0 && next >= store.oldest) {
    for (const isOver = turn(); left > 0 && next >= store.oldest && !isOver(); next--) {
      if (visit(view.at(next), wanted, to)) left--;
    }
    if (left > 0) await nextTurn();
  }
  return next + 1;
}
