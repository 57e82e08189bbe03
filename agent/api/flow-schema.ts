/** Schema of agent/flow/flow.ts's Flow and FlowLine; test/unit/api-truth.test.ts holds them together. */
import { FLOW_EVENTS, LOSS_STAGES, NODE_STATES, TCP_FLAG_NAMES, VERDICTS } from '../flow/flow.ts';
import { flag, integer, list, named, number, oneOf, record, type Schema, text } from './schema.ts';

const POLICY = record('A policy that decided.', {
  name: text(''),
  namespace: text(''),
  kind: text(''),
  revision: text('Revision of the compiled policy the packet met'),
});

const PARTY = record(
  'One side, with the names it had when the event happened.',
  {
    ID: integer('Endpoint id on this node; absent when the side is elsewhere'),
    identity: integer('Security identity'),
    namespace: text(''),
    labels: list(text(''), 'Labels of the identity, with their source'),
    pod_name: text(''),
    workloads: list(record('', { name: text(''), kind: text('') })),
  },
  ['ID', 'namespace', 'pod_name', 'workloads'],
);

const SERVICE = record(
  'The Service that the connection goes through: on the side of the flow that stands for it, the other one is its client.',
  { name: text(''), namespace: text('') },
);

const PORTS = { source_port: integer(''), destination_port: integer('') };
const ICMP = record('', { type: integer(''), code: integer('') });
const TRAFFIC = record('Sent by this side of the connection so far.', {
  packets: number(''),
  bytes: number('IP bytes'),
});

const RULE = record(
  'The rule that decided: in the direction of the flow, or, of what was allowed, on the other side if only that has one.',
  {
    id: integer('Stable over restarts'),
    policy: named('Object'),
    tier: oneOf(['admin', 'normal', 'baseline'], ''),
    direction: oneOf(['ingress', 'egress'], ''),
    action: oneOf(['allow', 'deny', 'pass'], ''),
    path: text('Where in the document: "spec.ingress[0]"'),
    place: text("Where the document was written: a file; '' for rules of the agent itself"),
    line: integer("Line of the document's file"),
    description: text(''),
    log: text('`log.value` of the document'),
  },
  ['line', 'log'],
);

const WEIR = record(
  'What Hubble has no field for.',
  {
    event: oneOf(FLOW_EVENTS, 'new, first reply, still alive, end with totals, drop, or audited verdict'),
    sequence: integer("Position in this agent's history; gaps are reported as lost"),
    connection: text('The same for all events of one connection'),
    dropReason: text("Weir's own name of the reason"),
    rule: RULE,
    isolatedBy: list(named('Object'), 'Of a default-deny drop: the policies that isolate the pod'),
    reason: text('Why, in one sentence'),
    initiator: TRAFFIC,
    responder: TRAFFIC,
    durationNs: text("From the connection's start to this event"),
    service: record('The virtual address the initiator asked for, if this node has translated it.', {
      address: text(''),
      port: integer(''),
    }),
    length: integer('IP length of the packet that made the event'),
    expired: flag('The end came by timeout'),
    revoked: flag('A policy change ended the connection'),
    wouldDeny: flag('Of an audit event: denied if audited policies were enforced'),
    related: flag('An ICMP error that belongs to a connection'),
    fragment: flag(''),
  },
  [
    'connection',
    'dropReason',
    'rule',
    'isolatedBy',
    'initiator',
    'responder',
    'durationNs',
    'expired',
    'revoked',
  ].concat('service', 'wouldDeny', 'related', 'fragment'),
);

export const FLOW_SCHEMA: Schema = {
  $id: 'Flow',
  ...record(
    "A flow: Hubble's JSON names and meaning, and Weir's own under `weir`.",
    {
      time: text('RFC 3339, UTC, microseconds'),
      uuid: text(''),
      verdict: oneOf(VERDICTS, ''),
      drop_reason: integer("Hubble's number"),
      drop_reason_desc: text("Hubble's name"),
      IP: record(
        '',
        {
          source: text(''),
          destination: text(''),
          ipVersion: oneOf(['IPv4', 'IPv6'], ''),
          source_xlated: text('Of a reply through a Service: the virtual address, which its client sees as its source'),
        },
        ['source_xlated'],
      ),
      l4: record(
        'Exactly one field.',
        {
          TCP: record('', {
            ...PORTS,
            flags: record('', Object.fromEntries(TCP_FLAG_NAMES.map((name) => [name, flag('')])), TCP_FLAG_NAMES),
          }),
          UDP: record('', PORTS),
          SCTP: record('', PORTS),
          ICMPv4: ICMP,
          ICMPv6: ICMP,
          VRRP: record('What is in it is not recorded.', {}),
          IGMP: record('What is in it is not recorded.', {}),
        },
        ['TCP', 'UDP', 'SCTP', 'ICMPv4', 'ICMPv6', 'VRRP', 'IGMP'],
      ),
      source: PARTY,
      destination: PARTY,
      Type: oneOf(['L3_L4'], ''),
      node_name: text(''),
      is_reply: flag('The packet came from the responder'),
      event_type: record("Hubble's monitor message: 1 drop, 4 trace, 5 policy-verdict.", {
        type: integer(''),
        sub_type: integer('Of a drop: drop_reason; of a trace: the observation point'),
      }),
      traffic_direction: oneOf(['INGRESS', 'EGRESS'], "Where it was decided, from the pod's view"),
      destination_service: SERVICE,
      source_service: SERVICE,
      policy_match_type: integer(
        "What the verdict's rule looks at: 1 the peer, 2 peer and port, 3 port, 4 nothing, 5 peer and protocol, 6 protocol; 0: no rule",
      ),
      interface: record(
        'Where the packet was seen.',
        { index: integer(''), name: text("Of a pod's interface, its name on the node") },
        ['name'],
      ),
      Summary: text(''),
      egress_allowed_by: list(POLICY),
      ingress_allowed_by: list(POLICY),
      egress_denied_by: list(POLICY),
      ingress_denied_by: list(POLICY),
      policy_log: list(text('')),
      weir: WEIR,
    },
    [
      'drop_reason',
      'drop_reason_desc',
      'IP',
      'l4',
      'destination_service',
      'source_service',
      'policy_match_type',
      'interface',
      'egress_allowed_by',
      'ingress_allowed_by',
      'egress_denied_by',
    ].concat('ingress_denied_by', 'policy_log'),
  ),
};

export const LOST_SCHEMA: Schema = {
  $id: 'LostEvents',
  ...record('Events that are missing here, as Hubble reports them.', {
    source: oneOf(['PERF_EVENT_RING_BUFFER', 'OBSERVER_EVENTS_QUEUE', 'HUBBLE_RING_BUFFER'], ''),
    num_events_lost: text('A number as text'),
    weir: record('', {
      stage: oneOf(
        LOSS_STAGES,
        "ring: kernel buffer full; queue: agent's event thread full; overwritten; subscriber: this reader was too slow",
      ),
    }),
  }),
};

const NODE_STATUS = record('Whose flows come from now on, or do not, and why.', {
  state_change: oneOf(NODE_STATES, ''),
  node_names: list(text('')),
  message: text(''),
});

export const FLOW_LINE_SCHEMA: Schema = {
  $id: 'FlowLine',
  ...record(
    'One line of a stream: exactly one of flow, lost_events and, with scope=cluster, node_status.',
    {
      flow: named('Flow'),
      lost_events: named('LostEvents'),
      node_status: NODE_STATUS,
      node_name: text(''),
      time: text(''),
    },
    ['flow', 'lost_events', 'node_status'],
  ),
};
