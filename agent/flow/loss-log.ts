/**
 * The words of losses that stand in the history (LOST_RECORD), remembered longer than the ring holds them: a reader that
 * was overtaken missed not only events but also the word of what was lost before the store.
 */

/** What some records tell of losses. */
export interface ToldLosses {
  /** How many of the records are words of losses. */
  readonly records: number;
  /** Events lost in the ring and in the queue. */
  readonly ring: number;
  readonly queue: number;
}

interface Entry extends ToldLosses {
  readonly sequence: number;
}

/** Beyond, the two oldest are taken together. Written at most about once per second, so this is an hour of loss without end. */
const MOST = 4096;

export class LossLog {
  readonly #entries: Entry[] = [];

  /** Record `sequence`, newer than all before, tells of these losses. */
  add(sequence: number, ring: number, queue: number): void {
    this.#entries.push({ sequence, records: 1, ring, queue });
    if (this.#entries.length <= MOST) return;
    const [oldest, next] = this.#entries.splice(0, 2) as [Entry, Entry];
    this.#entries.unshift({ ...sum(oldest, next), sequence: next.sequence });
  }

  /** What the records `from` to `to`, this one excluded, tell or told. */
  between(from: number, to: number): ToldLosses {
    const told = this.#entries.filter(({ sequence }) => sequence >= from && sequence < to);
    return told.reduce<ToldLosses>(sum, { records: 0, ring: 0, queue: 0 });
  }
}

function sum(a: ToldLosses, b: ToldLosses): ToldLosses {
  return { records: a.records + b.records, ring: a.ring + b.ring, queue: a.queue + b.queue };
}
