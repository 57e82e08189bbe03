/** A stored record as the API shows it: {@link Flow}. */
import { Direction, EndpointLimits, EventFlags, EventType } from '../datapath/layout.gen.ts';
import { formatLabels, type Labels } from '../model/labels.ts';
import { formatPath, type ObjectRef } from '../model/object.ts';
import type { PolicyInfo, RuleInfo } from '../model/verdict.ts';
import { formatTime } from './clock.ts';
import { connectionId } from './connection-id.ts';
import { DESTINATION, type PacketSide, SERVICE, SOURCE, type StoredFlow } from './decode.ts';
import { dropReason } from './drop-reason.ts';
import { eventName, verdictOf } from './filter.ts';
import type {
  Flow,
  FlowEndpoint,
  FlowInterface,
  FlowObject,
  FlowPolicy,
  FlowRule,
  FlowService,
  WeirFlow,
} from './flow.ts';
import { matchType } from './match-type.ts';
import { decidingDirections, isolatedBy, reasonOf } from './reason.ts';
import { layer4, summary } from './transport.ts';

/** Who tells: the node's name, and 18 hex digits that no other run of an agent has. */
export interface Teller {
  readonly node: string;
  readonly run: string;
}

/** Hubble's monitor message types and trace observation points (flow.proto), as far as Weir has them. */
export const MESSAGE = { drop: 1, trace: 4, policyVerdict: 5 } as const;
export const TRACE = { toEndpoint: 0, toStack: 3 } as const;

/** Only for records with an {@link eventName}. */
export function presentFlow(flow: StoredFlow, teller: Teller): Flow {
  const source = flow.address(SOURCE);
  const destination = flow.address(DESTINATION);
  const xlated = sourceXlated(flow);
  const device = deviceOf(flow);
  const match = matchType(flow);
  const reason = dropReason(flow.reason).hubble;
  return {
    time: formatTime(flow.timeMs),
    uuid: flowUuid(teller.run, flow.sequence),
    verdict: verdictOf(flow.type),
    ...(flow.isDrop && { drop_reason: reason.number, drop_reason_desc: reason.name }),
    ...(source &&
      destination && {
        IP: {
          source,
          destination,
          ipVersion: flow.family === 4 ? 'IPv4' : 'IPv6',
          ...(xlated && { source_xlated: xlated }),
        },
      }),
    ...layer4(flow),
    source: party(flow, SOURCE),
    destination: party(flow, DESTINATION),
    Type: 'L3_L4',
    node_name: teller.node,
    is_reply: flow.isReply,
    event_type: messageType(flow),
    traffic_direction: flow.direction === Direction.DIRECTION_EGRESS ? 'EGRESS' : 'INGRESS',
    ...servicesOf(flow),
    ...(match !== undefined && { policy_match_type: match }),
    ...(device && { interface: device }),
    Summary: summary(flow),
    ...deciders(flow),
    weir: weirPart(flow),
  };
}

export function messageType(flow: StoredFlow): Flow['event_type'] {
  if (flow.isDrop) return { type: MESSAGE.drop, sub_type: dropReason(flow.reason).hubble.number };
  if (flow.type === EventType.EVENT_AUDIT) return { type: MESSAGE.policyVerdict, sub_type: 0 };
  const toPod = flow.endpoint(DESTINATION) !== 0 && !flow.has(EventFlags.EVENT_TO_HOST);
  return { type: MESSAGE.trace, sub_type: toPod ? TRACE.toEndpoint : TRACE.toStack };
}

/** The side that stands for the Service has it: the destination of what its client sends, the source of replies. */
export function servicesOf(flow: StoredFlow): { source_service?: FlowService; destination_service?: FlowService } {
  const { service } = flow;
  if (service === undefined) return {};
  const { name, namespace } = service;
  return { [flow.isReply ? 'source_service' : 'destination_service']: { name, namespace } };
}

/** Hubble's IP.source_xlated: what a reply's source, a backend, becomes before its client sees it. */
export function sourceXlated(flow: StoredFlow): string | undefined {
  return flow.isReply && flow.isThroughService ? flow.address(SERVICE) : undefined;
}

/** Interfaces of pods are numbered by their endpoints, one of which is a side of the packet. */
export function deviceOf(flow: StoredFlow): FlowInterface | undefined {
  const { ifindex } = flow;
  if (ifindex === 0) return undefined;
  const endpoint = ifindex - EndpointLimits.ENDPOINT_IFINDEX_BASE;
  const side = ([SOURCE, DESTINATION] as const).find((one) => flow.endpoint(one) === endpoint);
  const name = side === undefined ? undefined : flow.name(side)?.interface;
  return { index: ifindex, ...(name !== undefined && { name }) };
}

