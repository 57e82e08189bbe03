/**
 * A typed view of one stored record. One view is moved over many records, so looking at a record makes no garbage;
 * only the getters that return text or names make or return objects.
 */
import type { Direction } from '../datapath/layout.gen.ts';
import { Direction as DIRECTION, EventFlags, EventType, Family } from '../datapath/layout.gen.ts';
import { type Address, formatAddress } from '../model/address.ts';
import type { Labels } from '../model/labels.ts';
import type { PolicyInfo, RuleInfo } from '../model/verdict.ts';
import type { PartyName, ServiceName } from './names.ts';
import { AT, EVENT_SIZE, LITTLE_ENDIAN } from './record.ts';
import { REFS, REFS_PER_RECORD, type RecordStore } from './store.ts';

/** Side of a packet: index into `identity`, `endpoint` and the like. */
export const SOURCE = 0;
export const DESTINATION = 1;
export type PacketSide = typeof SOURCE | typeof DESTINATION;
/** The virtual address that the initiator asked for. */
export const SERVICE = 2;
/** Where a record has an address. */
export type AddressPlace = PacketSide | typeof SERVICE;
/** Index into `packets` and `bytes`. */
export type ConnectionSide = 0 | 1;

/** Halves of a 64-bit number. */
const LOW_WORD = LITTLE_ENDIAN ? 0 : 4;
const HIGH_WORD = 4 - LOW_WORD;
const HIGH = 2 ** 32;

export class StoredFlow {
  readonly #store: RecordStore;
  readonly #view: DataView;
  #sequence = 0;
  #slot = 0;
  #base = 0;

  constructor(store: RecordStore) {
    this.#store = store;
    this.#view = store.view;
  }

  /** Moves to a record that the store still holds (oldest <= sequence < next). */
  at(sequence: number): this {
    this.#sequence = sequence;
    this.#slot = sequence % this.#store.capacity;
    this.#base = this.#slot * EVENT_SIZE;
    return this;
  }

