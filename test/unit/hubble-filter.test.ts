/** Every field of Hubble's FlowFilter: what it lets through, what it refuses, and in which words. */
import { status } from '@grpc/grpc-js';
import * as assert from 'uvu/assert';
import { readFilters, UNSERVED } from '../../agent/api/hubble/flow-filter.ts';
import { readFlowRequest } from '../../agent/api/hubble/flow-request.ts';
import {
  type CallDefinitions,
  callsOf,
  type FlowFilter,
  type GetFlowsRequest,
} from '../../agent/api/hubble/messages.ts';
import { Refusal } from '../../agent/api/hubble/refusal.ts';
import { DropReason, EndpointLimits, EventFlags, EventType } from '../../agent/datapath/layout.gen.ts';
import { IPPROTO } from '../../agent/flow/filter.ts';
import { flowUuid } from '../../agent/flow/present.ts';
import { suite } from '../kit/suite.ts';
import {
  BACKEND,
  batch,
  type EventSpec,
  event,
  FRONTEND,
  makeHistory,
  POSTGRES,
  podName,
  WORLD,
} from './flow-records.ts';

const ENDPOINT = EndpointLimits.ENDPOINT_IFINDEX_BASE;

/** One of each kind, in the order of the ring. */
const KINDS = {
  allowed: {},
  reply: { from: BACKEND, to: FRONTEND, type: EventType.EVENT_REPLY, flags: EventFlags.EVENT_IS_REPLY, tcpFlags: 0x12 },
  denied: { type: EventType.EVENT_DROP, reason: DropReason.DROP_POLICY_DENIED, created: 0n, rule: [0, 0] },
  spoofed: { type: EventType.EVENT_DROP, reason: DropReason.DROP_SOURCE_MAC, created: 0n, rule: [0, 0] },
  udp6: { version: 6, protocol: IPPROTO.UDP, destinationPort: 53, direction: 1, tcpFlags: 0 },
  ping: { protocol: IPPROTO.ICMP, sourcePort: 0, destinationPort: 0, tcpFlags: 0 },
  postgres: { to: POSTGRES, destinationPort: 5432 },
  world: { to: WORLD, destinationPort: 443, direction: 1 },
  audited: { type: EventType.EVENT_AUDIT },
} as const satisfies Record<string, EventSpec>;
type Kind = keyof typeof KINDS;
const ALL = Object.keys(KINDS) as Kind[];
const but = (...some: Kind[]): Kind[] => ALL.filter((kind) => !some.includes(kind));

const { history } = makeHistory(100);
history.listener(batch(...Object.values(KINDS).map((spec: EventSpec) => event(spec))), ALL.length, 0);
const teller = {
  node: 'node-1',
  run: history.run,
  cluster: 'prod',
  version: '0',
  nodeLabels: () => ({ zone: 'a', spot: '' }),
};

/** Through the Service default/web, without one, and by the interfaces they were seen at. */
const ASKED = { service: '10.96.0.1', servicePort: 80 };
const THROUGH = {
  asked: { ...ASKED, ifindex: ENDPOINT + FRONTEND.id },
  answered: { ...KINDS.reply, ...ASKED, ifindex: ENDPOINT + BACKEND.id },
  straight: { ifindex: 7 },
  expired: { type: EventType.EVENT_END, ...ASKED },
} as const satisfies Record<string, EventSpec>;
const through = makeHistory(100);
through.services.set('10.96.0.1 80 6', { namespace: 'default', name: 'web' });
through.endpoints.set(FRONTEND.id, { ...podName('frontend-abc', FRONTEND), interface: 'weir1' });
through.history.listener(batch(...Object.values(THROUGH).map((spec: EventSpec) => event(spec))), 4, 0);

async function passingThrough(whitelist: readonly FlowFilter[]): Promise<string[]> {
  const wanted = readFilters(whitelist, [], teller);
  const { flows } = await through.history.page({ wanted, order: 'oldest', count: 100, cursor: undefined });
  return flows.map(({ weir }) => Object.keys(THROUGH)[weir.sequence - 1] ?? '');
}

