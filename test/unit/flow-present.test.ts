/** What a kernel record looks like as a flow: Hubble's fields, the rule that decided, the policies that isolate. */
import * as assert from 'uvu/assert';
import { Direction, DropReason, EndpointLimits, EventFlags, EventType } from '../../agent/datapath/layout.gen.ts';
import { allOf, IPPROTO } from '../../agent/flow/filter.ts';
import type { Flow } from '../../agent/flow/flow.ts';
import { MATCH_TYPE, matchOf } from '../../agent/model/match-type.ts';
import type { RuleMatch } from '../../agent/model/verdict.ts';
import { suite } from '../kit/suite.ts';
import * as r from './flow-records.ts';

const test = suite('flow: as shown');

async function shown(...records: Uint8Array[]): Promise<Flow[]> {
  const { history } = r.makeHistory(16);
  history.listener(r.batch(...records), records.length, 0);
  const page = await history.page({ wanted: allOf([]), order: 'oldest', count: 16, cursor: undefined });
  return [...page.flows];
}

async function one(record: Uint8Array): Promise<Flow> {
  const [flow] = await shown(record);
  if (flow === undefined) throw new Error('nothing was stored');
  return flow;
}

const POLICY = { kind: 'CiliumNetworkPolicy', namespace: 'default', name: 'backend-policy' };

test('an allowed connection names both pods and the rule', async () => {
  const flow = await one(r.event());
  assert.is(flow.verdict, 'FORWARDED');
  assert.equal(flow.IP, { source: '10.1.0.1', destination: '10.1.0.2', ipVersion: 'IPv4' });
  assert.equal(flow.l4, { TCP: { source_port: 40000, destination_port: 8080, flags: { SYN: true } } });
  assert.equal(flow.source, {
    ID: 1,
    identity: 300,
    namespace: 'default',
    labels: ['k8s:app=frontend', 'k8s:io.kubernetes.pod.namespace=default'],
    pod_name: 'frontend-abc',
    workloads: [{ kind: 'Deployment', name: 'frontend-abc' }],
  });
  assert.is(flow.destination.pod_name, 'backend-xyz');
  assert.equal(flow.event_type, { type: 4, sub_type: 0 });
  assert.is(flow.traffic_direction, 'INGRESS');
  assert.is(flow.Summary, 'TCP Flags: SYN');
  assert.equal(flow.ingress_allowed_by, [{ ...POLICY, revision: '7' }]);
  assert.is(flow.egress_allowed_by, undefined);
  assert.equal(flow.weir.rule, {
    id: r.ALLOW_RULE,
    policy: POLICY,
    tier: 'normal',
    direction: 'ingress',
    action: 'allow',
    path: 'spec.ingress[0]',
    place: 'backend.yaml',
    line: 12,
    description: 'ingress[0] of CiliumNetworkPolicy default/backend-policy',
  });
  assert.is(flow.weir.reason, 'allowed by ingress[0] of CiliumNetworkPolicy default/backend-policy');
  assert.is(flow.drop_reason, undefined);
});

test('the interface of a pod has its number and name, another its number', async () => {
  const fake = r.makeHistory(16);
  fake.endpoints.set(r.FRONTEND.id, { ...r.podName('frontend-abc', r.FRONTEND), interface: 'weir0123456789' });
  const pod = EndpointLimits.ENDPOINT_IFINDEX_BASE + r.FRONTEND.id;
  const records = [r.event({ ifindex: pod }), r.event({ ifindex: 3 }), r.event({ ifindex: 0 })];
  fake.history.listener(r.batch(...records), 3, 0);
  const page = await fake.history.page({ wanted: allOf([]), order: 'oldest', count: 16, cursor: undefined });
  assert.equal(
    page.flows.map((flow) => flow.interface),
    [{ index: pod, name: 'weir0123456789' }, { index: 3 }, undefined],
  );
});

