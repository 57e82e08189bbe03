/**
 * Random clusters, policies and packets: the engine's rows, read as the kernel reads them, against the oracle.
 * A fresh seed per run, printed; `WEIR_SEED=n` repeats one run, `WEIR_LONG=1` (npm run test:long) asks 100,000 cases.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { suite } from '../kit/suite.ts';
import { formatScenario } from '../oracle/format.ts';
import { generate } from '../oracle/generate/scenario.ts';
import type { Scenario } from '../oracle/scenario.ts';
import { shrink } from '../oracle/shrink.ts';
import { type Disagreement, disagreement } from './policy-agreement.ts';

const PACKETS = 40;
const LONG = process.env.WEIR_LONG === '1' || process.argv.includes('--long');
const SCENARIOS = LONG ? 2600 : 200;
const SEED = Number(process.env.WEIR_SEED ?? Math.floor(Math.random() * 2 ** 31));

const test = suite('policy: engine and oracle agree');

test(`${SCENARIOS * PACKETS} random cases, seed ${SEED}`, () => {
  console.log(`policy oracle: seed ${SEED}, ${SCENARIOS} scenarios of ${PACKETS} packets`);
  for (let i = 0; i < SCENARIOS; i++) {
    const seed = SEED + i;
    const scenario = generate(seed, PACKETS);
    const found = disagreement(scenario, seed);
    if (found) assert.unreachable(report(scenario, seed, found));
  }
});

/** Shrinks the scenario, writes it to a file, and says what differs. */
function report(scenario: Scenario, seed: number, found: Disagreement): string {
  const fails = (candidate: Scenario): boolean => {
    try {
      return disagreement(candidate, seed) !== undefined;
    } catch {
      // Not a scenario any more: something it needs was taken away.
      return false;
    }
  };
  const least = shrink({ ...scenario, packets: [found.packet] }, fails);
  const folder = join(tmpdir(), 'weir-scenarios');
  mkdirSync(folder, { recursive: true });
  const file = join(folder, `policy-${seed}.json`);
  writeFileSync(file, formatScenario(least));
  const { engine, oracle, audited } = disagreement(least, seed) ?? found;
  const mode = audited ? ' (audited)' : '';
  return `seed ${seed}: engine says ${engine}, oracle says ${oracle}${mode}; smallest scenario in ${file}:\n${formatScenario(least)}`;
}

test.run();
