/** Hubble's metrics: how they are asked for, what they count, and that their number is bounded and the dead go. */
import * as assert from 'uvu/assert';
import { Direction, DropReason, EventFlags, EventType } from '../../agent/datapath/layout.gen.ts';
import { IPPROTO } from '../../agent/flow/filter.ts';
import { HubbleMetrics } from '../../agent/flow/metrics/hubble-metrics.ts';
import { GONE_MS } from '../../agent/flow/metrics/series.ts';
import { readMetricSpecifications } from '../../agent/flow/metrics/specification.ts';
import { suite } from '../kit/suite.ts';
import * as r from './flow-records.ts';

const test = suite('flow: metrics');

function counting(text: string, most = 1000) {
  const fake = r.makeHistory(1000);
  const clock = { now: 0 };
  const { metrics, errors } = readMetricSpecifications(text);
  assert.equal(errors, []);
  const hubble = new HubbleMetrics(metrics, { most, isThere: fake.names.isThere, now: () => clock.now });
  fake.history.watch(hubble.count);
  const see = (...records: Uint8Array[]) => fake.history.listener(r.batch(...records), records.length, 0);
  /** "name{a=b}" -> count */
  const seen = () =>
    Object.fromEntries(
      hubble.families().flatMap(({ name, labels, series }) =>
        [...series.samples()].map(({ values, count }) => {
          const text = labels.map((label, i) => `${label}=${values[i]}`).join(',');
          return [`${name}{${text}}`, count];
        }),
      ),
    );
  return { ...fake, hubble, clock, see, seen };
}

const ERRORS: [text: string, error: RegExp][] = [
  ['dorp', /unknown metric "dorp".*did you mean.*drop/],
  ['drop drop', /expected once/],
  ['drop:sourceContext=pot', /drop: sourceContext: unknown name "pot".*did you mean.*pod/],
  ['tcp:any-drop', /tcp: unknown option "any-drop"/],
  ['flow:labelsContext=source_ip,target_ip', /labelsContext: unknown name "target_ip"/],
];
for (const [text, error] of ERRORS) {
  test(`refused: ${text}`, () => {
    const { errors } = readMetricSpecifications(text);
    assert.is(errors.length, 1);
    assert.match(errors[0] as string, error);
  });
}

test("Hubble's metrics of layer 7 are taken and told, with all of their options", () => {
  const read = readMetricSpecifications('dns:query;ignoreAAAA httpV2:exemplars=true;labelsContext=source_ip drop');
  assert.equal(read.errors, []);
  assert.equal(read.silent, ['dns', 'httpV2']);
  assert.equal(
    read.metrics.map(({ metric }) => metric),
    ['drop'],
  );
});

test('each metric counts its own', () => {
  const { see, seen } = counting('drop flow tcp icmp port-distribution policy flows-to-world:port;any-drop');
  see(
    r.event({ tcpFlags: 2 }),
    r.event({
      type: EventType.EVENT_REPLY,
      flags: EventFlags.EVENT_IS_REPLY,
      from: r.BACKEND,
      to: r.FRONTEND,
      tcpFlags: 18,
    }),
    r.event({ type: EventType.EVENT_END, tcpFlags: 17 }),
    r.drop({ tcpFlags: 2 }),
    r.drop({ reason: DropReason.DROP_SOURCE_ADDRESS, protocol: IPPROTO.UDP }),
    r.event({ protocol: IPPROTO.ICMP, icmpType: 8, sourcePort: 0, destinationPort: 0, to: r.WORLD }),
    r.drop({ to: r.WORLD, direction: Direction.DIRECTION_EGRESS, rule: [0, 0], policy: [0, 17], destinationPort: 443 }),
  );
  assert.equal(seen(), {
    'hubble_drop_total{reason=POLICY_DENIED,protocol=TCP}': 2,
    'hubble_drop_total{reason=INVALID_SOURCE_IP,protocol=UDP}': 1,
    'hubble_flows_processed_total{protocol=TCP,type=Trace,subtype=to-endpoint,verdict=FORWARDED}': 3,
    'hubble_flows_processed_total{protocol=ICMPv4,type=Trace,subtype=to-stack,verdict=FORWARDED}': 1,
    'hubble_flows_processed_total{protocol=TCP,type=Drop,subtype=,verdict=DROPPED}': 2,
    'hubble_flows_processed_total{protocol=UDP,type=Drop,subtype=,verdict=DROPPED}': 1,
    'hubble_tcp_flags_total{flag=SYN,family=IPv4}': 1,
    'hubble_tcp_flags_total{flag=SYN-ACK,family=IPv4}': 1,
    'hubble_tcp_flags_total{flag=FIN,family=IPv4}': 1,
    'hubble_icmp_total{family=IPv4,type=EchoRequest}': 1,
    'hubble_port_distribution_total{protocol=TCP,port=8080}': 1,
    'hubble_port_distribution_total{protocol=ICMPv4,port=0}': 1,
    'hubble_policy_verdicts_total{direction=ingress,match=l3-l4,action=forwarded}': 1,
    'hubble_policy_verdicts_total{direction=ingress,match=l3-only,action=forwarded}': 1,
    'hubble_policy_verdicts_total{direction=ingress,match=none,action=dropped}': 1,
    'hubble_policy_verdicts_total{direction=egress,match=none,action=dropped}': 1,
    'hubble_flows_to_world_total{protocol=ICMPv4,verdict=FORWARDED,port=}': 1,
    'hubble_flows_to_world_total{protocol=TCP,verdict=DROPPED,port=443}': 1,
  });
});

