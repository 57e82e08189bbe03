/** Changes to a raw document: applied to a copy, and shown as YAML. */
import { stringify } from 'yaml';
import type { ExplainedEdit } from '../../model/explanation.ts';
import { type Document, formatPath, type Path } from '../../model/object.ts';
import { explainDocument } from './words.ts';

export type Change =
  /** To the end of the list at the path, which is made if it is not there. */
  | { readonly type: 'add'; readonly path: Path; readonly value: unknown }
  /** Before the item at the path. */
  | { readonly type: 'insert'; readonly path: Path; readonly value: unknown }
  | { readonly type: 'remove'; readonly path: Path };

/** One edit that may help: a change to a document, or a document of its own. */
export interface Candidate {
  readonly document: Document;
  /** Undefined: the document is new. */
  readonly change: Change | undefined;
  readonly sentence: string;
}

/** The document as the edit leaves it. */
export function edited({ document, change }: Candidate): Document {
  if (!change) return document;
  const raw = structuredClone(document.raw) as Container;
  const last = change.path.at(-1) as string | number;
  const parent = change.path.slice(0, -1).reduce<Container>((at, step) => (at as Fields)[step] as Container, raw);
  if (change.type === 'add')
    (parent as Fields)[last] = [...(((parent as Fields)[last] as unknown[] | undefined) ?? []), change.value];
  else if (change.type === 'insert') (parent as unknown[]).splice(last as number, 0, change.value);
  else if (Array.isArray(parent)) parent.splice(last as number, 1);
  else delete parent[last];
  const { annotations = {} } = ((raw as Fields).metadata ?? {}) as { annotations?: Document['annotations'] };
  return { ...document, raw, annotations };
}

interface Fields {
  [name: string | number]: unknown;
}
type Container = Fields | unknown[];

export function presentEdit({ document, change, sentence }: Candidate): ExplainedEdit {
  const { raw, ref } = document;
  const shown = explainDocument(ref, { documents: [document] });
  if (!change) return { operation: 'new-document', document: shown, path: '', snippet: stringify(raw), sentence };
  const { type, path } = change;
  if (type === 'remove') {
    const gone = valueAt(raw, path);
    const last = path.at(-1) as string | number;
    const snippet = stringify(typeof last === 'number' ? [gone] : { [last]: gone });
    return { operation: 'remove', document: at(shown, document, path), path: formatPath(path), snippet, sentence };
  }
  if (type === 'insert') {
    const snippet = stringify([change.value]);
    return { operation: 'insert', document: at(shown, document, path), path: formatPath(path), snippet, sentence };
  }
  const exists = valueAt(raw, path) !== undefined;
  const where = exists ? path : path.slice(0, -1);
  const snippet = stringify(exists ? [change.value] : { [path.at(-1) as string]: [change.value] });
  return { operation: 'add', document: at(shown, document, where), path: formatPath(where), snippet, sentence };
}

function at(shown: ExplainedEdit['document'], { origin }: Document, path: Path): ExplainedEdit['document'] {
  const line = origin.line(path);
  return { ...shown, ...(line !== undefined && { line }) };
}

export function valueAt(raw: unknown, path: Path): unknown {
  return path.reduce<unknown>((value, step) => (value as Fields | undefined)?.[step], raw);
}
