/**
 * A reader that stays. It has no queue of its own but its place in the store: a slow one falls behind, at last off the
 * end of the ring, and learns exactly how many records it missed; nobody else notices. The ring is its bounded queue.
 */
import type { StoredFlow } from './decode.ts';
import type { Clause } from './filter.ts';
import { type MissedStage, missedBetween, type ReadTo, tellMissed, turn, visit } from './scan.ts';
import type { RecordStore } from './store.ts';

export class Follower {
  /** Events overwritten before this follower read them: exact, whether its filter wanted them or not. */
  missed = 0;
  readonly #store: RecordStore;
  readonly #view: StoredFlow;
  readonly #wanted: Clause;
  readonly #end: number;
  readonly #stopListening: () => void;
  #next: number;
  #unreported: Record<MissedStage, number> | undefined;
  #wake: () => void = () => {};

  /**
   * Starts at the record `from`, which may lie behind the oldest: the difference counts as missed. Reads no further than
   * the record before `end`.
   */
  constructor(store: RecordStore, view: StoredFlow, from: number, wanted: Clause, end = Number.POSITIVE_INFINITY) {
    this.#store = store;
    this.#view = view;
    this.#next = from;
    this.#wanted = wanted;
    this.#end = end;
    this.#stopListening = store.onAppend(() => this.#wake());
  }

  /** True when there is nothing to read now. */
  get atEnd(): boolean {
    return this.#next >= this.#store.next && this.#unreported === undefined;
  }

  /** True when all that was asked for was read. */
  get done(): boolean {
    return this.#next >= this.#end && this.#unreported === undefined;
  }

  /** Hands over what comes next, at most `most` flows and for a turn, and before them what was missed. */
  read(most: number, to: ReadTo): void {
    this.account();
    if (this.#unreported !== undefined) tellMissed(this.#unreported, to);
    this.#unreported = undefined;
    const end = Math.min(this.#store.next, this.#end);
    const isOver = turn();
    for (let left = most; left > 0 && this.#next < end && !isOver(); this.#next++) {
      if (visit(this.#view.at(this.#next), this.#wanted, to)) left--;
    }
  }

  /** Counts what was overwritten since the last look. */
  account(): void {
    const reached = Math.min(this.#store.oldest, this.#end);
    if (reached <= this.#next) return;
    const { ring, queue, subscriber } = missedBetween(this.#store, this.#next, reached);
    const before = this.#unreported ?? { ring: 0, queue: 0, subscriber: 0 };
    this.#unreported = {
      ring: before.ring + ring,
      queue: before.queue + queue,
      subscriber: before.subscriber + subscriber,
    };
    this.missed += subscriber;
    this.#next = reached;
  }

  /** Resolves when there is something to read, or the signal aborts. One wait at a time. */
  async wait(signal: AbortSignal): Promise<void> {
    if (!this.atEnd || signal.aborted) return;
    const woken = Promise.withResolvers<void>();
    const wake = (): void => woken.resolve();
    this.#wake = wake;
    signal.addEventListener('abort', wake, { once: true });
    await woken.promise;
    signal.removeEventListener('abort', wake);
  }

  close(): void {
    this.account();
    this.#stopListening();
  }
}
