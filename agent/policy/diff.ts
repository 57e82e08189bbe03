/** What changes between two sets of manifests: verdicts of pairs, and of flows that were recorded. */
import type { ExplainedSide, MatrixEntry } from '../model/explanation.ts';
import { explain } from './explain/explain.ts';
import { type MatrixQuestion, matrix } from './matrix.ts';
import type { PortQuestion } from './workbench/port.ts';
import type { Workbench } from './workbench/workbench.ts';

export interface VerdictChange extends Pick<MatrixEntry, 'from' | 'to' | 'port' | 'protocol' | 'family'> {
  readonly old: MatrixEntry['verdict'];
  readonly new: MatrixEntry['verdict'];
  /** Why, in the old and in the new manifests: a sentence for each side that has policies to say something. */
  readonly oldReasons: readonly string[];
  readonly newReasons: readonly string[];
}

/** The same question on both benches; peers have to be looked up on each. */
export interface DiffQuestion {
  readonly ports: readonly PortQuestion[];
  readonly peers: readonly string[];
}

/** Pairs that exist in both and whose verdict differs. */
export function* diffPairs(
  before: Workbench,
  after: Workbench,
  { ports, peers }: DiffQuestion,
): Generator<VerdictChange> {
  const question = (bench: Workbench, port: PortQuestion): MatrixQuestion => {
    return { ports: [port], peers: peers.map(bench.party) };
  };
  for (const port of ports) {
    const old = new Map([...matrix(before, question(before, port))].map((entry) => [keyOf(entry), entry]));
    for (const entry of matrix(after, question(after, port))) {
      const was = old.get(keyOf(entry));
      if (!was || was.verdict === entry.verdict) continue;
      const { from, to, protocol, family } = entry;
      yield {
        from,
        to,
        port: port.port,
        protocol,
        family,
        old: was.verdict,
        new: entry.verdict,
        oldReasons: reasonsOf(before, was, port),
        newReasons: reasonsOf(after, entry, port),
      };
    }
  }
}

function keyOf({ from, to, family }: MatrixEntry): string {
  return [from, to, family].join(' ');
}

function reasonsOf(bench: Workbench, entry: MatrixEntry, port: PortQuestion): string[] {
  if (entry.ingress === 'n/a' && entry.egress === 'n/a') return [`${entry.to} has no port ${port.port}`];
  const parties = { from: bench.party(entry.from), to: bench.party(entry.to) };
  const all = explain(bench, { ...parties, port, fixes: false });
  const one = all.find(({ family }) => family === entry.family);
  const sides = one ? [one.egress, one.ingress] : [];
  return sides.filter((side) => side.verdict === entry.verdict).map(({ sentence }: ExplainedSide) => sentence);
}

/** Pods of one that the other does not have. */
export function onlyIn(one: Workbench, other: Workbench): string[] {
  const known = new Set(other.pods.map(({ name }) => name));
  return one.pods.map(({ name }) => name).filter((name) => !known.has(name));
}