/** The kinds of flow that pass. */
async function passing(whitelist: readonly FlowFilter[], blacklist: readonly FlowFilter[] = []): Promise<Kind[]> {
  const wanted = readFilters(whitelist, blacklist, teller);
  const query = { wanted, order: 'oldest', count: 0, cursor: undefined } as const;
  const found: Kind[] = [];
  const telling = {
    flow: (flow: { readonly sequence: number }) => void found.push(ALL[flow.sequence - 1] as Kind),
    lost() {},
  };
  for await (const _ of history.stream(query, telling, 'now', new AbortController().signal));
  return found;
}

const fields = suite('hubble: fields of a filter');

const TABLE: readonly (readonly [FlowFilter, readonly Kind[]])[] = [
  [{}, ALL],
  [{ source_ip: [FRONTEND.ip] }, but('reply', 'udp6')],
  [{ source_ip: ['10.1.0.0/24', 'fd00::/64'] }, ALL],
  [{ destination_ip: [WORLD.ip, FRONTEND.ip] }, ['reply', 'world']],
  [{ node_labels: ['zone in (a,b),spot'] }, ALL],
  [{ node_labels: ['zone=b', '!spot'] }, []],
  [{ source_pod: ['backend'] }, ['reply']],
  [{ source_pod: ['default/back'] }, ['reply']],
  [{ source_pod: ['default/'] }, ALL],
  [{ source_pod: ['/frontend-'] }, but('reply')],
  [{ source_pod: ['other/'] }, []],
  [{ destination_pod: ['database/'] }, ['postgres']],
  [{ destination_pod: ['default/', 'database/postgres'] }, but('world')],
  [{ verdict: [2] }, ['denied', 'spoofed']],
  [{ verdict: [4] }, ['audited']],
  [{ verdict: [1, 4] }, but('denied', 'spoofed')],
  [{ verdict: [3, 5, 6, 7] }, []],
  [{ event_type: [{ type: 1 }] }, ['denied', 'spoofed']],
  [{ event_type: [{ type: 1, match_sub_type: true, sub_type: 130 }] }, ['spoofed']],
  [{ event_type: [{ type: 4, match_sub_type: true }] }, ['allowed', 'reply', 'udp6', 'ping', 'postgres']],
  [{ event_type: [{ type: 4, match_sub_type: true, sub_type: 3 }, { type: 5 }] }, ['world', 'audited']],
  [{ event_type: [{}] }, ALL],
  [{ source_label: ['app=backend'] }, ['reply']],
  [{ destination_label: ['k8s:app in (postgres, x)', 'reserved:world-ipv4'] }, ['postgres', 'world']],
  [{ protocol: ['udp'] }, ['udp6']],
  [{ protocol: ['ICMP'] }, ['ping']],
  [{ protocol: ['icmpv6', 'igmp', 'vrrp', 'sctp'] }, []],
  [{ protocol: ['tcp'] }, but('udp6', 'ping')],
  [{ destination_port: ['53', '443'] }, ['udp6', 'world']],
  [{ source_port: ['0'] }, []],
  [{ reply: [true] }, ['reply']],
  [{ reply: [false] }, but('reply')],
  [{ reply: [true, false] }, ALL],
  [{ source_identity: [BACKEND.identity] }, ['reply']],
  [{ destination_identity: [WORLD.identity, POSTGRES.identity] }, ['postgres', 'world']],
  [{ tcp_flags: [{ ACK: true }] }, ['reply']],
  [{ tcp_flags: [{ SYN: true, ACK: true }] }, ['reply']],
  [{ tcp_flags: [{ SYN: true }] }, but('udp6', 'ping')],
  [{ tcp_flags: [{ NS: true }, { RST: true }] }, []],
  [{ node_name: ['node-*'] }, ALL],
  [{ node_name: ['elsewhere', 'prod/node-1'] }, ALL],
  [{ node_name: ['test/'] }, []],
  [{ ip_version: [2] }, ['udp6']],
  [{ ip_version: [1] }, but('udp6')],
  [{ ip_version: [0] }, []],
  [{ source_workload: [{ name: 'backend-xyz', kind: 'Deployment' }] }, ['reply']],
  [{ destination_workload: [{ kind: 'Deployment' }] }, but('world')],
  [{ destination_workload: [{ name: 'backend-xyz', kind: 'StatefulSet' }] }, []],
  [{ uuid: [flowUuid(history.run, 3), 'x'] }, ['denied']],
  [{ traffic_direction: [2] }, ['udp6', 'world']],
  [{ traffic_direction: [1] }, but('udp6', 'world')],
  [{ traffic_direction: [0] }, []],
  [{ drop_reason_desc: [133] }, ['denied']],
  [{ drop_reason_desc: [0] }, []],
  [{ drop_reason_desc: [130, 133] }, ['denied', 'spoofed']],
  [{ source_cluster_name: ['prod'] }, ALL],
  [{ destination_cluster_name: ['prod', 'x'] }, but('world')],
  [{ destination_cluster_name: ['test'] }, []],
  [{ encrypted: [true] }, []],
  [{ encrypted: [false] }, ALL],
  // all fields of one filter must hold
  [{ source_pod: ['default/frontend'], destination_port: ['8080'], verdict: [2] }, ['denied', 'spoofed']],
];
for (const [filter, kinds] of TABLE) {
  fields(JSON.stringify(filter), async () => assert.equal(await passing([filter]), [...kinds]));
}

