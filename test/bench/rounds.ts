/** A/B/A rounds: the baseline before and after ours in every round, the first round thrown away. */

/** What one run gives: numbers by metric. */
export type Sample = Readonly<Record<string, number>>;

/** Somebody who is measured. */
export interface Contender {
  readonly name: string;
  run(): Promise<Sample>;
}

export interface Contest {
  readonly ours: readonly Sample[];
  readonly baseline: readonly Sample[];
  readonly again: readonly Sample[];
  /** By contender's name. */
  readonly others: ReadonlyMap<string, readonly Sample[]>;
}

/** One round after the other: baseline, ours, baseline again, then the others; ours and the baseline's two change places each round. */
export async function contest(
  { ours, baseline, others = [] }: { ours: Contender; baseline: Contender; others?: readonly Contender[] },
  rounds: number,
): Promise<Contest> {
  const result = { ours: [] as Sample[], baseline: [] as Sample[], again: [] as Sample[] };
  const further = new Map<string, Sample[]>(others.map(({ name }) => [name, []]));
  const started = performance.now();
  for (let round = 0; round <= rounds; round++) {
    const before = await baseline.run();
    const mine = await ours.run();
    const after = await baseline.run();
    const rest: [string, Sample][] = [];
    for (const other of others) rest.push([other.name, await other.run()]);
    if (round === 0) {
      const seconds = Math.round((rounds * (performance.now() - started)) / 1000);
      console.log(`  ${ours.name} beside ${baseline.name}: ${rounds} rounds, about ${seconds} s`);
      continue; // Caches, neighbours, clock speed.
    }
    result.ours.push(mine);
    result.baseline.push(round % 2 === 0 ? before : after);
    result.again.push(round % 2 === 0 ? after : before);
    for (const [name, sample] of rest) further.get(name)?.push(sample);
  }
  return { ...result, others: further };
}

/** One metric's numbers. A contender that does not report it is a mistake in the bench. */
export function numbers(samples: readonly Sample[], metric: string): number[] {
  return samples.map((sample) => {
    const value = sample[metric];
    if (value === undefined) throw new Error(`no ${metric} was measured`);
    return value;
  });
}