test('by what a verdict matched is told where there was a verdict', async () => {
  const { EVENT_NEW, EVENT_REPLY, EVENT_DROP } = EventType;
  const direction = Direction.DIRECTION_INGRESS;
  const cases: [Parameters<typeof r.event>[0], number | undefined][] = [
    [{ type: EVENT_NEW }, MATCH_TYPE.l3l4],
    [{ type: EVENT_NEW, rule: [0, 0] }, MATCH_TYPE.all],
    [{ type: EVENT_NEW, direction: Direction.DIRECTION_EGRESS }, undefined],
    [{ type: EVENT_REPLY }, undefined],
    [{ type: EVENT_DROP, reason: DropReason.DROP_POLICY_DENIED, rule: [0, 0], direction }, MATCH_TYPE.none],
    [
      { type: EVENT_DROP, reason: DropReason.DROP_POLICY_DENY_RULE, rule: [r.DENY_RULE, 0], direction },
      MATCH_TYPE.l3l4,
    ],
    [{ type: EVENT_DROP, reason: DropReason.DROP_SOURCE_MAC, rule: [0, 0], policy: [0, 0] }, undefined],
  ];
  const flows = await shown(...cases.map(([spec]) => r.event(spec)));
  assert.equal(
    flows.map((flow) => flow.policy_match_type),
    cases.map(([, type]) => type),
  );
});

test('peers, protocols and ports in all their combinations', () => {
  const ports = (some: boolean) => [{ number: IPPROTO.TCP, ports: some }];
  const cases: [RuleMatch, number][] = [
    [{ anyPeer: false, protocols: undefined }, MATCH_TYPE.l3Only],
    [{ anyPeer: false, protocols: ports(true) }, MATCH_TYPE.l3l4],
    [{ anyPeer: true, protocols: ports(true) }, MATCH_TYPE.l4Only],
    [{ anyPeer: true, protocols: undefined }, MATCH_TYPE.all],
    [{ anyPeer: false, protocols: ports(false) }, MATCH_TYPE.l3Proto],
    [{ anyPeer: true, protocols: ports(false) }, MATCH_TYPE.protoOnly],
  ];
  for (const [match, type] of cases) assert.is(matchOf(match, IPPROTO.TCP), type, JSON.stringify(match));
});

test('a default-deny drop names the policies that isolate', async () => {
  const flow = await one(r.drop());
  assert.is(flow.verdict, 'DROPPED');
  assert.is(flow.drop_reason, 133);
  assert.is(flow.drop_reason_desc, 'POLICY_DENIED');
  assert.equal(flow.event_type, { type: 1, sub_type: 133 });
  assert.is(flow.weir.dropReason, 'policy_denied');
  assert.is(flow.weir.rule, undefined);
  assert.equal(flow.weir.isolatedBy, [POLICY]);
  assert.is(flow.ingress_denied_by, undefined);
  assert.match(flow.weir.reason, 'CiliumNetworkPolicy default/backend-policy isolates the pod and no rule allows it');
  assert.is(flow.weir.connection, undefined, 'a drop without a connection has no connection id');
  assert.is(flow.weir.durationNs, undefined);
});

test('a drop by a deny rule names the rule, and no isolation', async () => {
  const flow = await one(r.drop({ reason: DropReason.DROP_POLICY_DENY_RULE, rule: [r.DENY_RULE, 0] }));
  assert.is(flow.drop_reason_desc, 'POLICY_DENY');
  assert.equal(flow.ingress_denied_by, [{ ...POLICY, revision: '7' }]);
  assert.is(flow.weir.rule?.action, 'deny');
  assert.is(flow.weir.isolatedBy, undefined);
  assert.is(flow.weir.reason, 'denied by ingressDeny[0] of CiliumNetworkPolicy default/backend-policy');
});

test('a drop for another reason is not blamed on a policy', async () => {
  const flow = await one(r.drop({ reason: DropReason.DROP_SOURCE_MAC, policy: [0, 0] }));
  assert.is(flow.weir.dropReason, 'source_mac');
  assert.is(flow.weir.isolatedBy, undefined);
  assert.match(flow.weir.reason, /^dropped: the pod sent with a MAC/);
});

