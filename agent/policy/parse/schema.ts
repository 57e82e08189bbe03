/**
 * A policy language's fields as data, and the walk that checks a document against them. The walk reports everything it
 * finds; a document without errors has exactly the shape its schema says, so that what follows may rely on it.
 */
import type { Path } from '../../model/object.ts';
import type { Report } from './report.ts';
import { suggestField } from './suggest.ts';

export type Fields = { readonly [name: string]: unknown };
/** Checks what the shape alone cannot say. Runs only when the value's own shape is right. */
export type Check<T> = (value: T, path: Path, report: Report) => void;

export interface ObjectSchema {
  readonly type: 'object';
  readonly fields: { readonly [name: string]: Schema };
  readonly required?: readonly string[];
  /** Exactly one of the fields may be, and must be, present: a union. */
  readonly oneOf?: boolean;
  readonly check?: Check<Fields>;
}
export interface ListSchema {
  readonly type: 'list';
  readonly items: Schema;
  readonly min?: number;
  readonly max?: number;
}
export type Schema =
  | ObjectSchema
  | ListSchema
  /** Text to text. */
  | { readonly type: 'map'; readonly check?: Check<{ readonly [key: string]: string }> }
  | { readonly type: 'text'; readonly values?: readonly string[]; readonly check?: Check<string> }
  | { readonly type: 'integer'; readonly min: number; readonly max: number }
  /** A port or type that may be a number or a name. */
  | { readonly type: 'number-or-text'; readonly check?: Check<number | string> }
  | { readonly type: 'boolean' }
  /** Part of the language, not built yet: refused by name. */
  | { readonly type: 'unsupported' }
  /** Not ours to judge, e.g. status. */
  | { readonly type: 'anything' };

export const TEXT: Schema = { type: 'text' };
export const BOOLEAN: Schema = { type: 'boolean' };
export const UNSUPPORTED: Schema = { type: 'unsupported' };
export const ANYTHING: Schema = { type: 'anything' };

export function object(fields: ObjectSchema['fields'], more: Omit<ObjectSchema, 'type' | 'fields'> = {}): ObjectSchema {
  return { type: 'object', fields, ...more };
}

export function list(items: Schema, more: { readonly min?: number; readonly max?: number } = {}): ListSchema {
  return { type: 'list', items, ...more };
}

/** Reports everything in `value` that is not as the schema says. `parents` are the schemas from the root to here. */
export function checkSchema(
  value: unknown,
  schema: Schema,
  path: Path,
  report: Report,
  parents: readonly ObjectSchema[] = [],
): void {
  switch (schema.type) {
    case 'anything':
      return;
    case 'unsupported':
      report.error('unsupported-field', path, `${path.at(-1)} is not supported yet`);
      return;
    case 'object':
      checkObject(value, schema, path, report, parents);
      return;
    case 'list':
      checkList(value, schema, path, report, parents);
      return;
    case 'map':
      checkMap(value, schema, path, report);
      return;
    case 'boolean':
      if (typeof value !== 'boolean') report.error('wrong-type', path, `expected true or false, found ${found(value)}`);
      return;
    case 'integer':
      if (!Number.isInteger(value)) {
        report.error('wrong-type', path, `expected a whole number, found ${found(value)}`);
      } else if ((value as number) < schema.min || (value as number) > schema.max) {
        report.error('out-of-range', path, `expected ${schema.min} to ${schema.max}, found ${value}`);
      }
      return;
    case 'text':
      checkText(value, schema, path, report);
      return;
    case 'number-or-text':
      if (typeof value === 'string' || Number.isInteger(value)) schema.check?.(value as number | string, path, report);
      else report.error('wrong-type', path, `expected a number or a name, found ${found(value)}`);
  }
}

function checkObject(
  value: unknown,
  schema: ObjectSchema,
  path: Path,
  report: Report,
  parents: readonly ObjectSchema[],
): void {
  if (!isFields(value)) {
    report.error('wrong-type', path, `expected fields, found ${found(value)}`);
    return;
  }
  const errorsBefore = report.problems.length;
  for (const [name, child] of Object.entries(value)) {
    const known = Object.hasOwn(schema.fields, name) ? schema.fields[name] : undefined;
    if (known) checkSchema(child, known, [...path, name], report, [...parents, schema]);
    else report.error('unknown-field', [...path, name], suggestField(name, schema, parents, path));
  }
  for (const name of schema.required ?? []) {
    if (value[name] === undefined) report.error('missing-field', path, `${name} is missing`);
  }
  if (schema.oneOf && report.problems.length === errorsBefore && Object.keys(value).length !== 1) {
    const names = Object.keys(schema.fields).join(', ');
    const present = Object.keys(value).join(' and ') || 'none';
    report.error('not-exactly-one', path, `expected exactly one of ${names}, found ${present}`);
  }
  if (!report.problems.slice(errorsBefore).some((problem) => problem.severity === 'error')) {
    schema.check?.(value, path, report);
  }
}

function checkList(
  value: unknown,
  schema: ListSchema,
  path: Path,
  report: Report,
  parents: readonly ObjectSchema[],
): void {
  if (!Array.isArray(value)) {
    const hint = value === null ? '; write [] for nobody, or leave the field out' : '';
    report.error('wrong-type', path, `expected a list, found ${found(value)}${hint}`);
    return;
  }
  const { min = 0, max = Number.POSITIVE_INFINITY } = schema;
  if (value.length < min) report.error('too-few', path, `expected at least ${min}, found ${value.length}`);
  if (value.length > max) report.error('too-many', path, `expected at most ${max}, found ${value.length}`);
  for (const [i, item] of value.entries()) checkSchema(item, schema.items, [...path, i], report, parents);
}

function checkMap(value: unknown, schema: Schema & { type: 'map' }, path: Path, report: Report): void {
  if (!isFields(value)) {
    report.error('wrong-type', path, `expected keys with text, found ${found(value)}`);
    return;
  }
  let right = true;
  for (const [key, text] of Object.entries(value)) {
    if (typeof text === 'string') continue;
    right = false;
    report.error('wrong-type', [...path, key], `expected text, found ${found(text)}${quoteHint(text)}`);
  }
  if (right) schema.check?.(value as { [key: string]: string }, path, report);
}

function checkText(value: unknown, schema: Schema & { type: 'text' }, path: Path, report: Report): void {
  if (typeof value !== 'string') {
    report.error('wrong-type', path, `expected text, found ${found(value)}${quoteHint(value)}`);
    return;
  }
  if (schema.values && !schema.values.includes(value)) {
    report.error('unknown-value', path, `expected one of ${schema.values.join(', ')}, found ${found(value)}`);
    return;
  }
  schema.check?.(value, path, report);
}

export function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** What stands there, short enough for a message. */
export function found(value: unknown): string {
  if (value === null || value === undefined) return 'nothing';
  if (Array.isArray(value)) return 'a list';
  if (typeof value === 'object') return 'fields';
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}

function quoteHint(value: unknown): string {
  return typeof value === 'number' || typeof value === 'boolean' ? `; put it in quotes: "${value}"` : '';
}
