/** The parts of a flow in the words Hubble prints: cilium/hubble pkg/printer/printer.go. Pure. */
import type { Flow, FlowEndpoint, FlowService } from '../../flow/flow.ts';
import { RESERVED_IDENTITIES } from '../../model/identity.ts';
import { MATCH_NAMES } from '../../model/match-type.ts';

const RESERVED_NAMES = new Map<number, string>(
  Object.entries(RESERVED_IDENTITIES).map(([name, number]) => [number, name]),
);

export interface WordOptions {
  /** Addresses instead of names, numbers instead of reserved identities' names. */
  readonly numeric: boolean;
}

/** Forms of a time, the usual one first; names and forms are Hubble's (cilium/hubble pkg/time). Always in UTC. */
export const TIME_FORMATS = [
  'StampMilli',
  'YearMonthDay',
  'YearMonthDayHour',
  'YearMonthDayHourMinute',
  'RFC3339',
  'RFC3339Milli',
  'RFC3339Micro',
  'RFC3339Nano',
  'RFC1123Z',
] as const;
export type TimeFormat = (typeof TIME_FORMATS)[number];

const TIME_WORDS: Readonly<Record<TimeFormat, (date: Date, fraction: string) => string>> = {
  // "Sep 22 04:55:01.123": Go's time.StampMilli
  StampMilli(date) {
    const month = date.toLocaleString('en-US', { month: 'short', timeZone: 'UTC' });
    return `${month} ${String(date.getUTCDate()).padStart(2)} ${date.toISOString().slice(11, 23)}`;
  },
  YearMonthDay: (date) => date.toISOString().slice(0, 'YYYY-MM-DD'.length),
  YearMonthDayHour: (date) => `${date.toISOString().slice(0, 'YYYY-MM-DDThh'.length)}Z`,
  YearMonthDayHourMinute: (date) => `${date.toISOString().slice(0, 'YYYY-MM-DDThh:mm'.length)}Z`,
  RFC3339: (date) => rfc3339(date, ''),
  RFC3339Milli: (date, fraction) => rfc3339(date, fraction.slice(0, 3)),
  RFC3339Micro: (date, fraction) => rfc3339(date, fraction.slice(0, 6)),
  RFC3339Nano: (date, fraction) => rfc3339(date, fraction.slice(0, 9)),
  RFC1123Z: (date) => date.toUTCString().replace('GMT', '+0000'),
};

/** As Go writes it: no zeros at the fraction's end. */
function rfc3339(date: Date, fraction: string): string {
  const digits = fraction.replace(/0+$/, '');
  return `${date.toISOString().slice(0, 'YYYY-MM-DDThh:mm:ss'.length)}${digits === '' ? '' : `.${digits}`}Z`;
}

/** An RFC 3339 time in another form. */
export function timeWord(time: string, format: TimeFormat): string {
  const date = new Date(time);
  if (Number.isNaN(date.getTime())) return 'N/A';
  return TIME_WORDS[format](date, /\.([0-9]+)/.exec(time)?.[1] ?? '');
}

export interface Side {
  /** "default/web:80", "10.0.0.1:80", "[fd00::1]:80". */
  readonly host: string;
  /** "(ID:257)", "(host)". */
  readonly identity: string;
}

export function sides(flow: Flow, options: WordOptions): { readonly source: Side; readonly destination: Side } {
  const ports = flow.l4?.TCP ?? flow.l4?.UDP ?? flow.l4?.SCTP;
  const side = (
    party: FlowEndpoint,
    service: FlowService | undefined,
    address: string | undefined,
    port: number | undefined,
  ): Side => ({
    host: hostWord(party, service, address, port, options),
    identity: identityWord(party.identity, options),
  });
  return {
    source: side(flow.source, flow.source_service, flow.IP?.source, ports?.source_port),
    destination: side(flow.destination, flow.destination_service, flow.IP?.destination, ports?.destination_port),
  };
}

