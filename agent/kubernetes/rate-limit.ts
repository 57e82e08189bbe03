/** How often this client asks: a bucket of tokens, so that a fault of ours is no load on the API server. */
import { type Clock, systemClock } from '../run/clock.ts';

export interface RateLimitOptions {
  /** Calls a second in the long run. */
  readonly perSecond: number;
  /** Calls at once after a quiet time. */
  readonly burst: number;
  readonly clock?: Clock;
}

export interface RateLimit {
  /** Whether the caller may call at once: then it is counted. */
  tryTake(): boolean;
  /**
   * Resolves with true when the caller may call, in the order of asking, and with false at once, taking nothing, when that
   * would be later than in `withinMs`; rejects with the signal's reason when it aborts first.
   */
  take(signal: AbortSignal | undefined, withinMs?: number): Promise<boolean>;
}

export function createRateLimit(options: RateLimitOptions): RateLimit {
  const clock = options.clock ?? systemClock;
  const everyMs = 1000 / options.perSecond;
  /** When the bucket will be full; further ahead by `everyMs` with each token taken. */
  let fullAtMs = Number.NEGATIVE_INFINITY;

  /** With the token that is asked for. */
  const nextFullAtMs = (): number => Math.max(fullAtMs, clock.nowMs()) + everyMs;
  const waitOf = (nextMs: number): number => nextMs - clock.nowMs() - options.burst * everyMs;

  return {
    tryTake() {
      const nextMs = nextFullAtMs();
      if (waitOf(nextMs) > 0) return false;
      fullAtMs = nextMs;
      return true;
    },
    async take(signal, withinMs = Number.POSITIVE_INFINITY) {
      signal?.throwIfAborted();
      const nextMs = nextFullAtMs();
      const waitMs = waitOf(nextMs);
      if (waitMs > withinMs) return false;
      fullAtMs = nextMs;
      if (waitMs > 0) await sleep(waitMs, clock, signal);
      return true;
    },
  };
}

/** Waits; rejects with the signal's reason when it aborts first. */
export function sleep(ms: number, clock: Clock, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) {
      reject(signal.reason);
      return;
    }
    const onAbort = (): void => {
      cancel();
      reject(signal?.reason);
    };
    const cancel = clock.after(ms, () => {
      signal?.removeEventListener('abort', onAbort);
      resolve();
    });
    signal?.addEventListener('abort', onAbort, { once: true });
  });
}
