/** The network workloads: each variant on every site in turn, ours against bare veth, and against the others. */
import type { Bench } from './bench.ts';
import { type Figure, figureOf, type Goal, noiseOf } from './figure.ts';
import { contest, numbers, type Sample } from './rounds.ts';
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

export async function compareSites(bench: Bench, { workload, variants, metrics }: NetworkWorkload): Promise<Figure[]> {
  const { ours, bare, others } = await bench.sites();
  const figures: Figure[] = [];
  for (const { name, run } of variants) {
    const contender = (site: Site) => ({ name: site.name, run: () => run(site) });
    const result = await contest(
      { ours: contender(ours), baseline: contender(bare), others: others.map(contender) },
      bench.rounds,
    );
    for (const { key, goal, metric, ...rest } of metrics) {
      const mine = numbers(result.ours, key);
      const [before, after] = [numbers(result.baseline, key), numbers(result.again, key)];
      const noise = noiseOf(before, after);
      const described = { workload, metric: `${metric}, ${name}`, ...rest };
      // The mean of the two around ours: a machine that slows down slowly favours nobody.
      const around = before.map((value, round) => (value + (after[round] ?? value)) / 2);
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
