/** What a GetFlowsRequest asks for, as a query of the history. Pure: time is passed in. */
import { allOf, bySince, type Clause } from '../../flow/filter.ts';
import type { FlowQuery } from '../../flow/history.ts';
import { type FieldMask, readFieldMask } from './field-mask.ts';
import { readFilters } from './flow-filter.ts';
import type { HubbleTeller } from './flow-message.ts';
import { FLOW, type GetFlowsRequest, timestampMs } from './messages.ts';
import { Refusal } from './refusal.ts';

export interface FlowPlan {
  readonly query: FlowQuery;
  /** Undefined: every field. */
  readonly mask: FieldMask | undefined;
  /** Ends after so many flows; lost events do not count. */
  readonly most: number;
  /** 'now': with the newest record there is; 'never': when the caller goes, or at `until`. */
  readonly ends: 'now' | 'never';
  /** ms since 1970. Only where `ends` is 'never': no earlier than the moment of the request. */
  readonly until: number | undefined;
}

/**
 * The history tells whole microseconds: rounding must not take a flow out of a span that it itself told. Half a
 * microsecond, and a quarter more because a double holds today's milliseconds to that much only.
 */
const ROUNDING_MS = 0.00075;

/**
 * Hubble's rules: `since` beats `number`; without both and without follow everything; `number` means the newest unless
 * `first`; under follow it is only where the stream starts. Throws Refusal.
 */
export function readFlowRequest(request: GetFlowsRequest, teller: HubbleTeller, nowMs: number): FlowPlan {
  const { number = 0, follow = false, first = false, whitelist = [], blacklist = [], field_mask } = request;
  if (first && follow) throw new Refusal('INVALID_ARGUMENT', 'first and follow cannot be used together');
  if (request.extensions !== undefined) throw new Refusal('UNIMPLEMENTED', 'extensions are not served');
  if (request.$unknowns !== undefined) {
    throw new Refusal('UNIMPLEMENTED', 'the request has a field that is newer than this agent');
  }
  const since = request.since && timestampMs(request.since);
  const until = request.until && timestampMs(request.until);
  const wanted = [readFilters(whitelist, blacklist, teller)];
  if (since !== undefined) wanted.push(bySince(since - ROUNDING_MS));
  if (until !== undefined) wanted.push(upTo(until));
  const goesOn = follow && (until === undefined || until > nowMs);
  return {
    query: { wanted: allOf(wanted), cursor: undefined, sinceMs: since, ...startOf({ number, follow, first, since }) },
    mask: readFieldMask(field_mask?.paths ?? [], FLOW),
    most: follow || number === 0 ? Number.POSITIVE_INFINITY : number,
    ends: goesOn ? 'never' : 'now',
    until: goesOn ? until : undefined,
  };
}

function startOf(request: { number: number; follow: boolean; first: boolean; since: number | undefined }) {
  const { number, follow, first, since } = request;
  const everything = { order: 'oldest', count: Number.POSITIVE_INFINITY } as const;
  // the stock client says 2^64-1 for all
  if (since !== undefined || first || number > Number.MAX_SAFE_INTEGER) return everything;
  if (number > 0 || follow) return { order: 'newest', count: number } as const;
  return everything;
}

/** Unlike the HTTP API's `until`, the moment itself is included. */
function upTo(ms: number): Clause {
  return (flow) => flow.timeMs <= ms + ROUNDING_MS;
}
