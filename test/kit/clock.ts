/** A clock that stands still until the test moves it. */
import type { Clock } from '../../agent/run/clock.ts';

export interface FakeClock extends Clock {
  /** Moves time on and runs every timer that falls due, in order, at its time. */
  advance(ms: number): void;
  /** Timers that wait. */
  readonly pending: number;
}

export function fakeClock(startMs = 0): FakeClock {
  let now = startMs;
  const timers = new Set<{ readonly atMs: number; readonly then: () => void }>();
  return {
    nowMs: () => now,
    after(ms, then) {
      const timer = { atMs: now + ms, then };
      timers.add(timer);
      return () => timers.delete(timer);
    },
    advance(ms) {
      const endMs = now + ms;
      for (;;) {
        const [next] = [...timers].filter((timer) => timer.atMs <= endMs).sort((a, b) => a.atMs - b.atMs);
        if (!next) break;
        timers.delete(next);
        now = Math.max(now, next.atMs);
        next.then();
      }
      now = endMs;
    },
    get pending() {
      return timers.size;
    },
  };
}
