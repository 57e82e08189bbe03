/** A document the policy engine refuses, as nodes publish it. */
import { type Document, formatPath, type Problem } from '../../model/object.ts';
import type { RefusedDocument } from '../../model/refused-document.ts';

/** Undefined when no problem is an error: the document is in force. */
export function refusedDocument(document: Document, problems: readonly Problem[]): RefusedDocument | undefined {
  const errors = problems.filter(({ severity }) => severity === 'error');
  if (errors.length === 0) return undefined;
  const { kind, namespace, name, uid } = document.ref;
  const generation = (document.raw as { metadata?: { generation?: unknown } } | null)?.metadata?.generation;
  const sentences = errors.map(({ path, message }) => {
    const field = formatPath(path);
    return field === '' || message.includes(field) ? message : `${field}: ${message}`;
  });
  return {
    kind,
    namespace,
    name,
    uid,
    generation: typeof generation === 'number' ? generation : 0,
    reason: sentences.join('; '),
  };
}
