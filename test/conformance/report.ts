/** What ginkgo's JSON report says, as outcomes with reasons. */
import { LEFT_OUT, SUITE } from './scope.ts';

export type Outcome =
  | { readonly kind: 'passed'; readonly name: string; readonly seconds: number }
  | { readonly kind: 'failed'; readonly name: string; readonly seconds: number; readonly reason: string }
  /** The test itself found that it does not apply. */
  | { readonly kind: 'skipped'; readonly name: string; readonly reason: string }
  /** By scope.ts. */
  | { readonly kind: 'left out'; readonly name: string; readonly reason: string }
  /** Not in the area that was asked for. */
  | { readonly kind: 'elsewhere'; readonly name: string };

/** The parts of ginkgo's types.SpecReport that are read. */
interface SpecReport {
  readonly ContainerHierarchyTexts: readonly string[] | null;
  readonly LeafNodeType: string;
  readonly LeafNodeText: string;
  readonly State: string;
  /** In nanoseconds. */
  readonly RunTime: number;
  readonly Failure?: { readonly Message?: string };
}

/**
 * One outcome per test, and one per failed preparation of the whole suite.
 * @param json what `ginkgo --json-report` writes
 * @throws if it has no test at all: that is not what a run leaves
 */
export function readReport(json: string): Outcome[] {
  const suites: { SpecReports?: SpecReport[] }[] = JSON.parse(json);
  const specs = suites.flatMap((suite) => suite.SpecReports ?? []);
  if (!specs.some(isTest)) throw new Error("ginkgo's report has no networking tests in it");
  const setups = specs.filter(({ LeafNodeType, State }) => LeafNodeType !== 'It' && State !== 'passed');
  return [...setups, ...specs.filter(isTest)].map(outcome);
}

function isTest(spec: SpecReport): boolean {
  return spec.LeafNodeType === 'It' && SUITE.test(nameOf(spec));
}

function nameOf(spec: SpecReport): string {
  return [...(spec.ContainerHierarchyTexts ?? []), spec.LeafNodeText].filter(Boolean).join(' ') || spec.LeafNodeType;
}

function outcome(spec: SpecReport): Outcome {
  const name = nameOf(spec);
  const seconds = spec.RunTime / 1e9;
  const message = spec.Failure?.Message ?? '';
  if (spec.State === 'passed') return { kind: 'passed', name, seconds };
  if (spec.State !== 'skipped' && spec.State !== 'pending')
    return { kind: 'failed', name, seconds, reason: message || spec.State };
  if (message !== '') return { kind: 'skipped', name, reason: message };
  const left = LEFT_OUT.find(({ tests }) => tests.test(name));
  return left === undefined ? { kind: 'elsewhere', name } : { kind: 'left out', name, reason: left.reason };
}

/** For people: failures with their names, then counts, and a line per reason for what did not run. */
export function summary(outcomes: readonly Outcome[]): string {
  const of = (kind: Outcome['kind']) => outcomes.filter((each) => each.kind === kind);
  const failures = outcomes.flatMap((each) =>
    each.kind === 'failed'
      ? [`FAILED  ${each.name} (${each.seconds.toFixed(0)} s)\n        ${firstLine(each.reason)}`]
      : [],
  );
  const reasons = new Map<string, number>();
  for (const each of outcomes)
    if (each.kind === 'left out' || each.kind === 'skipped') {
      const why = each.kind === 'skipped' ? `by the test itself: ${firstLine(each.reason)}` : each.reason;
      reasons.set(why, (reasons.get(why) ?? 0) + 1);
    }
  return [
    ...failures,
    ...[...reasons].map(([why, count]) => `not run ${String(count).padStart(3)}  ${why}`),
    `${of('passed').length} passed, ${failures.length} failed, ${of('skipped').length + of('left out').length} not run`,
  ].join('\n');
}

function firstLine(text: string): string {
  return text.split('\n', 1)[0] ?? '';
}
