/** The fields that filter flows in queries: what their values look like, and which clause they make. */
import { DROP_REASONS } from '../flow/drop-reason.ts';
import * as filter from '../flow/filter.ts';
import { FLOW_EVENTS, type FlowEventName, VERDICTS, type Verdict } from '../flow/flow.ts';
import { type LabelMatcher, parseLabelSelector } from '../flow/label-selector.ts';
import { deviceOf, flowUuid, messageType } from '../flow/present.ts';
import { didYouMean } from '../model/did-you-mean.ts';
import { RESERVED_IDENTITIES } from '../model/identity.ts';
import { PATTERNS } from './flow-patterns.ts';
import {
  type EventType,
  type PodPrefix,
  PROTOCOLS,
  parseDropReason,
  parseEventType,
  parseIdentity,
  parsePod,
  parseProtocol,
  parseRange,
  parseTcpFlags,
  parseWorkload,
  type WantedWorkload,
} from './flow-values.ts';
import type { Schema } from './schema.ts';

/** Longest value of a field, and most values of one field. */
const VALUE_MAX = 1024;
export const VALUES_MAX = 64;

/** A field of the filter: what one value looks like, and the clause for all of its values. */
interface FilterField<Value, Read> {
  readonly schema: Schema;
  readonly description: string;
  /** Undefined: cannot be read. */
  readonly parse: (value: Value) => Read | undefined;
  readonly expected: string;
  readonly clause: (values: Read[], where: filter.Where) => filter.Clause;
}
/** Erases the types of a field, which agree inside it. */
const field = <Value, Read>(one: FilterField<Value, Read>) => one as unknown as FilterField<unknown, unknown>;

export const WORD: Schema = { type: 'string', minLength: 1, maxLength: VALUE_MAX };
/** A word of a pattern of its own; `expected` is what an answer about another says. */
export const written = (pattern: string, expected: string): Schema => ({ ...WORD, pattern, description: expected });
const asIs = <T>(value: T): T => value;
const enumerated = <T extends string>(
  values: readonly T[],
  description: string,
  clause: (values: T[]) => filter.Clause,
) => field<T, T>({ schema: { type: 'string', enum: [...values] }, description, parse: asIs, expected: '', clause });

// What a value must be, for answers about those that are not.
const PROTOCOL = `${Object.keys(PROTOCOLS).join(', ')} or a number from 0 to 255`;
const POD = '"namespace/prefix", "namespace/", "/prefix" or "prefix"';
const LABEL =
  'requirements such as "key", "!key", "key=value", "key!=value", "key in (a,b)", "key notin (a,b)", "key>5", "key<5"';
const RANGE = 'an IP address or a CIDR';
const IDENTITY = `a number or one of ${Object.keys(RESERVED_IDENTITIES).join(', ')}`;
const TCP_FLAGS = 'names of TCP flags such as "SYN,ACK"';
const EVENT_TYPE =
  '"drop", "trace" or "policy-verdict", and a sub-type behind a colon such as "trace:to-stack" or "drop:133"';
const UUID = 'the uuid of a flow';
export const NOT = 'a field that filters and its value, such as "verdict=DROPPED"';

