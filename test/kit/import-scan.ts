/**
 * The imports of a TypeScript source: static, dynamic, re-exports, types, `import('x').T`. A tokenizer, because comments, strings and templates
 * may look like imports, and TypeScript 7 has no parser to borrow.
 */

export interface Import {
  readonly specifier: string;
  readonly line: number;
  /** Erased when run: `import type`, `export type`. (`import { type A }` alone still loads the file.) */
  readonly typeOnly: boolean;
}

interface Token {
  readonly kind: 'word' | 'string' | 'mark';
  readonly text: string;
  readonly line: number;
}

const WORD = /[\p{ID_Start}$_#@][\p{ID_Continue}$]*|\d[\w.]*/uy;
/** After these a slash begins a regular expression, not a division. */
const BEFORE_REGEXP =
  /^[(,=:[!&|?{};+\-*%<>~^]$|^(return|typeof|case|in|of|delete|void|throw|new|else|do|await|yield)$/;

/** Throws on an import() whose specifier is no string: nobody could check its direction. */
export function importsOf(source: string): Import[] {
  const tokens = tokenize(source);
  const found: Import[] = [];
  const at = (index: number): Token => tokens[index] ?? { kind: 'mark', text: '', line: 0 };
  tokens.forEach(({ kind, text, line }, index) => {
    if (kind !== 'word' || at(index - 1).text === '.') return;
    if (text !== 'import' && text !== 'export') return;
    const next = at(index + 1);
    if (text === 'import' && next.kind === 'string') {
      found.push({ specifier: next.text, line, typeOnly: false });
    } else if (text === 'import' && next.text === '(') {
      const argument = at(index + 2);
      if (argument.kind !== 'string') throw new Error(`line ${line}: import() of something that is not a plain string`);
      found.push({ specifier: argument.text, line, typeOnly: false });
    } else {
      const from = endOfClause(tokens, index + 1);
      if (from === undefined) return;
      const typeOnly = next.text === 'type' && at(index + 2).text !== 'from' && at(index + 2).text !== ',';
      found.push({ specifier: at(from + 1).text, line, typeOnly });
    }
  });
  return found;
}

/** The index of `from` when a clause (`a, { b as c }`, `* as d`, `type { e }`) begins at `start` and a string follows; else undefined. */
function endOfClause(tokens: readonly Token[], start: number): number | undefined {
  for (let index = start; index < tokens.length; index++) {
    const token = tokens[index];
    if (token === undefined || token.kind === 'string') return undefined;
    if (token.text === 'from' && tokens[index + 1]?.kind === 'string') return index;
    if (token.kind === 'mark' && !'{},*'.includes(token.text)) return undefined;
    if (
      token.kind === 'word' &&
      /^(const|let|function|class|interface|async|default|abstract|declare)$/.test(token.text)
    )
      return undefined;
  }
  return undefined;
}

function tokenize(source: string): Token[] {
  const tokens: Token[] = [];
  /** For each open template, how many braces are open within its current `${`. */
  const templates: number[] = [];
  let line = 1;
  let index = 0;
  const advanceTo = (end: number) => {
    for (; index < end; index++) if (source[index] === '\n') line += 1;
  };
  const push = (kind: Token['kind'], text: string, end: number) => {
    tokens.push({ kind, text, line });
    advanceTo(end);
  };
  /** From inside a template to its end or to its next `${`. */
  const templateText = () => {
    let end = index;
    for (; end < source.length && source[end] !== '`' && !source.startsWith('${', end); end++)
      if (source[end] === '\\') end += 1;
    if (source[end] === '`') advanceTo(end + 1);
    else {
      templates.push(0);
      advanceTo(end + 2);
    }
  };

  while (index < source.length) {
    const char = source[index] ?? '';
    const previous = tokens.at(-1);
    const depth = templates.at(-1);
    if (/\s/.test(char)) advanceTo(index + 1);
    else if (source.startsWith('//', index) || source.startsWith('#!', index)) advanceTo(endOf(source, '\n', index));
    else if (source.startsWith('/*', index)) advanceTo(endOf(source, '*/', index + 2));
    else if (char === "'" || char === '"') {
      let end = index + 1;
      for (; end < source.length && source[end] !== char; end++) if (source[end] === '\\') end += 1;
      push('string', source.slice(index + 1, end), end + 1);
    } else if (char === '`') {
      push('mark', '`', index + 1);
      templateText();
    } else if (char === '}' && depth === 0) {
      templates.pop();
      push('mark', '`', index + 1);
      templateText();
    } else if (
      char === '/' &&
      (previous === undefined || (previous.kind !== 'string' && BEFORE_REGEXP.test(previous.text)))
    ) {
      push('mark', '/', endOfRegExp(source, index));
    } else {
      WORD.lastIndex = index;
      const word = WORD.exec(source)?.[0];
      if (word !== undefined) {
        push('word', word, index + word.length);
        continue;
      }
      if (depth !== undefined && char === '{') templates[templates.length - 1] = depth + 1;
      if (depth !== undefined && char === '}') templates[templates.length - 1] = depth - 1;
      push('mark', char, index + 1);
    }
  }
  return tokens;
}

function endOf(source: string, mark: string, from: number): number {
  const at = source.indexOf(mark, from);
  return at === -1 ? source.length : at + mark.length;
}

function endOfRegExp(source: string, start: number): number {
  let inClass = false;
  for (let end = start + 1; end < source.length; end++) {
    const char = source[end];
    if (char === '\\') end += 1;
    else if (char === '[') inClass = true;
    else if (char === ']') inClass = false;
    else if (char === '/' && !inClass) return end + 1;
    else if (char === '\n') return end;
  }
  return source.length;
}
