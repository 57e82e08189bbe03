/** A problem of a document as a line for people. */
import type { ProblemAnswer } from '../api/problem.ts';
import { paint, printable } from './table.ts';

/** "error  /etc/weir/manifests/a.yaml:7  spec.ingress[0]: expected ..." */
export function problemLine(problem: ProblemAnswer, colors: boolean): string {
  const where = problem.line === undefined ? problem.place : `${problem.place}:${problem.line}`;
  const word = problem.severity === 'error' ? paint('red', 'error  ', colors) : paint('yellow', 'warning', colors);
  const said = problem.path === '' || problem.message.startsWith(`${problem.path}:`);
  const path = said ? '' : `${problem.path}: `;
  return `${word}  ${printable(`${where}  ${path}${problem.message}`)}`;
}
