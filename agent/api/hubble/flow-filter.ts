/**
 * Hubble's FlowFilter as clauses over packed records. Meaning as in Hubble: the fields of one filter must all hold, the
 * values of a field are alternatives; a flow is shown if some filter of the whitelist holds (or there is none) and none
 * of the blacklist does. A field that Weir cannot answer is refused by name, for a filter that is ignored tells lies.
 */
import { dropReason } from '../../flow/drop-reason.ts';
import * as filter from '../../flow/filter.ts';
import { type LabelMatcher, parseLabelSelector } from '../../flow/label-selector.ts';
import type { PartyName } from '../../flow/names.ts';
import { deviceOf, flowUuid, messageType } from '../../flow/present.ts';
import { nodePatternMatches } from '../../model/node-pattern.ts';
import { parseRange } from '../flow-values.ts';
import { DIRECTION, type HubbleTeller, VERDICT } from './flow-message.ts';
import type { FlowFilter } from './messages.ts';
import { Refusal } from './refusal.ts';

type Clause = filter.Clause;
type Side = 'source' | 'destination';

/** Most filters of one list, and most values of one field: more than any client sends. */
const FILTERS_MAX = 128;
const VALUES_MAX = 256;
/** And of all together: every record may be held against every one of them. A label selector counts as its parts. */
const VALUES_IN_ALL_MAX = 1024;

/** One clause for the whole request. Throws Refusal. */
export function readFilters(
  whitelist: readonly FlowFilter[],
  blacklist: readonly FlowFilter[],
  teller: HubbleTeller,
): Clause {
  const wanted = readList('whitelist', whitelist, teller);
  const unwanted = readList('blacklist', blacklist, teller);
  const count = [...whitelist, ...blacklist].reduce((sum, fields) => sum + countValues(fields), 0);
  if (count > VALUES_IN_ALL_MAX) {
    throw invalid('whitelist and blacklist', `at most ${VALUES_IN_ALL_MAX} values in all`, count);
  }
  return (flow) =>
    (wanted.length === 0 || wanted.some((holds) => holds(flow))) && !unwanted.some((holds) => holds(flow));
}

function readList(list: string, filters: readonly FlowFilter[], teller: HubbleTeller): Clause[] {
  if (filters.length > FILTERS_MAX) throw invalid(list, `at most ${FILTERS_MAX} filters`, filters.length);
  return filters.map((one, i) => readFilter(`${list}[${i}]`, one, teller));
}

function countValues(fields: FlowFilter): number {
  const parts = (value: unknown) => (typeof value === 'string' ? value.split(',').length : 1);
  return (Object.values(fields) as unknown[][]).flat().reduce<number>((sum, value) => sum + parts(value), 0);
}

function readFilter(where: string, fields: FlowFilter, teller: HubbleTeller): Clause {
  if (fields.$unknowns !== undefined) throw unserved(where, 'a field newer than this agent');
  const clauses = Object.entries(fields).map(([name, values]) => {
    const place = `${where}.${name}`;
    const read = FIELDS[name];
    if (read === undefined) throw unserved(place, UNSERVED[name] ?? 'not known to this agent');
    const list = values as never[];
    if (list.length > VALUES_MAX) throw invalid(place, `at most ${VALUES_MAX} values`, list.length);
    return read(list, teller, place);
  });
  return filter.allOf(clauses);
}

/** The clause of all values of a field. */
type Field<Value> = (values: readonly Value[], teller: HubbleTeller, place: string) => Clause;

/** A field whose values are texts in a form of their own. */
function parsed<Value>(
  parse: (text: string) => Value | undefined,
  expected: string,
  clause: (values: Value[], teller: HubbleTeller) => Clause,
): Field<string> {
  return (texts, teller, place) => {
    const values = texts.map((text) => {
      const value = parse(text);
      if (value === undefined) throw invalid(place, expected, text);
      return value;
    });
    return clause(values, teller);
  };
}

const ip = (side: Side) => parsed(parseRange, 'an IP address or a CIDR', (ranges) => filter.byAddress(side, ranges));

const NAME_FORM = '"namespace/prefix", "namespace/", "/prefix" or "prefix"';

const pod = (side: Side) =>
  parsed(parsePodPrefix, NAME_FORM, (pods) =>
    filter.byName(
      side,
      (name) =>
        (name.namespace !== '' || name.pod !== '') &&
        pods.some(
          (one) =>
            (one.namespace === '' || one.namespace === name.namespace) &&
            (one.prefix === '' || name.pod.startsWith(one.prefix)),
        ),
    ),
  );

