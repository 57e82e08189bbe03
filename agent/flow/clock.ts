/** Kernel time (CLOCK_MONOTONIC) as wall time. */

/** Both clocks at one moment. Injected in tests. */
export interface ClockSource {
  /** CLOCK_MONOTONIC in ns, the clock of bpf_ktime_get_ns. */
  monotonicNs(): bigint;
  /** Wall time, ms since 1970, whole. */
  wallMs(): number;
}

export const SYSTEM_CLOCK: ClockSource = {
  // libuv reads CLOCK_MONOTONIC (uv__hrtime in src/unix/linux.c)
  monotonicNs: () => process.hrtime.bigint(),
  wallMs: () => Date.now(),
};

/** Wall time is known in whole ms and truncated, so a sample lies up to 1 ms below the truth; more than this is a step. */
const STEP_MS = 2;

/**
 * The difference of the two clocks, sampled once per batch of events. Both clocks are slewed alike, so it changes only
 * when somebody sets the wall clock: then it follows at once, and events keep the wall time that was valid when they
 * arrived. Between steps the highest sample is the truest, and time does not jitter by the millisecond of Date.now().
 */
export class FlowClock {
  readonly #source: ClockSource;
  #offsetMs: number;

  constructor(source: ClockSource = SYSTEM_CLOCK) {
    this.#source = source;
    this.#offsetMs = this.#sampled();
  }

  /** Looks at both clocks; returns the offset: wall ms = monotonic ms + offset. */
  sample(): number {
    const sampled = this.#sampled();
    const ahead = sampled - this.#offsetMs;
    if (ahead > 0 || ahead < -STEP_MS) this.#offsetMs = sampled;
    return this.#offsetMs;
  }

  #sampled(): number {
    return this.#source.wallMs() - Number(this.#source.monotonicNs()) / 1e6;
  }
}

/** RFC 3339 in UTC with microseconds; `ms` since 1970 with fraction. */
export function formatTime(ms: number): string {
  const micros = Math.round(ms * 1000);
  const whole = Math.floor(micros / 1000);
  const rest = String(micros - whole * 1000).padStart(3, '0');
  return `${new Date(whole).toISOString().slice(0, -1)}${rest}Z`;
}
