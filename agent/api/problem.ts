import { formatPath, type Problem } from '../model/object.ts';

/** A {@link Problem} as the API shows it. */
export interface ProblemAnswer {
  readonly severity: 'error' | 'warning';
  readonly code: string;
  readonly message: string;
  readonly path: string;
  readonly place: string;
  readonly line?: number;
}

export function presentProblem({ severity, code, message, path, place, line }: Problem): ProblemAnswer {
  return { severity, code, message, path: formatPath(path), place, ...(line !== undefined && { line }) };
}
