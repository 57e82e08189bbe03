/** Policies under test: expectations about packets, checked on a bench. What `weir policy test` runs. */
import { WeirError } from '../errors.ts';
import type { ExplainedSide, Explanation } from '../model/explanation.ts';
import type { Origin, Problem } from '../model/object.ts';
import { explain } from './explain/explain.ts';
import { createReport } from './parse/report.ts';
import { checkSchema, list, object, type Schema, TEXT } from './parse/schema.ts';
import { readPort } from './workbench/port.ts';
import type { Workbench } from './workbench/workbench.ts';

/** One packet and what is to become of it. Parties and ports as in `weir policy explain`. */
export interface Expectation {
  readonly name?: string;
  readonly from: string;
  readonly to: string;
  readonly port: number | string;
  readonly expect: 'allow' | 'deny';
  /** The document, or the rule, that decides: "Kind ns/name" or "Kind ns/name spec.ingress[0]". */
  readonly rule?: string;
  /** Only this side is looked at. */
  readonly side?: 'ingress' | 'egress';
  /** Only this family; without it every one the two have in common. */
  readonly family?: 'IPv4' | 'IPv6';
}

export interface Suite {
  /** Directories and files, as written. */
  readonly manifests: readonly string[];
  readonly tests: readonly Expectation[];
  /** Line of the file at which a test stands. */
  line(test: number): number | undefined;
}

const EXPECTATION: Schema = object(
  {
    name: TEXT,
    from: TEXT,
    to: TEXT,
    port: { type: 'number-or-text' },
    expect: { type: 'text', values: ['allow', 'deny'] },
    rule: TEXT,
    side: { type: 'text', values: ['ingress', 'egress'] },
    family: { type: 'text', values: ['IPv4', 'IPv6'] },
  },
  { required: ['from', 'to', 'port', 'expect'] },
);
const SUITE = object({ manifests: list(TEXT), tests: list(EXPECTATION, { min: 1 }) }, { required: ['tests'] });

/** Undefined with problems: what is written is no suite. */
export function readSuite(
  raw: unknown,
  origin: Origin,
): { readonly suite?: Suite; readonly problems: readonly Problem[] } {
  const report = createReport({ origin });
  checkSchema(raw, SUITE, [], report);
  if (report.failed()) return { problems: report.problems };
  const { manifests = [], tests } = raw as { manifests?: string[]; tests: Expectation[] };
  return { suite: { manifests, tests, line: (test) => origin.line(['tests', test]) }, problems: report.problems };
}

export interface Outcome {
  readonly test: Expectation;
  /** What is not as expected; [] when the test passes. */
  readonly failures: readonly string[];
  /** Of a test that fails. */
  readonly explanations: readonly Explanation[];
}

export function runTest(bench: Workbench, test: Expectation): Outcome {
  try {
    const failures = answers(bench, test, false).flatMap((one) => failuresOf(test, one));
    return { test, failures, explanations: failures.length === 0 ? [] : answers(bench, test, true) };
  } catch (error) {
    if (!(error instanceof WeirError) || error.code === 'INTERNAL') throw error;
    return { test, failures: [error.message], explanations: [] };
  }
}

function answers(bench: Workbench, { from, to, port, family }: Expectation, fixes: boolean): Explanation[] {
  const question = { from: bench.party(from), to: bench.party(to), port: readPort(String(port)), fixes };
  const all = explain(bench, question).filter((one) => family === undefined || one.family === family);
  if (all.length > 0) return all;
  throw new WeirError('BAD_REQUEST', 'run a test', `${from} and ${to} cannot talk over ${family}`);
}

function failuresOf({ expect, rule, side }: Expectation, explanation: Explanation): string[] {
  const sides = side ? [explanation[side]] : [explanation.egress, explanation.ingress];
  const denied = sides.some(({ verdict }) => verdict === 'denied');
  const verdict = denied ? 'denied' : 'allowed';
  if ((expect === 'deny') !== denied) return [`${explanation.family}: expected ${expect}, but it is ${verdict}`];
  // A denial is one side's alone; what is allowed, both sides allow.
  const deciding = sides.filter((one) => one.verdict === verdict);
  const names = deciding.flatMap(decidedBy);
  if (rule === undefined || names.some((name) => isMeant(name, rule))) return [];
  return [`${explanation.family}: ${verdict}, but by ${names.join(' and ') || 'nobody'} instead of ${rule}`];
}

/** Of a default deny: the documents that isolate. */
function decidedBy({ rule, reason, isolatedBy }: ExplainedSide): string[] {
  const name = ({ kind, namespace, name: own }: ExplainedSide['isolatedBy'][number]): string =>
    `${kind} ${namespace === '' ? '' : `${namespace}/`}${own}`;
  if (rule) return [`${name(rule.document)} ${rule.path}`.trim()];
  return reason === 'default-deny' ? isolatedBy.map(name) : [];
}

/** The kind, and the place in the document, may be left out. */
function isMeant(name: string, wanted: string): boolean {
  const withoutKind = name.slice(name.indexOf(' ') + 1);
  return [name, withoutKind].some((text) => text === wanted || text.startsWith(`${wanted} `));
}
