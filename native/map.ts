import { addon } from './addon.ts';
import { checked, checkedStatus, KernelError } from './error.ts';
import type { MapHandle } from './handle.ts';

/** Flags of mapUpdate: create or replace, create only (EEXIST), replace only (ENOENT). */
export const BPF_ANY = 0;
export const BPF_NOEXIST = 1;
export const BPF_EXIST = 2;

const ENOENT = 2;

/** A whole map or a part of it: `count` keys and values, each kind concatenated. */
export interface MapEntries {
  readonly keys: Uint8Array;
  readonly values: Uint8Array;
  readonly count: number;
}

/** The value of a key, undefined when it is absent. Per-cpu maps: one value per possible CPU, each rounded up to 8 bytes. */
export function mapLookup(map: MapHandle, key: Uint8Array): Uint8Array | undefined {
  checkLength(map, 'key', key, map.keySize);
  const value = addon.mapLookup(map.fd, key);
  return value === -ENOENT ? undefined : checked(`map lookup ${map.name}`, value);
}

/** Writes one entry, atomically for readers of hashes; array values are copied word by word. E2BIG: the map is full. */
export function mapUpdate(map: MapHandle, key: Uint8Array, value: Uint8Array, flags = BPF_ANY): void {
  checkLength(map, 'key', key, map.keySize);
  checkLength(map, 'value', value, map.valueBytes);
  checkedStatus(`map update ${map.name}`, addon.mapUpdate(map.fd, key, value, flags));
}

/** False: the key was absent. */
export function mapDelete(map: MapHandle, key: Uint8Array): boolean {
  checkLength(map, 'key', key, map.keySize);
  const status = addon.mapDelete(map.fd, key);
  if (status === -ENOENT) return false;
  checkedStatus(`map delete ${map.name}`, status);
  return true;
}

/** Every entry that is there from beginning to end of the call; each key once. */
export function mapEntries(map: MapHandle): MapEntries {
  return checked(`map entries ${map.name}`, addon.mapEntries(map.fd));
}

/** Writes `count` entries; not atomic as a whole. On failure the error's `done` says how many were written, from the first on. */
export function mapUpdateBatch(map: MapHandle, keys: Uint8Array, values: Uint8Array, count: number): void {
  checkLength(map, 'keys', keys, count * map.keySize);
  checkLength(map, 'values', values, count * map.valueBytes);
  const { status, done } = addon.mapUpdateBatch(map.fd, keys, values, count);
  if (status < 0)
    throw new KernelError(`map update batch ${map.name}`, -status, { done, detail: `${done} of ${count} written` });
}

/** Deletes `count` keys; returns how many of them were there. */
export function mapDeleteBatch(map: MapHandle, keys: Uint8Array, count: number): number {
  checkLength(map, 'keys', keys, count * map.keySize);
  const { status, done } = addon.mapDeleteBatch(map.fd, keys, count);
  if (status < 0)
    throw new KernelError(`map delete batch ${map.name}`, -status, { done, detail: `${done} of ${count} deleted` });
  return done;
}

/** What a sweep took out, and how many entries it looked at. */
export interface Sweep extends MapEntries {
  readonly scanned: number;
}

/**
 * Deletes and returns entries whose u64 at `valueOffset` is below `threshold`; at most `limit` of them, so call again
 * while `count` is `limit`. Each is read again just before it is deleted; one that is renewed in that moment stays. The
 * values are the last ones (before Linux 5.14 those of the last reading). On a worker thread. EINVAL: a per-cpu map, or
 * no u64 there.
 */
export async function mapSweep(map: MapHandle, valueOffset: number, threshold: bigint, limit: number): Promise<Sweep> {
  if (!Number.isInteger(limit) || limit < 1 || limit > 0x7fffffff) {
    throw new RangeError(`map sweep ${map.name}: limit must be an integer from 1, got ${limit}`);
  }
  if (threshold < 0n || threshold > 0xffff_ffff_ffff_ffffn) {
    throw new RangeError(`map sweep ${map.name}: threshold must be a u64, got ${threshold}`);
  }
  if (!Number.isInteger(valueOffset) || valueOffset < 0 || valueOffset > 0x7fffffff) {
    throw new RangeError(`map sweep ${map.name}: valueOffset must be an integer from 0, got ${valueOffset}`);
  }
  return checked(`map sweep ${map.name}`, await addon.mapSweep(map.fd, valueOffset, threshold, limit));
}

/** CPUs the kernel may ever have online: the number of values in an entry of a per-cpu map. */
export function possibleCpus(): number {
  return checkedStatus('possible CPUs', addon.possibleCpus());
}

function checkLength(map: MapHandle, what: string, bytes: Uint8Array, expected: number): void {
  if (bytes.length !== expected) {
    throw new RangeError(`map ${map.name}: ${what} must be ${expected} bytes, got ${bytes.length}`);
  }
}
