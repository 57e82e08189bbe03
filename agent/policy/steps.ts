/** Work in small steps, so that a process may do something else between any two of them. */

/** A step takes microseconds, the longest (rows of one class with a hundred rules) well below a millisecond. */
export type Steps<Result = void> = Generator<undefined, Result>;

/** Does all the steps at once. */
export function finish<Result>(steps: Steps<Result>): Result {
  for (;;) {
    const { done, value } = steps.next();
    if (done) return value;
  }
}
