/** Tables and words for a terminal. */

/** A cell; several lines stand below each other. */
export type Cell = string | readonly string[];

/**
 * Rows under their header, columns three blanks apart, as Cilium prints them. A header may have several lines, and so
 * may a cell; blanks at the end of a line are left out.
 */
export function table(header: readonly Cell[], rows: readonly (readonly Cell[])[]): string {
  const all = [header, ...rows].map((row) =>
    row.map((cell) => (typeof cell === 'string' ? [cell] : [...cell]).map(printable)),
  );
  const widths = header.map((_, column) =>
    Math.max(...all.flatMap((row) => (row[column] ?? []).map((text) => text.length))),
  );
  const lines = all.flatMap((row) => {
    const height = Math.max(1, ...row.map((cell) => cell.length));
    return Array.from({ length: height }, (_, i) =>
      row
        .map((cell, column) => (cell[i] ?? '').padEnd(widths[column] as number))
        .join('   ')
        .trimEnd(),
    );
  });
  return `${lines.join('\n')}\n`;
}

/** Text that came from outside, made harmless: control characters could write over the terminal. */
export function printable(text: string): string {
  return text.replace(/\p{Cc}/gu, (c) => `\\x${c.charCodeAt(0).toString(16).padStart(2, '0')}`);
}

export function json(value: unknown): string {
  return `${JSON.stringify(value, undefined, 2)}\n`;
}

export type Color = 'red' | 'green' | 'yellow';
const CODES: Readonly<Record<Color, number>> = { red: 31, green: 32, yellow: 33 };

export function paint(color: Color, text: string, colors: boolean): string {
  return colors ? `\u001b[${CODES[color]}m${text}\u001b[0m` : text;
}

/** 1 policy, 2 policies. */
export function plural(count: number, one: string, many = `${one}s`): string {
  return `${count} ${count === 1 ? one : many}`;
}
