/**
 * Which flows somebody wants. A filter is a list of clauses, all of which must hold; the values of one clause are
 * alternatives. Clauses look at packed records, so a scan over the whole store makes no garbage.
 */
import { EventType } from '../datapath/layout.gen.ts';
import type { Labels } from '../model/labels.ts';
import { type AddressPlace, DESTINATION, type PacketSide, SERVICE, SOURCE, type StoredFlow } from './decode.ts';
import type { FlowEventName, Verdict } from './flow.ts';
import type { LabelMatcher } from './label-selector.ts';
import type { PartyName, ServiceName } from './names.ts';

export type Clause = (flow: StoredFlow) => boolean;

/** Which side of the packet a clause looks at; 'packet': at neither, at what both have in common. */
export type Where = 'either' | 'source' | 'destination' | 'packet';

/** First 16 bytes of an address and how many bits of them count. */
export interface AddressRange {
  readonly family: 4 | 6;
  readonly words: readonly [number, number, number, number];
  readonly masks: readonly [number, number, number, number];
}

/** enum event_type. */
export const EVENT_NUMBERS: Record<FlowEventName, number> = {
  new: EventType.EVENT_NEW,
  reply: EventType.EVENT_REPLY,
  update: EventType.EVENT_UPDATE,
  end: EventType.EVENT_END,
  drop: EventType.EVENT_DROP,
  audit: EventType.EVENT_AUDIT,
};
const EVENT_NAMES = new Map(Object.entries(EVENT_NUMBERS).map(([name, number]) => [number, name as FlowEventName]));

/** Undefined for a record that is no event: a loss marker, or a type this agent does not know. */
export function eventName(type: number): FlowEventName | undefined {
  return EVENT_NAMES.get(type);
}

export function verdictOf(type: number): Verdict {
  if (type === EventType.EVENT_DROP) return 'DROPPED';
  return type === EventType.EVENT_AUDIT ? 'AUDIT' : 'FORWARDED';
}

export const allOf =
  (clauses: readonly Clause[]): Clause =>
  (flow) =>
    clauses.every((clause) => clause(flow));

export const anyOf =
  (clauses: readonly Clause[]): Clause =>
  (flow) =>
    clauses.some((clause) => clause(flow));

/** Where all hold, it does not. */
export const notAllOf = (clauses: readonly Clause[]): Clause => {
  const all = allOf(clauses);
  return (flow) => !all(flow);
};

export const byVerdict =
  (verdicts: readonly Verdict[]): Clause =>
  (flow) =>
    verdicts.includes(verdictOf(flow.type));

export function byEvent(events: readonly FlowEventName[]): Clause {
  const numbers = events.map((event) => EVENT_NUMBERS[event]);
  return (flow) => numbers.includes(flow.type);
}

/** Weir's reason numbers; only drops have one. */
export const byDropReason =
  (reasons: readonly number[]): Clause =>
  (flow) =>
    flow.isDrop && reasons.includes(flow.reason);

/** 0 ingress, 1 egress (enum direction). */
export const byDirection =
  (directions: readonly number[]): Clause =>
  (flow) =>
    directions.includes(flow.direction);

export const byReply =
  (wanted: boolean): Clause =>
  (flow) =>
    flow.isReply === wanted;

/** IP protocol numbers. */
export const byProtocol =
  (protocols: readonly number[]): Clause =>
  (flow) =>
    flow.family !== 0 && protocols.includes(flow.protocol);

export const byFamily =
  (families: readonly number[]): Clause =>
  (flow) =>
    families.includes(flow.family);

/** ms since 1970; the moment itself included. */
export const bySince =
  (ms: number): Clause =>
  (flow) =>
    flow.timeMs >= ms;

/** ms since 1970; the moment itself excluded. */
export const byUntil =
  (ms: number): Clause =>
  (flow) =>
    flow.timeMs < ms;

export const IPPROTO = { ICMP: 1, IGMP: 2, TCP: 6, UDP: 17, ICMPV6: 58, VRRP: 112, SCTP: 132 } as const;
/** Protocols with ports. */
export const WITH_PORTS: readonly number[] = [IPPROTO.TCP, IPPROTO.UDP, IPPROTO.SCTP];

export function byPort(where: Where, ports: readonly number[]): Clause {
  const onSide = atSide(where, (flow, side) => ports.includes(flow.port(side)));
  return (flow) => WITH_PORTS.includes(flow.protocol) && onSide(flow);
}

export const byIdentity = (where: Where, identities: readonly number[]): Clause =>
  atSide(where, (flow, side) => identities.includes(flow.identity(side)));

export const byAddress = (where: Where, ranges: readonly AddressRange[]): Clause =>
  atSide(where, (flow, side) => ranges.some((range) => isInside(flow, side, range)));

export const byName = (where: Where, matches: (name: PartyName) => boolean): Clause => {
  const remembered = remember(matches);
  return atSide(where, (flow, side) => {
    const name = flow.name(side);
    return name !== undefined && remembered(name);
  });
};

/** Bits of the TCP header's flags: all of one of the masks must be set, others may be. */
export const byTcpFlags =
  (masks: readonly number[]): Clause =>
  (flow) =>
    flow.family !== 0 && flow.protocol === IPPROTO.TCP && masks.some((mask) => (flow.tcpFlags & mask) === mask);

/** Of replies the source stands for the Service, of all else the destination. */
export const byService = (where: Where, matches: (name: ServiceName) => boolean): Clause => {
  const remembered = remember(matches);
  return atSide(where, (flow, side) => {
    const service = side === (flow.isReply ? SOURCE : DESTINATION) ? flow.service : undefined;
    return service !== undefined && remembered(service);
  });
};

/** The virtual address a reply's source becomes. */
export const bySourceXlated =
  (ranges: readonly AddressRange[]): Clause =>
  (flow) =>
    flow.isReply && flow.isThroughService && ranges.some((range) => isInside(flow, SERVICE, range));

export const byLabels = (where: Where, matchers: readonly LabelMatcher[]): Clause => {
  const remembered = remember((labels: Labels) => matchers.some((matches) => matches(labels)));
  return atSide(where, (flow, side) => {
    const labels = flow.labels(side);
    return labels !== undefined && remembered(labels);
  });
};

function atSide(where: Where, holds: (flow: StoredFlow, side: PacketSide) => boolean): Clause {
  if (where === 'source') return (flow) => holds(flow, SOURCE);
  if (where === 'destination') return (flow) => holds(flow, DESTINATION);
  return (flow) => holds(flow, SOURCE) || holds(flow, DESTINATION);
}

/** Many records share a name: each is judged once. */
function remember<T extends object>(judge: (value: T) => boolean): (value: T) => boolean {
  const known = new WeakMap<T, boolean>();
  return (value) => {
    const before = known.get(value);
    if (before !== undefined) return before;
    const verdict = judge(value);
    known.set(value, verdict);
    return verdict;
  };
}

function isInside(flow: StoredFlow, place: AddressPlace, range: AddressRange): boolean {
  if (flow.family !== range.family) return false;
  for (let word = 0; word < 4; word++) {
    if ((flow.addressWord(place, word) & (range.masks[word] as number)) >>> 0 !== range.words[word]) return false;
  }
  return true;
}
