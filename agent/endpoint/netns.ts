/** Whether a path is a network namespace, told without entering or opening it. */
import { statfsSync, statSync } from 'node:fs';

/** Magic of the file system that namespaces live in: linux/magic.h, NSFS_MAGIC. */
const NSFS_MAGIC = 0x6e736673;

/**
 * False if there is nothing, or a plain file (what stays when a namespace's mount is removed). Rejects on any other error.
 * Synchronous inside: nothing here waits for a disk, and it is asked for every pod every few seconds.
 */
export async function netnsExists(path: string): Promise<boolean> {
  try {
    return statfsSync(path).type === NSFS_MAGIC;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR' || code === 'ESRCH') return false;
    throw error;
  }
}

/** Whether the path is the network namespace this process is in: the node's. */
export function isOwnNetns(path: string): boolean {
  const [theirs, ours] = [path, '/proc/self/ns/net'].map((each) => statSync(each, { throwIfNoEntry: false }));
  return theirs !== undefined && ours !== undefined && theirs.dev === ours.dev && theirs.ino === ours.ino;
}
