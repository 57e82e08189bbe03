/** Gives the rules of one document what they share: document, place, line, log text, and a number that outlives restarts. */
import { type Document, formatPath, type ObjectRef, type Path, refKey } from '../../model/object.ts';
import type { Direction, RuleId, Tier } from '../../model/verdict.ts';
import type { PolicyRule } from '../rule.ts';

export type RuleBody = Pick<PolicyRule, 'action' | 'direction' | 'peers' | 'ports'> & {
  readonly path: Path;
  /** A name the document gives the rule, or ''. */
  readonly name?: string;
  readonly order?: number;
  readonly log?: string;
};
export type RuleMaker = (body: RuleBody) => PolicyRule;

export function ruleMaker(document: Document, tier: Tier): RuleMaker {
  const of = refKey(document.ref);
  return ({ path, name = '', order = 0, log = '', action, direction, peers, ports }) => {
    const place = formatPath(path[0] === 'spec' ? path.slice(1) : path);
    return {
      id: ruleId(document.ref, path, direction),
      document: document.ref,
      path,
      place: document.origin.place,
      line: document.origin.line(path),
      description: `${place}${name === '' ? '' : ` (${name})`} of ${of}`,
      log,
      tier,
      order,
      action,
      direction,
      peers,
      ports,
    };
  };
}

/**
 * A number for the rule in events: 31 bits of FNV-1a over document and place, never 0. `attempt` gives another number
 * when two rules meet on one.
 */
export function ruleId(document: ObjectRef, path: Path, direction: Direction, attempt = 0): RuleId {
  const text = `${refKey(document)} ${formatPath(path)} ${direction}${attempt === 0 ? '' : ` ${attempt}`}`;
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  // FNV's low bits are its best; the top bit is left free, and 0 is taken to mean "no rule".
  return hash & 0x7fffffff || 1;
}
