/** A time limit that can name what was being done when it passed. */
import { WeirError } from '../errors.ts';
import type { Clock } from '../run/clock.ts';

export interface Progress {
  /** What the work is doing now, to be named if the limit passes: "waiting for ...". */
  doing: string;
  readonly signal: AbortSignal;
}

/**
 * Runs the work and answers with its outcome, or with a TIMEOUT when the limit passes first. Then, or when `cancel`
 * aborts, the work sees it in `progress.signal`; it goes on until it has cleaned up, which is not waited for.
 */
export async function withinDeadline<T>(
  what: string,
  limit: { readonly ms: number; readonly clock: Clock; readonly cancel?: AbortSignal },
  work: (progress: Progress) => Promise<T>,
): Promise<T> {
  const timeout = new AbortController();
  const signal = limit.cancel ? AbortSignal.any([timeout.signal, limit.cancel]) : timeout.signal;
  const progress: Progress = { doing: 'starting', signal };
  const cancelTimer = limit.clock.after(limit.ms, () => {
    const message = `${what} did not finish within ${limit.ms / 1000} s: it was ${progress.doing}`;
    timeout.abort(new WeirError('TIMEOUT', what, message));
  });
  try {
    return await orAborted(work(progress), timeout.signal);
  } finally {
    cancelTimer();
  }
}

/** The promise's outcome, or the signal's reason if it aborts first. */
export function orAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  if (signal.aborted) {
    promise.catch(() => {}); // The reason was given first.
    return Promise.reject(signal.reason);
  }
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(signal.reason);
    signal.addEventListener('abort', onAbort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}
