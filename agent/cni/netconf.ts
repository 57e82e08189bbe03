/**
 * The network configuration on stdin. Strict where a pod is made from it: a field that is not honoured is refused by
 * name, never ignored. DEL and GC need only to be understood, so that a wrong configuration cannot keep a pod alive.
 */

import type { AttachmentKey } from '../endpoint/registry.ts';
import { WeirError } from '../errors.ts';
import { decodeUtf8 } from './frame.ts';

export type Raw = Readonly<Record<string, unknown>>;

export interface Dns {
  readonly nameservers?: readonly string[];
  readonly domain?: string;
  readonly search?: readonly string[];
  readonly options?: readonly string[];
}

export interface Netconf {
  readonly name: string;
  /** Bytes; 0: that of the node's default route device. */
  readonly mtu: number;
  /** Passed on into the result as it is. */
  readonly dns: Dns;
  readonly prevResult: Raw | undefined;
}

const DEEPEST_NESTING = 32;
/** IPv6 needs 1280 (RFC 8200, 5). */
const LEAST_MTU = 1280;
const LARGEST_MTU = 65535;

/** Stdin as a JSON object. @throws CNI_DECODE */
export function decodeConfig(stdin: Uint8Array): Raw {
  const text = decodeUtf8(stdin);
  if (text === undefined) throw undecodable('it is not UTF-8');
  if (nestingDepth(stdin) > DEEPEST_NESTING) throw undecodable(`it is nested deeper than ${DEEPEST_NESTING} levels`);
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch (cause) {
    throw undecodable((cause as Error).message, cause);
  }
  if (!isObject(parsed)) throw undecodable('it is not a JSON object');
  return parsed;
}

/** Every field checked. @throws CNI_UNSUPPORTED_FIELD, CNI_INVALID_CONFIG */
export function parseNetconf(raw: Raw): Netconf {
  const name = networkName(raw);
  if (typeof raw.type !== 'string') throw invalid('type', 'the name of the plugin, a string');
  for (const [field, value] of Object.entries(raw)) {
    const supported = FIELDS.get(field) ?? (field.startsWith('cni.dev/') ? anything : nothing);
    const complaint = supported(value);
    if (complaint !== undefined) throw unsupported(field, value, complaint);
  }
  return { name, mtu: mtuOf(raw.mtu), dns: dnsOf(raw.dns), prevResult: prevResultOf(raw) };
}

/** The network's name alone. @throws CNI_INVALID_CONFIG */
export function networkName(raw: Raw): string {
  if (typeof raw.name !== 'string' || !/^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,199}$/.test(raw.name)) {
    throw invalid('name', 'a letter or digit, then letters, digits, "_", "." and "-"');
  }
  return raw.name;
}

/**
 * `cni.dev/valid-attachments`. Undefined if the runtime gives no list, as cnitool does: it has sent a DEL for all it knew.
 * @throws CNI_INVALID_CONFIG
 */
export function validAttachments(raw: Raw): AttachmentKey[] | undefined {
  const field = 'cni.dev/valid-attachments';
  if (raw[field] === undefined) return undefined;
  const list = raw[field] ?? []; // libcni writes an empty list as null.
  const expected = 'a list of {"containerID": string, "ifname": string}';
  if (!Array.isArray(list)) throw invalid(field, expected);
  return list.map((entry: unknown) => {
    if (!isObject(entry) || typeof entry.containerID !== 'string' || typeof entry.ifname !== 'string') {
      throw invalid(field, expected);
    }
    return { containerId: entry.containerID, interfaceName: entry.ifname };
  });
}

/** Undefined if the value can be honoured, else why not. */
type Check = (value: unknown) => string | undefined;
const anything: Check = () => undefined;
const nothing: Check = () => 'no field of this plugin';
const onlyEmpty =
  (why: string): Check =>
  (value) =>
    asksForNothing(value) ? undefined : why;

