/** Finds what somebody meant when they mistyped a name from a known list. */

/**
 * The candidate nearest to the word, or undefined if none is near: at most one edit (insert, delete, replace, swap of
 * neighbours) per three letters, upper and lower case being the same letter. Ties go to the earlier candidate.
 */
export function closest(word: string, candidates: Iterable<string>): string | undefined {
  let best: string | undefined;
  let fewest = Math.floor(word.length / 3) + 1;
  for (const candidate of candidates) {
    if (Math.abs(candidate.length - word.length) >= fewest) continue;
    const edits = editDistance(word.toLowerCase(), candidate.toLowerCase());
    if (edits < fewest) [best, fewest] = [candidate, edits];
  }
  return best;
}

/** '; did you mean "X"?' for the end of a message, or ''. */
export function didYouMean(word: string, candidates: Iterable<string>): string {
  const candidate = closest(word, candidates);
  return candidate === undefined ? '' : `; did you mean ${candidate}?`;
}

/** Optimal string alignment distance: Levenshtein with swaps of neighbours. */
export function editDistance(a: string, b: string): number {
  const cost = (row: number[] | undefined, at: number): number => row?.[at] ?? Number.POSITIVE_INFINITY;
  let beforeLast: number[] | undefined;
  let last = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = cost(last, j - 1) + (a[i - 1] === b[j - 1] ? 0 : 1);
      const swapped = a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1] ? cost(beforeLast, j - 2) + 1 : replaced;
      row.push(Math.min(cost(row, j - 1) + 1, cost(last, j) + 1, replaced, swapped));
    }
    [beforeLast, last] = [last, row];
  }
  return cost(last, b.length);
}
