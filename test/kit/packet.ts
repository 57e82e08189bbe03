/**
 * Packets built from a description, for BPF_PROG_TEST_RUN and raw sockets:
 *
 *     tcp({ from: '10.0.0.2', to: '10.0.0.3', sport: 40000, dport: 80 }).syn().bytes()
 *
 * A packet is immutable; each verb gives a new one. Both families from the same words; lengths and checksums are right
 * unless a verb says otherwise. MAC addresses may be left to whoever sends it (`between`).
 */
import { type Address, addressBytes, familyOf, parseAddress } from '../../agent/model/address.ts';
import { concat, frameOfPacket, segmentOf } from './packet-bytes.ts';

export const IPPROTO = {
  hopopts: 0,
  icmp: 1,
  igmp: 2,
  tcp: 6,
  udp: 17,
  routing: 43,
  fragment: 44,
  gre: 47,
  esp: 50,
  ah: 51,
  icmpv6: 58,
  none: 59,
  dstopts: 60,
  sctp: 132,
} as const;
export const TCP = { fin: 1, syn: 2, rst: 4, psh: 8, ack: 16 } as const;
export const ETHERTYPE = { ipv4: 0x0800, arp: 0x0806, ipv6: 0x86dd, vlan: 0x8100, qinq: 0x88a8 } as const;

export interface Ends {
  readonly from: string;
  readonly to: string;
}
export interface Ports extends Ends {
  readonly sport?: number;
  readonly dport?: number;
}

/** What stands behind the IP header; `segmentOf` makes bytes and checksum of it. */
export type Transport =
  | {
      readonly kind: 'tcp';
      readonly sport: number;
      readonly dport: number;
      readonly flags: number;
      readonly options: Uint8Array;
      readonly payload: Uint8Array;
    }
  | { readonly kind: 'udp'; readonly sport: number; readonly dport: number; readonly payload: Uint8Array }
  | { readonly kind: 'sctp'; readonly sport: number; readonly dport: number; readonly payload: Uint8Array }
  | {
      readonly kind: 'icmp';
      readonly type: number;
      readonly code: number;
      readonly rest: Uint8Array;
      readonly payload: Uint8Array;
    }
  | { readonly kind: 'raw'; readonly payload: Uint8Array };

export interface Extension {
  readonly type: number;
  /** The whole header; its first byte is set to the type of the next. */
  readonly bytes: Uint8Array;
}

/** Everything about a packet that is not its bytes. */
export interface Parts {
  readonly words: string;
  readonly fromMac?: string;
  readonly toMac?: string;
  /** Replaces the ethertype of the IP family. */
  readonly ethertype?: number;
  readonly vlan?: number;
  readonly from: Address;
  readonly to: Address;
  readonly protocol: number;
  readonly transport: Transport;
  readonly ttl: number;
  readonly ipv4Options: Uint8Array;
  readonly extensions: readonly Extension[];
  /** The slice of the transport segment this packet carries; offset in bytes, a multiple of 8. */
  readonly slice?: {
    readonly id: number;
    readonly offset: number;
    readonly length: number | undefined;
    readonly more: boolean;
  };
  /** Instead of the right value: total length (IPv4), payload length (IPv6). */
  readonly statedLength?: number;
  /** Bytes put over the finished frame. */
  readonly patches: readonly { readonly at: number; readonly bytes: Uint8Array }[];
  /** Bytes missing at the end of the finished frame. */
  readonly cut: number;
}

const NOTHING = new Uint8Array(0);
const NOWHERE_MAC = '00:00:00:00:00:00';

export class Packet {
  readonly parts: Parts;

  constructor(parts: Parts) {
    this.parts = parts;
  }

  protected but(change: Partial<Parts>, words = ''): this {
    const Kind = this.constructor as new (parts: Parts) => this;
    return new Kind({ ...this.parts, ...change, words: words ? `${this.parts.words} ${words}` : this.parts.words });
  }

  /** Sets the MAC addresses that are not set yet. */
  between(fromMac: string, toMac: string): this {
    return this.but({ fromMac: this.parts.fromMac ?? fromMac, toMac: this.parts.toMac ?? toMac });
  }

  fromMac(mac: string): this {
    return this.but({ fromMac: mac }, `from ${mac}`);
  }

  toMac(mac: string): this {
    return this.but({ toMac: mac });
  }

  vlan(id: number, ethertype: number = ETHERTYPE.vlan): this {
    return this.but({ vlan: (ethertype << 16) | id }, `vlan ${id}`);
  }

