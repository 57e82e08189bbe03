/**
 * Random clusters, policies and packets: the engine's rows, read as the kernel reads them, against the oracle.
 * A fresh seed per run, printed; `WEIR_SEED=n` repeats one run, `WEIR_TEST_LONG=1` (npm run test:long) asks 100,000 cases.
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
import { type Disagreement, disagreement, leavesTraces } from './policy-agreement.ts';
import { canonical } from './policy-compare.ts';
import { buildWorld } from './policy-world.ts';

const PACKETS = 40;
const LONG = process.env.WEIR_TEST_LONG === '1';
const SCENARIOS = LONG ? 2600 : 250;
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

test(`what came and went leaves no trace, seed ${SEED}`, () => {
  for (let i = 0; i < SCENARIOS / 4; i++) {
    const seed = SEED + i;
    const scenario = generate(seed, 0);
    if (!leavesTraces(scenario, seed)) continue;
    const least = shrink(
      scenario,
      orFalse((candidate) => leavesTraces(candidate, seed)),
    );
    const [a, b] = [seed, seed + 1].map((order) => canonical(buildWorld(least, order).rows));
    assert.is(a, b, `seed ${seed}: two histories of one scenario differ; smallest in ${save(least, `trace-${seed}`)}`);
  }
});

/** Shrinks the scenario, writes it to a file, and says what differs. */
function report(scenario: Scenario, seed: number, found: Disagreement): string {
  const fails = orFalse((candidate) => disagreement(candidate, seed) !== undefined);
  const least = shrink({ ...scenario, packets: [found.packet] }, fails);
  const { engine, oracle, audited } = disagreement(least, seed) ?? found;
  const mode = audited ? ' (audited)' : '';
  const file = save(least, `policy-${seed}`);
  return `seed ${seed}: engine says ${engine}, oracle says ${oracle}${mode}; smallest in ${file}:\n${formatScenario(least)}`;
}

/** A candidate from which something needed was taken away throws: it is no scenario any more. */
function orFalse(holds: (candidate: Scenario) => boolean): (candidate: Scenario) => boolean {
  return (candidate) => {
    try {
      return holds(candidate);
    } catch {
      return false;
    }
  };
}

function save(scenario: Scenario, name: string): string {
  const folder = join(tmpdir(), 'weir-scenarios');
  mkdirSync(folder, { recursive: true });
  const file = join(folder, `${name}.json`);
  writeFileSync(file, formatScenario(scenario));
  return file;
}

test.run();
