/** Which flows are exported and what of each: Hubble's allow and deny lists and field mask, as they are written in settings. */
import { type FieldMask, readFieldMask } from '../api/hubble/field-mask.ts';
import { readFilters } from '../api/hubble/flow-filter.ts';
import type { HubbleTeller } from '../api/hubble/flow-message.ts';
import { FLOW, FLOW_FILTER, type FlowFilter, filterEnum, filterFromJson } from '../api/hubble/messages.ts';
import { Refusal } from '../api/hubble/refusal.ts';
import { WeirError } from '../errors.ts';
import { DROP_REASONS } from '../flow/drop-reason.ts';
import type { Clause } from '../flow/filter.ts';

/** As settings have them. */
export interface Selection {
  /** JSON FlowFilters, separated by white space; '' for no list: everything. */
  readonly allow: string;
  /** What of it is left out. */
  readonly deny: string;
  /** Paths in Flow, separated by commas or white space; '' for all fields. */
  readonly fieldMask: string;
}

export interface Selected {
  readonly wanted: Clause;
  readonly mask: FieldMask | undefined;
}

/** Throws WeirError CONFIG_INVALID, which says which setting and what was expected. */
export function readSelection({ allow, deny, fieldMask }: Selection, teller: HubbleTeller): Selected {
  try {
    return {
      wanted: readFilters(readList('allow list', allow), readList('deny list', deny), teller),
      mask: readFieldMask(
        fieldMask.split(/[\s,]+/).filter((path) => path !== ''),
        FLOW,
      ),
    };
  } catch (cause) {
    if (!(cause instanceof Refusal)) throw cause;
    throw invalid(cause.message.replace(/^whitelist/, 'allow list').replace(/^blacklist/, 'deny list'), cause);
  }
}

function readList(list: string, text: string): FlowFilter[] {
  return splitJson(list, text).map((one, i) => {
    const numbered = Object.fromEntries(
      Object.entries(one).map(([name, value]) => [name, asNumbers(`${list}[${i}].${name}`, name, value)]),
    );
    const problem = FLOW_FILTER.verify(numbered);
    if (problem) throw invalid(`${list}[${i}]: ${problem}`);
    return filterFromJson(numbered);
  });
}

/** Names of enums as their numbers; throws for what is no field, and for a name that the field does not have. */
function asNumbers(place: string, field: string, value: unknown): unknown {
  if (!Object.hasOwn(FLOW_FILTER.fields, field)) throw invalid(`${place} is no field of Hubble's FlowFilter`);
  const names = filterEnum(field);
  if (names === undefined || !Array.isArray(value)) return value;
  // Their names are in a table of our own.
  const reasons = DROP_REASONS.map(({ hubble }) => [hubble.name, hubble.number] as const);
  const numbers = new Map<unknown, number>(field === 'drop_reason_desc' ? reasons : Object.entries(names));
  return value.map((one: unknown) => {
    const number = typeof one === 'number' ? one : numbers.get(one);
    if (number !== undefined) return number;
    throw invalid(`${place}: expected one of ${[...numbers.keys()].join(', ')}, got ${JSON.stringify(one)}`);
  });
}

/** JSON objects one after the other, as Hubble's options have them. */
function splitJson(list: string, text: string): Record<string, unknown>[] {
  const values: Record<string, unknown>[] = [];
  let rest = text.trim();
  while (rest !== '') {
    const end = endOfObject(rest);
    try {
      const value: unknown = JSON.parse(rest.slice(0, end));
      if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new SyntaxError('not an object');
      values.push(value as Record<string, unknown>);
    } catch (cause) {
      const shown = rest.length > 60 ? `${rest.slice(0, 60)}...` : rest;
      throw invalid(
        `${list}[${values.length}]: expected a JSON object such as {"verdict":["DROPPED"]}, got ${shown}`,
        cause,
      );
    }
    rest = rest.slice(end).trim();
  }
  return values;
}

/** Where the first object ends: braces in strings do not count. */
function endOfObject(text: string): number {
  let depth = 0;
  let isString = false;
  for (let at = 0; at < text.length; at++) {
    const letter = text[at];
    if (isString && letter === '\\') at++;
    else if (letter === '"') isString = !isString;
    else if (!isString && letter === '{') depth++;
    else if (!isString && letter === '}' && --depth <= 0) return at + 1;
  }
  return text.length;
}

function invalid(message: string, cause?: unknown): WeirError {
  return new WeirError('CONFIG_INVALID', 'read what is to be exported', message, { cause });
}
