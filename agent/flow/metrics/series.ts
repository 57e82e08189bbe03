/**
 * The series of one metric: label values and a count. Bounded, what does not fit is counted; a series that names a pod
 * goes a minute after the pod went, because Prometheus would else be given the dead for as long as the agent lives.
 */
import type { PartyName } from '../names.ts';

/** A series outlives its pod for so long, so that its last counts are still scraped. */
export const GONE_MS = 60_000;
/** How often a full set looks for room. */
const LOOK_MS = 1000;

interface Series {
  readonly values: readonly string[];
  count: number;
  readonly pods: readonly PartyName[];
  /** When one of its pods was first seen to be gone. */
  goneSince: number | undefined;
}

export interface SeriesOptions {
  /** Most series at once. */
  readonly most: number;
  readonly isThere: (pod: PartyName) => boolean;
  /** Monotonic ms. */
  readonly now: () => number;
}

export class SeriesSet {
  /** Counts that had no series because there was no room. */
  refused = 0;
  readonly #options: SeriesOptions;
  readonly #series = new Map<string, Series>();
  #lookedAt = Number.NEGATIVE_INFINITY;

  constructor(options: SeriesOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#series.size;
  }

  /** @param pods those that the values name */
  add(values: readonly string[], pods: readonly PartyName[]): void {
    const key = values.join('\u0000');
    const known = this.#series.get(key);
    if (known !== undefined) {
      known.count++;
      return;
    }
    if (this.#series.size >= this.#options.most) this.#lookForRoom();
    if (this.#series.size >= this.#options.most) this.refused++;
    else this.#series.set(key, { values, count: 1, pods, goneSince: undefined });
  }

  /** Looks which pods are gone, and drops the series of those that were gone for {@link GONE_MS}. */
  forgetGone(): void {
    const now = this.#options.now();
    for (const [key, series] of this.#series) {
      series.goneSince = series.pods.every(this.#options.isThere) ? undefined : (series.goneSince ?? now);
      if (series.goneSince !== undefined && now - series.goneSince >= GONE_MS) this.#series.delete(key);
    }
  }

  *samples(): Generator<{ readonly values: readonly string[]; readonly count: number }, void, void> {
    yield* this.#series.values();
  }

  #lookForRoom(): void {
    if (this.#options.now() - this.#lookedAt < LOOK_MS) return;
    this.#lookedAt = this.#options.now();
    this.forgetGone();
  }
}
