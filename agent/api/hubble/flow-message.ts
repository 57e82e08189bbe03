/**
 * A stored record as Hubble's flow.Flow: a table from field to value, so that a field nobody asked for costs nothing.
 * What is not in the table is not known to Weir (proto/flow.proto).
 */
import { Direction, EventFlags, EventType } from '../../datapath/layout.gen.ts';
import { DESTINATION, type PacketSide, SOURCE, type StoredFlow } from '../../flow/decode.ts';
import { dropReason } from '../../flow/drop-reason.ts';
import { verdictOf } from '../../flow/filter.ts';
import type { FlowEndpoint } from '../../flow/flow.ts';
import { matchType } from '../../flow/match-type.ts';
import {
  deciders,
  deviceOf,
  flowUuid,
  MESSAGE,
  messageType,
  party,
  servicesOf,
  sourceXlated,
  type Teller,
  TRACE,
} from '../../flow/present.ts';
import { layer4, summary } from '../../flow/transport.ts';
import { extensions } from './extensions.ts';
import { type FieldMask, keepMasked } from './field-mask.ts';
import { timestamp } from './messages.ts';
import { fullName } from './peers.ts';

/** Of a Node: the same object as long as they are the same. */
export type NodeLabels = Readonly<Record<string, string>>;

export interface HubbleTeller extends Teller {
  readonly cluster: string;
  readonly version: string;
  /** Labels of the agent's node, as they are now; absent: it has none. */
  readonly nodeLabels?: () => NodeLabels;
}

/** flow.Verdict, as far as Weir's flows have it. */
export const VERDICT = { FORWARDED: 1, DROPPED: 2, AUDIT: 4 } as const;
/** flow.TrafficDirection. */
export const DIRECTION = { INGRESS: 1, EGRESS: 2 } as const;
/** flow.IPVersion. */
const IP_VERSION = { IPv4: 1, IPv6: 2 } as const;
/** flow.FlowType. */
const L3_L4 = 1;
/** flow.TraceObservationPoint: the same places as those of event_type.sub_type, numbered once more. */
const POINT = { TO_STACK: 3, TO_ENDPOINT: 101 } as const;
/** flow.TraceReason. */
const REASON = { NEW: 1, ESTABLISHED: 2, REPLY: 3, RELATED: 4 } as const;

type Field = (flow: StoredFlow, teller: HubbleTeller) => unknown;

/** An undefined value leaves the field out. */
const FIELDS: Readonly<Record<string, Field>> = {
  time: (flow) => timestamp(flow.timeMs),
  uuid: (flow, { run }) => flowUuid(run, flow.sequence),
  emitter: (_, teller) => emitter(teller),
  verdict: (flow) => VERDICT[verdictOf(flow.type)],
  drop_reason: dropNumber,
  drop_reason_desc: dropNumber,
  IP: addresses,
  l4: (flow) => layer4(flow).l4,
  source: (flow, teller) => endpoint(flow, SOURCE, teller),
  destination: (flow, teller) => endpoint(flow, DESTINATION, teller),
  Type: () => L3_L4,
  node_name: (_, teller) => nodeName(teller),
  event_type: messageType,
  source_service: (flow) => servicesOf(flow).source_service,
  destination_service: (flow) => servicesOf(flow).destination_service,
  policy_match_type: (flow) => matchType(flow),
  interface: deviceOf,
  traffic_direction: (flow) => (flow.direction === Direction.DIRECTION_EGRESS ? DIRECTION.EGRESS : DIRECTION.INGRESS),
  trace_observation_point: (flow) => numberOf(POINT, observationPoint(flow)),
  trace_reason: (flow) => numberOf(REASON, traceReason(flow)),
  is_reply: (flow) => ({ value: flow.isReply }),
  Summary: summary,
  node_labels: (_, teller) => nodeLabelTexts(teller),
  extensions,
};
/** What costs more than it is worth to most: sent to those who ask for it by name. */
const ONLY_BY_NAME: readonly string[] = ['node_labels', 'extensions'];
/** Found together. */
const DECIDERS = [
  'egress_allowed_by',
  'ingress_allowed_by',
  'egress_denied_by',
  'ingress_denied_by',
  'policy_log',
] as const;

