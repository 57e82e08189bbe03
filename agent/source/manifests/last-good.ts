/**
 * The last version without errors of each manifest, kept in the state directory: a file that is broken while the agent
 * restarts must not take its policies out of force.
 */
import { readdirSync } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { writeDurably } from '../../run/durable-file.ts';
import { isManifestName, readText } from './directory.ts';

export interface LastGood {
  /** Undefined: none is kept. */
  read(name: string): string | undefined;
  /** Keeps the text, or forgets it where there is none. Returns at once; failures go to `onError`. */
  keep(name: string, text: string | undefined): void;
  /** Forgets all other files: they were deleted while no agent looked. */
  keepOnly(names: readonly string[]): void;
  /** Resolves when everything kept so far is on disk. */
  written(): Promise<void>;
}

/** @param directory is made when it is first needed */
export function openLastGood(directory: string, onError: (error: Error) => void): LastGood {
  const wanted = new Map<string, string | undefined>();
  let work = Promise.resolve();

  async function writeAll(): Promise<void> {
    for (const [name, text] of wanted) {
      wanted.delete(name);
      try {
        if (text === undefined) await rm(join(directory, name), { force: true });
        else await write(directory, name, text);
      } catch (error) {
        onError(error as Error);
      }
    }
  }

  function kept(): string[] {
    try {
      return readdirSync(directory).filter(isManifestName);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') onError(error as Error);
      return [];
    }
  }

  return {
    read(name) {
      const read = readText(directory, name);
      return 'text' in read ? read.text : undefined;
    },
    keep(name, text) {
      if (wanted.size === 0) work = work.then(writeAll);
      wanted.set(name, text);
    },
    keepOnly(names) {
      for (const name of kept()) if (!names.includes(name)) this.keep(name, undefined);
    },
    written: () => work,
  };
}

async function write(directory: string, name: string, text: string): Promise<void> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  await writeDurably(join(directory, name), text);
}
