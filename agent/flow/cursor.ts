/** Where a reader of pages goes on: opaque text of the agent's run and a sequence number. */

export interface Cursor {
  readonly run: string;
  /** The first record not seen yet. */
  readonly sequence: number;
}

export function formatCursor(cursor: Cursor): string {
  return `${cursor.run}-${cursor.sequence}`;
}

/** Undefined if the text is no cursor. */
export function parseCursor(text: string): Cursor | undefined {
  const match = /^([0-9a-f]{18})-([1-9][0-9]{0,15})$/.exec(text);
  const sequence = Number(match?.[2]);
  if (!match || !Number.isSafeInteger(sequence)) return undefined;
  return { run: match[1] as string, sequence };
}
