/** What a bench says: one figure per metric and baseline, always a ratio to something measured in the same run. */

export interface Figure {
  /** "W1", ...: the workload's name in the project's notes on measuring. */
  readonly workload: string;
  readonly metric: string;
  readonly unit: string;
  /** Median over the rounds. */
  readonly ours: number;
  readonly baseline: number;
  readonly baselineName: string;
  /** Turned so that more is better; 1 is equal. The median of the rounds' ratios. */
  readonly ratio: number;
  /** Interquartile range of the rounds' ratios. */
  readonly spread: number;
  /** The same of the baseline against itself (A/A): what a difference has to exceed to mean anything. */
  readonly noise: number;
  /** In words; null where there is none. */
  readonly goal: string | null;
  /** Missed only by more than the noise counts as missed. */
  readonly met: boolean | null;
}

/** What is asked of a figure: of the ratio (at least), or of our own number (at most, in its unit). */
export type Goal = { readonly ratioAtLeast: number } | { readonly oursAtMost: number };

export interface Metric {
  readonly workload: string;
  readonly metric: string;
  readonly unit: string;
  readonly better: 'more' | 'less';
  readonly goal?: Goal;
}

/** Samples of the same rounds, in the same order. */
export interface Rounds {
  readonly ours: readonly number[];
  readonly baseline: readonly number[];
  readonly baselineName: string;
  /** Of an A/A pair of the same run: see noiseOf. */
  readonly noise: number;
}

/** @throws RangeError without samples, or when the two differ in number */
export function figureOf(metric: Metric, { ours, baseline, baselineName, noise }: Rounds): Figure {
  const { workload, metric: name, unit, better, goal } = metric;
  const ratios = ratiosOf(better, ours, baseline);
  const figure = { ours: median(ours), baseline: median(baseline), ratio: median(ratios) };
  return {
    workload,
    metric: name,
    unit,
    ...figure,
    baselineName,
    spread: spreadOf(ratios),
    noise,
    goal: goal === undefined ? null : describe(goal, unit),
    met: goal === undefined ? null : isMet(goal, figure, noise),
  };
}

/** The spread of something compared with itself. */
export function noiseOf(one: readonly number[], again: readonly number[]): number {
  return spreadOf(ratiosOf('more', one, again));
}

function ratiosOf(better: Metric['better'], ours: readonly number[], baseline: readonly number[]): number[] {
  if (ours.length === 0 || ours.length !== baseline.length)
    throw new RangeError(`${ours.length} samples of ours and ${baseline.length} of the baseline cannot be compared`);
  return ours.map((value, round) => {
    const other = baseline[round] ?? Number.NaN;
    return better === 'more' ? value / other : other / value;
  });
}

function describe(goal: Goal, unit: string): string {
  return 'ratioAtLeast' in goal ? `ratio at least ${goal.ratioAtLeast}` : `at most ${goal.oursAtMost} ${unit}`;
}

function isMet(goal: Goal, { ours, ratio }: { ours: number; ratio: number }, noise: number): boolean {
  if ('ratioAtLeast' in goal) return ratio >= goal.ratioAtLeast - noise;
  return ours <= goal.oursAtMost * (1 + noise);
}

/** The q-quantile (0 to 1), interpolated. */
export function quantile(values: readonly number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (sorted.length - 1) * q;
  const low = sorted[Math.floor(at)];
  const high = sorted[Math.ceil(at)];
  if (low === undefined || high === undefined) throw new RangeError('a quantile of nothing');
  return low + (high - low) * (at - Math.floor(at));
}

export function median(values: readonly number[]): number {
  return quantile(values, 0.5);
}

function spreadOf(values: readonly number[]): number {
  return quantile(values, 0.75) - quantile(values, 0.25);
}
