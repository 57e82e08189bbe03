/**
 * By what a rule matched a packet: by who the peer is (L3), by protocol and port (L4), by both, or by neither. Numbers and
 * names are Cilium's: cilium/cilium pkg/monitor/api/types.go, PolicyMatchType.
 */
import type { RuleMatch } from './verdict.ts';

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

/** By number, as Hubble writes them. */
export const MATCH_NAMES = ['none', 'L3-Only', 'L3-L4', 'L4-Only', 'all', 'L3-Proto', 'Proto-Only'] as const;

/** `protocol`: IP protocol number of the packet the rule decided on. */
export function matchOf({ anyPeer, protocols }: RuleMatch, protocol: number): MatchType {
  const own = protocols?.find(({ number }) => number === protocol);
  if (own === undefined) return anyPeer ? MATCH_TYPE.all : MATCH_TYPE.l3Only;
  if (own.ports) return anyPeer ? MATCH_TYPE.l4Only : MATCH_TYPE.l3l4;
  return anyPeer ? MATCH_TYPE.protoOnly : MATCH_TYPE.l3Proto;
}