const THROUGH_TABLE: readonly (readonly [FlowFilter, readonly (keyof typeof THROUGH)[]])[] = [
  [{ destination_service: ['default/web'] }, ['asked', 'expired']],
  [{ destination_service: ['we'] }, ['asked', 'expired']],
  [{ destination_service: ['other/web', 'eb'] }, []],
  [{ source_service: ['default/'] }, ['answered']],
  [{ source_service: ['/web'] }, ['answered']],
  [{ source_ip_xlated: ['10.96.0.0/16'] }, ['answered']],
  [{ source_ip_xlated: ['10.96.0.2', 'fd00::1'] }, []],
  [{ interface: [{ name: 'weir1' }] }, ['asked']],
  [{ interface: [{ index: 7 }] }, ['straight']],
  [{ interface: [{ index: 7, name: 'weir1' }] }, []],
  [{ interface: [{}] }, ['asked', 'answered', 'straight']],
];
for (const [filter, kinds] of THROUGH_TABLE) {
  fields(JSON.stringify(filter), async () => assert.equal(await passingThrough([filter]), [...kinds]));
}

fields('filters are alternatives, the blacklist takes away', async () => {
  assert.equal(await passing([{ reply: [true] }, { protocol: ['icmp'] }]), ['reply', 'ping']);
  assert.equal(await passing([], [{ protocol: ['tcp'] }]), ['udp6', 'ping']);
  assert.equal(await passing([{ verdict: [2] }], [{ drop_reason_desc: [130] }]), ['denied']);
  assert.equal(await passing([], [{}]), []);
});

fields('every field there is in Hubble is served or refused by name', () => {
  const call = callsOf('observer.Observer').GetFlows as CallDefinitions[string];
  const nameOf = (field: number): string => {
    // Whatever its type: an empty text or message, or a number. The one that does not fit is kept as unknown.
    const filters = [2, 0].map((wireType) => {
      const tag = (field << 3) | wireType;
      const value = wireType === 2 ? 0 : 1;
      const bytes = tag < 128 ? [tag, value] : [(tag & 127) | 128, tag >> 7, value];
      const request = call.requestDeserialize(Buffer.from([0x32, bytes.length, ...bytes])) as GetFlowsRequest;
      return request.whitelist?.[0] ?? {};
    });
    const [name = `number ${field}`] = filters.flatMap(Object.keys).filter((one) => one !== '$unknowns');
    return name;
  };
  const served = new Set([...TABLE, ...THROUGH_TABLE].flatMap(([filter]) => Object.keys(filter)));
  for (const field of [...Array.from({ length: 40 }, (_, i) => i + 1), 999]) {
    const name = nameOf(field);
    assert.ok(served.has(name) !== Object.hasOwn(UNSERVED, name), `${name}: served in this table or else refused`);
  }
});

fields.run();

const refusals = suite('hubble: what is refused');

const refused = (code: keyof typeof status, said: string) => (error: unknown) =>
  error instanceof Refusal && error.code === status[code] && error.details.includes(said);

