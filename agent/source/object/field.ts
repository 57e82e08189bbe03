/**
 * Reads a document field by field. What is wrong is reported with its place and read as undefined; nothing throws, so
 * one reading finds every mistake.
 */
import { didYouMean } from '../../model/did-you-mean.ts';
import { formatPath, type Origin, type Path, type Problem } from '../../model/object.ts';

/** Collects the problems of one document. */
export class Report {
  readonly origin: Origin;
  readonly problems: Problem[] = [];

  constructor(origin: Origin) {
    this.origin = origin;
  }

  add(severity: Problem['severity'], code: string, path: Path, message: string): void {
    this.problems.push({ severity, code, message, path, place: this.origin.place, line: this.origin.line(path) });
  }

  get failed(): boolean {
    return this.problems.some((problem) => problem.severity === 'error');
  }
}

/** A check on a text, with what it expects in words. */
export interface TextRule {
  readonly expected: string;
  fits(text: string): boolean;
}

export class Field {
  readonly value: unknown;
  readonly path: Path;
  readonly #report: Report;

  constructor(value: unknown, path: Path, report: Report) {
    this.value = value;
    this.path = path;
    this.#report = report;
  }

  /** Not there, or null, which Kubernetes treats alike. */
  get absent(): boolean {
    return this.value === undefined || this.value === null;
  }

  /** A member of a mapping; absent if this is absent or (reported) no mapping. */
  at(name: string): Field {
    const fields = this.#fields();
    const value = fields && Object.hasOwn(fields, name) ? fields[name] : undefined;
    return new Field(value, [...this.path, name], this.#report);
  }

  /** The items of a list; [] if absent. */
  items(): Field[] {
    if (this.absent) return [];
    if (Array.isArray(this.value)) return this.value.map((item, i) => new Field(item, [...this.path, i], this.#report));
    this.fail('a list');
    return [];
  }

  /** The text, or undefined if absent. */
  text(rule?: TextRule): string | undefined {
    if (this.absent) return undefined;
    if (typeof this.value !== 'string') {
      // YAML reads an unquoted 1 or true as something else: the most common mistake of all.
      const hint = typeof this.value === 'object' ? '' : ': put it in quotes';
      this.fail(rule?.expected ?? 'a text', hint);
      return undefined;
    }
    if (rule && !rule.fits(this.value)) {
      this.fail(rule.expected);
      return undefined;
    }
    return this.value;
  }

  /** The text; reported if absent or empty. */
  requiredText(rule?: TextRule): string | undefined {
    if (this.absent || this.value === '') {
      this.#report.add('error', 'missing-field', this.path, `${formatPath(this.path)} is required`);
      return undefined;
    }
    return this.text(rule);
  }

  integer(least: number, most: number): number | undefined {
    if (this.absent) return undefined;
    const { value } = this;
    if (typeof value === 'number' && Number.isInteger(value) && value >= least && value <= most) return value;
    this.fail(`a whole number from ${least} to ${most}`);
    return undefined;
  }

  boolean(): boolean | undefined {
    if (this.absent) return undefined;
    if (typeof this.value === 'boolean') return this.value;
    this.fail('true or false');
    return undefined;
  }

  oneOf<const T extends string>(choices: readonly T[]): T | undefined {
    if (this.absent) return undefined;
    const choice = choices.find((c) => c === this.value);
    if (choice === undefined) this.fail(`one of ${choices.join(', ')}`, didYouMean(String(this.value), choices));
    return choice;
  }

  /** A mapping from texts to texts, such as labels; {} if absent. */
  texts(key: TextRule, value: TextRule): Readonly<Record<string, string>> {
    const out: Record<string, string> = Object.create(null);
    for (const name of Object.keys(this.#fields() ?? {})) {
      const member = this.at(name);
      if (!key.fits(name)) member.fail(key.expected, '', name);
      // A label without a value is written "key:" by some, which is null.
      const text = member.absent ? '' : member.text(value);
      if (text !== undefined) out[name] = text;
    }
    return { ...out };
  }

  /** Reports that something else was expected here. */
  fail(expected: string, hint = '', found: unknown = this.value): void {
    this.#report.add('error', 'wrong-type', this.path, `expected ${expected}, found ${describe(found)}${hint}`);
  }

  /** Reports something that is odd here but stops nothing. */
  warn(code: string, message: string): void {
    this.#report.add('warning', code, this.path, message);
  }

  #fields(): Record<string, unknown> | undefined {
    if (this.absent) return undefined;
    if (typeof this.value === 'object' && !Array.isArray(this.value)) return this.value as Record<string, unknown>;
    this.fail('a mapping of names to values');
    return undefined;
  }
}

/** A value in words for a message: "the number 1", "a list". */
export function describe(value: unknown): string {
  if (value === undefined || value === null) return 'nothing';
  if (Array.isArray(value)) return 'a list';
  if (typeof value === 'object') return 'a mapping';
  if (typeof value !== 'string') return `the ${typeof value} ${value}`;
  return JSON.stringify(value.length > 80 ? `${value.slice(0, 80)}...` : value);
}