  ethertype(ethertype: number): this {
    return this.but({ ethertype }, `ethertype 0x${ethertype.toString(16)}`);
  }

  ttl(ttl: number): this {
    return this.but({ ttl });
  }

  /** IPv4 options; padded to a multiple of four with end-of-options. */
  options(...bytes: number[]): this {
    const padded = new Uint8Array(Math.ceil(bytes.length / 4) * 4);
    padded.set(bytes);
    return this.but({ ipv4Options: padded }, `options ${bytes.join('.')}`);
  }

  /** One more IPv6 extension header before the transport; `body` is what follows its first two bytes, padded to 8. */
  extension(type: number, ...body: number[]): this {
    const bytes = new Uint8Array(Math.max(8, Math.ceil((body.length + 2) / 8) * 8));
    bytes[1] = type === IPPROTO.ah ? bytes.length / 4 - 2 : bytes.length / 8 - 1;
    bytes.set(body, 2);
    return this.but({ extensions: [...this.parts.extensions, { type, bytes }] }, `extension ${type}`);
  }

  /** IPv6 fragment header of a packet that is whole: RFC 6946. */
  atomicFragment(id: number): this {
    const bytes = Uint8Array.of(0, 0, 0, 0, id >>> 24, id >>> 16, id >>> 8, id);
    return this.but({ extensions: [...this.parts.extensions, { type: IPPROTO.fragment, bytes }] }, 'atomic fragment');
  }

  /** The part of the segment from `offset` (bytes) on. Without a length: all that is left. */
  fragment(slice: { id: number; offset: number; length?: number; more: boolean }): this {
    const { id, offset, length, more } = slice;
    return this.but({ slice: { id, offset, length, more } }, `fragment ${id} at ${offset}${more ? ' and more' : ''}`);
  }

  statedLength(length: number): this {
    return this.but({ statedLength: length }, `stating ${length} bytes`);
  }

  /** Takes bytes off the end; the headers still promise them. */
  cut(bytes: number): this {
    return this.but({ cut: bytes }, `cut by ${bytes}`);
  }

  /** Writes over the finished frame; `at` counts from the Ethernet header. */
  patch(at: number, ...bytes: number[]): this {
    return this.but(
      { patches: [...this.parts.patches, { at, bytes: Uint8Array.from(bytes) }] },
      `byte ${at} = ${bytes}`,
    );
  }

  bytes(): Uint8Array {
    return frameOfPacket(this.parts, this.parts.fromMac ?? NOWHERE_MAC, this.parts.toMac ?? NOWHERE_MAC);
  }

  /** The IP packet without the Ethernet header, as an ICMP error quotes it. */
  ip(): Uint8Array {
    return this.bytes().subarray(14);
  }

  toString(): string {
    return this.parts.words;
  }
}

export class TcpPacket extends Packet {
  #with(flags: number, word: string): this {
    return this.but({ transport: { ...this.tcp, flags } }, word);
  }

  private get tcp(): Transport & { kind: 'tcp' } {
    if (this.parts.transport.kind !== 'tcp') throw new TypeError(`${this}: no TCP`);
    return this.parts.transport;
  }

  syn(): this {
    return this.#with(TCP.syn, 'syn');
  }
  synAck(): this {
    return this.#with(TCP.syn | TCP.ack, 'syn+ack');
  }
  ack(): this {
    return this.#with(TCP.ack, 'ack');
  }
  fin(): this {
    return this.#with(TCP.fin | TCP.ack, 'fin+ack');
  }
  rst(): this {
    return this.#with(TCP.rst, 'rst');
  }
  flags(flags: number): this {
    return this.#with(flags, `flags 0x${flags.toString(16)}`);
  }
  /** ACK, PSH and `length` bytes. */
  data(length = 32): this {
    const payload = new Uint8Array(length).fill(0x64);
    return this.but({ transport: { ...this.tcp, flags: TCP.ack | TCP.psh, payload } }, `data ${length}`);
  }
  /** TCP options, padded to a multiple of four. */
  tcpOptions(length: number): this {
    return this.but({ transport: { ...this.tcp, options: new Uint8Array(Math.ceil(length / 4) * 4).fill(1) } });
  }
}

