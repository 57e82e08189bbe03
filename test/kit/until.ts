/** Waiting for a condition, never for time. */
import { setTimeout as sleep } from 'node:timers/promises';

export interface UntilOptions {
  /** What is waited for, for the error: "the agent to be ready". */
  readonly what: string;
  readonly timeoutMs?: number;
  readonly everyMs?: number;
  /** More for the error. */
  readonly detail?: () => string;
}

/** Asks until the answer is neither false nor undefined, and returns it; an error thrown by `ask` ends the wait. */
export async function until<T>(
  ask: () => T | Promise<T>,
  options: UntilOptions,
): Promise<Exclude<T, false | undefined>> {
  const { what, timeoutMs = 10_000, everyMs = 20, detail } = options;
  const end = performance.now() + timeoutMs;
  for (;;) {
    const answer = await ask();
    if (answer !== false && answer !== undefined) return answer as Exclude<T, false | undefined>;
    if (performance.now() > end) throw new Error(`waited ${timeoutMs} ms for ${what}${detail ? `\n${detail()}` : ''}`);
    await sleep(everyMs);
  }
}
