/** Time as the agent's parts see it, so that tests can own it. */
export interface Clock {
  /** Milliseconds since an arbitrary start; never goes back, also when the wall clock is set. */
  nowMs(): number;
  /** Calls `then` once after `ms` milliseconds; the returned function cancels. A pending timer does not keep Node alive. */
  after(ms: number, then: () => void): () => void;
}

/** The machine's monotonic clock. */
export const systemClock: Clock = {
  nowMs: () => performance.now(),
  after(ms, then) {
    const timer = setTimeout(then, ms);
    timer.unref();
    return () => clearTimeout(timer);
  },
};
