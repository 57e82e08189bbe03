/** Flows of several nodes in one order, by the time each node gave them. */

import type { Clock } from '../run/clock.ts';
import type { FlowLine } from './flow.ts';

/** Negative when `a` is earlier. Agents write all times alike, so text will do; what has no time waits for nobody. */
export function compareTimes(a: string, b: string): number {
  return a === b ? 0 : a < b ? -1 : 1;
}

/** Lines of streams that are each in order already; reads no further ahead than one line of each. */
export async function* mergeOrdered(streams: readonly AsyncIterable<FlowLine>[]): AsyncGenerator<FlowLine, void, void> {
  const iterators = streams.map((stream) => stream[Symbol.asyncIterator]());
  const heads = await Promise.all(iterators.map((iterator) => iterator.next()));
  for (;;) {
    let earliest: number | undefined;
    let line: FlowLine | undefined;
    for (const [i, head] of heads.entries()) {
      if (head.done || (line && compareTimes(line.time, head.value.time) <= 0)) continue;
      earliest = i;
      line = head.value;
    }
    if (earliest === undefined || line === undefined) return;
    yield line;
    heads[earliest] = await (iterators[earliest] as AsyncIterator<FlowLine>).next();
  }
}

/**
 * Lines as they come from several nodes, each held back a moment so that an earlier one of a slower node can pass it.
 * Whoever adds faster than somebody reads waits, and its agent counts what it loses meanwhile.
 */
export class HoldBack {
  readonly #clock: Clock;
  readonly #holdMs: number;
  readonly #most: number;
  #held: { readonly line: FlowLine; readonly atMs: number }[] = [];
  #ready: FlowLine[] = [];
  #wake = Promise.withResolvers<void>();
  #room = Promise.withResolvers<void>();
  #isEnded = false;
  #isArmed = false;

  /** `most`: lines of all nodes together that wait to be read. */
  constructor(clock: Clock, holdMs: number, most = MOST_HELD) {
    this.#clock = clock;
    this.#holdMs = holdMs;
    this.#most = most;
  }

  /** Resolves when more may be added. */
  async add(line: FlowLine): Promise<void> {
    this.#held.push({ line, atMs: this.#clock.nowMs() });
    this.#arm();
    while (this.#held.length + this.#ready.length >= this.#most && !this.#isEnded) await this.#room.promise;
  }

  /** Gives what is held, and ends. */
  end(): void {
    this.#isEnded = true;
    this.#release(Number.POSITIVE_INFINITY);
    this.#room.resolve();
  }

  async *lines(): AsyncGenerator<FlowLine, void, void> {
    for (;;) {
      const batch = this.#ready;
      this.#ready = [];
      this.#room.resolve();
      this.#room = Promise.withResolvers<void>();
      yield* batch;
      if (this.#ready.length > 0) continue;
      if (this.#isEnded) return;
      await this.#wake.promise;
      this.#wake = Promise.withResolvers<void>();
    }
  }

  #arm(): void {
    if (this.#isArmed || this.#isEnded) return;
    this.#isArmed = true;
    this.#clock.after(this.#holdMs / 4, () => {
      this.#isArmed = false;
      this.#release(this.#clock.nowMs());
      if (this.#held.length > 0) this.#arm();
    });
  }

  /** What was held long enough, and with it whatever is earlier. */
  #release(nowMs: number): void {
    const due = this.#held.filter(({ atMs }) => nowMs - atMs >= this.#holdMs);
    if (due.length > 0) {
      const latest = due.map(({ line }) => line.time).reduce((a, b) => (compareTimes(a, b) < 0 ? b : a));
      const { out = [], kept = [] } = Object.groupBy(this.#held, ({ line }) =>
        compareTimes(line.time, latest) <= 0 ? 'out' : 'kept',
      );
      this.#held = kept;
      this.#ready.push(...out.map(({ line }) => line).sort((a, b) => compareTimes(a.time, b.time)));
    }
    if (this.#ready.length > 0 || this.#isEnded) this.#wake.resolve();
  }
}

/** For a reader that has a process of its own. */
const MOST_HELD = 20_000;
