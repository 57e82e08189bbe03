/**
 * The query of /v1/flows, and what it means as a FlowQuery. The server checks names and types against the schema made here;
 * this file and flow-fields.ts read the values. Pure: time is passed in.
 */
import { WeirError } from '../errors.ts';
import { parseCursor } from '../flow/cursor.ts';
import * as filter from '../flow/filter.ts';
import type { FlowQuery } from '../flow/history.ts';
import { FILTERS, type FilterEntry, NOT, notByField, VALUES_MAX, WORD, written } from './flow-fields.ts';
import { PATTERNS } from './flow-patterns.ts';
import { parseTime } from './flow-values.ts';
import type { Schema } from './schema.ts';

/** Most flows of one page. */
export const PAGE_MAX = 5000;
export const PAGE_DEFAULT = 100;

// What a value must be, for answers about those that are not.
const TIME = 'RFC 3339 ("2024-05-01T12:00:00Z") or how long ago ("90s", "1h30m")';
const CURSOR = 'the cursor of an earlier page';

const count = (description: string): Schema => ({ type: 'integer', minimum: 0, maximum: PAGE_MAX, description });

/** What says which flows are meant; in every query about flows. */
export const FLOW_FILTER_PROPERTIES: Readonly<Record<string, Schema>> = {
  ...Object.fromEntries(
    [...FILTERS].map(([name, { field: one, description }]) => [
      name,
      { type: 'array', items: one.schema, maxItems: VALUES_MAX, description },
    ]),
  ),
  not: {
    type: 'array',
    items: written('^[a-z_]+=.', NOT),
    maxItems: VALUES_MAX,
    description: 'A filter, as "verdict=DROPPED": leaves out flows for which all that is given here holds',
  },
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
  readonly not?: readonly string[];
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

  const readFilter = (name: string, entry: FilterEntry, values: readonly unknown[]): Given => {
    const { parse, expected } = entry.field;
    return { entry, values: values.map((value) => read(name, value, parse, expected)) };
  };

  const given = [...FILTERS].flatMap(([name, entry]) => {
    const values = query[name] as unknown[] | undefined;
    return values === undefined ? [] : [readFilter(name, entry, values)];
  });
  const clauses = clausesOf(given);
  const unwanted = [...notByField(query.not ?? [], faults)].map(([name, values]) =>
    readFilter(`not: ${name}`, FILTERS.get(name) as FilterEntry, values),
  );
  if (unwanted.length > 0) clauses.push(filter.notAllOf(clausesOf(unwanted)));
  if (query.reply !== undefined) clauses.push(filter.byReply(query.reply));
  const since = time('since');
  const until = time('until');
  if (since !== undefined) clauses.push(filter.bySince(since));
  if (until !== undefined) clauses.push(filter.byUntil(until));
  const cursor = query.cursor === undefined ? undefined : read('cursor', query.cursor, parseCursor, CURSOR);
  const isGiven = (name: string) => query[name] !== undefined && query[name] !== false;
  if (query.scope === 'cluster' && isGiven('cursor')) {
    faults.push('cursor is of one node: with scope=cluster go on with since, the time of the last flow');
  }
  for (const [a, b] of EXCLUSIVE) if (isGiven(a) && isGiven(b)) faults.push(`${a} and ${b} cannot be used together`);
  if (faults.length > 0) throw new WeirError('BAD_REQUEST', 'read the flow query', faults.join('; '));
  return { wanted: filter.allOf(clauses), cursor, sinceMs: since, ...range(query) };
}

/** A field of a query, and what its values were read as. */
interface Given {
  readonly entry: FilterEntry;
  readonly values: unknown[];
}

/**
 * All of them must hold. Fields about either side are about one and the same, as `hubble observe` has them: it asks for the
 * source to be all of it, or the destination (hubble/cmd/observe/flows_filter.go).
 */
function clausesOf(given: readonly Given[]): filter.Clause[] {
  const clause = ({ entry, values }: Given, where = entry.where): filter.Clause => entry.field.clause(values, where);
  const ofEither = given.filter(({ entry }) => entry.where === 'either');
  if (ofEither.length < 2) return given.map((one) => clause(one));
  const at = (side: 'source' | 'destination') => filter.allOf(ofEither.map((one) => clause(one, side)));
  const others = given.filter((one) => !ofEither.includes(one)).map((one) => clause(one));
  return [...others, filter.anyOf([at('source'), at('destination')])];
}

/** Hubble's rules: the newest by default; `since` alone means from there on; a stream starts now. */
function range(query: CheckedFlowQuery): Pick<FlowQuery, 'order' | 'count'> {
  if (query.last !== undefined) return { order: 'newest', count: query.last };
  if (query.first !== undefined) return { order: 'oldest', count: query.first };
  if (query.since !== undefined || query.cursor !== undefined) return { order: 'oldest', count: PAGE_DEFAULT };
  return { order: 'newest', count: query.follow ? 0 : PAGE_DEFAULT };
}