export class EchoPacket extends Packet {
  reply(): this {
    return this.#type(false);
  }
  request(): this {
    return this.#type(true);
  }
  #type(request: boolean): this {
    if (this.parts.transport.kind !== 'icmp') throw new TypeError(`${this}: no ICMP`);
    const type = familyOf(this.parts.from) === 4 ? (request ? 8 : 0) : request ? 128 : 129;
    return this.but({ transport: { ...this.parts.transport, type } }, request ? 'request' : 'reply');
  }
}

function address(text: string): Address {
  const found = parseAddress(text);
  if (found === undefined) throw new TypeError(`not an IP address: ${text}`);
  return found;
}

function parts(name: string, ends: Ports, protocol: number, transport: Transport): Parts {
  const from = address(ends.from);
  const to = address(ends.to);
  if (familyOf(from) !== familyOf(to)) throw new TypeError(`${name}: ${from} and ${to} are of different families`);
  const port = (number: number | undefined): string => (number === undefined ? '' : `#${number}`);
  const words = `${name} ${from}${port(ends.sport)} -> ${to}${port(ends.dport)}`;
  return { words, from, to, protocol, transport, ttl: 64, ipv4Options: NOTHING, extensions: [], patches: [], cut: 0 };
}

/** Default ports: 40000 -> 8080. Without a verb: an ACK without data. */
export function tcp(ends: Ports): TcpPacket {
  const { sport = 40000, dport = 8080 } = ends;
  const transport: Transport = { kind: 'tcp', sport, dport, flags: TCP.ack, options: NOTHING, payload: NOTHING };
  return new TcpPacket(parts('tcp', { ...ends, sport, dport }, IPPROTO.tcp, transport));
}

/** Default ports: 40000 -> 53. */
export function udp(ends: Ports, length = 16): Packet {
  const { sport = 40000, dport = 53 } = ends;
  const payload = new Uint8Array(length).fill(0x75);
  return new Packet(parts('udp', { ...ends, sport, dport }, IPPROTO.udp, { kind: 'udp', sport, dport, payload }));
}

/** Common header and payload; the checksum is left 0. Default ports: 40000 -> 36412. */
export function sctp(ends: Ports, length = 16): Packet {
  const { sport = 40000, dport = 36412 } = ends;
  const transport: Transport = { kind: 'sctp', sport, dport, payload: new Uint8Array(length) };
  return new Packet(parts('sctp', { ...ends, sport, dport }, IPPROTO.sctp, transport));
}

/** An echo request, unless `.reply()`. */
export function icmpEcho(
  ends: Ends & { readonly id?: number; readonly sequence?: number; readonly length?: number },
): EchoPacket {
  const { id = 77, sequence = 1, length = 16 } = ends;
  const rest = Uint8Array.of(id >> 8, id & 255, sequence >> 8, sequence & 255);
  const four = !ends.from.includes(':');
  const transport: Transport = { kind: 'icmp', type: four ? 8 : 128, code: 0, rest, payload: new Uint8Array(length) };
  return new EchoPacket(parts(`icmp echo ${id}`, ends, four ? IPPROTO.icmp : IPPROTO.icmpv6, transport));
}

/** Any ICMP or ICMPv6 message: `rest` are the four bytes behind the checksum. */
export function icmp(
  ends: Ends & {
    readonly type: number;
    readonly code?: number;
    readonly rest?: Uint8Array;
    readonly payload?: Uint8Array;
  },
): Packet {
  const { type, code = 0, rest = new Uint8Array(4), payload = new Uint8Array(16) } = ends;
  const protocol = ends.from.includes(':') ? IPPROTO.icmpv6 : IPPROTO.icmp;
  return new Packet(parts(`icmp ${type}/${code}`, ends, protocol, { kind: 'icmp', type, code, rest, payload }));
}

/** An error about `quoting`: by default "fragmentation needed" (IPv4) or "packet too big" (IPv6). */
export function icmpError(
  ends: Ends & { readonly type?: number; readonly code?: number; readonly quoting: Packet },
): Packet {
  const four = !ends.from.includes(':');
  const { type = four ? 3 : 2, code = four ? 4 : 0, quoting } = ends;
  const mtu = 1400;
  const rest = Uint8Array.of(0, 0, mtu >> 8, mtu & 255);
  const payload = quoting.ip().slice(0, four ? 28 : 96);
  const packet = icmp({ from: ends.from, to: ends.to, type, code, rest, payload });
  return new Packet({ ...packet.parts, words: `${packet} quoting (${quoting})` });
}

