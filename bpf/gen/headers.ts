/**
 * What BTF cannot carry, taken from the text of the headers: the comment above a struct or enum, the comment beside an
 * enum constant (declaration tags exist for fields and variables only), and the byte strings given as macros.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

export interface HeaderText {
  /** Comment above `struct x {` or `enum x {`, by "struct x" / "enum x". */
  readonly types: ReadonlyMap<string, string>;
  /** Comment behind an enum constant, by its name. */
  readonly constants: ReadonlyMap<string, string>;
  /** `#define NAME { 0x0a, 1, … }`, by name. */
  readonly bytes: ReadonlyMap<string, readonly number[]>;
}

export function readHeaders(directory: string): HeaderText {
  const text = readdirSync(directory)
    .filter((name) => name.endsWith('.h'))
    .sort()
    .map((name) => readFileSync(join(directory, name), 'utf8'))
    .join('\n');
  return {
    types: collect(text, /\/\*((?:(?!\*\/)[\s\S])*)\*\/\n((?:struct|enum) \w+) \{/g, (m) => [m[2], comment(m[1])]),
    constants: collect(text, /^\t([A-Z][A-Z0-9_]*)\b[^,\n]*,\s*\/\*(.*?)\*\//gm, (m) => [m[1], comment(m[2])]),
    bytes: collect(text, /^#define (\w+)\s+\{ ([0-9a-fx, ]+) \}/gm, (m) => [m[1], (m[2] ?? '').split(',').map(Number)]),
  };
}

function collect<V>(
  text: string,
  pattern: RegExp,
  read: (match: RegExpMatchArray) => [string | undefined, V],
): Map<string, V> {
  const found = new Map<string, V>();
  for (const match of text.matchAll(pattern)) {
    const [name, value] = read(match);
    if (name !== undefined) found.set(name, value);
  }
  return found;
}

function comment(text: string | undefined): string {
  return (text ?? '').replace(/\n\s*\*\s?/g, ' ').trim();
}
