import { stat, statfs } from 'node:fs/promises';
import { addon } from './addon.ts';

const NSFS_MAGIC = 0x6e736673; // linux/magic.h

/** True if the path is a live namespace. /run/netns/x stays as an empty file when the namespace is gone from it. */
export async function netnsExists(path: string): Promise<boolean> {
  try {
    return (await statfs(path)).type === NSFS_MAGIC;
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'ENOENT' || code === 'ENOTDIR') return false;
    throw error;
  }
}

/** What two paths of one namespace have in common. Numbers are used again after the namespace is gone. */
export async function netnsId(path: string): Promise<{ dev: number; inode: number }> {
  const { dev, ino } = await stat(path);
  return { dev, inode: ino };
}

/** What bpf_get_netns_cookie says in this process's network namespace; undefined before Linux 5.14, which does not tell. */
export function netnsCookie(): bigint | undefined {
  const cookie = addon.netnsCookie();
  return typeof cookie === 'bigint' ? cookie : undefined;
}
