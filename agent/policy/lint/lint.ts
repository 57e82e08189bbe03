/**
 * What is wrong, or probably not meant, in documents: before anybody applies them. Errors are what the engine refuses;
 * warnings are traps: correct documents that do something else than most people who write them want.
 */
import type { Origin, Problem, SourceObject } from '../../model/object.ts';
import { parse } from '../parse/parse.ts';
import { objectsOf } from '../workbench/objects.ts';
import { noDnsEgress } from './dns-egress.ts';
import { foreignKind, lintForeign } from './foreign.ts';
import type { Policy } from './policy.ts';
import { shadowedRules } from './shadowed.ts';
import { unmatchedSelectors } from './unmatched.ts';

/** One object as it was written, of whatever kind. */
export interface Written {
  readonly raw: unknown;
  readonly origin: Origin;
}

export interface LintInput {
  readonly written: readonly Written[];
  /** What could be read of it. */
  readonly objects: readonly SourceObject[];
  /** What reading found wrong. */
  readonly problems: readonly Problem[];
}

/** Everything found, by place and line. */
export function lint({ written, objects, problems }: LintInput): Problem[] {
  const documents = objects.flatMap((object) => (object.kind === 'Document' ? [object.value] : []));
  const policies: Policy[] = documents.map((document) => {
    return { document, parsed: parse(document, { clusterName: 'default', cidrKinds: ['outside'] }) };
  });
  const { pods, namespaces, services } = objectsOf(objects);
  // Kinds that only other systems enforce are no news here: they are what lintForeign looks at.
  const foreign = new Set(written.filter(({ raw }) => foreignKind(raw) !== undefined).map(whereOf));
  const read = problems.filter(({ code, place, line }) => code !== 'unknown-kind' || !foreign.has(`${place}:${line}`));
  const found = [
    ...read,
    ...policies.flatMap(({ parsed }) => parsed.problems),
    ...noDnsEgress(policies),
    ...shadowedRules(policies),
    ...unmatchedSelectors(policies, pods, namespaces),
    ...lintForeign(written, services),
  ];
  return distinct(found).sort(byPlace);
}

/** Where the reader says that it does not know the kind. */
function whereOf({ origin }: Written): string {
  return `${origin.place}:${origin.line(['kind'])}`;
}

function distinct(problems: readonly Problem[]): Problem[] {
  return [...new Map(problems.map((problem) => [JSON.stringify(problem), problem])).values()];
}

function byPlace(a: Problem, b: Problem): number {
  return a.place < b.place ? -1 : a.place > b.place ? 1 : (a.line ?? 0) - (b.line ?? 0);
}