/** Fields about the packet as a whole. */
const FIELDS: Readonly<Record<string, FilterField<unknown, unknown>>> = {
  verdict: enumerated<Verdict>(VERDICTS, 'Verdict', filter.byVerdict),
  type: enumerated<FlowEventName>(FLOW_EVENTS, 'Event: weir.event', filter.byEvent),
  event_type: field({
    schema: written(PATTERNS.eventType, EVENT_TYPE),
    description: "Hubble's type of event, and which of it: trace:to-endpoint, trace:to-stack, drop:NUMBER",
    parse: parseEventType,
    expected: EVENT_TYPE,
    clause: (wanted: EventType[]) => (flow) => {
      const event = messageType(flow);
      return wanted.some(
        ({ type, subType }) => type === event.type && (subType === undefined || subType === event.sub_type),
      );
    },
  }),
  direction: enumerated(['ingress', 'egress'], "Where it was decided, from the pod's view", (names) =>
    filter.byDirection(names.map((name) => (name === 'ingress' ? 0 : 1))),
  ),
  drop_reason: field({
    schema: {
      type: 'string',
      enum: [...new Set([...DROP_REASONS.map(({ name }) => name), ...DROP_REASONS.map(({ hubble }) => hubble.name)])],
    },
    description: "Weir's name of the reason in small letters, or Hubble's in capitals",
    parse: parseDropReason,
    expected: `one of ${DROP_REASONS.map(({ name }) => name).join(', ')}`,
    clause: (reasons) => filter.byDropReason(reasons.flat()),
  }),
  protocol: field({
    schema: written(PATTERNS.protocol, PROTOCOL),
    description: PROTOCOL,
    parse: parseProtocol,
    expected: PROTOCOL,
    clause: (protocols) => filter.byProtocol(protocols.flat()),
  }),
  tcp_flags: field({
    schema: written(PATTERNS.tcpFlags, TCP_FLAGS),
    description: 'TCP flags that are all set, as "SYN,ACK"',
    parse: parseTcpFlags,
    expected: TCP_FLAGS,
    clause: filter.byTcpFlags,
  }),
  uuid: field<string, string>({
    schema: written(PATTERNS.uuid, UUID),
    description: 'The flow itself',
    parse: (text) => (new RegExp(PATTERNS.uuid).test(text) ? text : undefined),
    expected: UUID,
    clause: (uuids) => (flow) => uuids.includes(flowUuid(flow.run, flow.sequence)),
  }),
  interface: field<string, string>({
    schema: WORD,
    description: 'Name of the device of a pod, on its node',
    parse: asIs,
    expected: '',
    clause: (names) => (flow) => names.includes(deviceOf(flow)?.name ?? ''),
  }),
  source_xlated: field({
    schema: written(PATTERNS.ip, RANGE),
    description: "Of replies through a Service: the virtual address that their client sees as the source's; or a CIDR",
    parse: parseRange,
    expected: RANGE,
    clause: filter.bySourceXlated,
  }),
  ip_version: field<number, number>({
    schema: { type: 'integer', enum: [4, 6] },
    description: 'IP version',
    parse: asIs,
    expected: '',
    clause: (families) => filter.byFamily(families),
  }),
};

/** Fields about a side: each is there for either side, and as from_ and to_. */
const SIDED_FIELDS: Readonly<Record<string, FilterField<unknown, unknown>>> = {
  pod: field({
    schema: written(PATTERNS.pod, POD),
    description:
      '"namespace/prefix" of a pod\'s name; "/prefix": in any namespace; without a slash: in namespace default',
    parse: parsePod,
    expected: POD,
    clause: (pods: PodPrefix[], where) =>
      filter.byName(where, ({ namespace, pod }) =>
        pods.some((one) => pod !== '' && isIn(one, namespace) && pod.startsWith(one.prefix)),
      ),
  }),
  service: field({
    schema: written(PATTERNS.pod, POD),
    description:
      'Service that the connection goes through, as "namespace/prefix" of its name; "/prefix": in any namespace; without a slash: in namespace default',
    parse: parsePod,
    expected: POD,
    clause: (services: PodPrefix[], where) =>
      filter.byService(where, ({ namespace, name }) =>
        services.some((one) => isIn(one, namespace) && name.startsWith(one.prefix)),
      ),
  }),
  namespace: field<string, string>({
    schema: WORD,
    description: 'Namespace',
    parse: asIs,
    expected: '',
    clause: (namespaces, where) => filter.byName(where, (name) => namespaces.includes(name.namespace)),
  }),
  workload: field<string, WantedWorkload>({
    schema: WORD,
    description: 'Workload of the pod, e.g. its Deployment: "name", "Kind/name", or "Kind/" for all of a kind',
    parse: parseWorkload,
    expected: '',
    clause: (wanted, where) =>
      filter.byName(where, ({ workload }) => {
        if (workload === undefined) return false;
        return wanted.some(
          ({ kind, name }) => ['', workload.kind].includes(kind) && ['', workload.name].includes(name),
        );
      }),
  }),
  label: field<string, LabelMatcher>({
    schema: { ...written(PATTERNS.label, LABEL), minLength: 0 },
    description: 'Label selector: "app=a,tier in (b,c),!debug"; a key may name its source: "k8s:app"',
    parse: parseLabelSelector,
    expected: LABEL,
    clause: (matchers, where) => filter.byLabels(where, matchers),
  }),
  ip: field({
    schema: written(PATTERNS.ip, RANGE),
    description: 'Address or CIDR',
    parse: parseRange,
    expected: RANGE,
    clause: (ranges, where) => filter.byAddress(where, ranges),
  }),
  port: field<number, number>({
    schema: { type: 'integer', minimum: 1, maximum: 65535 },
    description: 'Port',
    parse: asIs,
    expected: '',
    clause: (ports, where) => filter.byPort(where, ports),
  }),
  identity: field({
    schema: written(PATTERNS.identity, IDENTITY),
    description: 'Security identity: a number or a reserved name, e.g. "host"',
    parse: parseIdentity,
    expected: IDENTITY,
    clause: (identities, where) => filter.byIdentity(where, identities),
  }),
};

