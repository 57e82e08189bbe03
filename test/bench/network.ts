/** The network workloads: each variant on every site in turn, ours against bare veth, and against the others. */
import type { Bench, Sites } from './bench.ts';
import { type Figure, figureOf, type Goal, noiseOf } from './figure.ts';
import { type Contest, contest, numbers, type Sample } from './rounds.ts';
import type { Site } from './site.ts';

export interface NetworkWorkload {
  readonly workload: string;
  readonly variants: readonly { readonly name: string; run(site: Site): Promise<Sample> }[];
  readonly metrics: readonly {
    /** In the sample. */
    readonly key: string;
    readonly metric: string;
    readonly unit: string;
    readonly better: 'more' | 'less';
    /** Against bare veth. */
    readonly goal?: Goal;
  }[];
}

/** On the sites of one node that all workloads share. */
export async function compareSites(bench: Bench, workload: NetworkWorkload): Promise<Figure[]> {
  return compare(await bench.sites(), workload, bench.rounds);
}

export async function compare(
  { ours, bare, others }: Sites,
  { workload, variants, metrics }: NetworkWorkload,
  rounds: number,
): Promise<Figure[]> {
  const figures: Figure[] = [];
  for (const { name, run } of variants) {
    const contender = (site: Site) => ({ name: site.name, run: () => run(site) });
    const result = await contest(
      { ours: contender(ours), baseline: contender(bare), others: others.map(contender) },
      rounds,
    );
    for (const { key, goal, metric, ...rest } of metrics) {
      const mine = numbers(result.ours, key);
      const noise = noiseOf(numbers(result.baseline, key), numbers(result.again, key));
      const described = { workload, metric: `${metric}, ${name}`, ...rest };
      const around = baselineAround(result, key);
      figures.push(
        figureOf(
          { ...described, ...(goal === undefined ? {} : { goal }) },
          { ours: mine, baseline: around, baselineName: bare.name, noise },
        ),
      );
      for (const [baselineName, samples] of result.others)
        figures.push(figureOf(described, { ours: mine, baseline: numbers(samples, key), baselineName, noise }));
    }
  }
  return figures;
}

/** The mean of the two baselines around ours: a machine that slows down slowly favours nobody. */
export function baselineAround({ baseline, again }: Contest, key: string): number[] {
  const [before, after] = [numbers(baseline, key), numbers(again, key)];
  return before.map((value, round) => (value + (after[round] ?? value)) / 2);
}