  /** The agent's life that recorded it; a sequence is of that. */
  get run(): string {
    return this.#store.run;
  }
  get sequence(): number {
    return this.#sequence;
  }
  /** Wall time, ms since 1970 with fraction. */
  get timeMs(): number {
    return this.#store.times[this.#slot] as number;
  }
  /** CLOCK_MONOTONIC, ns; exact to 2^53 (104 days), then to 2 ns. */
  get timeNs(): number {
    return this.#u64(AT.time);
  }
  /** enum event_type, or LOST_RECORD. */
  get type(): number {
    return this.#u8(AT.type);
  }
  /** enum drop_reason. */
  get reason(): number {
    return this.#u8(AT.reason);
  }
  get direction(): Direction {
    return this.#u8(AT.direction) === DIRECTION.DIRECTION_EGRESS
      ? DIRECTION.DIRECTION_EGRESS
      : DIRECTION.DIRECTION_INGRESS;
  }
  /** enum family; 0 for a frame that is not IP. */
  get family(): number {
    return this.#u8(AT.family);
  }
  get protocol(): number {
    return this.#u8(AT.protocol);
  }
  get tcpFlags(): number {
    return this.#u8(AT.tcpFlags);
  }
  get icmpType(): number {
    return this.#u8(AT.icmpType);
  }
  get icmpCode(): number {
    return this.#u8(AT.icmpCode);
  }
  /** IP length of the packet, bytes. */
  get length(): number {
    return this.#u32(AT.length);
  }
  /** enum event_flags. */
  has(flag: EventFlags): boolean {
    return (this.#u32(AT.flags) & flag) !== 0;
  }
  get isReply(): boolean {
    return this.has(EventFlags.EVENT_IS_REPLY);
  }
  get isDrop(): boolean {
    return this.type === EventType.EVENT_DROP;
  }

  /** Host order; 0 where there is none. */
  port(side: PacketSide): number {
    return this.#view.getUint16(this.#base + (side === SOURCE ? AT.sourcePort : AT.destinationPort), false);
  }
  identity(side: PacketSide): number {
    return this.#u32(AT.identity + 4 * side);
  }
  /** Endpoint id on this node, 0 = elsewhere. */
  endpoint(side: PacketSide): number {
    return this.#u32(AT.endpoint + 4 * side);
  }
  ruleId(direction: Direction): number {
    return this.#u32(AT.rule + 4 * direction);
  }
  policyId(direction: Direction): number {
    return this.#u32(AT.policy + 4 * direction);
  }
  packets(side: ConnectionSide): number {
    return this.#u64(AT.packets + 8 * side);
  }
  bytes(side: ConnectionSide): number {
    return this.#u64(AT.bytes + 8 * side);
  }
  /** ns from the connection's start to this event; undefined where there is no connection. */
  get durationNs(): bigint | undefined {
    const created = this.createdNs;
    return created === 0n ? undefined : this.#view.getBigUint64(this.#base + AT.time, LITTLE_ENDIAN) - created;
  }
  /** CLOCK_MONOTONIC in ns; 0 where there is no connection. */
  get createdNs(): bigint {
    return this.#view.getBigUint64(this.#base + AT.created, LITTLE_ENDIAN);
  }

  /** One of four words of an address, network order as a number. */
  addressWord(place: AddressPlace, word: number): number {
    return this.#view.getUint32(this.#addressAt(place) + 4 * word, false);
  }
  /** Text of an address; undefined for a frame that is not IP. */
  address(place: AddressPlace): Address | undefined {
    const size = this.family === Family.FAMILY_IPV4 ? 4 : this.family === Family.FAMILY_IPV6 ? 16 : 0;
    if (size === 0) return undefined;
    return formatAddress(new Uint8Array(this.#view.buffer, this.#addressAt(place), size));
  }
  /** Was the virtual address of a Service asked for? Its words are those of {@link SERVICE}. */
  get isThroughService(): boolean {
    return this.servicePort !== 0;
  }
  /** Port that was asked for at the virtual address; 0: none was, or it was not translated here. */
  get servicePort(): number {
    return this.#view.getUint16(this.#base + AT.servicePort, false);
  }
  /** Index of the device the program ran on; 0: none did. */
  get ifindex(): number {
    return this.#u32(AT.ifindex);
  }

  /** The name this side had when the event arrived. */
  name(side: PacketSide): PartyName | undefined {
    return this.#store.tables.parties.get(this.#ref(side === SOURCE ? REFS.source : REFS.destination));
  }
  labels(side: PacketSide): Labels | undefined {
    return this.#store.tables.labels.get(this.#ref(side === SOURCE ? REFS.sourceLabels : REFS.destinationLabels));
  }
  /** The Service the virtual address was when the event arrived. */
  get service(): ServiceName | undefined {
    return this.#store.tables.services.get(this.#ref(REFS.service));
  }
  rule(direction: Direction): RuleInfo | undefined {
    return this.#store.tables.rules.get(this.#ref(REFS.rules + direction));
  }
  policy(direction: Direction): PolicyInfo | undefined {
    return this.#store.tables.policies.get(this.#ref(REFS.policies + direction));
  }

  #addressAt(place: AddressPlace): number {
    return this.#base + (place === SOURCE ? AT.source : place === DESTINATION ? AT.destination : AT.service);
  }
  #ref(which: number): number {
    return this.#store.refs[this.#slot * REFS_PER_RECORD + which] as number;
  }
  #u8(at: number): number {
    return this.#view.getUint8(this.#base + at);
  }
  #u32(at: number): number {
    return this.#view.getUint32(this.#base + at, LITTLE_ENDIAN);
  }
  /** Exact to 2^53. */
  #u64(at: number): number {
    return this.#u32(at + HIGH_WORD) * HIGH + this.#u32(at + LOW_WORD);
  }
}
