/** An edit as a person would make it: the snippet put where the explanation says. Shares no code with what suggested it. */
import { parse } from 'yaml';
import type { ExplainedEdit } from '../../agent/model/explanation.ts';
import type { RawDocument, Scenario } from '../oracle/scenario.ts';

export function withEdits(scenario: Scenario, edits: readonly ExplainedEdit[]): Scenario {
  return edits.reduce(withEdit, scenario);
}

function withEdit(scenario: Scenario, edit: ExplainedEdit): Scenario {
  const snippet: unknown = parse(edit.snippet);
  if (edit.operation === 'new-document') {
    return { ...scenario, documents: [...scenario.documents, snippet as RawDocument] };
  }
  const documents = scenario.documents.map((document) => {
    const { kind, metadata } = document;
    const { document: wanted } = edit;
    const isIt =
      kind === wanted.kind && metadata.name === wanted.name && (metadata.namespace ?? '') === wanted.namespace;
    return isIt ? changed(document, edit, snippet) : document;
  });
  return { ...scenario, documents };
}

function changed(document: RawDocument, { operation, path }: ExplainedEdit, snippet: unknown): RawDocument {
  const copy = structuredClone(document) as never;
  const steps = stepsOf(path);
  const last = steps.at(-1) as string;
  const parent = steps.slice(0, -1).reduce<never>((at, step) => at[step as never], copy) as Record<string, unknown>;
  const at = parent[last];
  if (operation === 'remove') {
    if (Array.isArray(parent)) parent.splice(Number(last), 1);
    else delete parent[last];
  } else if (operation === 'insert') {
    (parent as unknown as unknown[]).splice(Number(last), 0, ...(snippet as unknown[]));
  } else if (Array.isArray(at)) {
    parent[last] = [...at, ...(snippet as unknown[])];
  } else {
    parent[last] = { ...(at as object), ...(snippet as object) };
  }
  return copy;
}

/** "metadata.annotations.weir.dev/expires-at" has dots in its last step. */
function stepsOf(path: string): string[] {
  const annotations = 'metadata.annotations.';
  if (path.startsWith(annotations)) return ['metadata', 'annotations', path.slice(annotations.length)];
  return path.replace(/\[(\d+)\]/g, '.$1').split('.');
}
