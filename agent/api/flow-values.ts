/** How the values of /v1/flows's fields are written. Each returns undefined for what it cannot read. */
import { dropReasonNumbers } from '../flow/drop-reason.ts';
import { type AddressRange, IPPROTO } from '../flow/filter.ts';
import { TCP_FLAG_NAMES } from '../flow/flow.ts';
import { MESSAGE } from '../flow/present.ts';
import { addressBytes, familyOf, parsePrefix, prefixAddress, prefixLength } from '../model/address.ts';
import { RESERVED_IDENTITIES, type ReservedName } from '../model/identity.ts';

export const PROTOCOLS: Readonly<Record<string, readonly number[]>> = {
  TCP: [IPPROTO.TCP],
  UDP: [IPPROTO.UDP],
  SCTP: [IPPROTO.SCTP],
  ICMP: [IPPROTO.ICMP, IPPROTO.ICMPV6],
  ICMPv4: [IPPROTO.ICMP],
  ICMPv6: [IPPROTO.ICMPV6],
};

/** A name of {@link PROTOCOLS} in any case, or a number: IP protocol numbers. */
export function parseProtocol(text: string): readonly number[] | undefined {
  const name = Object.keys(PROTOCOLS).find((known) => known.toLowerCase() === text.toLowerCase());
  if (name !== undefined) return PROTOCOLS[name];
  return /^[0-9]{1,3}$/.test(text) && Number(text) <= 255 ? [Number(text)] : undefined;
}

/** "SYN,ACK" in any case: the bits of all of them. */
export function parseTcpFlags(text: string): number | undefined {
  const bits = text.split(',').map((name) => (TCP_FLAG_NAMES as readonly string[]).indexOf(name.toUpperCase()));
  return bits.includes(-1) ? undefined : bits.reduce((mask, bit) => mask | (1 << bit), 0);
}

/** Types of messages as Hubble names them, of those that an agent here tells of. */
export const TYPE_NUMBERS: Readonly<Record<string, number>> = {
  drop: MESSAGE.drop,
  trace: MESSAGE.trace,
  'policy-verdict': MESSAGE.policyVerdict,
};

/** Where a trace is made, by their numbers in Cilium's monitor (pkg/monitor/api). Here: 0 and 3. */
export const TRACE_POINTS: readonly string[] = [
  ...['to-endpoint', 'to-proxy', 'to-host', 'to-stack', 'to-overlay', 'from-endpoint', 'from-proxy', 'from-host'],
  ...['from-stack', 'from-overlay', 'from-network', 'to-network', 'from-crypto', 'to-crypto'],
];

export interface EventType {
  readonly type: number;
  /** Undefined: any. */
  readonly subType: number | undefined;
}

/** "drop", "trace:to-stack", "drop:133", as `hubble observe --type` reads them. */
export function parseEventType(text: string): EventType | undefined {
  const [, name = '', written] = /^([a-z-]+)(?::(.+))?$/.exec(text) ?? [];
  if (!Object.hasOwn(TYPE_NUMBERS, name)) return undefined;
  const type = TYPE_NUMBERS[name] as number;
  if (written === undefined) return { type, subType: undefined };
  if (/^[0-9]{1,5}$/.test(written)) return { type, subType: Number(written) };
  const point = name === 'trace' ? TRACE_POINTS.indexOf(written) : -1;
  return point < 0 ? undefined : { type, subType: point };
}

/** Weir's reason numbers. */
export function parseDropReason(text: string): readonly number[] | undefined {
  const numbers = dropReasonNumbers(text);
  return numbers.length === 0 ? undefined : numbers;
}

export interface PodPrefix {
  /** '': any. */
  readonly namespace: string;
  readonly prefix: string;
}

/** As Hubble reads it: "namespace/prefix", "namespace/" for all of it, "/prefix" in any, "prefix" in namespace default. */
export function parsePod(text: string): PodPrefix | undefined {
  const parts = text.split('/');
  if (parts.length > 2 || text === '') return undefined;
  const [namespace, prefix] = parts.length === 2 ? parts : ['default', text];
  return { namespace: namespace as string, prefix: prefix as string };
}

/** '': any. */
export interface WantedWorkload {
  readonly kind: string;
  readonly name: string;
}

/** As `hubble observe` reads it: "name", "Kind/name", "Kind/". */
export function parseWorkload(text: string): WantedWorkload {
  const slash = text.indexOf('/');
  return { kind: text.slice(0, Math.max(0, slash)), name: text.slice(slash + 1) };
}

/** A number, or a reserved identity's name with or without "reserved:". */
export function parseIdentity(text: string): number | undefined {
  if (/^[0-9]{1,10}$/.test(text) && Number(text) <= 0xffffffff) return Number(text);
  const name = text.replace(/^reserved:/, '');
  return Object.hasOwn(RESERVED_IDENTITIES, name) ? RESERVED_IDENTITIES[name as ReservedName] : undefined;
}

/** An address or a CIDR. */
export function parseRange(text: string): AddressRange | undefined {
  const prefix = parsePrefix(text);
  if (prefix === undefined) return undefined;
  const bytes = new Uint8Array(16);
  bytes.set(addressBytes(prefixAddress(prefix)));
  const word = (i: number): number => new DataView(bytes.buffer).getUint32(4 * i, false);
  const length = prefixLength(prefix);
  return {
    family: familyOf(prefix),
    words: [word(0), word(1), word(2), word(3)],
    masks: [mask(length), mask(length - 32), mask(length - 64), mask(length - 96)],
  };
}

/** 32 bits, the first `bits` of them set. */
function mask(bits: number): number {
  return bits >= 32 ? 0xffffffff : bits <= 0 ? 0 : (0xffffffff << (32 - bits)) >>> 0;
}

const UNIT_MS: Readonly<Record<string, number>> = { ms: 1, s: 1e3, m: 6e4, h: 3.6e6, d: 8.64e7 };

/** ms since 1970, from RFC 3339 or from a duration before `nowMs` ("90s", "1h30m": Go's units, and d for days). */
export function parseTime(text: string, nowMs: number): number | undefined {
  if (/^(\d{1,9}(\.\d{1,3})?(ms|s|m|h|d))+$/.test(text)) {
    const parts = text.matchAll(/([\d.]+)(ms|s|m|h|d)/g);
    return nowMs - [...parts].reduce((sum, [, n, unit]) => sum + Number(n) * (UNIT_MS[unit as string] as number), 0);
  }
  if (!/^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?(Z|[+-]\d{2}:\d{2})$/.test(text)) return undefined;
  const ms = Date.parse(text);
  return Number.isNaN(ms) ? undefined : ms;
}