const service = (side: Side) =>
  parsed(parsePodPrefix, NAME_FORM, (services) =>
    filter.byService(side, (name) =>
      services.some(
        ({ namespace, prefix }) =>
          (namespace === '' || namespace === name.namespace) && (prefix === '' || name.name.startsWith(prefix)),
      ),
    ),
  );

const label = (side: Side) =>
  parsed<LabelMatcher>(parseLabelSelector, 'a label selector such as "app=a,tier in (b,c),!debug"', (matchers) =>
    filter.byLabels(side, matchers),
  );

const port = (side: Side) => parsed(parsePort, 'a port from 0 to 65535', (ports) => filter.byPort(side, ports));

const identity =
  (side: Side): Field<number> =>
  (numbers) =>
    filter.byIdentity(side, numbers);

const workload =
  (side: Side): Field<{ readonly name?: string; readonly kind?: string }> =>
  (wanted) =>
    filter.byName(side, ({ workload: its }) => {
      if (its === undefined) return false;
      return wanted.some(({ name = '', kind = '' }) => agrees(name, its.name) && agrees(kind, its.kind));
    });

/** Only pods have one, and all that the agent knows are of its own. */
const cluster = (side: Side) =>
  parsed<string>(
    (name) => name || undefined,
    "a cluster's name",
    (names, teller) => {
      const ours = names.includes(teller.cluster);
      return filter.byName(side, ({ pod: podName }: PartyName) => ours && podName !== '');
    },
  );

/** Every field that is served. */
const FIELDS: Readonly<Record<string, Field<never>>> = {
  source_ip: ip('source'),
  destination_ip: ip('destination'),
  source_pod: pod('source'),
  destination_pod: pod('destination'),
  source_service: service('source'),
  destination_service: service('destination'),
  source_ip_xlated: parsed(parseRange, 'an IP address or a CIDR', filter.bySourceXlated),
  interface: devices,
  source_label: label('source'),
  destination_label: label('destination'),
  source_port: port('source'),
  destination_port: port('destination'),
  source_identity: identity('source'),
  destination_identity: identity('destination'),
  source_workload: workload('source'),
  destination_workload: workload('destination'),
  source_cluster_name: cluster('source'),
  destination_cluster_name: cluster('destination'),
  verdict: (verdicts: readonly number[]) => (flow) => verdicts.includes(VERDICT[filter.verdictOf(flow.type)]),
  event_type: eventTypes,
  protocol: protocols,
  reply: (wanted: readonly boolean[]) => (flow) => wanted.includes(flow.isReply),
  tcp_flags: tcpFlags,
  node_name: nodeNames,
  node_labels: parsed<LabelMatcher>(
    parseLabelSelector,
    'a label selector such as "zone in (a,b),!spot"',
    (matchers, teller) => {
      // All flows of an agent are of its node.
      const ours = matchers.some((matches) => matches(new Map(Object.entries(teller.nodeLabels?.() ?? {}))));
      return () => ours;
    },
  ),
  ip_version: (versions: readonly number[]) =>
    filter.byFamily(versions.map((version) => (version === 1 ? 4 : version === 2 ? 6 : 0))),
  uuid: (uuids: readonly string[]) => (flow) => uuids.includes(flowUuid(flow.run, flow.sequence)),
  traffic_direction: (directions: readonly number[]) =>
    filter.byDirection(
      directions.map((direction) => (direction === DIRECTION.EGRESS ? 1 : direction === DIRECTION.INGRESS ? 0 : -1)),
    ),
  drop_reason_desc: dropReasons,
  // Weir encrypts nothing.
  encrypted: (wanted: readonly boolean[]) => () => wanted.includes(false),
};

const NO_L7 = 'this agent sees no application protocols';
const NO_NAMES = 'this agent does not know DNS names of addresses';
const NO_TRACE = 'flows of this agent have no trace ids';

/** Every other field of Hubble's, and why not. */
export const UNSERVED: Readonly<Record<string, string>> = {
  source_fqdn: NO_NAMES,
  destination_fqdn: NO_NAMES,
  dns_query: NO_L7,
  http_status_code: NO_L7,
  http_method: NO_L7,
  http_path: NO_L7,
  http_url: NO_L7,
  http_header: NO_L7,
  trace_id: NO_TRACE,
  ip_trace_id: NO_TRACE,
  experimental: 'this agent has no CEL expressions',
};

