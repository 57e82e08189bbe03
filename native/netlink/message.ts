/**
 * Netlink messages as bytes: a header, a fixed struct, then attributes (linux/netlink.h). Integers are in the machine's
 * order unless a name says otherwise; everything is padded to 4 bytes.
 */
import { endianness } from 'node:os';

const LITTLE = endianness() === 'LE';
const HEADER_BYTES = 16;
const ATTRIBUTE_BYTES = 4;
const TYPE_MASK = 0x3fff; // without NLA_F_NESTED and NLA_F_NET_BYTEORDER
const NESTED = 0x8000;

/** Flags of a request that makes something; NLM_F_REQUEST, NLM_F_ACK and NLM_F_DUMP are set where it is sent. */
export const NLM_F_REPLACE = 0x100;
export const NLM_F_EXCL = 0x200;
export const NLM_F_CREATE = 0x400;

const aligned = (size: number): number => (size + 3) & ~3;

/** Composes one message, front to back. Every method returns the composer itself. */
export class MessageComposer {
  #bytes = new Uint8Array(256);
  #view = new DataView(this.#bytes.buffer);
  #size = HEADER_BYTES;

  /** `type` such as RTM_NEWLINK; `flags` beyond those that sending sets. */
  constructor(type: number, flags = 0) {
    this.#view.setUint16(4, type, LITTLE);
    this.#view.setUint16(6, flags, LITTLE);
  }

  /** Fields of a fixed struct. */
  u8(value: number): this {
    this.#view.setUint8(this.#grow(1), value);
    return this;
  }
  u16(value: number): this {
    this.#view.setUint16(this.#grow(2), value, LITTLE);
    return this;
  }
  u32(value: number): this {
    this.#view.setUint32(this.#grow(4), value, LITTLE);
    return this;
  }

  attribute(type: number, payload: Uint8Array): this {
    const at = this.#grow(aligned(ATTRIBUTE_BYTES + payload.length));
    this.#view.setUint16(at, ATTRIBUTE_BYTES + payload.length, LITTLE);
    this.#view.setUint16(at + 2, type, LITTLE);
    this.#bytes.set(payload, at + ATTRIBUTE_BYTES);
    return this;
  }
  attributeU8(type: number, value: number): this {
    return this.attribute(type, Uint8Array.of(value));
  }
  attributeU16Network(type: number, value: number): this {
    return this.attribute(type, Uint8Array.of(value >> 8, value & 255));
  }
  attributeU32(type: number, value: number): this {
    return this.attributeU32s(type, [value]);
  }
  /** A struct of nothing but 32-bit fields. */
  attributeU32s(type: number, values: readonly number[]): this {
    const payload = new Uint8Array(4 * values.length);
    const view = new DataView(payload.buffer);
    for (const [i, value] of values.entries()) view.setUint32(4 * i, value, LITTLE);
    return this.attribute(type, payload);
  }
  attributeString(type: number, text: string): this {
    return this.attribute(type, new TextEncoder().encode(`${text}\0`));
  }
  /** An attribute whose payload is what `compose` appends: attributes, or a struct and attributes. */
  nested(type: number, compose: (message: this) => void): this {
    const at = this.#grow(ATTRIBUTE_BYTES);
    this.#view.setUint16(at + 2, type | NESTED, LITTLE);
    compose(this);
    this.#view.setUint16(at, this.#size - at, LITTLE);
    return this;
  }

  /** The message with its length filled in. */
  finish(): Uint8Array {
    this.#view.setUint32(0, this.#size, LITTLE);
    return this.#bytes.slice(0, this.#size);
  }

  #grow(bytes: number): number {
    const at = this.#size;
    this.#size += bytes;
    if (this.#size > this.#bytes.length) {
      const larger = new Uint8Array(2 * this.#size);
      larger.set(this.#bytes);
      this.#bytes = larger;
      this.#view = new DataView(larger.buffer);
    }
    return at;
  }
}

/** Attributes of a message by type; a type that occurs twice keeps its last value. */
export class Attributes {
  readonly #byType = new Map<number, Uint8Array>();

  constructor(bytes: Uint8Array) {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    for (let at = 0; at + ATTRIBUTE_BYTES <= bytes.length; ) {
      const size = view.getUint16(at, LITTLE);
      if (size < ATTRIBUTE_BYTES || at + size > bytes.length)
        throw new RangeError(`netlink attribute of ${size} bytes at ${at} of ${bytes.length}`);
      this.#byType.set(view.getUint16(at + 2, LITTLE) & TYPE_MASK, bytes.subarray(at + ATTRIBUTE_BYTES, at + size));
      at += aligned(size);
    }
  }

  bytes(type: number): Uint8Array | undefined {
    return this.#byType.get(type);
  }
  u32(type: number): number | undefined {
    const payload = this.#byType.get(type);
    return payload && payload.length >= 4 ? viewOf(payload).getUint32(0, LITTLE) : undefined;
  }
  u32Network(type: number): number | undefined {
    const payload = this.#byType.get(type);
    return payload && payload.length >= 4 ? viewOf(payload).getUint32(0, false) : undefined;
  }
  i32(type: number): number | undefined {
    const value = this.u32(type);
    return value === undefined ? undefined : value | 0;
  }
  string(type: number): string | undefined {
    const payload = this.#byType.get(type);
    return payload && new TextDecoder().decode(payload).replace(/\0.*$/s, '');
  }
  nested(type: number): Attributes {
    return new Attributes(this.#byType.get(type) ?? new Uint8Array());
  }
}

/** One message out of an answer: its fixed struct, and the attributes behind it. */
export interface Message {
  readonly type: number;
  readonly struct: DataView;
  readonly attributes: Attributes;
}

/** Takes an answer apart. `structBytes`: size of the fixed struct behind each header. */
export function readMessages(answer: Uint8Array, structBytes: number): Message[] {
  const view = viewOf(answer);
  const messages: Message[] = [];
  for (let at = 0; at + HEADER_BYTES <= answer.length; ) {
    const size = view.getUint32(at, LITTLE);
    if (size < HEADER_BYTES + structBytes || at + size > answer.length)
      throw new RangeError(`netlink message of ${size} bytes at ${at} of ${answer.length}`);
    const body = at + HEADER_BYTES;
    messages.push({
      type: view.getUint16(at + 4, LITTLE),
      struct: new DataView(answer.buffer, answer.byteOffset + body, structBytes),
      attributes: new Attributes(answer.subarray(body + aligned(structBytes), at + size)),
    });
    at += aligned(size);
  }
  return messages;
}

/** Fields of a fixed struct in the machine's order. */
export const structU16 = (struct: DataView, at: number): number => struct.getUint16(at, LITTLE);
export const structU32 = (struct: DataView, at: number): number => struct.getUint32(at, LITTLE);

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
}
