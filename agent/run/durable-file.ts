/** Files that are there whole, the old or the new, whenever the power fails: written aside, fsync, rename, fsync of the folder. */
import { open, rename } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';

/** Puts `content` in place of the file, readable by its owner only. Resolves when it will survive a power cut. */
export async function writeDurably(path: string, content: string): Promise<void> {
  const aside = join(dirname(path), `.${basename(path)}.new`);
  await writeAside(aside, content);
  await moveDurably(aside, path);
}

/** The first half: written and on disk, under a name nobody reads. */
export async function writeAside(aside: string, content: string): Promise<void> {
  const file = await open(aside, 'w', 0o600);
  try {
    await file.writeFile(content);
    await file.sync();
  } finally {
    await file.close();
  }
}

/** The second half. */
export async function moveDurably(aside: string, path: string): Promise<void> {
  await rename(aside, path);
  await syncFolder(dirname(path));
}

/** Makes new names and renames in the folder survive a power cut. */
export async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
