/**
 * IP addresses and prefixes as canonical text, and the bytes the kernel sees.
 * Text is the form the rest of the agent keeps and compares (RFC 5952 for IPv6, no leading zeros for IPv4).
 */
export type Family = 4 | 6;

/** Canonical text of an address: "10.0.0.1", "fd00::1". Made only by {@link parseAddress} or {@link formatAddress}. */
export type Address = string & { readonly __address: unique symbol };
/** Canonical text of a prefix, host bits zero: "10.0.0.0/8". Made only by {@link parsePrefix} or {@link formatPrefix}. */
export type Prefix = string & { readonly __prefix: unique symbol };

export function familyOf(text: Address | Prefix): Family {
  return text.includes(':') ? 6 : 4;
}

/** Number of bits in an address of the family. */
export function bitsOf(family: Family): 32 | 128 {
  return family === 4 ? 32 : 128;
}

function parse4(text: string): Uint8Array | undefined {
  const parts = text.split('.');
  if (parts.length !== 4) return undefined;
  const out = new Uint8Array(4);
  for (const [i, part] of parts.entries()) {
    if (!/^(0|[1-9][0-9]{0,2})$/.test(part) || Number(part) > 255) return undefined;
    out[i] = Number(part);
  }
  return out;
}

function parse6(text: string): Uint8Array | undefined {
  let rest = text;
  let tail: Uint8Array | undefined;
  if (rest.includes('.')) {
    const cut = rest.lastIndexOf(':');
    tail = parse4(rest.slice(cut + 1));
    if (!tail) return undefined;
    rest = rest.slice(0, cut + 1).replace(/([^:]):$/, '$1');
  }
  const groupsWanted = tail ? 6 : 8;
  const halves = rest.split('::');
  if (halves.length > 2) return undefined;
  const groups = (part: string | undefined): string[] => (part ? part.split(':') : []);
  const head = groups(halves[0]);
  const end = halves.length === 2 ? groups(halves[1]) : [];
  const missing = groupsWanted - head.length - end.length;
  if (halves.length === 2 ? missing < 1 : missing !== 0) return undefined;
  const all = [...head, ...Array<string>(missing).fill('0'), ...end];
  const out = new Uint8Array(16);
  for (const [i, group] of all.entries()) {
    if (!/^[0-9a-fA-F]{1,4}$/.test(group)) return undefined;
    const value = Number.parseInt(group, 16);
    out[2 * i] = value >> 8;
    out[2 * i + 1] = value & 255;
  }
  if (tail) out.set(tail, 12);
  return out;
}

/** Reads an address; undefined if the text is none. IPv4 parts must be plain decimals (no "010", which some read as octal). */
export function parseAddress(text: string): Address | undefined {
  const bytes = text.includes(':') ? parse6(text) : parse4(text);
  return bytes && formatAddress(bytes);
}

/** The address in network byte order: 4 or 16 bytes. */
export function addressBytes(address: Address): Uint8Array {
  const bytes = address.includes(':') ? parse6(address) : parse4(address);
  if (!bytes) throw new TypeError(`not a canonical address: ${address}`);
  return bytes;
}

/** Canonical text of 4 or 16 bytes in network byte order (RFC 5952: lower case, longest zero run shortened, leftmost on a tie). */
export function formatAddress(bytes: Uint8Array): Address {
  if (bytes.length === 4) return bytes.join('.') as Address;
  if (bytes.length !== 16) throw new TypeError(`an address has 4 or 16 bytes, not ${bytes.length}`);
  const groups: number[] = [];
  for (let i = 0; i < 16; i += 2) groups.push(((bytes[i] as number) << 8) | (bytes[i + 1] as number));
  let bestStart = -1;
  let bestLength = 1;
  for (let i = 0; i < 8; i++) {
    let n = 0;
    while (i + n < 8 && groups[i + n] === 0) n++;
    if (n > bestLength) [bestStart, bestLength] = [i, n];
  }
  const hex = (part: number[]): string => part.map((g) => g.toString(16)).join(':');
  if (bestStart < 0) return hex(groups) as Address;
  return `${hex(groups.slice(0, bestStart))}::${hex(groups.slice(bestStart + bestLength))}` as Address;
}

/** Reads "address/length" or a bare address (its full length); host bits are cleared. Undefined if the text is neither. */
export function parsePrefix(text: string): Prefix | undefined {
  const slash = text.indexOf('/');
  const address = parseAddress(slash < 0 ? text : text.slice(0, slash));
  if (!address) return undefined;
  const most = bitsOf(familyOf(address));
  if (slash < 0) return `${address}/${most}` as Prefix;
  const length = text.slice(slash + 1);
  if (!/^(0|[1-9][0-9]{0,2})$/.test(length) || Number(length) > most) return undefined;
  return formatPrefix(addressBytes(address), Number(length));
}

/** Canonical prefix of the first `length` bits of the address bytes. */
export function formatPrefix(bytes: Uint8Array, length: number): Prefix {
  const masked = bytes.map((b, i) => b & maskByte(length - 8 * i));
  return `${formatAddress(masked)}/${length}` as Prefix;
}

function maskByte(bits: number): number {
  return bits >= 8 ? 255 : bits <= 0 ? 0 : (0xff << (8 - bits)) & 255;
}

/** The prefix that holds this address alone: /32 or /128. */
export function hostPrefix(address: Address): Prefix {
  return `${address}/${bitsOf(familyOf(address))}` as Prefix;
}

export function prefixAddress(prefix: Prefix): Address {
  return prefix.slice(0, prefix.indexOf('/')) as Address;
}

/** Length in bits of the prefix, 0 to 32 or 128. */
export function prefixLength(prefix: Prefix): number {
  return Number(prefix.slice(prefix.indexOf('/') + 1));
}

/** True if the address, or every address of the inner prefix, lies inside the outer prefix. Families never match each other. */
export function prefixContains(outer: Prefix, inner: Address | Prefix): boolean {
  if (familyOf(outer) !== familyOf(inner)) return false;
  const length = prefixLength(outer);
  const isPrefix = inner.includes('/');
  if (isPrefix && prefixLength(inner as Prefix) < length) return false;
  const address = isPrefix ? prefixAddress(inner as Prefix) : (inner as Address);
  return formatPrefix(addressBytes(address), length) === outer;
}
