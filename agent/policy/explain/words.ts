/** Decisions, rules and documents in the words of an explanation. */
import type { ExplainedDecision, ExplainedDocument, ExplainedRule } from '../../model/explanation.ts';
import { type Document, formatPath, type ObjectRef, refKey } from '../../model/object.ts';
import type { Decision, MatchedRule } from '../workbench/trace.ts';

/** Where documents are found. */
export interface Lookup {
  readonly documents: readonly Document[];
}

export function explainDocument({ kind, namespace, name }: ObjectRef, { documents }: Lookup): ExplainedDocument {
  const known = documents.find(({ ref }) => ref.kind === kind && ref.namespace === namespace && ref.name === name);
  const line = known?.origin.line([]);
  return { kind, namespace, name, place: known?.origin.place ?? '', ...(line !== undefined && { line }) };
}

export function explainRule({ rule, peers, ports }: MatchedRule, lookup: Lookup): ExplainedRule {
  const { direction, tier, action, path, line, description } = rule;
  return {
    document: explainDocument(rule.document, lookup),
    direction,
    tier,
    action,
    path: formatPath(path),
    ...(line !== undefined && { line }),
    description,
    peers,
    ports,
  };
}

export function describeDecision(
  { verdict, reason, by }: Decision,
  isolatedBy: readonly ObjectRef[],
  lookup: Lookup,
): ExplainedDecision {
  if (by) {
    const { place, line } = by.rule;
    const where = place === '' ? '' : ` (${place}${line === undefined ? '' : `:${line}`})`;
    const sentence = `${verdict} by ${by.rule.description}${where}`;
    return { verdict, reason, sentence, rule: explainRule(by, lookup) };
  }
  const isolation = isolatedBy.map(refKey).join(' and ');
  const does = isolatedBy.length === 1 ? 'isolates' : 'isolate';
  const sentence =
    reason === 'default-deny'
      ? `denied by default: ${isolation} ${does} the pod, and no rule allows this`
      : 'allowed by default: no rule matches and nothing isolates the pod';
  return { verdict, reason, sentence };
}
