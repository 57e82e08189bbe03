/**
 * DELs that weir-cni kept on disk while the agent was away: one file each, which is the frame it would have sent. Applied
 * in the order they came; a file goes when its DEL is done, so each is applied once, and again only if we die in between,
 * which DEL allows.
 */
import { readdirSync } from 'node:fs';
import { mkdir, open, readFile, rename, stat, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { createExclusive } from '../endpoint/exclusive.ts';
import type { AttachmentKey } from '../endpoint/registry.ts';
import { asWeirError, WeirError } from '../errors.ts';
import type { Logger } from '../run/log.ts';
import { parseEnvironment } from './environment.ts';
import { FRAME_MAX_BYTES, parseFrame } from './frame.ts';

export interface DeleteQueue {
  /**
   * Applies what was kept: everything, or what is for one attachment. A DEL that fails stays and is tried at the next
   * call; for one attachment its error is thrown. Returns how many were applied.
   */
  replay(only?: AttachmentKey): Promise<number>;
}

export interface DeleteQueueOptions {
  /** The folder that weir-cni's .socket file names in line 2. Made if absent. */
  readonly folder: string;
  readonly del: (key: AttachmentKey) => Promise<void>;
  readonly log: Logger;
}

/** weir-cni writes for 35 s at most; a hidden file older than this lost its writer. */
const ABANDONED_AFTER_MS = 3_600_000;

export async function openDeleteQueue({ folder, del, log }: DeleteQueueOptions): Promise<DeleteQueue> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const exclusive = createExclusive();

  async function replay(names: readonly string[], only?: AttachmentKey): Promise<number> {
    let applied = 0;
    for (const name of names) {
      const path = join(folder, name);
      if (name.startsWith('.')) await removeAbandoned(path);
      if (name.startsWith('.') || name.endsWith('.broken')) continue;
      try {
        const key = await readKept(path);
        if (!key || (only && !sameAttachment(key, only))) continue;
        await del(key);
        await unlink(path);
        applied += 1;
        log.info('a DEL kept while the agent was away was applied', { ...key });
      } catch (cause) {
        const error = asWeirError(cause, 'replay a DEL');
        log.error('a DEL kept on disk could not be applied; it is tried again', { file: path, cause: error });
        if (only) throw error;
      }
    }
    if (applied > 0) await syncFolder();
    return applied;
  }

  /** Undefined for a file that has gone meanwhile, and for one that is no DEL: that one is set aside. */
  async function readKept(path: string): Promise<AttachmentKey | undefined> {
    try {
      if ((await stat(path)).size > FRAME_MAX_BYTES) throw new WeirError('CNI_DECODE', 'replay a DEL', 'too large');
      const invocation = parseEnvironment(parseFrame(await readFile(path)).environment);
      if (invocation.verb !== 'DEL') throw new WeirError('CNI_DECODE', 'replay a DEL', `it is a ${invocation.verb}`);
      return { containerId: invocation.containerId, interfaceName: invocation.interfaceName };
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      if (!(cause instanceof WeirError)) throw cause;
      log.error('a file in the queue of DELs is none; set aside', { file: path, cause });
      await rename(path, `${path}.broken`);
      return undefined;
    }
  }

  async function removeAbandoned(path: string): Promise<void> {
    try {
      if (Date.now() - (await stat(path)).mtimeMs > ABANDONED_AFTER_MS) await unlink(path);
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code !== 'ENOENT')
        log.warn('cannot remove an unfinished file', { file: path, cause });
    }
  }

  async function syncFolder(): Promise<void> {
    const handle = await open(folder, 'r');
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
  }

  return {
    async replay(only) {
      // Synchronous: every ADD asks, the folder is nearly always empty, and a hop to the thread pool costs more.
      if (readdirSync(folder).length === 0) return 0;
      // One at a time: otherwise one could apply a DEL that another has just applied before an ADD of the same container.
      return exclusive('', () => replay(readdirSync(folder).sort(byTime), only));
    },
  };
}

function sameAttachment(a: AttachmentKey, b: AttachmentKey): boolean {
  return a.containerId === b.containerId && a.interfaceName === b.interfaceName;
}

/** Names are SECONDS.NANOSECONDS-PID, nanoseconds padded (cni/weir_cni.c): seconds by length and text, then text. */
function byTime(a: string, b: string): number {
  const lengths = a.indexOf('.') - b.indexOf('.');
  return lengths !== 0 ? lengths : a < b ? -1 : 1;
}
