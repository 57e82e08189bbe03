/**
 * An endpoint as text in a file. The text holds the record twice, each copy with its own checksum and an empty line
 * between: one flipped bit or one lost block still leaves a copy, and no damage passes for a record.
 *
 *     weir-endpoint-1 SHA256 {"id":17,...}
 *
 *     weir-endpoint-1 SHA256 {"id":17,...}
 *
 * The file's name repeats what is needed to take the endpoint down when both copies are lost: "17.weir0a1b2c3d4e.json".
 */
import { createHash } from 'node:crypto';
import { type Address, parseAddress } from '../model/address.ts';
import type { EndpointRecord } from '../model/endpoint.ts';

/** A record with the name of the CNI network it was made for: GC speaks for one network only. */
export interface RecordedEndpoint extends EndpointRecord {
  readonly network: string;
}

/** Index into the datapath's endpoint array (bpf/abi/endpoint.h); 0 means none. */
export const FIRST_ENDPOINT_ID = 1;
export const LAST_ENDPOINT_ID = 4095;
const FORMAT = 'weir-endpoint-1';
const FILE_NAME = /^([1-9][0-9]{0,3})\.(weir[0-9a-f]{10})\.(json|staged)$/;

/** What a file name says: `staged` is a record whose ADD had not been answered. */
export interface RecordFile {
  readonly id: number;
  readonly hostInterface: string;
  readonly kind: 'json' | 'staged';
}

export function recordFileName(record: Pick<EndpointRecord, 'id' | 'hostInterface'>, kind: RecordFile['kind']): string {
  return `${record.id}.${record.hostInterface}.${kind}`;
}

/** Undefined for a name that {@link recordFileName} does not make. */
export function parseRecordFileName(name: string): RecordFile | undefined {
  const [, id, hostInterface, kind] = FILE_NAME.exec(name) ?? [];
  if (id === undefined || hostInterface === undefined || Number(id) > LAST_ENDPOINT_ID) return undefined;
  return { id: Number(id), hostInterface, kind: kind as RecordFile['kind'] };
}

/**
 * The node's name of a pod's interface: 14 characters (15 are possible, IFNAMSIZ), the same for the same container and
 * interface, so that a trace of an ADD that died can be told from others.
 */
export function hostInterfaceName(containerId: string, interfaceName: string): string {
  return `weir${createHash('sha256').update(`${containerId}/${interfaceName}`).digest('hex').slice(0, 10)}`;
}

export function encodeRecord(record: RecordedEndpoint): string {
  const json = JSON.stringify(record);
  const line = `${FORMAT} ${checksum(json)} ${json}\n`;
  return `${line}\n${line}`;
}

/** The record, and whether the text is exactly what was written; undefined when no copy is whole. */
export function decodeRecord(text: string): { readonly record: RecordedEndpoint; readonly whole: boolean } | undefined {
  for (const line of text.split('\n')) {
    const [format, sum] = line.split(' ', 2);
    const json = line.slice(FORMAT.length + 66);
    if (format !== FORMAT || sum !== checksum(json)) continue;
    const record = toRecord(JSON.parse(json));
    if (record) return { record, whole: text === encodeRecord(record) };
  }
  return undefined;
}

function checksum(json: string): string {
  return createHash('sha256').update(json).digest('hex');
}

const TEXT_FIELDS = [
  'containerId',
  'interfaceName',
  'netns',
  'namespace',
  'podName',
  'podUid',
  'mac',
  'hostInterface',
  'network',
] as const satisfies readonly (keyof RecordedEndpoint)[];

/** Checks a parsed record field by field: its checksum says only that it is what some version of the agent wrote. */
function toRecord(raw: unknown): RecordedEndpoint | undefined {
  if (typeof raw !== 'object' || raw === null) return undefined;
  const fields = raw as Record<keyof RecordedEndpoint, unknown>;
  const { id } = fields;
  if (typeof id !== 'number' || !Number.isInteger(id) || id < FIRST_ENDPOINT_ID || id > LAST_ENDPOINT_ID)
    return undefined;
  if (!TEXT_FIELDS.every((field) => typeof fields[field] === 'string')) return undefined;
  const addresses = parseAddresses(fields.addresses);
  return addresses && { ...(fields as RecordedEndpoint), addresses };
}

function parseAddresses(raw: unknown): Address[] | undefined {
  if (!Array.isArray(raw)) return undefined;
  const addresses = raw.map((entry) => (typeof entry === 'string' ? parseAddress(entry) : undefined));
  return addresses.every((address) => address !== undefined) ? addresses : undefined;
}