test('a drop reason newer than this agent keeps its number', async () => {
  const flow = await one(r.drop({ reason: 250 }));
  assert.is(flow.weir.dropReason, 'reason_250');
  assert.is(flow.drop_reason_desc, 'DROP_REASON_UNKNOWN');
});

test('where nothing isolates, it says so', async () => {
  const flow = await one(r.event({ rule: [0, 0] }));
  assert.is(flow.weir.reason, 'allowed: no policy isolates either side');
  assert.is(flow.ingress_allowed_by, undefined);
});

test('a rule that is no longer known is still named by number', async () => {
  const flow = await one(r.event({ rule: [4242, 0] }));
  assert.match(flow.weir.reason, 'rule 4242');
});

test('an end tells totals, duration and why it ended', async () => {
  const flow = await one(
    r.event({
      type: EventType.EVENT_END,
      created: 5_000n,
      time: 1_000_005_000n,
      packets: [10n, 9n],
      bytes: [2n ** 40n, 900n],
      flags: EventFlags.EVENT_EXPIRED | EventFlags.EVENT_REVOKED,
    }),
  );
  assert.is(flow.weir.event, 'end');
  assert.equal(flow.weir.initiator, { packets: 10, bytes: 2 ** 40 });
  assert.equal(flow.weir.responder, { packets: 9, bytes: 900 });
  assert.is(flow.weir.durationNs, '1000000000');
  assert.is(flow.weir.expired, true);
  assert.is(flow.weir.revoked, true);
});

test('all events of a connection have one id, from either side; another connection of the same ports has another', async () => {
  const reply = {
    from: r.BACKEND,
    to: r.FRONTEND,
    sourcePort: 8080,
    destinationPort: 40000,
    type: EventType.EVENT_REPLY,
    flags: EventFlags.EVENT_IS_REPLY,
  };
  const [first, answer, later, six] = await shown(
    r.event(),
    r.event(reply),
    r.event({ created: 2_000n }),
    r.event({ version: 6 }),
  );
  assert.is(answer?.is_reply, true);
  assert.is(first?.weir.connection, answer?.weir.connection);
  assert.is.not(first?.weir.connection, later?.weir.connection);
  assert.is.not(first?.weir.connection, six?.weir.connection);
});

test('an audit event has the verdict AUDIT and says what would have been', async () => {
  const would = { type: EventType.EVENT_AUDIT, flags: EventFlags.EVENT_AUDIT_WOULD_DENY };
  const [denied, byDefault, allowed] = await shown(
    r.event({ ...would, rule: [r.DENY_RULE, 0] }),
    r.event({ ...would, rule: [0, 0] }),
    r.event({ type: EventType.EVENT_AUDIT }),
  );
  assert.is(denied?.verdict, 'AUDIT');
  assert.equal(denied?.event_type, { type: 5, sub_type: 0 });
  assert.is(denied?.weir.wouldDeny, true);
  assert.is(denied?.weir.isolatedBy, undefined, 'a rule denies, not isolation');
  assert.is(denied?.ingress_denied_by?.length, 1);
  assert.equal(byDefault?.weir.isolatedBy, [POLICY]);
  assert.match(byDefault?.weir.reason ?? '', 'would be denied by default');
  assert.is(allowed?.weir.wouldDeny, false);
  assert.is(allowed?.ingress_allowed_by?.length, 1);
});

test('egress takes the rule of its own direction', async () => {
  const flow = await one(r.event({ direction: Direction.DIRECTION_EGRESS, rule: [0, r.ALLOW_RULE], policy: [0, 17] }));
  assert.is(flow.traffic_direction, 'EGRESS');
  assert.is(flow.weir.rule?.id, r.ALLOW_RULE);
  assert.is(flow.egress_allowed_by?.length, 1);
  assert.is(flow.ingress_allowed_by, undefined);
});

test('to the world: handed to the stack, reserved labels, no name', async () => {
  const flow = await one(
    r.event({ to: r.WORLD, direction: Direction.DIRECTION_EGRESS, flags: EventFlags.EVENT_TO_HOST }),
  );
  assert.equal(flow.destination, { identity: 9, labels: ['reserved:world', 'reserved:world-ipv4'] });
  assert.equal(flow.event_type, { type: 4, sub_type: 3 });
});

