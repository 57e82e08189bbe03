/** How long to wait before trying again. */
export interface BackoffTimes {
  /** Wait after the first failure, milliseconds. */
  readonly firstMs: number;
  /** Longest wait, milliseconds. */
  readonly maxMs: number;
}

/**
 * Milliseconds to wait after the given number of failures in a row (1 and up): doubles from `firstMs` up to `maxMs`,
 * then up to a quarter is taken off at random so that many waiters do not come back together.
 */
export function backoffMs(failures: number, times: BackoffTimes, random: () => number = Math.random): number {
  // 2^30 times any first wait is beyond every maximum; more would lose precision.
  const doubled = times.firstMs * 2 ** Math.min(Math.max(failures, 1) - 1, 30);
  return Math.min(doubled, times.maxMs) * (1 - random() / 4);
}