export function party(flow: StoredFlow, side: PacketSide): FlowEndpoint {
  const name = flow.name(side);
  const labels = flow.labels(side);
  const id = flow.endpoint(side);
  return {
    ...(id !== 0 && { ID: id }),
    identity: flow.identity(side),
    ...(name && name.namespace !== '' && { namespace: name.namespace }),
    labels: labels === undefined ? [] : labelTexts(labels),
    ...(name && name.pod !== '' && { pod_name: name.pod }),
    ...(name?.workload && { workloads: [name.workload] }),
  };
}

/** Label sets are shared by many records. */
const LABEL_TEXTS = new WeakMap<Labels, string[]>();
function labelTexts(labels: Labels): string[] {
  const before = LABEL_TEXTS.get(labels);
  if (before !== undefined) return before;
  const texts = formatLabels(labels);
  LABEL_TEXTS.set(labels, texts);
  return texts;
}

/** Hubble's lists of deciding policies. An allowed packet may have been judged on both sides, a drop by one. */
export function deciders(flow: StoredFlow): Partial<Flow> {
  const ingress = flow.rule(Direction.DIRECTION_INGRESS);
  const egress = flow.rule(Direction.DIRECTION_EGRESS);
  const ingressBy = ingress && [flowPolicy(ingress, flow.policy(Direction.DIRECTION_INGRESS))];
  const egressBy = egress && [flowPolicy(egress, flow.policy(Direction.DIRECTION_EGRESS))];
  const log = flow.rule(flow.direction)?.log;
  const logged = log ? { policy_log: [log] } : {};
  if (flow.isDrop || (flow.type === EventType.EVENT_AUDIT && flow.has(EventFlags.EVENT_AUDIT_WOULD_DENY))) {
    const atIngress = flow.direction === Direction.DIRECTION_INGRESS;
    if (atIngress) return { ...(ingressBy && { ingress_denied_by: ingressBy }), ...logged };
    return { ...(egressBy && { egress_denied_by: egressBy }), ...logged };
  }
  return {
    ...(egressBy && { egress_allowed_by: egressBy }),
    ...(ingressBy && { ingress_allowed_by: ingressBy }),
    ...logged,
  };
}

function flowPolicy(rule: RuleInfo, policy: PolicyInfo | undefined): FlowPolicy {
  return { ...flowObject(rule.policy), revision: String(policy?.revision ?? 0) };
}

function flowObject({ kind, namespace, name }: ObjectRef): FlowObject {
  return { kind, namespace, name };
}

function flowRule(rule: RuleInfo): FlowRule {
  return {
    id: rule.id,
    policy: flowObject(rule.policy),
    tier: rule.tier,
    direction: rule.direction,
    action: rule.action,
    path: formatPath(rule.path),
    place: rule.place,
    ...(rule.line !== undefined && { line: rule.line }),
    description: rule.description,
    ...(rule.log !== '' && { log: rule.log }),
  };
}

/** What Hubble has no field for. Only for records with an {@link eventName}. */
export function weirPart(flow: StoredFlow): WeirFlow {
  const event = eventName(flow.type);
  if (event === undefined) throw new TypeError(`record ${flow.sequence} is no event: type ${flow.type}`);
  const [decided = flow.direction] = decidingDirections(flow);
  const rule = flow.rule(decided);
  const isolating = isolatedBy(flow);
  const duration = flow.durationNs;
  const virtual = flow.isThroughService ? flow.address(SERVICE) : undefined;
  return {
    event,
    sequence: flow.sequence,
    ...(duration !== undefined && { connection: connectionId(flow) }),
    ...(flow.isDrop && { dropReason: dropReason(flow.reason).name }),
    ...(rule && { rule: flowRule(rule) }),
    ...(isolating && { isolatedBy: isolating.map(flowObject) }),
    reason: reasonOf(flow),
    initiator: { packets: flow.packets(0), bytes: flow.bytes(0) },
    responder: { packets: flow.packets(1), bytes: flow.bytes(1) },
    ...(duration !== undefined && { durationNs: String(duration) }),
    ...(virtual !== undefined && { service: { address: virtual, port: flow.servicePort } }),
    length: flow.length,
    ...(flow.has(EventFlags.EVENT_EXPIRED) && { expired: true }),
    ...(flow.has(EventFlags.EVENT_REVOKED) && { revoked: true }),
    ...(event === 'audit' && { wouldDeny: flow.has(EventFlags.EVENT_AUDIT_WOULD_DENY) }),
    ...(flow.has(EventFlags.EVENT_RELATED) && { related: true }),
    ...(flow.has(EventFlags.EVENT_FRAGMENT) && { fragment: true }),
  };
}

/** RFC 9562 version 8 (its own layout): the run, then the sequence number. */
export function flowUuid(run: string, sequence: number): string {
  const tail = sequence.toString(16).padStart(12, '0');
  return `${run.slice(0, 8)}-${run.slice(8, 12)}-8${run.slice(12, 15)}-a${run.slice(15, 18)}-${tail}`;
}
