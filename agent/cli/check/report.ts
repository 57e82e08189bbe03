/** Findings for people, as `linkerd check` prints them, and for programs. */
import { paint, printable } from '../table.ts';
import type { Category, Finding, Result } from './finding.ts';

const MARKS = { success: ['green', '√'], warning: ['yellow', '‼'], error: ['red', '×'] } as const;

export function reportText(categories: readonly Category[], colors: boolean): string {
  const mark = (result: Result) => paint(MARKS[result][0], MARKS[result][1], colors);
  const one = ({ description, result, error, hint }: Finding): string => {
    const lines = [`${mark(result)} ${printable(description)}`];
    if (error !== undefined) lines.push(`    ${printable(error)}`);
    if (hint !== undefined) lines.push(`    hint: ${printable(hint)}`);
    return `${lines.join('\n')}\n`;
  };
  const parts = categories.map(
    ({ categoryName, checks }) => `${categoryName}\n${'-'.repeat(categoryName.length)}\n${checks.map(one).join('')}\n`,
  );
  return `${parts.join('')}Status check results are ${mark(worst(categories))}\n`;
}

export function reportJson(categories: readonly Category[]): object {
  return { success: worst(categories) !== 'error', categories };
}

export function worst(categories: readonly Category[]): Result {
  const results = new Set(categories.flatMap(({ checks }) => checks.map(({ result }) => result)));
  return results.has('error') ? 'error' : results.has('warning') ? 'warning' : 'success';
}