/** Makes messages with the fields of the mask; undefined: with all of them but {@link ONLY_BY_NAME}. */
export function flowMessages(teller: HubbleTeller, mask: FieldMask | undefined): (flow: StoredFlow) => object {
  const wantedOf = (name: string): 'all' | FieldMask | undefined => {
    if (mask !== undefined) return mask.get(name);
    return ONLY_BY_NAME.includes(name) ? undefined : 'all';
  };
  const fields = Object.entries(FIELDS).flatMap(([name, read]) => {
    const wanted = wantedOf(name);
    return wanted === undefined ? [] : [{ name, read, wanted }];
  });
  const wantedDeciders = DECIDERS.filter((name) => wantedOf(name) !== undefined);
  return (flow) => {
    const message: Record<string, unknown> = {};
    for (const { name, read, wanted } of fields) {
      const value = read(flow, teller);
      if (value !== undefined) message[name] = keepMasked(value, wanted);
    }
    if (wantedDeciders.length > 0) {
      const found = deciders(flow);
      for (const name of wantedDeciders) if (found[name] !== undefined) message[name] = found[name];
    }
    return message;
  };
}

const LABEL_TEXTS = new WeakMap<NodeLabels, string[]>();
/** "key=value", sorted; made once for labels that stay the same. Undefined: nothing is known of them. */
export function nodeLabelTexts({ nodeLabels }: HubbleTeller): string[] | undefined {
  const labels = nodeLabels?.();
  if (labels === undefined) return undefined;
  const before = LABEL_TEXTS.get(labels);
  if (before !== undefined) return before;
  const texts = Object.entries(labels)
    .map(([key, value]) => `${key}=${value}`)
    .sort();
  LABEL_TEXTS.set(labels, texts);
  return texts;
}

function dropNumber(flow: StoredFlow): number | undefined {
  return flow.isDrop ? dropReason(flow.reason).hubble.number : undefined;
}

function addresses(flow: StoredFlow): object | undefined {
  const source = flow.address(SOURCE);
  const destination = flow.address(DESTINATION);
  if (source === undefined || destination === undefined) return undefined;
  const ipVersion = flow.family === 4 ? IP_VERSION.IPv4 : IP_VERSION.IPv6;
  const source_xlated = sourceXlated(flow);
  return { source, destination, ipVersion, ...(source_xlated && { source_xlated }) };
}

/** Who tells, of Hubble's emitters. */
export function emitter({ version }: HubbleTeller): { readonly name: string; readonly version: string } {
  return { name: 'weir', version };
}

/** As everybody who speaks Hubble's API names nodes: one without a cluster is of the cluster "default". */
export function nodeName({ node, cluster }: Pick<HubbleTeller, 'node' | 'cluster'>): string {
  return fullName(node, cluster);
}

/** A side of the packet, with the cluster its pod is in. */
export function endpoint(
  flow: StoredFlow,
  side: PacketSide,
  { cluster }: HubbleTeller,
): FlowEndpoint & { readonly cluster_name?: string } {
  const found = party(flow, side);
  return found.pod_name === undefined ? found : { ...found, cluster_name: cluster };
}

/** Where a packet was seen that was let through. */
export function observationPoint(flow: StoredFlow): keyof typeof POINT | undefined {
  const { type, sub_type } = messageType(flow);
  if (type !== MESSAGE.trace) return undefined;
  return sub_type === TRACE.toEndpoint ? 'TO_ENDPOINT' : 'TO_STACK';
}

/** What a packet that was let through is to its connection. */
export function traceReason(flow: StoredFlow): keyof typeof REASON | undefined {
  if (messageType(flow).type !== MESSAGE.trace) return undefined;
  if (flow.has(EventFlags.EVENT_RELATED)) return 'RELATED';
  if (flow.isReply) return 'REPLY';
  return flow.type === EventType.EVENT_NEW ? 'NEW' : 'ESTABLISHED';
}

function numberOf<Name extends string>(numbers: Readonly<Record<Name, number>>, name: Name | undefined) {
  return name && numbers[name];
}
