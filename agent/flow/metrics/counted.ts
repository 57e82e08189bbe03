/** What each of Hubble's metrics counts of a flow: the values of its own labels, in their order; none: not counted. */
import { Direction, EventFlags, EventType, Family } from '../../datapath/layout.gen.ts';
import { RESERVED_IDENTITIES } from '../../model/identity.ts';
import { MATCH_NAMES } from '../../model/match-type.ts';
import { DESTINATION, type StoredFlow } from '../decode.ts';
import { dropReason } from '../drop-reason.ts';
import { IPPROTO, verdictOf, WITH_PORTS } from '../filter.ts';
import { matchType } from '../match-type.ts';
import { hubbleProtocolName, icmpName, UNKNOWN_LAYER_4 } from '../transport.ts';
import type { MetricName, MetricSpecification } from './specification.ts';

export interface Counted {
  readonly series: string;
  readonly help: string;
  /** Its own labels, before those of the contexts. */
  labels(specification: MetricSpecification): readonly string[];
  /** Each entry is one to be counted. */
  values(flow: StoredFlow, specification: MetricSpecification): readonly (readonly string[])[];
}

const NONE: readonly (readonly string[])[] = [];
const TCP = { FIN: 1, SYN: 2, RST: 4, ACK: 16 } as const;
const WORLD: readonly number[] = [
  RESERVED_IDENTITIES.world,
  RESERVED_IDENTITIES['world-ipv4'],
  RESERVED_IDENTITIES['world-ipv6'],
];

export const COUNTED: Record<MetricName, Counted> = {
  drop: {
    series: 'hubble_drop_total',
    help: "Drop events, by reason and protocol in Hubble's names",
    labels: () => ['reason', 'protocol'],
    values: (flow) => (flow.isDrop ? [[dropReason(flow.reason).hubble.name, protocolOf(flow)]] : NONE),
  },
  flow: {
    series: 'hubble_flows_processed_total',
    help: 'Flows, as Hubble counts them',
    labels: () => ['protocol', 'type', 'subtype', 'verdict'],
    values(flow) {
      const protocol = protocolOf(flow);
      const verdict = verdictOf(flow.type);
      if (flow.isDrop) return [[protocol, 'Drop', '', verdict]];
      if (flow.type === EventType.EVENT_AUDIT) return [[protocol, 'PolicyVerdict', '', verdict]];
      const toPod = flow.endpoint(DESTINATION) !== 0 && !flow.has(EventFlags.EVENT_TO_HOST);
      return [[protocol, 'Trace', toPod ? 'to-endpoint' : 'to-stack', verdict]];
    },
  },
  'flows-to-world': {
    series: 'hubble_flows_to_world_total',
    help: 'Flows to outside the cluster, replies left out',
    labels: ({ switches }) => ['protocol', 'verdict', ...(switches.has('port') ? ['port'] : [])],
    values(flow, { switches }) {
      if (flow.isReply || !hasLayer4(flow) || !WORLD.includes(flow.identity(DESTINATION))) return NONE;
      const byPolicy = dropReason(flow.reason).name.startsWith('policy_');
      if (flow.isDrop && !byPolicy && !switches.has('any-drop')) return NONE;
      const isSyn = flow.protocol === IPPROTO.TCP && (flow.tcpFlags & (TCP.SYN | TCP.ACK)) === TCP.SYN;
      if (switches.has('syn-only') && !isSyn) return NONE;
      const hasPorts = WITH_PORTS.includes(flow.protocol);
      const port = switches.has('port') ? [hasPorts ? String(flow.port(DESTINATION)) : ''] : [];
      return [[protocolOf(flow), verdictOf(flow.type), ...port]];
    },
  },
  icmp: {
    series: 'hubble_icmp_total',
    help: 'ICMP messages, by family and type',
    labels: () => ['family', 'type'],
    values(flow) {
      const name = flow.isDrop ? undefined : icmpName(flow);
      return name === undefined ? NONE : [[familyName(flow), name]];
    },
  },
  policy: {
    series: 'hubble_policy_verdicts_total',
    help: 'Judgements of connections by policy, by direction, what the rule looked at (l3-only, l3-l4, ..., all; none: no rule allows it), and action',
    labels: () => ['direction', 'match', 'action'],
    values: policyVerdicts,
  },
  'port-distribution': {
    series: 'hubble_port_distribution_total',
    help: 'Connections allowed, by protocol and destination port',
    labels: () => ['protocol', 'port'],
    values: (flow) =>
      flow.type === EventType.EVENT_NEW && hasLayer4(flow)
        ? [[protocolOf(flow), String(flow.port(DESTINATION))]]
        : NONE,
  },
  tcp: {
    series: 'hubble_tcp_flags_total',
    help: 'TCP flags of forwarded flow events, by flag and family',
    labels: () => ['flag', 'family'],
    values(flow) {
      if (flow.protocol !== IPPROTO.TCP || flow.family === 0 || flow.isDrop) return NONE;
      const flags = flow.tcpFlags;
      const family = familyName(flow);
      const seen: string[][] = [];
      if (flags & TCP.FIN) seen.push(['FIN', family]);
      if (flags & TCP.SYN) seen.push([flags & TCP.ACK ? 'SYN-ACK' : 'SYN', family]);
      if (flags & TCP.RST) seen.push(['RST', family]);
      return seen;
    },
  },
};

/** A new connection is judged on every side that has a policy; a drop on the one where it happened. */
function policyVerdicts(flow: StoredFlow): readonly (readonly string[])[] {
  const { type, direction } = flow;
  const verdict = (of: Direction, action: string): readonly string[] => [
    of === Direction.DIRECTION_EGRESS ? 'egress' : 'ingress',
    MATCH_NAMES[matchType(flow, of) ?? 0].toLowerCase(),
    action,
  ];
  if (type === EventType.EVENT_AUDIT) return [verdict(direction, 'audit')];
  if (flow.isDrop) {
    return dropReason(flow.reason).name.startsWith('policy_') ? [verdict(direction, 'dropped')] : NONE;
  }
  if (type !== EventType.EVENT_NEW) return NONE;
  return ([0, 1] as const).filter((of) => flow.policyId(of) !== 0).map((of) => verdict(of, 'forwarded'));
}

/** Whether Hubble's flows have an `l4` for it. */
function hasLayer4(flow: StoredFlow): boolean {
  return protocolOf(flow) !== UNKNOWN_LAYER_4;
}

function protocolOf(flow: StoredFlow): string {
  return hubbleProtocolName(flow.family === 0 ? 0 : flow.protocol);
}

function familyName(flow: StoredFlow): string {
  return flow.family === Family.FAMILY_IPV6 ? 'IPv6' : 'IPv4';
}