const FIELDS: ReadonlyMap<string, Check> = new Map(
  Object.entries({
    cniVersion: anything,
    name: anything,
    type: anything,
    mtu: anything,
    dns: anything,
    prevResult: anything,
    capabilities: anything, // What the runtime may send; what it does send stands in runtimeConfig.
    args: anything, // SPEC.md: plugins may ignore it, and the runtime's arguments come in CNI_ARGS.
    ipMasq: onlyEmpty('masquerading is not done by this plugin'),
    ipam: (value) => {
      if (asksForNothing(value)) return undefined;
      return 'addresses are given by weir-agent from its pod CIDRs, not by another plugin';
    },
    runtimeConfig: (value) => {
      if (!isObject(value)) return asksForNothing(value) ? undefined : 'it must be an object';
      const asked = Object.entries(value).filter(([, part]) => !asksForNothing(part));
      return asked.length === 0 ? undefined : `${asked.map(([key]) => key).join(', ')}: not supported yet`;
    },
  }),
);

/** Absent in all but name: null, false, 0, '', [], or an object of nothing but these, as Go writes what is not set. */
function asksForNothing(value: unknown): boolean {
  if (Array.isArray(value)) return value.length === 0;
  return isObject(value) ? Object.values(value).every(asksForNothing) : !value;
}

function mtuOf(value: unknown): number {
  if (value === undefined || value === 0) return 0;
  if (typeof value === 'number' && Number.isInteger(value) && value >= LEAST_MTU && value <= LARGEST_MTU) return value;
  throw invalid('mtu', `0 (that of the node's default route) or ${LEAST_MTU} to ${LARGEST_MTU} bytes`);
}

function dnsOf(value: unknown): Dns {
  if (value === undefined || value === null) return {};
  const expected = '{nameservers, search, options: lists of strings; domain: string}';
  if (!isObject(value)) throw invalid('dns', expected);
  for (const [key, part] of Object.entries(value)) {
    const isList = Array.isArray(part) && part.every((entry) => typeof entry === 'string');
    const right = ['nameservers', 'search', 'options'].includes(key)
      ? isList
      : key === 'domain' && typeof part === 'string';
    if (!right) throw invalid('dns', expected);
  }
  return value;
}

function prevResultOf(raw: Raw): Raw | undefined {
  if (raw.prevResult === undefined || raw.prevResult === null) return undefined;
  if (!isObject(raw.prevResult)) throw invalid('prevResult', 'an object');
  return raw.prevResult;
}

export function isObject(value: unknown): value is Raw {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** How deep brackets are nested in JSON text; too much for broken text, never too little. */
function nestingDepth(bytes: Uint8Array): number {
  let depth = 0;
  let deepest = 0;
  let inString = false;
  for (let i = 0; i < bytes.length; i++) {
    const byte = bytes[i];
    if (inString) {
      if (byte === 0x5c) i++;
      else if (byte === 0x22) inString = false;
    } else if (byte === 0x22) inString = true;
    else if (byte === 0x5b || byte === 0x7b) deepest = Math.max(deepest, ++depth);
    else if (byte === 0x5d || byte === 0x7d) depth--;
  }
  return deepest;
}

function undecodable(why: string, cause?: unknown): WeirError {
  const message = `the network configuration on stdin cannot be read: ${why.slice(0, 200)}`;
  return new WeirError('CNI_DECODE', 'read the network configuration', message, { cause });
}

function invalid(field: string, expected: string): WeirError {
  return new WeirError('CNI_INVALID_CONFIG', 'read the network configuration', `${field}: expected ${expected}`);
}

function unsupported(field: string, value: unknown, why: string): WeirError {
  const message = `${field.slice(0, 80)} = ${JSON.stringify(value).slice(0, 200)}: ${why}`;
  return new WeirError('CNI_UNSUPPORTED_FIELD', 'read the network configuration', message);
}
