/**
 * Which addresses rested when the agent ended (ipam/pool.ts), so that a pod deleted just before a restart has none of them
 * given to another just after it. Written at the end only: an agent that is killed loses it, and no DEL waits for the disk.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Address, parseAddress } from '../model/address.ts';
import type { Problem } from '../model/object.ts';
import { writeDurably } from '../run/durable-file.ts';

const RESTING_FILE = 'resting-addresses.json';

export interface RestingFile {
  readonly addresses: readonly Address[];
  /** A file that could not be read: nothing rests, and it says so. */
  readonly problems: readonly Problem[];
  /** For the next run; rejects when the disk refuses. */
  keep(addresses: readonly Address[]): Promise<void>;
}

export async function openRestingAddresses(stateDirectory: string): Promise<RestingFile> {
  const place = join(stateDirectory, RESTING_FILE);
  const problems: Problem[] = [];
  let addresses: readonly Address[] = [];
  try {
    addresses = readAddresses(await readFile(place, 'utf8'));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') {
      const message = `${place} cannot be read, addresses of pods that just went may be given at once: ${(error as Error).message}`;
      problems.push({ severity: 'warning', code: 'damaged-state', message, path: [], place, line: undefined });
    }
  }
  const before = addresses.join();
  return {
    addresses,
    problems,
    async keep(now) {
      if (now.join() !== before) await writeDurably(place, `${JSON.stringify(now)}\n`);
    },
  };
}

function readAddresses(text: string): Address[] {
  const list: unknown = JSON.parse(text);
  if (!Array.isArray(list)) throw new Error('expected a list of addresses');
  return list.map((one) => {
    const address = parseAddress(String(one));
    if (address === undefined) throw new Error(`expected an IP address, found ${JSON.stringify(one)}`);
    return address;
  });
}
