/**
 * `npm run bench [-- W1 policy] [--quick] [--json FILE]`: Weir against bare veth, nftables and ptp on this machine. A table for people, a
 * JSON array of figures (figure.ts) for machines. Leaves with 1 when a goal is missed by more than the noise.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { command } from '../kit/command.ts';
import { Bench } from './bench.ts';
import type { Figure } from './figure.ts';
import { flowExport } from './flows.ts';
import { nodes } from './nodes.ts';
import { podStarts } from './pods.ts';
import { scale } from './scale.ts';
import { table } from './table.ts';
import { stream } from './w1-stream.ts';
import { requestResponse } from './w2-request-response.ts';
import { connections } from './w3-connections.ts';
import { packetCost } from './w5-packet-cost.ts';
import { policyEngine } from './w7-policy.ts';
import { policyFlip } from './w8-policy-flip.ts';
import { cni } from './w9-cni.ts';

const WORKLOADS: Readonly<Record<string, (bench: Bench) => Promise<Figure[]>>> = {
  W1: stream,
  W2: requestResponse,
  W3: connections,
  W5: packetCost,
  W7: policyEngine,
  W8: policyFlip,
  W9: cni,
  W10: flowExport,
  nodes,
  pods: podStarts,
  scale,
};

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
/** Other names of workloads. */
const ALIASES: Readonly<Record<string, string>> = { policy: 'W7', flows: 'W10' };

const FULL = { rounds: 7, seconds: 5, quick: false };
const QUICK = { rounds: 3, seconds: 1, quick: true };

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { quick: { type: 'boolean', default: false }, json: { type: 'string' } },
});
const chosen = positionals.length === 0 ? Object.keys(WORKLOADS) : positionals.map((name) => ALIASES[name] ?? name);
for (const name of chosen)
  if (!(name in WORKLOADS)) {
    console.error(`bench: no workload ${name}; there are ${Object.keys(WORKLOADS).join(', ')}`);
    process.exit(2);
  }

const started = performance.now();
// What an image ships and a node runs: memory goals are about the bundle (design.md, "Runtime").
await command([process.execPath, join(ROOT, 'setup/bundle.ts')]);
process.env.WEIR_TEST_AGENT = join(ROOT, 'dist/weir-agent.mjs');
const bench = await Bench.open(values.quick ? QUICK : FULL);
const figures: Figure[] = [];
try {
  for (const name of chosen) {
    console.log(`bench: ${name} (${Math.round((performance.now() - started) / 1000)} s since the start)`);
    figures.push(...((await WORKLOADS[name]?.(bench)) ?? []));
  }
} finally {
  await bench.close();
  // Also what was measured before a workload failed.
  if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(figures, null, 2)}\n`);
}
console.log(`\n${table(figures)}\n`);
console.log(
  'ratio: more is better, 1 is equal; spread: its interquartile range; noise: the same of the baseline against itself',
);
const missed = figures.filter((figure) => figure.met === false);
console.log(
  `bench: ${figures.length} figures, ${missed.length} goals missed, ${Math.round((performance.now() - started) / 1000)} s`,
);
process.exitCode = missed.length === 0 ? 0 : 1;