/** IP protocol numbers by Hubble's names. */
const PROTOCOLS: Readonly<Record<string, readonly number[]>> = {
  tcp: [filter.IPPROTO.TCP],
  udp: [filter.IPPROTO.UDP],
  sctp: [filter.IPPROTO.SCTP],
  icmp: [filter.IPPROTO.ICMP, filter.IPPROTO.ICMPV6],
  icmpv4: [filter.IPPROTO.ICMP],
  icmpv6: [filter.IPPROTO.ICMPV6],
  igmp: [filter.IPPROTO.IGMP],
  vrrp: [filter.IPPROTO.VRRP],
};

function protocols(names: readonly string[], _teller: HubbleTeller, place: string): Clause {
  const numbers = names.flatMap((written) => {
    const name = written.toLowerCase();
    if (Object.hasOwn(PROTOCOLS, name)) return PROTOCOLS[name] ?? [];
    if (['dns', 'http', 'kafka'].includes(name)) throw unserved(`${place} ${name}`, NO_L7);
    throw invalid(place, `one of ${Object.keys(PROTOCOLS).join(', ')}`, written);
  });
  return filter.byProtocol(numbers);
}

/** Index and name must agree, as far as they are given. */
function devices(wanted: readonly { readonly index?: number; readonly name?: string }[]): Clause {
  return (flow) => {
    const device = deviceOf(flow);
    return (
      device !== undefined &&
      wanted.some(
        ({ index = 0, name = '' }) => (index === 0 || index === device.index) && agrees(name, device.name ?? ''),
      )
    );
  };
}

interface EventTypeFilter {
  readonly type?: number;
  readonly match_sub_type?: boolean;
  readonly sub_type?: number;
}

function eventTypes(wanted: readonly EventTypeFilter[]): Clause {
  return (flow) => {
    const event = messageType(flow);
    return wanted.some(
      ({ type = 0, match_sub_type = false, sub_type = 0 }) =>
        (type === 0 || type === event.type) && (!match_sub_type || sub_type === event.sub_type),
    );
  };
}

/** Bits of the TCP header; NS is not recorded, so nothing has it. */
const FLAG_BITS = { FIN: 1, SYN: 2, RST: 4, PSH: 8, ACK: 16, URG: 32, ECE: 64, CWR: 128, NS: 256 } as const;

/** Every flag that a value names must be set; others may be. */
function tcpFlags(wanted: readonly { readonly [flag in keyof typeof FLAG_BITS]?: boolean }[]): Clause {
  const masks = wanted.map((flags) =>
    Object.entries(FLAG_BITS).reduce(
      (mask, [name, bit]) => mask | (flags[name as keyof typeof FLAG_BITS] ? bit : 0),
      0,
    ),
  );
  return filter.byTcpFlags(masks);
}

/** All flows of an agent have its own node's name. */
function nodeNames(patterns: readonly string[], { cluster: own, node }: HubbleTeller, place: string): Clause {
  const matches = patterns.map((pattern) => {
    const match = nodePatternMatches(pattern, own, node);
    if (match === undefined) throw invalid(place, '"node", "cluster/" or "cluster/node", "*" for any letters', pattern);
    return match;
  });
  const ours = matches.includes(true);
  return () => ours;
}

/** Hubble's numbers. What was not dropped has none, not even 0. */
function dropReasons(numbers: readonly number[]): Clause {
  return (flow) => flow.isDrop && numbers.includes(dropReason(flow.reason).hubble.number);
}

/** As Hubble reads it: without a namespace, "default"; with an empty one, any. */
function parsePodPrefix(text: string): { readonly namespace: string; readonly prefix: string } | undefined {
  const parts = text.split('/');
  if (text === '' || parts.length > 2) return undefined;
  const [namespace = '', prefix = ''] = parts.length === 2 ? parts : ['default', text];
  return { namespace, prefix };
}

function parsePort(text: string): number | undefined {
  return /^[0-9]{1,5}$/.test(text) && Number(text) <= 65535 ? Number(text) : undefined;
}

/** An empty wish is none. */
function agrees(wish: string, value: string): boolean {
  return wish === '' || wish === value;
}

function invalid(place: string, expected: string, got: unknown): Refusal {
  return new Refusal('INVALID_ARGUMENT', `${place}: expected ${expected}, got ${JSON.stringify(got)}`);
}

function unserved(place: string, why: string): Refusal {
  return new Refusal('UNIMPLEMENTED', `${place} is not served: ${why}`);
}
