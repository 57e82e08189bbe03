/**
 * The query of /v1/flows: which fields there are, and what they mean as a FlowQuery. The server checks names and types
 * against the schema made here; this file reads the values. Pure: time is passed in.
 */
import { WeirError } from '../errors.ts';
import { parseCursor } from '../flow/cursor.ts';
import { DROP_REASONS } from '../flow/drop-reason.ts';
import * as filter from '../flow/filter.ts';
import { FLOW_EVENTS, type FlowEventName, VERDICTS, type Verdict } from '../flow/flow.ts';
import type { FlowQuery } from '../flow/history.ts';
import { type LabelMatcher, parseLabelSelector } from '../flow/label-selector.ts';
import { RESERVED_IDENTITIES } from '../model/identity.ts';
import { PATTERNS } from './flow-patterns.ts';
import {
  type PodPrefix,
  PROTOCOLS,
  parseDropReason,
  parseIdentity,
  parsePod,
  parseProtocol,
  parseRange,
  parseTime,
} from './flow-values.ts';
import type { Schema } from './schema.ts';

/** Most flows of one page. */
export const PAGE_MAX = 5000;
export const PAGE_DEFAULT = 100;
/** Longest value of a field, and most values of one field. */
const VALUE_MAX = 1024;
const VALUES_MAX = 64;

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

const WORD: Schema = { type: 'string', minLength: 1, maxLength: VALUE_MAX };
/** A word of a pattern of its own; `expected` is what an answer about another says. */
const written = (pattern: string, expected: string): Schema => ({ ...WORD, pattern, description: expected });
const asIs = <T>(value: T): T => value;
const enumerated = <T extends string>(
  values: readonly T[],
  description: string,
  clause: (values: T[]) => filter.Clause,
) => field<T, T>({ schema: { type: 'string', enum: [...values] }, description, parse: asIs, expected: '', clause });

// What a value must be, for answers about those that are not.
const PROTOCOL = `${Object.keys(PROTOCOLS).join(', ')} or a number from 0 to 255`;
const POD = '"namespace/prefix", "namespace/" or "prefix"';
const LABEL = 'requirements such as "key", "!key", "key=value", "key!=value", "key in (a,b)", "key notin (a,b)"';
const RANGE = 'an IP address or a CIDR';
const IDENTITY = `a number or one of ${Object.keys(RESERVED_IDENTITIES).join(', ')}`;
const TIME = 'RFC 3339 ("2024-05-01T12:00:00Z") or how long ago ("90s", "1h30m")';
const CURSOR = 'the cursor of an earlier page';

