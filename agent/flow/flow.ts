/**
 * A flow as the API shows it: Hubble's JSON names and meaning (cilium/cilium api/v1/flow/flow.proto, as protojson writes
 * it: 64-bit numbers are strings), and what Hubble has no field for under `weir`. Types only.
 */
import type { Action, Direction, Tier } from '../model/verdict.ts';

export const VERDICTS = ['FORWARDED', 'DROPPED', 'AUDIT'] as const;
/** FORWARDED: allowed. DROPPED: see drop_reason_desc. AUDIT: the verdict would differ if audited policies were enforced. */
export type Verdict = (typeof VERDICTS)[number];

export const FLOW_EVENTS = ['new', 'reply', 'update', 'end', 'drop', 'audit'] as const;
/** What was seen: a connection allowed, its first reply, a sign of life, its end with totals, a drop, an audited verdict. */
export type FlowEventName = (typeof FLOW_EVENTS)[number];

export interface FlowIp {
  readonly source: string;
  readonly destination: string;
  readonly ipVersion: 'IPv4' | 'IPv6';
  /** Of a reply through a Service: the source its client sees, the virtual address. */
  readonly source_xlated?: string;
}

export interface Ports {
  readonly source_port: number;
  readonly destination_port: number;
}

export const TCP_FLAG_NAMES = ['FIN', 'SYN', 'RST', 'PSH', 'ACK', 'URG', 'ECE', 'CWR'] as const;
export type TcpFlags = { readonly [flag in (typeof TCP_FLAG_NAMES)[number]]?: true };

export interface IcmpKind {
  readonly type: number;
  readonly code: number;
}

/** Exactly one field is there. */
export interface Layer4 {
  readonly TCP?: Ports & { readonly flags: TcpFlags };
  readonly UDP?: Ports;
  readonly SCTP?: Ports;
  readonly ICMPv4?: IcmpKind;
  readonly ICMPv6?: IcmpKind;
  /** What is in them is not recorded. */
  readonly VRRP?: Readonly<Record<string, never>>;
  readonly IGMP?: Readonly<Record<string, never>>;
}

export interface Workload {
  readonly name: string;
  readonly kind: string;
}

/** One side of a flow. Names are those of the moment of the event; a side without a name has only identity and labels. */
export interface FlowEndpoint {
  /** Endpoint id on this node; absent when the side is elsewhere. */
  readonly ID?: number;
  readonly identity: number;
  readonly namespace?: string;
  readonly labels: readonly string[];
  readonly pod_name?: string;
  readonly workloads?: readonly Workload[];
}

/** The Service that a connection goes through. */
export interface FlowService {
  readonly name: string;
  readonly namespace: string;
}

export interface FlowInterface {
  readonly index: number;
  /** Of a pod's interface, its name on the node. */
  readonly name?: string;
}

/** A policy that decided. `revision` is that of the compiled policy the packet met. */
export interface FlowPolicy {
  readonly name: string;
  readonly namespace: string;
  readonly kind: string;
  readonly revision: string;
}

/** Names an object: "CiliumNetworkPolicy default/backend" in parts. */
export interface FlowObject {
  readonly kind: string;
  readonly namespace: string;
  readonly name: string;
}

/** The rule that decided: in the direction of the flow, or, of what was allowed, on the other side if only that has one. */
export interface FlowRule {
  /** Number of the rule in events; stable over restarts. */
  readonly id: number;
  readonly policy: FlowObject;
  readonly tier: Tier;
  readonly direction: Direction;
  readonly action: Action;
  /** Where in the document: "spec.ingress[0]". */
  readonly path: string;
  /** Where the document was written: a file; '' for rules of the agent itself. */
  readonly place: string;
  /** Line of the document's file; absent when there is no file. */
  readonly line?: number;
  readonly description: string;
  /** `log.value` of the document, if it has one. */
  readonly log?: string;
}

/** Bytes and packets one side has sent over the connection so far. */
export interface Traffic {
  readonly packets: number;
  readonly bytes: number;
}

