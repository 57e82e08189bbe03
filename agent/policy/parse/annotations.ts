/** Weir's own annotations: audit, audit-until, expires-at, established. They say how long and how strictly a policy holds. */
import type { Document, Path } from '../../model/object.ts';
import type { Lifetime } from '../rule.ts';
import type { Report } from './report.ts';
import { found } from './schema.ts';
import { nearest } from './suggest.ts';

const PREFIX = 'weir.dev/';
const NAMES = ['audit', 'audit-until', 'expires-at', 'established'];

/** Never fails: what cannot be read is reported and taken to be the stricter of its meanings. */
export function readAnnotations(document: Document, report: Report): Lifetime {
  const { annotations } = document;
  for (const key of Object.keys(annotations)) {
    const name = key.startsWith(PREFIX) ? key.slice(PREFIX.length) : undefined;
    if (name === undefined || NAMES.includes(name)) continue;
    const guess = nearest(name, NAMES);
    const hint = guess ? `did you mean ${PREFIX}${guess}?` : `expected one of ${NAMES.join(', ')}`;
    report.warning('unknown-annotation', at(key), `unknown annotation, ${hint}`);
  }
  if (annotations[`${PREFIX}established`] === 'keep') {
    const message = 'established: keep is not supported yet; running connections are judged by every change';
    report.warning('unsupported-annotation', at(`${PREFIX}established`), message);
  }
  return {
    audit: flag(document, 'audit', ['true', 'false'], 'enforced', report) === 'true',
    auditUntil: time(document, 'audit-until', report),
    expiresAt: time(document, 'expires-at', report),
    keepEstablished: flag(document, 'established', ['keep', 'reset'], 'applied to connections', report) === 'keep',
  };
}

function at(key: string): Path {
  return ['metadata', 'annotations', key];
}

function flag(document: Document, name: string, values: string[], otherwise: string, report: Report): string {
  const key = PREFIX + name;
  const text = document.annotations[key];
  if (text === undefined || values.includes(text)) return text ?? '';
  const message = `expected one of ${values.join(', ')}, found ${found(text)}; the policy is ${otherwise}`;
  report.warning('bad-annotation', at(key), message);
  return '';
}

/** RFC 3339, with a time zone. A time that cannot be read has passed. */
const TIME = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2})$/;

function time(document: Document, name: string, report: Report): number | undefined {
  const key = PREFIX + name;
  const text = document.annotations[key];
  if (text === undefined) return undefined;
  const value = TIME.test(text) ? Date.parse(text) : Number.NaN;
  if (!Number.isNaN(value)) return value;
  const message = `expected a time like 2026-01-31T12:00:00Z, found ${found(text)}; it counts as past`;
  report.warning('bad-annotation', at(key), message);
  return Number.NEGATIVE_INFINITY;
}