/** A backend that is no pod is told by the name of its Service. */
function hostWord(
  party: FlowEndpoint,
  service: FlowService | undefined,
  address: string | undefined,
  port: number | undefined,
  options: WordOptions,
): string {
  const pod = party.pod_name === undefined ? undefined : `${party.namespace ?? ''}/${party.pod_name}`;
  const asked = service && `${service.namespace}/${service.name}`;
  const host = (options.numeric ? undefined : (pod ?? asked)) ?? address ?? 'no-address';
  if (port === undefined) return host;
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

function identityWord(identity: number, options: WordOptions): string {
  const name = RESERVED_NAMES.get(identity);
  return name === undefined || options.numeric ? `(ID:${identity})` : `(${name})`;
}

const TRACE_POINTS: Readonly<Record<number, string>> = {
  0: 'to-endpoint',
  2: 'to-host',
  3: 'to-stack',
  5: 'from-endpoint',
};

/** The TYPE column. A drop's is its reason in Weir's exact words, e.g. "Policy denied". */
export function typeWord(flow: Flow): string {
  const { type, sub_type } = flow.event_type;
  if (type === 1) return sentenceCase(flow.weir.dropReason ?? flow.drop_reason_desc ?? 'dropped');
  if (type === 4) return TRACE_POINTS[sub_type] ?? `trace:${sub_type}`;
  if (type === 5)
    return `policy-verdict:${MATCH_NAMES[flow.policy_match_type ?? 0] ?? 'none'} ${flow.traffic_direction}`;
  return 'UNKNOWN';
}

function sentenceCase(name: string): string {
  const words = name.toLowerCase().replaceAll('_', ' ');
  return words.charAt(0).toUpperCase() + words.slice(1);
}

export function verdictWord(flow: Flow): string {
  return flow.event_type.type === 5 && flow.verdict === 'AUDIT' ? 'AUDITED' : flow.verdict;
}

/** " BY web (CiliumNetworkPolicy), ..." of the policies that decided on the side that judged; '' where none did. */
export function policiesWord(flow: Flow): string {
  const isEgress = flow.traffic_direction === 'EGRESS';
  const denied = isEgress ? flow.egress_denied_by : flow.ingress_denied_by;
  const allowed = isEgress ? flow.egress_allowed_by : flow.ingress_allowed_by;
  const names = ((flow.verdict === 'DROPPED' ? denied : allowed) ?? []).map(({ name, kind }) => `${name} (${kind})`);
  return names.length === 0 ? '' : ` BY ${names.join(', ')}`;
}

/** Summary, and what a connection amounted to where the event tells it. */
export function summaryWord(flow: Flow): string {
  const parts = [flow.Summary];
  const { event, durationNs, initiator, responder, revoked, expired, related } = flow.weir;
  const through = serviceWord(flow);
  if (through !== undefined) parts.push(through);
  if (related) parts.push('related to a connection');
  if (event === 'end' || event === 'update') {
    const how = event === 'update' ? 'so far' : revoked ? 'cut by a policy change' : expired ? 'timed out' : 'closed';
    const seconds = durationNs === undefined ? '' : ` after ${(Number(durationNs) / 1e9).toFixed(3)} s`;
    const traffic = (one: typeof initiator): string => `${one?.packets ?? 0} packets ${one?.bytes ?? 0} bytes`;
    parts.push(`${how}${seconds}: ${traffic(initiator)} sent, ${traffic(responder)} back`);
  }
  return parts.join('; ');
}

/** Which Service the connection goes through, and the address and port it was asked by. */
function serviceWord(flow: Flow): string | undefined {
  const { service } = flow.weir;
  const name = flow.destination_service ?? flow.source_service;
  if (service === undefined && name === undefined) return undefined;
  const words = name === undefined ? 'through a Service' : `through Service ${name.namespace}/${name.name}`;
  if (service === undefined) return words;
  return `${words} at ${service.address.includes(':') ? `[${service.address}]` : service.address}:${service.port}`;
}

/** Which rule decided, or why there was none. */
export function decisionWord(flow: Flow): string {
  return flow.weir.reason;
}
