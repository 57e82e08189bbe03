/** Work that is done when asked for, again after it failed, and now and then in any case. */
import { backoffMs } from './backoff.ts';
import { type Clock, systemClock } from './clock.ts';

export interface LoopOptions {
  /** What the work failing is reported as. */
  readonly name: string;
  /** At least this long from the start of one run to the start of the next: many triggers become one run. 0: at once. */
  readonly minMs: number;
  /** First wait after a failure; doubles with each further one up to `resyncMs`. */
  readonly retryMs: number;
  /** Runs even if nobody asked when this long has passed since the last run, to repair what no trigger told of. */
  readonly resyncMs: number;
  /** Does the work. A rejection is reported to `onError` and retried. */
  run(signal: AbortSignal): Promise<void> | void;
  onError(error: unknown, failures: number): void;
  readonly signal: AbortSignal;
  readonly clock?: Clock;
  readonly random?: () => number;
}

export interface Loop {
  /** Asks for a run. During a run: for one more after it. */
  trigger(): void;
  /** Resolves when the signal has aborted and the last run is over. */
  readonly stopped: Promise<void>;
}

/** Starts the loop; the first run is the first trigger's, or after `resyncMs`. One run at a time. */
export function startLoop(options: LoopOptions): Loop {
  const clock = options.clock ?? systemClock;
  const { signal } = options;
  const stop = Promise.withResolvers<void>();
  let running = false;
  let wanted = false;
  let failures = 0;
  let lastStartMs = Number.NEGATIVE_INFINITY;
  let cancelTimer = (): void => {};

  const schedule = (waitMs: number): void => {
    cancelTimer();
    cancelTimer = clock.after(waitMs, () => void runOnce());
  };

  async function runOnce(): Promise<void> {
    cancelTimer();
    running = true;
    wanted = false;
    lastStartMs = clock.nowMs();
    try {
      await options.run(signal);
      failures = 0;
    } catch (error) {
      failures++;
      if (!signal.aborted) options.onError(error, failures);
    }
    running = false;
    if (signal.aborted) {
      stop.resolve();
      return;
    }
    const sinceStartMs = clock.nowMs() - lastStartMs;
    if (failures > 0)
      schedule(backoffMs(failures, { firstMs: options.retryMs, maxMs: options.resyncMs }, options.random));
    else if (wanted) schedule(Math.max(0, options.minMs - sinceStartMs));
    else schedule(options.resyncMs);
  }

  signal.addEventListener(
    'abort',
    () => {
      cancelTimer();
      if (!running) stop.resolve();
    },
    { once: true },
  );
  if (signal.aborted) stop.resolve();
  else schedule(options.resyncMs);

  return {
    stopped: stop.promise,
    trigger() {
      if (wanted || signal.aborted) return;
      wanted = true;
      // While work fails its back-off decides; a flood of triggers must not become a flood of failures.
      if (running || failures > 0) return;
      schedule(Math.max(0, options.minMs - (clock.nowMs() - lastStartMs)));
    },
  };
}