for (const [field, why] of Object.entries(UNSERVED)) {
  refusals(`${field} is not served`, () => {
    const said = refused('UNIMPLEMENTED', `whitelist[0].${field} is not served: ${why}`);
    assert.throws(() => readFilters([{ [field]: ['x'] }], [], teller), said);
  });
}
for (const [field, value, expected] of [
  ['source_ip', '10.0.0.256', 'an IP address or a CIDR, got "10.0.0.256"'],
  ['destination_pod', 'a/b/c', '"namespace/prefix"'],
  ['source_label', 'a==b==c', 'a label selector'],
  ['source_port', '65536', 'a port from 0 to 65535'],
  ['destination_port', '-1', 'a port from 0 to 65535'],
  ['protocol', 'constructor', 'one of tcp, udp'],
  ['node_name', 'a b', '"node", "cluster/"'],
] as const) {
  refusals(`${field} ${value}`, () => {
    const said = refused('INVALID_ARGUMENT', `blacklist[1].${field}: expected ${expected}`);
    assert.throws(() => readFilters([], [{}, { [field]: [value] }], teller), said);
  });
}

refusals('protocols of applications, fields that are newer, too much', () => {
  assert.throws(() => readFilters([{ protocol: ['HTTP'] }], [], teller), refused('UNIMPLEMENTED', 'protocol http'));
  const newer = { $unknowns: [new Uint8Array(3)] };
  assert.throws(() => readFilters([newer], [], teller), refused('UNIMPLEMENTED', 'newer than this agent'));
  assert.throws(
    () => readFilters(new Array(129).fill({}), [], teller),
    refused('INVALID_ARGUMENT', 'whitelist: expected at most 128 filters, got 129'),
  );
  assert.throws(
    () => readFilters([{ source_ip: new Array(257).fill('::') }], [], teller),
    refused('INVALID_ARGUMENT', 'at most 256 values, got 257'),
  );
});

refusals('all values together, those of both lists, and a label selector by its parts', () => {
  const many = { destination_port: new Array(256).fill('80') };
  readFilters([many, many, many], [many], teller);
  const selector = { source_label: [`app in (${new Array(250).fill('a').join()})`] };
  readFilters([many, many, selector], [many, { reply: [true, false] }], teller);
  const said = 'whitelist and blacklist: expected at most 1024 values in all, got';
  assert.throws(
    () => readFilters([many, many, many], [many, { reply: [true] }], teller),
    refused('INVALID_ARGUMENT', `${said} 1025`),
  );
  assert.throws(
    () => readFilters([{ source_label: [new Array(1025).fill('app').join()] }], [], teller),
    refused('INVALID_ARGUMENT', `${said} 1025`),
  );
});

refusals.run();

const requests = suite('hubble: what a request asks for');
const NOW = 1_795_000_000_000;
const at = (ms: number) => ({ seconds: ms / 1000 });
const everything = Number.POSITIVE_INFINITY;

for (const [request, expected] of [
  [{}, { order: 'oldest', count: everything, most: everything, ends: 'now' }],
  [{ number: 20 }, { order: 'newest', count: 20, most: 20, ends: 'now' }],
  [
    { number: 20, first: true },
    { order: 'oldest', count: everything, most: 20, ends: 'now' },
  ],
  [
    { number: 20, since: at(NOW - 5000) },
    { order: 'oldest', count: everything, most: 20, ends: 'now' },
  ],
  [{ follow: true }, { order: 'newest', count: 0, most: everything, ends: 'never' }],
  [
    { follow: true, number: 5 },
    { order: 'newest', count: 5, most: everything, ends: 'never' },
  ],
  [
    { follow: true, since: at(NOW) },
    { order: 'oldest', count: everything, most: everything, ends: 'never' },
  ],
  [
    { follow: true, until: at(NOW - 1000) },
    { order: 'newest', count: 0, most: everything, ends: 'now' },
  ],
  [
    { follow: true, until: at(NOW + 1000) },
    { order: 'newest', count: 0, most: everything, ends: 'never', until: NOW + 1000 },
  ],
] as const) {
  requests(JSON.stringify(request), () => {
    const { query, most, ends, until } = readFlowRequest(request, teller, NOW);
    const { order, count } = query;
    const plan = { order, count, most, ends, ...(until === undefined ? {} : { until }) };
    assert.equal(plan, expected);
  });
}

requests('first with follow, extensions, fields that are newer', () => {
  const read = (request: GetFlowsRequest) => () => readFlowRequest(request, teller, NOW);
  assert.throws(read({ first: true, follow: true }), refused('INVALID_ARGUMENT', 'first and follow'));
  assert.throws(read({ extensions: {} }), refused('UNIMPLEMENTED', 'extensions are not served'));
  assert.throws(read({ $unknowns: [new Uint8Array(2)] }), refused('UNIMPLEMENTED', 'newer than this agent'));
});

requests.run();