function isIn(wanted: PodPrefix, namespace: string): boolean {
  return wanted.namespace === '' || wanted.namespace === namespace;
}

const SIDES = [
  ['', 'either', 'on either side'],
  ['from_', 'source', "of the packet's sender"],
  ['to_', 'destination', "of the packet's receiver"],
] as const;

/** Every filter field by its name in the query. */
export interface FilterEntry {
  readonly field: FilterField<unknown, unknown>;
  readonly where: filter.Where;
  readonly description: string;
}
export const FILTERS = new Map<string, FilterEntry>([
  ...Object.entries(FIELDS).map(
    ([name, one]) => [name, { field: one, where: 'packet', description: one.description }] as const,
  ),
  ...Object.entries(SIDED_FIELDS).flatMap(([name, one]) =>
    SIDES.map(
      ([prefix, where, text]) =>
        [`${prefix}${name}`, { field: one, where, description: `${one.description} (${text})` }] as const,
    ),
  ),
]);

/** "field=value"s by their field; what a schema would have found in a field of its own is found here. */
export function notByField(texts: readonly string[], faults: string[]): ReadonlyMap<string, unknown[]> {
  const byField = new Map<string, unknown[]>();
  for (const text of texts) {
    const equals = text.indexOf('=');
    const name = text.slice(0, equals);
    const schema = FILTERS.get(name)?.field.schema;
    if (schema === undefined) {
      faults.push(`not: expected ${NOT}, got ${JSON.stringify(text)}${didYouMean(name, [...FILTERS.keys()])}`);
      continue;
    }
    const written = text.slice(equals + 1);
    const value = schema.type === 'integer' && /^[0-9]{1,9}$/.test(written) ? Number(written) : written;
    const problem = problemWith(schema, value);
    if (problem !== undefined) faults.push(`not: ${name}: expected ${problem}, got ${JSON.stringify(written)}`);
    else byField.set(name, [...(byField.get(name) ?? []), value]);
  }
  return byField;
}

interface KnownSchema {
  readonly type?: string;
  readonly enum?: readonly unknown[];
  readonly minimum?: number;
  readonly maximum?: number;
}

/** What was expected instead; undefined: nothing else. The few words of a schema that fields here have. */
function problemWith(schema: Schema, value: unknown): string | undefined {
  const { type, enum: values, minimum = 0, maximum = 0 } = schema as KnownSchema;
  if (values !== undefined) return values.includes(value) ? undefined : `one of ${values.join(', ')}`;
  if (type !== 'integer') return undefined;
  const isInside = typeof value === 'number' && value >= minimum && value <= maximum;
  return isInside ? undefined : `a number from ${minimum} to ${maximum}`;
}
