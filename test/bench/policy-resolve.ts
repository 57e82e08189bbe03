/** W7: what it takes to compile policies, whole and after a change, and what identities take in memory. */
import { NAMESPACE_LABEL } from '../../agent/model/labels.ts';
import type { Document } from '../../agent/model/object.ts';
import { createEngine, type Engine } from '../../agent/policy/engine.ts';
import { selector, selectorMatches } from '../../agent/policy/select/selector.ts';
import { heldBytes } from '../kit/memory.ts';
import { type Figure, figureOf, type Metric, median, noiseOf } from './figure.ts';
import {
  appPolicies,
  appRule,
  cidrPolicy,
  engineWith,
  labelsOf,
  numberOf,
  policy,
  subjectOf,
} from './policy-cluster.ts';
import { contest, numbers, type Sample } from './rounds.ts';

export const RULES = 1000;
const IDENTITIES = 3000;
/** Of the changes that take microseconds, in one round. */
const REPEATS = 200;

/** Milliseconds. */
export function timed(work: () => void): number {
  const start = performance.now();
  work();
  return performance.now() - start;
}

/** A metric whose baseline is another number of the same round. */
export async function compare(
  metrics: readonly (Omit<Metric, 'workload' | 'better'> & { better?: Metric['better'] })[],
  baselineName: string,
  runs: { readonly ours: () => Sample | Promise<Sample>; readonly baseline: () => number | Promise<number> },
  rounds: number,
): Promise<Figure[]> {
  const result = await contest(
    {
      ours: { name: 'Weir', run: async () => runs.ours() },
      baseline: { name: baselineName, run: async () => ({ value: await runs.baseline() }) },
    },
    rounds,
  );
  const [first, second] = [numbers(result.baseline, 'value'), numbers(result.again, 'value')];
  const baseline = first.map((value, round) => (value + (second[round] ?? value)) / 2);
  const noise = noiseOf(first, second);
  return metrics.map((metric) =>
    figureOf(
      { workload: 'W7', better: 'less', ...metric },
      { ours: numbers(result.ours, metric.metric), baseline, baselineName, noise },
    ),
  );
}

/** 1,000 rules over 3,000 identities: from nothing, and after small changes. */
export async function resolve(rounds: number): Promise<Figure[]> {
  const full = `full resolve, ${RULES} rules x ${IDENTITIES} identities`;
  const added = 'one identity added';
  const edited = 'one rule edited';
  const engine = loaded(IDENTITIES, appPolicies(RULES));
  engine.addSubject(subjectOf(0));
  engine.take();
  let next = IDENTITIES;
  let port = 20_000;
  const changes = (): Sample => ({
    [added]: middle(REPEATS, () => {
      const n = next++;
      engine.upsertIdentity(numberOf(n), labelsOf(n));
      engine.take();
    }),
    [edited]: middle(5, () => {
      engine.upsertDocument(policy('policy-7', undefined, { ingress: [appRule(7, port++)] }));
      engine.take();
    }),
  });
  return [
    ...(await compare(
      [{ metric: full, unit: 'ms' }],
      'each selector tried on each identity',
      { ours: () => ({ [full]: fullResolve() }), baseline: tryAll },
      rounds,
    )),
    ...(await compare(
      [
        { metric: added, unit: 'ms', goal: { ratioAtLeast: 100 } },
        { metric: edited, unit: 'ms' },
      ],
      'full resolve',
      { ours: changes, baseline: fullResolve },
      rounds,
    )),
  ];
}

