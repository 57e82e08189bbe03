/** The process that measures W7 and writes its figures, as JSON, to the file it is given: `node policy.ts ROUNDS FILE`. */
import { writeFileSync } from 'node:fs';
import { longestWait, newIdentity } from './policy-realize.ts';
import { cidrs, manyPolicies, memory, resolve } from './policy-resolve.ts';

const [, , rounds, file] = process.argv;
if (rounds === undefined || file === undefined) throw new Error('usage: node policy.ts ROUNDS FILE');
const figures = [];
for (const measure of [memory, longestWait, resolve, manyPolicies, cidrs, newIdentity]) {
  figures.push(...(await measure(Number(rounds))));
}
writeFileSync(file, JSON.stringify(figures));