const PROTOCOLS: readonly [string, r.EventSpec, Flow['l4'], string][] = [
  ['UDP', { protocol: IPPROTO.UDP }, { UDP: { source_port: 40000, destination_port: 8080 } }, 'UDP'],
  ['SCTP', { protocol: IPPROTO.SCTP }, { SCTP: { source_port: 40000, destination_port: 8080 } }, 'SCTP'],
  ['ICMP', { protocol: IPPROTO.ICMP, icmpType: 8 }, { ICMPv4: { type: 8, code: 0 } }, 'ICMPv4 EchoRequest'],
  [
    'ICMPv6',
    { version: 6, protocol: 58, icmpType: 1, icmpCode: 4 },
    { ICMPv6: { type: 1, code: 4 } },
    'ICMPv6 DestinationUnreachable(PortUnreachable)',
  ],
  [
    'an unknown ICMP type',
    { protocol: IPPROTO.ICMP, icmpType: 99, icmpCode: 3 },
    { ICMPv4: { type: 99, code: 3 } },
    'ICMPv4 99(3)',
  ],
  [
    'an ICMP code that the type does not have',
    { protocol: IPPROTO.ICMP, icmpType: 8, icmpCode: 7 },
    { ICMPv4: { type: 8, code: 7 } },
    'ICMPv4 EchoRequest(Code: 7)',
  ],
  [
    'an ICMP code without a name',
    { protocol: IPPROTO.ICMP, icmpType: 11, icmpCode: 2 },
    { ICMPv4: { type: 11, code: 2 } },
    'ICMPv4 TimeExceeded(Code: 2)',
  ],
  [
    'TCP flags, in the order that Hubble writes them',
    { tcpFlags: 0xff },
    {
      TCP: {
        ...{ source_port: 40000, destination_port: 8080 },
        flags: { FIN: true, SYN: true, RST: true, PSH: true, ACK: true, URG: true, ECE: true, CWR: true },
      },
    },
    'TCP Flags: SYN, ACK, RST, FIN, PSH, URG, ECE, CWR',
  ],
  ['VRRP', { protocol: IPPROTO.VRRP }, { VRRP: {} }, 'VRRP'],
  ['IGMP', { protocol: IPPROTO.IGMP }, { IGMP: {} }, 'IGMP'],
  ['another protocol', { protocol: 47 }, undefined, 'IP protocol 47'],
  ['a frame that is not IP', { family: 0 }, undefined, 'not IP'],
];
for (const [what, spec, l4, summary] of PROTOCOLS) {
  test(`transport: ${what}`, async () => {
    const flow = await one(r.event(spec));
    assert.equal(flow.l4, l4);
    assert.is(flow.Summary, summary);
    assert.is(flow.IP === undefined, spec.family === 0);
    assert.is(flow.IP?.ipVersion, spec.family === 0 ? undefined : spec.version === 6 ? 'IPv6' : 'IPv4');
  });
}

test('every flow has its own uuid of version 8', async () => {
  const flows = await shown(r.event(), r.event(), r.drop());
  assert.is(new Set(flows.map((flow) => flow.uuid)).size, 3);
  for (const { uuid } of flows) assert.match(uuid, /^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-a[0-9a-f]{3}-[0-9a-f]{12}$/);
});

test('an event type newer than this agent is counted, not shown', async () => {
  const { history } = r.makeHistory(16);
  history.listener(r.batch(r.event({ type: 77 }), r.event()), 2, 0);
  const page = await history.page({ wanted: allOf([]), order: 'oldest', count: 16, cursor: undefined });
  assert.is(page.flows.length, 1);
  assert.is(history.stats().unknown, 1);
});

test('a batch shorter than it claims is refused', () => {
  const { history } = r.makeHistory(16);
  assert.throws(() => history.listener(r.event(), 2, 0), /2 records need 320 bytes, got 160/);
});

test.run();
