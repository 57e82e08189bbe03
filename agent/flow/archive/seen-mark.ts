/**
 * How far a run has come in memory, in a small file that is written with every batch: what of it never came to disk is known
 * after a crash too, but for the batch of that moment. It outlives the agent, not the machine.
 *
 *     RUN.seen      "NEXT RING": the sequence number that the next record would have got; what the kernel had lost by then
 *     RUN.ended     likewise, of a run that a later one has found
 */
import { type FileHandle, open, readdir, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';

const FILE = /^([0-9a-f]{18})\.(seen|ended)$/;
/** Written over in place, so always of one length. */
const DIGITS = 16;

export interface Seen {
  /** Sequence number of the record that would come next. */
  readonly next: number;
  /** The kernel's count of events it lost, as far as it was told. */
  readonly ringLost: number;
}

export interface EarlierRun extends Seen {
  readonly run: string;
  /** Nobody was told of its end yet. */
  readonly isNew: boolean;
}

/** What earlier runs left, and takes down that it was found. A mark that says nothing is left out. */
export async function findEarlierRuns(directory: string): Promise<EarlierRun[]> {
  const runs: EarlierRun[] = [];
  for (const file of await readdir(directory)) {
    const [, run = '', state] = FILE.exec(file) ?? [];
    if (run === '') continue;
    const [next = 0, ringLost = 0] = (await readFile(join(directory, file), 'utf8')).split(' ').map(Number);
    const isRead = Number.isSafeInteger(next) && next > 0 && Number.isSafeInteger(ringLost);
    if (isRead) runs.push({ run, next, ringLost, isNew: state === 'seen' });
    if (state === 'seen') await rename(join(directory, file), join(directory, `${run}.ended`));
  }
  return runs;
}

export function forgetRun(directory: string, run: string): Promise<void> {
  return rm(join(directory, `${run}.ended`), { force: true });
}

export class SeenMark {
  readonly #path: string;
  readonly #seen: () => Seen;
  #file: FileHandle | undefined;
  #written = '';
  #busy: Promise<void> | undefined;
  readonly #onFailure: (cause: Error) => void;
  #failed = false;

  /** `seen`: what is to be written, as it is at that moment. `onFailure`: it cannot be, for the first time since it could. */
  constructor(directory: string, run: string, seen: () => Seen, onFailure: (cause: Error) => void) {
    this.#path = join(directory, `${run}.seen`);
    this.#seen = seen;
    this.#onFailure = onFailure;
  }

  /** Writes, unless it is being written: then again when that is over. Never rejects. */
  write(): Promise<void> {
    this.#busy ??= this.#write().finally(() => {
      this.#busy = undefined;
    });
    return this.#busy;
  }

  async close(): Promise<void> {
    await this.write();
    await this.#file?.close();
    this.#file = undefined;
  }

  async #write(): Promise<void> {
    try {
      this.#file ??= await open(this.#path, 'w', 0o600);
      for (let text = this.#text(); text !== this.#written; text = this.#text()) {
        await this.#file.write(text, 0);
        this.#written = text;
      }
      this.#failed = false;
    } catch (error) {
      if (!this.#failed) this.#onFailure(error as Error);
      this.#failed = true;
    }
  }

  #text(): string {
    const { next, ringLost } = this.#seen();
    return [next, ringLost].map((number) => String(number).padStart(DIGITS, '0')).join(' ');
  }
}
