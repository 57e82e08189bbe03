/** What there is to do, taken: what is added from now on is for the next time. */
export function drain<T>(set: Set<T>): T[] {
  const all = [...set];
  set.clear();
  return all;
}
