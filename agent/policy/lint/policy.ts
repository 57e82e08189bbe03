/** A policy document as the lint rules see it. */
import { type Document, formatPath, type Path, type Problem } from '../../model/object.ts';
import type { Parsed } from '../parse/parse.ts';
import type { PolicySpec } from '../rule.ts';
import { specPath } from '../spec-path.ts';

export interface Policy {
  readonly document: Document;
  readonly parsed: Parsed;
}

export interface PlacedSpec {
  readonly spec: PolicySpec;
  readonly path: Path;
}

/** The rule sets of a document that is in order; none of one that is refused. */
export function specsOf({ document, parsed }: Policy): PlacedSpec[] {
  return (parsed.document?.specs ?? []).map((spec, i) => ({ spec, path: specPath(document, i) }));
}

export function warning({ document }: Policy, code: string, path: Path, message: string): Problem {
  const { place } = document.origin;
  const text = `${formatPath(path)}: ${message}`;
  return { severity: 'warning', code, message: text, path, place, line: document.origin.line(path) };
}