test("protocols by Hubble's names", () => {
  const { see, seen } = counting('flow');
  const without = { sourcePort: 0, destinationPort: 0, tcpFlags: 0 };
  see(
    ...[IPPROTO.SCTP, IPPROTO.ICMPV6, IPPROTO.VRRP, IPPROTO.IGMP, 47].map((protocol) =>
      r.event({ protocol, ...without }),
    ),
    r.drop({ family: 0, protocol: 0, ...without, reason: DropReason.DROP_UNSUPPORTED_L2 }),
  );
  const trace = 'type=Trace,subtype=to-endpoint,verdict=FORWARDED';
  assert.equal(seen(), {
    [`hubble_flows_processed_total{protocol=SCTP,${trace}}`]: 1,
    [`hubble_flows_processed_total{protocol=ICMPv6,${trace}}`]: 1,
    [`hubble_flows_processed_total{protocol=VRRP,${trace}}`]: 1,
    [`hubble_flows_processed_total{protocol=IGMP,${trace}}`]: 1,
    [`hubble_flows_processed_total{protocol=Unknown L4,${trace}}`]: 1,
    'hubble_flows_processed_total{protocol=Unknown L4,type=Drop,subtype=,verdict=DROPPED}': 1,
  });
});

test("flows-to-world and port-distribution: of protocols that Hubble's flows have; syn-only: SYNs", () => {
  const without = { sourcePort: 0, destinationPort: 0, tcpFlags: 0, to: r.WORLD };
  const { see, seen } = counting('flows-to-world port-distribution');
  see(r.event({ protocol: 47, ...without }), r.event({ protocol: IPPROTO.ICMP, icmpType: 8, ...without }));
  assert.equal(seen(), {
    'hubble_flows_to_world_total{protocol=ICMPv4,verdict=FORWARDED}': 1,
    'hubble_port_distribution_total{protocol=ICMPv4,port=0}': 1,
  });
  const syns = counting('flows-to-world:syn-only');
  syns.see(
    r.event({ to: r.WORLD, tcpFlags: 2 }),
    r.event({ to: r.WORLD, tcpFlags: 16 }),
    r.event({ to: r.WORLD, protocol: IPPROTO.UDP, tcpFlags: 0 }),
  );
  assert.equal(syns.seen(), { 'hubble_flows_to_world_total{protocol=TCP,verdict=FORWARDED}': 1 });
});

test('contexts: the first that has a value, by direction, and labels', () => {
  const { see, seen } = counting(
    'drop:sourceContext=dns|workload-name|ip;destinationEgressContext=reserved-identity|ip;destinationIngressContext=pod;' +
      'labelsContext=source_namespace,destination_app,traffic_direction',
  );
  see(
    r.drop(),
    r.drop({ to: r.WORLD, direction: Direction.DIRECTION_EGRESS }),
    r.drop({ from: r.WORLD, to: r.POSTGRES }),
  );
  const at = 'hubble_drop_total{reason=POLICY_DENIED,protocol=TCP,';
  assert.equal(seen(), {
    [`${at}source=frontend-abc,destination=default/backend-xyz,source_namespace=default,destination_app=backend,traffic_direction=ingress}`]: 1,
    [`${at}source=frontend-abc,destination=reserved:world-ipv4,source_namespace=default,destination_app=,traffic_direction=egress}`]: 1,
    [`${at}source=${r.WORLD.ip},destination=database/postgres-0,source_namespace=,destination_app=postgres,traffic_direction=ingress}`]: 1,
  });
});

test('what finds no room is counted', () => {
  const { see, hubble } = counting('port-distribution', 3);
  for (let port = 1; port <= 10; port++) see(r.event({ destinationPort: port }), r.event({ destinationPort: 1 }));
  const [family] = hubble.families();
  assert.is(family?.series.size, 3);
  assert.is(family?.series.refused, 7);
});

test('series of a deleted pod go a minute later, those of others stay', () => {
  const { see, seen, hubble, clock, endpoints } = counting('drop:destinationContext=pod');
  see(r.drop(), r.drop({ to: r.POSTGRES }));
  const [family] = hubble.families();
  endpoints.delete(r.BACKEND.id);
  family?.series.forgetGone();
  clock.now = GONE_MS - 1;
  family?.series.forgetGone();
  assert.is(Object.keys(seen()).length, 2);
  clock.now = GONE_MS;
  family?.series.forgetGone();
  assert.equal(Object.keys(seen()), [
    'hubble_drop_total{reason=POLICY_DENIED,protocol=TCP,destination=database/postgres-0}',
  ]);
});

test('a pod that comes back within the minute keeps its series, and a full set makes room by itself', () => {
  const { see, seen, hubble, clock, endpoints } = counting('drop:destinationContext=pod', 1);
  see(r.drop());
  const name = endpoints.get(r.BACKEND.id);
  endpoints.delete(r.BACKEND.id);
  hubble.families()[0]?.series.forgetGone();
  if (name) endpoints.set(r.BACKEND.id, name);
  clock.now = GONE_MS / 2;
  hubble.families()[0]?.series.forgetGone();
  endpoints.delete(r.BACKEND.id);
  clock.now = GONE_MS;
  see(r.drop({ to: r.POSTGRES }));
  assert.is(Object.keys(seen()).length, 1);
  clock.now = 2 * GONE_MS;
  see(r.drop({ to: r.POSTGRES }));
  assert.match(Object.keys(seen()).join(), 'postgres-0');
});

test.run();