/** Fields about the packet as a whole. */
const FIELDS: Readonly<Record<string, FilterField<unknown, unknown>>> = {
  verdict: enumerated<Verdict>(VERDICTS, 'Verdict', filter.byVerdict),
  type: enumerated<FlowEventName>(FLOW_EVENTS, 'Event: weir.event', filter.byEvent),
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
    description: '"namespace/prefix" of a pod\'s name; without "namespace/": in namespace default',
    parse: parsePod,
    expected: POD,
    clause: (pods: PodPrefix[], where) =>
      filter.byName(where, ({ namespace, pod }) =>
        pods.some((one) => pod !== '' && one.namespace === namespace && pod.startsWith(one.prefix)),
      ),
  }),
  service: field({
    schema: written(PATTERNS.pod, POD),
    description:
      'Service that the connection goes through, as "namespace/prefix" of its name; without "namespace/": in namespace default',
    parse: parsePod,
    expected: POD,
    clause: (services: PodPrefix[], where) =>
      filter.byService(where, ({ namespace, name }) =>
        services.some((one) => one.namespace === namespace && name.startsWith(one.prefix)),
      ),
  }),
  namespace: field<string, string>({
    schema: WORD,
    description: 'Namespace',
    parse: asIs,
    expected: '',
    clause: (namespaces, where) => filter.byName(where, (name) => namespaces.includes(name.namespace)),
  }),
  workload: field<string, string>({
    schema: WORD,
    description: "Name of the pod's workload, e.g. its Deployment",
    parse: asIs,
    expected: '',
    clause: (names, where) =>
      filter.byName(where, ({ workload }) => workload !== undefined && names.includes(workload.name)),
  }),
  label: field<string, LabelMatcher>({
    schema: written(PATTERNS.label, LABEL),
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

const SIDES = [
  ['', 'either', 'on either side'],
  ['from_', 'source', "of the packet's sender"],
  ['to_', 'destination', "of the packet's receiver"],
] as const;

/** Every filter field by its name in the query. */
const FILTERS = new Map<string, { field: FilterField<unknown, unknown>; where: filter.Where; description: string }>([
  ...Object.entries(FIELDS).map(
    ([name, one]) => [name, { field: one, where: 'either', description: one.description }] as const,
  ),
  ...Object.entries(SIDED_FIELDS).flatMap(([name, one]) =>
    SIDES.map(
      ([prefix, where, text]) =>
        [`${prefix}${name}`, { field: one, where, description: `${one.description} (${text})` }] as const,
    ),
  ),
]);

const count = (description: string): Schema => ({ type: 'integer', minimum: 0, maximum: PAGE_MAX, description });

/** What says which flows are meant; in every query about flows. */
export const FLOW_FILTER_PROPERTIES: Readonly<Record<string, Schema>> = {
  ...Object.fromEntries(
    [...FILTERS].map(([name, { field: one, description }]) => [
      name,
      { type: 'array', items: one.schema, maxItems: VALUES_MAX, description },
    ]),
  ),
  scope: {
    type: 'string',
    enum: ['node', 'cluster'],
    description: 'Flows of this node (default), or of all nodes, which this agent asks; needs the API with TLS',
  },
  reply: { type: 'boolean', description: 'Packets of the responder (true) or of the initiator (false)' },
  since: { ...WORD, pattern: PATTERNS.time, description: `from which time on: ${TIME}` },
  until: { ...WORD, pattern: PATTERNS.time, description: `before which time: ${TIME}` },
};

export const FLOW_QUERY_SCHEMA: Schema = {
  type: 'object',
  additionalProperties: false,
  properties: {
    ...FLOW_FILTER_PROPERTIES,
    first: count(`The oldest N flows; with cursor, how many follow it (default ${PAGE_DEFAULT})`),
    last: count(`The newest N flows (default ${PAGE_DEFAULT}, with follow 0)`),
    cursor: { ...WORD, pattern: PATTERNS.cursor, description: `${CURSOR}, to go on from there` },
    follow: { type: 'boolean', description: 'Answer with a stream, one FlowLine each, as flows come' },
  },
};

/** The query once its names and types were checked against {@link FLOW_QUERY_SCHEMA}. */
export interface CheckedFlowQuery {
  readonly [filter: string]: unknown;
  readonly scope?: 'node' | 'cluster';
  readonly reply?: boolean;
  readonly since?: string;
  readonly until?: string;
  readonly first?: number;
  readonly last?: number;
  readonly cursor?: string;
  readonly follow?: boolean;
}

const EXCLUSIVE = [
  ['first', 'last'],
  ['cursor', 'last'],
  ['follow', 'first'],
  ['follow', 'until'],
] as const;

/** `nowMs` is what durations count from. Throws BAD_REQUEST naming every field that cannot be read. */
export function readFlowQuery(query: CheckedFlowQuery, nowMs: number): FlowQuery {
  const faults: string[] = [];
  const read = <Value, Read>(
    name: string,
    value: Value,
    parse: (value: Value) => Read | undefined,
    expected: string,
  ) => {
    const parsed = parse(value);
    if (parsed === undefined) faults.push(`${name}: expected ${expected}, got ${JSON.stringify(value)}`);
    return parsed;
  };
  const time = (name: 'since' | 'until') => {
    const text = query[name];
    return text === undefined ? undefined : read(name, text, (value) => parseTime(value, nowMs), TIME);
  };

  const clauses: filter.Clause[] = [];
  for (const [name, { field: one, where }] of FILTERS) {
    const values = query[name] as unknown[] | undefined;
    if (values === undefined) continue;
    const parsed = values.map((value) => read(name, value, one.parse, one.expected));
    clauses.push(one.clause(parsed, where));
  }
  if (query.reply !== undefined) clauses.push(filter.byReply(query.reply));
  const since = time('since');
  const until = time('until');
  if (since !== undefined) clauses.push(filter.bySince(since));
  if (until !== undefined) clauses.push(filter.byUntil(until));
  const cursor = query.cursor === undefined ? undefined : read('cursor', query.cursor, parseCursor, CURSOR);
  const given = (name: string) => query[name] !== undefined && query[name] !== false;
  if (query.scope === 'cluster' && given('cursor')) {
    faults.push('cursor is of one node: with scope=cluster go on with since, the time of the last flow');
  }
  for (const [a, b] of EXCLUSIVE) if (given(a) && given(b)) faults.push(`${a} and ${b} cannot be used together`);
  if (faults.length > 0) throw new WeirError('BAD_REQUEST', 'read the flow query', faults.join('; '));
  return { wanted: filter.allOf(clauses), cursor, sinceMs: since, ...range(query) };
}

/** Hubble's rules: the newest by default; `since` alone means from there on; a stream starts now. */
function range(query: CheckedFlowQuery): Pick<FlowQuery, 'order' | 'count'> {
  if (query.last !== undefined) return { order: 'newest', count: query.last };
  if (query.first !== undefined) return { order: 'oldest', count: query.first };
  if (query.since !== undefined || query.cursor !== undefined) return { order: 'oldest', count: PAGE_DEFAULT };
  return { order: 'newest', count: query.follow ? 0 : PAGE_DEFAULT };
}