/** Any protocol number. */
export function ip(ends: Ends & { readonly protocol: number; readonly payload?: Uint8Array }): Packet {
  const transport: Transport = { kind: 'raw', payload: ends.payload ?? new Uint8Array(32).fill(0x70) };
  return new Packet(parts(`protocol ${ends.protocol}`, ends, ends.protocol, transport));
}

/** A packet larger than the path, in pieces of at most `size` bytes of segment (rounded down to 8). */
export function fragments<P extends Packet>(packet: P, size: number, id = 4711): P[] {
  const step = size & ~7;
  const whole = segmentOf(packet.parts).length;
  const pieces: P[] = [];
  for (let offset = 0; offset < whole; offset += step) {
    pieces.push(packet.fragment({ id, offset, length: step, more: offset + step < whole }));
  }
  return pieces;
}

/** A frame that is not IP. */
export class Frame {
  readonly words: string;
  readonly fromMac: string;
  readonly toMac: string;
  readonly payload: Uint8Array;
  readonly ethertype: number;

  constructor(words: string, ethertype: number, fromMac: string, toMac: string, payload: Uint8Array) {
    this.words = words;
    this.ethertype = ethertype;
    this.fromMac = fromMac;
    this.toMac = toMac;
    this.payload = payload;
  }

  bytes(): Uint8Array {
    return concat(
      macBytes(this.toMac),
      macBytes(this.fromMac),
      Uint8Array.of(this.ethertype >> 8, this.ethertype & 255),
      this.payload,
    );
  }

  toString(): string {
    return this.words;
  }
}

export const BROADCAST_MAC = 'ff:ff:ff:ff:ff:ff';

export function arp(message: {
  readonly operation?: 'request' | 'reply';
  /** Of the Ethernet header; default: the sender's. */
  readonly fromMac?: string;
  readonly senderMac: string;
  readonly senderIp: string;
  readonly targetMac?: string;
  readonly targetIp: string;
}): Frame {
  const { operation = 'request', senderMac, senderIp, targetMac = NOWHERE_MAC, targetIp } = message;
  const payload = concat(
    Uint8Array.of(0, 1, 8, 0, 6, 4, 0, operation === 'request' ? 1 : 2),
    macBytes(senderMac),
    addressBytes(address(senderIp)),
    macBytes(targetMac),
    addressBytes(address(targetIp)),
  );
  const words =
    operation === 'request' ? `arp who has ${targetIp}? tell ${senderIp}` : `arp ${senderIp} is at ${senderMac}`;
  return new Frame(
    words,
    ETHERTYPE.arp,
    message.fromMac ?? senderMac,
    operation === 'request' ? BROADCAST_MAC : targetMac,
    payload,
  );
}

/** Neighbour solicitation; `mac` is its source link-layer address option. */
export function neighbourSolicitation(message: Ends & { readonly target: string; readonly mac?: string }): Packet {
  return neighbour(135, 1, 0, message);
}

/** Neighbour advertisement; `mac` is its target link-layer address option. */
export function neighbourAdvertisement(message: Ends & { readonly target: string; readonly mac?: string }): Packet {
  return neighbour(136, 2, 0x60, message);
}

function neighbour(
  type: number,
  option: number,
  flags: number,
  message: Ends & { target: string; mac?: string },
): Packet {
  const options = message.mac === undefined ? NOTHING : concat(Uint8Array.of(option, 1), macBytes(message.mac));
  const payload = concat(addressBytes(address(message.target)), options);
  const packet = icmp({ ...message, type, rest: Uint8Array.of(flags, 0, 0, 0), payload });
  return new Packet({ ...packet.parts, ttl: 255, words: `${packet} about ${message.target}` });
}

export function routerAdvertisement(ends: Ends): Packet {
  return icmp({ ...ends, type: 134, payload: new Uint8Array(8) }).ttl(255);
}

export function routerSolicitation(ends: Ends): Packet {
  return icmp({ ...ends, type: 133, payload: NOTHING }).ttl(255);
}

/** Multicast listener report, version 2, with the router alert that comes with it: RFC 3810. */
export function listenerReport(ends: Ends): Packet {
  return icmp({ ...ends, type: 143, payload: new Uint8Array(20) })
    .ttl(1)
    .extension(IPPROTO.hopopts, 5, 2, 0, 0, 1, 0);
}

export function macBytes(mac: string): Uint8Array {
  if (!/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/.test(mac)) throw new TypeError(`not a MAC address: ${mac}`);
  return Uint8Array.from(mac.split(':'), (part) => Number.parseInt(part, 16));
}

export function macText(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join(':');
}
