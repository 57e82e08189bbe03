/**
 * By what a packet was matched, in Hubble's numbers (`policy_match_type`; names as in cilium/cilium pkg/monitor/api/types.go):
 * by who the peer is (L3), by protocol and port (L4), by both, or by neither.
 */
import { type Direction, EventFlags, EventType } from '../datapath/layout.gen.ts';
import type { RuleMatch } from '../model/verdict.ts';
import type { StoredFlow } from './decode.ts';

export const MATCH_TYPE = {
  none: 0,
  l3Only: 1,
  l3l4: 2,
  l4Only: 3,
  all: 4,
  l3Proto: 5,
  protoOnly: 6,
} as const;
export type MatchType = (typeof MATCH_TYPE)[keyof typeof MATCH_TYPE];

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

/** `protocol`: IP protocol number of the packet the rule decided on. */
export function matchOf({ anyPeer, protocols }: RuleMatch, protocol: number): MatchType {
  const own = protocols?.find(({ number }) => number === protocol);
  if (own === undefined) return anyPeer ? MATCH_TYPE.all : MATCH_TYPE.l3Only;
  if (own.ports) return anyPeer ? MATCH_TYPE.l4Only : MATCH_TYPE.l3l4;
  return anyPeer ? MATCH_TYPE.protoOnly : MATCH_TYPE.l3Proto;
}
