/** Where in its document a rule set stands: a document has `spec`, `specs`, or both, and they are read in that order. */
import type { Document, Path } from '../model/object.ts';

export function specPath({ raw }: Pick<Document, 'raw'>, index: number): Path {
  const hasSpec = (raw as { readonly spec?: unknown } | null)?.spec !== undefined;
  if (hasSpec && index === 0) return ['spec'];
  return ['specs', index - (hasSpec ? 1 : 0)];
}
