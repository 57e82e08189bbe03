/** Keys and values of the programs' maps as bytes, with the codecs of the layout. */
import type { Codec, MAPS, MapName } from '../../agent/datapath/layout.gen.ts';
import { addressBytes, familyOf, parseAddress } from '../../agent/model/address.ts';

type Field<C> = C extends Codec<infer T> ? T : C extends '__u64' ? bigint : number;
export type KeyOf<N extends MapName> = Field<(typeof MAPS)[N]['key']>;
export type ValueOf<N extends MapName> = Field<(typeof MAPS)[N]['value']>;

/** How MAPS describes a key or a value: a codec, a plain number, or nothing to write. */
type Form = Codec<never> | '__u32' | '__u64' | undefined;

export function encodeWith(form: unknown, value: unknown): Uint8Array {
  const codec = form as Form;
  if (codec === undefined) throw new TypeError('this map has no rows to write');
  if (typeof codec === 'object') return codec.encode(value as never);
  const out = new DataView(new ArrayBuffer(codec === '__u32' ? 4 : 8));
  if (codec === '__u32') out.setUint32(0, Number(value), true);
  else out.setBigUint64(0, value as bigint, true);
  return new Uint8Array(out.buffer);
}

export function decodeWith(form: unknown, bytes: Uint8Array): unknown {
  const codec = form as Form;
  if (codec === undefined) throw new TypeError('this map has no rows to read');
  if (typeof codec === 'object') return codec.decode(bytes);
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  return codec === '__u32' ? view.getUint32(0, true) : view.getBigUint64(0, true);
}

/** 4 or 16 bytes. */
export function rawAddress(text: string): Uint8Array {
  const address = parseAddress(text);
  if (address === undefined) throw new TypeError(`not an IP address: ${text}`);
  return addressBytes(address).slice(0, familyOf(address) === 4 ? 4 : 16);
}

/** As struct ip_address has it: IPv4 in the first four bytes. */
export function paddedAddress(text: string): Uint8Array {
  const out = new Uint8Array(16);
  out.set(rawAddress(text));
  return out;
}
