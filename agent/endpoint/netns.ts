/** Whether a path is a network namespace, told without entering or opening it. */
import { statfs } from 'node:fs/promises';

/** Magic of the file system that namespaces live in: linux/magic.h, NSFS_MAGIC. */
const NSFS_MAGIC = 0x6e736673;

/** False if there is nothing, or a plain file (what stays when a namespace's mount is removed). Rejects on any other error. */
export async function netnsExists(path: string): Promise<boolean> {
  try {
    return (await statfs(path)).type === NSFS_MAGIC;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR' || code === 'ESRCH') return false;
    throw error;
  }
}