/** 10,000 policies of which 20 select the endpoint. */
export async function manyPolicies(rounds: number): Promise<Figure[]> {
  const [count, own] = [10_000, 20];
  const app = (n: number): string => (n < own ? 'app-0' : `elsewhere-${n}`);
  const documents = Array.from({ length: count }, (_, n) => policy(`policy-${n}`, app(n), { ingress: [appRule(n)] }));
  const all = loaded(1000, documents);
  const few = loaded(1000, documents.slice(0, own));
  const endpoint = `endpoint that ${own} of ${count} policies select`;
  const stranger = `policy added to ${count}, selects nobody here`;
  const compile = (engine: Engine): number =>
    middle(REPEATS / 10, () => {
      const key = engine.addSubject(subjectOf(0));
      engine.take();
      engine.removeSubject(key);
    });
  let next = count;
  const add = (): number => {
    const key = all.addSubject(subjectOf(0));
    all.take();
    const took = middle(REPEATS, () => {
      all.upsertDocument(policy(`policy-${next++}`, 'nobody', { ingress: [appRule(1)] }));
      all.take();
    });
    all.removeSubject(key);
    return took;
  };
  return compare(
    [
      { metric: endpoint, unit: 'ms' },
      { metric: stranger, unit: 'ms' },
    ],
    `the endpoint with its ${own} policies alone`,
    { ours: () => ({ [endpoint]: compile(all), [stranger]: add() }), baseline: () => compile(few) },
    rounds,
  );
}

/** 1,000 CIDRs in one policy, each with a port of its own. */
export async function cidrs(rounds: number): Promise<Figure[]> {
  const count = 1000;
  const [took, rows] = [`${count} CIDRs`, `rows of ${count} CIDRs`];
  const compile = (): Sample => {
    const engine = loaded(0, [cidrPolicy(count)]);
    engine.addSubject(subjectOf(0));
    let made = 0;
    const ms = timed(() => {
      const { set } = engine.take();
      made = set.addressClasses.length + set.verdicts.length;
    });
    return { [took]: ms, [rows]: made };
  };
  return [
    ...(await compare(
      [{ metric: took, unit: 'ms' }],
      'full resolve',
      { ours: compile, baseline: fullResolve },
      rounds,
    )),
    ...(await compare([{ metric: rows, unit: 'rows' }], 'CIDRs', { ours: compile, baseline: () => count }, 1)),
  ];
}

/** 65,000 identities: known, and in the set that the entity `cluster` makes. */
export async function memory(): Promise<Figure[]> {
  const count = 65_000;
  const alone = 'labels';
  const known = `an identity, of ${count}`;
  const inSet = `an identity in one set, of ${count}`;
  const measure = (): Sample => {
    const before = heldBytes();
    const labels = Array.from({ length: count }, (_, n) => labelsOf(n));
    const withLabels = heldBytes();
    const engine = createEngine();
    for (const [n, own] of labels.entries()) engine.upsertIdentity(numberOf(n), own);
    engine.take();
    const withEngine = heldBytes();
    engine.upsertDocument(policy('cluster', undefined, { ingress: [{ fromEntities: ['cluster'] }] }));
    engine.addSubject(subjectOf(0));
    engine.take();
    const withSet = heldBytes();
    engine.take(); // Alive until here.
    const each = (after: number): number => (after - before) / count;
    return { [alone]: each(withLabels), [known]: each(withEngine), [inSet]: each(withSet) };
  };
  return compare(
    [known, inSet].map((metric) => ({ metric, unit: 'bytes' })),
    'its labels alone',
    { ours: measure, baseline: () => measure()[alone] as number },
    1,
  );
}

/** A policy of 1,000 rules compiled for one subject, all of it. */
export function fullResolve(identities = IDENTITIES): number {
  const engine = loaded(identities, appPolicies(RULES));
  engine.addSubject(subjectOf(0));
  return timed(() => engine.take());
}

/** Who matches which rule, found without an index. */
function tryAll(): number {
  const all = Array.from({ length: IDENTITIES }, (_, n) => labelsOf(n));
  const wanted = Array.from({ length: RULES }, (_, n) =>
    selector([
      { operator: 'In', key: NAMESPACE_LABEL, values: ['shop'] },
      { operator: 'In', key: 'k8s:app', values: [`app-${n}`] },
    ]),
  );
  return timed(() => {
    for (const one of wanted) for (const labels of all) selectorMatches(one, labels);
  });
}

export function loaded(identities: number, documents: readonly Document[]): Engine {
  const engine = identities > 0 ? engineWith(identities) : createEngine();
  for (const document of documents) engine.upsertDocument(document);
  return engine;
}

function middle(repeats: number, work: () => void): number {
  return median(Array.from({ length: repeats }, () => timed(work)));
}
