/** Collects what is wrong with one document, all of it, with field and line. */
import { type Document, formatPath, type Path, type Problem } from '../../model/object.ts';

export interface Report {
  /** `message` says what was expected; the field's path is put before it. */
  error(code: string, path: Path, message: string): void;
  warning(code: string, path: Path, message: string): void;
  /** True if an error was reported at or below the path ([]: anywhere). */
  failed(path?: Path): boolean;
  readonly problems: readonly Problem[];
}

export function createReport(document: Pick<Document, 'origin'>): Report {
  const problems: Problem[] = [];
  const add = (severity: Problem['severity'], code: string, path: Path, message: string): void => {
    const { place } = document.origin;
    const field = path.length === 0 ? '' : `${formatPath(path)}: `;
    problems.push({ severity, code, message: field + message, path, place, line: document.origin.line(path) });
  };
  return {
    error: (code, path, message) => add('error', code, path, message),
    warning: (code, path, message) => add('warning', code, path, message),
    failed: (path = []) =>
      problems.some((problem) => problem.severity === 'error' && path.every((step, i) => problem.path[i] === step)),
    problems,
  };
}
