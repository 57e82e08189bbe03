/** Hubble's `policy_match_type` of a flow: by what its verdict matched. */
import { type Direction, EventFlags, EventType } from '../datapath/layout.gen.ts';
import { MATCH_TYPE, type MatchType, matchOf } from '../model/match-type.ts';
import type { StoredFlow } from './decode.ts';

/** Events that tell of a verdict on this very packet. */
const JUDGED: readonly number[] = [EventType.EVENT_NEW, EventType.EVENT_DROP, EventType.EVENT_AUDIT];

/** Of the verdict in a direction, by default the flow's own; undefined where it tells of none. */
export function matchType(flow: StoredFlow, direction: Direction = flow.direction): MatchType | undefined {
  if (!JUDGED.includes(flow.type) || flow.policyId(direction) === 0) return undefined;
  if (flow.ruleId(direction) === 0) return deniesByDefault(flow) ? MATCH_TYPE.none : MATCH_TYPE.all;
  const rule = flow.rule(direction);
  return rule && matchOf(rule.match, flow.protocol);
}

function deniesByDefault(flow: StoredFlow): boolean {
  return flow.isDrop || flow.has(EventFlags.EVENT_AUDIT_WOULD_DENY);
}
