/** The bytes of a described packet: headers, lengths and checksums (RFC 791, 8200, 9293, 768, 792, 4443). */
import { addressBytes, familyOf } from '../../agent/model/address.ts';
import type { Extension, Parts, Transport } from './packet.ts';

const PROTOCOL_FRAGMENT = 44;
const MORE_FRAGMENTS = 0x2000;

export function frameOfPacket(parts: Parts, fromMac: string, toMac: string): Uint8Array {
  const four = familyOf(parts.from) === 4;
  const tag = parts.vlan === undefined ? [] : [u16(parts.vlan >>> 16), u16(parts.vlan & 0xffff)];
  const frame = concat(
    mac(toMac),
    mac(fromMac),
    ...tag,
    u16(parts.ethertype ?? (four ? 0x0800 : 0x86dd)),
    ipPacket(parts),
  );
  for (const { at, bytes } of parts.patches) frame.set(bytes, at);
  return frame.slice(0, frame.length - parts.cut);
}

function ipPacket(parts: Parts): Uint8Array {
  const segment = segmentOf(parts);
  const { slice } = parts;
  if (!slice) return header(parts, segment);
  return header(
    parts,
    segment.slice(slice.offset, slice.length === undefined ? undefined : slice.offset + slice.length),
  );
}

function header(parts: Parts, payload: Uint8Array): Uint8Array {
  return familyOf(parts.from) === 4 ? ipv4(parts, payload) : ipv6(parts, payload);
}

function ipv4(parts: Parts, payload: Uint8Array): Uint8Array {
  const { slice, ipv4Options } = parts;
  const length = 20 + ipv4Options.length;
  const head = concat(
    Uint8Array.of(0x40 | (length / 4), 0),
    u16(parts.statedLength ?? length + payload.length),
    u16(slice?.id ?? 1),
    u16(slice ? (slice.more ? MORE_FRAGMENTS : 0) | (slice.offset / 8) : 0x4000),
    Uint8Array.of(parts.ttl, parts.protocol, 0, 0),
    addressBytes(parts.from),
    addressBytes(parts.to),
    ipv4Options,
  );
  head.set(u16(checksum(head)), 10);
  return concat(head, payload);
}

function ipv6(parts: Parts, payload: Uint8Array): Uint8Array {
  const { slice } = parts;
  const chain: Extension[] = parts.extensions.map(({ type, bytes }) => ({ type, bytes: bytes.slice() }));
  if (slice) {
    const bytes = concat(
      u16(0),
      u16(slice.offset | (slice.more ? 1 : 0)),
      u16(slice.id >>> 16),
      u16(slice.id & 0xffff),
    );
    chain.push({ type: PROTOCOL_FRAGMENT, bytes });
  }
  chain.forEach((one, i) => {
    one.bytes[0] = chain[i + 1]?.type ?? parts.protocol;
  });
  const body = concat(...chain.map((one) => one.bytes), payload);
  return concat(
    Uint8Array.of(0x60, 0, 0, 0),
    u16(parts.statedLength ?? body.length),
    Uint8Array.of(chain[0]?.type ?? parts.protocol, parts.ttl),
    addressBytes(parts.from),
    addressBytes(parts.to),
    body,
  );
}

/** Transport header and payload, whole even where the packet carries only a slice of it. */
export function segmentOf(parts: Parts): Uint8Array {
  const { transport } = parts;
  const [bytes, at] = plain(transport);
  if (at === undefined) return bytes;
  const covered =
    transport.kind === 'icmp' && familyOf(parts.from) === 4 ? bytes : concat(pseudoHeader(parts, bytes.length), bytes);
  const sum = checksum(covered);
  bytes.set(u16(transport.kind === 'udp' && sum === 0 ? 0xffff : sum), at);
  return bytes;
}

/** The segment with checksum 0, and where the checksum belongs. */
function plain(transport: Transport): [Uint8Array, number | undefined] {
  const { payload } = transport;
  switch (transport.kind) {
    case 'tcp': {
      const { sport, dport, flags, options } = transport;
      const words = 5 + options.length / 4;
      const fixed = Uint8Array.of(0, 0, 0, 1, 0, 0, 0, 1, words << 4, flags, 0xff, 0xff, 0, 0, 0, 0);
      return [concat(u16(sport), u16(dport), fixed, options, payload), 16];
    }
    case 'udp':
      return [concat(u16(transport.sport), u16(transport.dport), u16(8 + payload.length), u16(0), payload), 6];
    case 'sctp':
      return [concat(u16(transport.sport), u16(transport.dport), new Uint8Array(8), payload), undefined];
    case 'icmp':
      return [concat(Uint8Array.of(transport.type, transport.code, 0, 0), transport.rest, payload), 2];
    case 'raw':
      return [payload.slice(), undefined];
  }
}

function pseudoHeader(parts: Parts, length: number): Uint8Array {
  const addresses = concat(addressBytes(parts.from), addressBytes(parts.to));
  if (familyOf(parts.from) === 4) return concat(addresses, u16(parts.protocol), u16(length));
  return concat(addresses, u16(0), u16(length), u16(0), u16(parts.protocol));
}

/** Internet checksum, RFC 1071: 0 over bytes that carry their own. */
export function checksum(bytes: Uint8Array): number {
  let sum = 0;
  for (let i = 0; i < bytes.length; i += 2) sum += ((bytes[i] ?? 0) << 8) | (bytes[i + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

export function concat(...parts: readonly Uint8Array[]): Uint8Array {
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

function u16(value: number): Uint8Array {
  return Uint8Array.of(value >> 8, value & 255);
}

function mac(text: string): Uint8Array {
  return Uint8Array.from(text.split(':'), (part) => Number.parseInt(part, 16));
}