/** What only Weir tells. */
export interface WeirFlow {
  readonly event: FlowEventName;
  /** Position in this agent's history: no gaps but those reported as lost. */
  readonly sequence: number;
  /** Same for all events of one connection; absent for drops without one. */
  readonly connection?: string;
  /** Weir's own name of the reason, see docs/reference/drop-reasons.md. */
  readonly dropReason?: string;
  readonly rule?: FlowRule;
  /** Of a default-deny drop: the policies that isolate the pod. */
  readonly isolatedBy?: readonly FlowObject[];
  /** Why, in one sentence for people. */
  readonly reason: string;
  readonly initiator?: Traffic;
  readonly responder?: Traffic;
  /** From the connection's start to this event. */
  readonly durationNs?: string;
  /** The virtual address the initiator asked for, if this node has translated it. */
  readonly service?: { readonly address: string; readonly port: number };
  /** IP length of the packet that made the event; 0 for an end by timeout. */
  readonly length: number;
  /** The end came by timeout, not by close. */
  readonly expired?: true;
  /** A policy change ended the connection. */
  readonly revoked?: true;
  /** Of an audit event: denied if the audited policies were enforced (false: allowed). */
  readonly wouldDeny?: boolean;
  /** An ICMP error that belongs to a connection. */
  readonly related?: true;
  readonly fragment?: true;
}

export interface Flow {
  /** RFC 3339, microseconds. */
  readonly time: string;
  readonly uuid: string;
  readonly verdict: Verdict;
  /** Hubble's number and name of the reason; only for drops. */
  readonly drop_reason?: number;
  readonly drop_reason_desc?: string;
  /** Absent for a frame that is not IP. */
  readonly IP?: FlowIp;
  readonly l4?: Layer4;
  readonly source: FlowEndpoint;
  readonly destination: FlowEndpoint;
  readonly Type: 'L3_L4';
  readonly node_name: string;
  readonly is_reply: boolean;
  /** type: 1 drop, 4 trace, 5 policy-verdict; sub_type: the drop reason, or the trace's observation point. */
  readonly event_type: { readonly type: number; readonly sub_type: number };
  readonly traffic_direction: 'INGRESS' | 'EGRESS';
  /** Of what was sent to a Service's virtual address; `destination` is its backend. */
  readonly destination_service?: FlowService;
  /** Of a reply: the Service its client had asked. */
  readonly source_service?: FlowService;
  /** By what the verdict matched: ../model/match-type.ts. */
  readonly policy_match_type?: number;
  /** Where the packet was seen. */
  readonly interface?: FlowInterface;
  readonly Summary: string;
  readonly egress_allowed_by?: readonly FlowPolicy[];
  readonly ingress_allowed_by?: readonly FlowPolicy[];
  readonly egress_denied_by?: readonly FlowPolicy[];
  readonly ingress_denied_by?: readonly FlowPolicy[];
  readonly policy_log?: readonly string[];
  readonly weir: WeirFlow;
}

export const LOSS_STAGES = ['ring', 'queue', 'overwritten', 'subscriber'] as const;
/**
 * Where events are lost. ring: the kernel's ring buffer was full. queue: the agent's event thread was full.
 * overwritten: the store was full, the oldest records made room. subscriber: a reader did not read in time.
 */
export type LossStage = (typeof LOSS_STAGES)[number];

/** Hubble's LostEvents; `weir.stage` is finer than `source`. Stands in a stream where the events would have been. */
export interface LostEvents {
  readonly source: 'PERF_EVENT_RING_BUFFER' | 'OBSERVER_EVENTS_QUEUE' | 'HUBBLE_RING_BUFFER';
  readonly num_events_lost: string;
  readonly weir: { readonly stage: LossStage };
}

export const NODE_STATES = ['NODE_CONNECTED', 'NODE_UNAVAILABLE', 'NODE_GONE'] as const;
/** Of a stream of several nodes: whose flows come from now on, or do not, and why. Names and meaning are Hubble's. */
export interface NodeStatus {
  readonly state_change: (typeof NODE_STATES)[number];
  readonly node_names: readonly string[];
  readonly message: string;
}

/** One line of a stream, as Hubble's GetFlowsResponse: exactly one of `flow`, `lost_events` and `node_status`. */
export interface FlowLine {
  readonly flow?: Flow;
  readonly lost_events?: LostEvents;
  readonly node_status?: NodeStatus;
  readonly node_name: string;
  readonly time: string;
}
