/** The smallest scenario that still fails: takes away whatever can go, again and again. */
import type { Scenario } from './scenario.ts';

/** `fails` must be false for scenarios that are not valid any more. Tries at most `budget` scenarios. */
export function shrink(scenario: Scenario, fails: (candidate: Scenario) => boolean, budget = 4000): Scenario {
  let best = scenario;
  let tries = 0;
  for (let progress = true; progress; ) {
    progress = false;
    for (const candidate of smaller(best)) {
      if (++tries > budget) return best;
      if (!fails(candidate as Scenario)) continue;
      best = candidate as Scenario;
      progress = true;
      break;
    }
  }
  return best;
}

/** The value with one element or optional field less, biggest pieces first. */
function* smaller(value: unknown): Generator<unknown> {
  if (Array.isArray(value)) {
    if (value.length > 3) {
      const half = value.length >> 1;
      yield value.slice(half);
      yield value.slice(0, half);
    }
    for (let i = 0; i < value.length; i++) yield value.toSpliced(i, 1);
    for (const [i, item] of value.entries()) for (const less of smaller(item)) yield value.with(i, less);
  } else if (typeof value === 'object' && value !== null) {
    const fields = value as Record<string, unknown>;
    for (const name of Object.keys(fields)) {
      const { [name]: _, ...rest } = fields;
      yield rest;
    }
    for (const [name, item] of Object.entries(fields)) {
      for (const less of smaller(item)) yield { ...fields, [name]: less };
    }
  }
}
