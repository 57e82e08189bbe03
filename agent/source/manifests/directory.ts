/** What is in a directory of manifests at the moment: names, signatures, texts. Looks only, decides nothing. */
import { type BigIntStats, lstatSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { LARGEST_FILE } from './parse.ts';

/** A file changed if any of these did. */
export interface Signature {
  readonly inode: string;
  readonly size: number;
  readonly modifiedNs: bigint;
  /** Changes with data, owner, mode and name, and no program can set it back. */
  readonly changedNs: bigint;
}

export function sameSignature(a: Signature, b: Signature): boolean {
  return a.inode === b.inode && a.size === b.size && a.modifiedNs === b.modifiedNs && a.changedNs === b.changedNs;
}

/** Manifests are *.yaml, *.yml and *.json; hidden files and what editors leave beside a file are not. */
export function isManifestName(name: string): boolean {
  return /^[^.#].*\.(ya?ml|json)$/i.test(name);
}

/** Names of the manifests, sorted; directories below are not entered. Throws what readdir throws. */
export function listManifests(directory: string): string[] {
  return readdirSync(directory).filter(isManifestName).sort();
}

/** Undefined: not there, a link to nothing or to itself, no regular file, or the disk does not say. */
export function signatureOf(directory: string, name: string): Signature | undefined {
  const stat = statOf(join(directory, name));
  if (!stat?.isFile()) return undefined;
  return {
    inode: `${stat.dev}:${stat.ino}`,
    size: Number(stat.size),
    modifiedNs: stat.mtimeNs,
    changedNs: stat.ctimeNs,
  };
}

/** "dev:inode" of what the path means now; '' when there is nothing. */
export function inodeOf(path: string): string {
  const stat = statOf(path);
  return stat ? `${stat.dev}:${stat.ino}` : '';
}

/** Does the name stand in the directory, whatever it means? Where the disk does not say: yes. */
export function hasName(directory: string, name: string): boolean {
  try {
    return lstatSync(join(directory, name), { throwIfNoEntry: false }) !== undefined;
  } catch {
    return true; // A disk in trouble has deleted nothing.
  }
}

function statOf(path: string): BigIntStats | undefined {
  try {
    return statSync(path, { bigint: true, throwIfNoEntry: false });
  } catch {
    return undefined; // ELOOP, EACCES, ESTALE, EIO: nothing that can be read, and reading says why.
  }
}

/** The text of a file, or why there is none. Synchronous: a manifest is small, and a hop to a thread costs more than the read. */
export function readText(directory: string, name: string): { readonly text: string } | { readonly unreadable: string } {
  try {
    const bytes = readFileSync(join(directory, name));
    if (bytes.length > LARGEST_FILE) {
      return { unreadable: `the file has ${bytes.length} bytes, more than ${LARGEST_FILE}` };
    }
    return { text: new TextDecoder('utf-8', { fatal: true }).decode(bytes) };
  } catch (error) {
    if (error instanceof TypeError) return { unreadable: 'the file is not UTF-8 text' };
    return { unreadable: `the file cannot be read: ${(error as Error).message}` };
  }
}
