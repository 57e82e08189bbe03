/** Brings the deny lists and the deny file into force when one of them, or what must stay reachable, has changed. */
import { stat } from 'node:fs/promises';
import type { Address, Prefix } from '../model/address.ts';
import type { Problem } from '../model/object.ts';
import { type DenyFile, type DenyLists, readDenyFile, withoutOwn } from './deny-list.ts';

export interface DenialOptions {
  readonly lists: Pick<DenyLists, 'prefixes'>;
  /** --deny-cidrs-file; '' for none. */
  readonly file: string;
  readonly set: (prefixes: readonly Prefix[]) => Promise<void>;
}

export interface Denial {
  /** @param keep addresses that are never denied */
  update(keep: readonly Address[]): Promise<void>;
  problems(): readonly Problem[];
}

export function createDenial({ lists, file, set }: DenialOptions): Denial {
  let inForce:
    | { readonly lists: ReadonlyMap<Prefix, string>; readonly file: string; readonly keep: string }
    | undefined;
  /** What the file said last; undefined: nothing, or it was never there. */
  let lastRead: DenyFile['prefixes'] | undefined;
  let problems: readonly Problem[] = [];

  return {
    async update(keep) {
      const now = { lists: lists.prefixes(), file: await signature(file), keep: [...keep].sort().join() };
      if (inForce?.lists === now.lists && inForce.file === now.file && inForce.keep === now.keep) return;
      const written: DenyFile =
        file === '' ? { prefixes: new Map(), problems: [] } : await readDenyFile(file, lastRead);
      if (written.prefixes.size > 0 || lastRead) lastRead = written.prefixes;
      const denied = withoutOwn(new Map([...now.lists, ...written.prefixes]), keep);
      await set(denied.prefixes);
      inForce = now;
      problems = [...written.problems, ...denied.problems];
    },
    problems: () => problems,
  };
}

/** Another text whenever the file may have another content; '' for no file. */
async function signature(path: string): Promise<string> {
  if (path === '') return '';
  try {
    const { mtimeNs, size, ino } = await stat(path, { bigint: true });
    return [mtimeNs, size, ino].join();
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? String(error);
  }
}
