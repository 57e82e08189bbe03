/**
 * An append-only file of records that survives a crash at any byte and a flipped bit anywhere.
 *
 *     9c2f01aa {"weirJournal":1}        one line a record: CRC-32 of the JSON in hex, a space, the JSON
 *     5d7710f3 {"assign":256,...}
 *
 * Appended records are on disk (fdatasync) before append() resolves; records that wait together share one write. When
 * the file has grown, it is rewritten from a snapshot (tmp, fsync, rename) and the old file is kept as FILE.previous.
 */
import { constants } from 'node:fs';
import { type FileHandle, link, open, readFile, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { crc32 } from 'node:zlib';
import { WeirError } from '../errors.ts';
import { moveDurably, syncFolder, writeAside } from './durable-file.ts';

const HEADER = { weirJournal: 1 };

/** What was found in a journal. */
export interface Recovered<R> {
  readonly records: readonly R[];
  /** Lines whose checksum or shape is wrong, not counting a last line that a crash cut short. */
  readonly damagedLines: number;
}

/**
 * The records in the text of a journal. A last line without its newline was being written when the machine or the
 * agent died: nobody was told that it is durable, so it is dropped and is no damage.
 */
export function readJournal<R>(text: string): Recovered<R> {
  const lines = text.split('\n');
  lines.pop();
  const records: R[] = [];
  let damagedLines = 0;
  for (const line of lines) {
    const record = readLine(line);
    if (record === undefined) damagedLines++;
    else if (!('weirJournal' in record)) records.push(record as R);
  }
  return { records, damagedLines };
}

function readLine(line: string): object | undefined {
  const json = line.slice(9);
  if (line[8] !== ' ' || line.slice(0, 8) !== checksum(json)) return undefined;
  try {
    const value: unknown = JSON.parse(json);
    return typeof value === 'object' && value !== null ? value : undefined;
  } catch {
    return undefined; // the checksum fits but it is no JSON: not written by us, damaged all the same
  }
}

/** One record as its line, with the newline. */
export function journalLine(record: object): string {
  const json = JSON.stringify(record);
  return `${checksum(json)} ${json}\n`;
}

function checksum(json: string): string {
  return crc32(json).toString(16).padStart(8, '0');
}

export interface Journal<R extends object> {
  /** Resolves when the records are on disk; STATE_NOT_DURABLE if they cannot be written (then none of them counts). */
  append(records: readonly R[]): Promise<void>;
  /** Lines in the file, to decide when to rewrite. */
  readonly lines: number;
  /** Replaces the contents by the snapshot's records, taken when all earlier appends are on disk. */
  rewrite(snapshot: () => readonly R[]): Promise<void>;
  close(): Promise<void>;
}

export interface OpenedJournal<R extends object> {
  readonly journal: Journal<R>;
  /** Records of FILE.previous, if FILE is missing or damaged; []. They are older than `records`. */
  readonly previousRecords: readonly R[];
  readonly records: readonly R[];
  readonly damagedLines: number;
  /** What was wrong, in words for a person; undefined when nothing was. */
  readonly damage: string | undefined;
}

/**
 * Reads the journal. Neither damage nor a disk that cannot be written stops it: what can be read is returned with what
 * was wrong, and each append tries again to open the file, so that an agent on a full disk runs and only refuses what
 * it could not remember.
 */
export async function openJournal<R extends object>(file: string): Promise<OpenedJournal<R>> {
  const current = await readIfThere(file);
  const found = readJournal<R>(current.text ?? '');
  const suspicious = current.text === undefined || found.damagedLines > 0;
  const previous = suspicious ? await readIfThere(`${file}.previous`) : undefined;
  let damage = current.unreadable;
  if (found.damagedLines > 0) damage = `${file} has ${found.damagedLines} damaged lines`;
  else if (current.text === undefined && previous?.text !== undefined) damage ??= `${file} is missing`;
  return {
    journal: new FileJournal<R>(file, found.records.length + found.damagedLines, damage !== undefined),
    records: found.records,
    previousRecords: readJournal<R>(previous?.text ?? '').records,
    damagedLines: found.damagedLines,
    damage,
  };
}

class FileJournal<R extends object> implements Journal<R> {
  readonly #file: string;
  #handle: FileHandle | undefined;
  /** Bytes known to be good; a failed write is cut off back to here. */
  #size = 0;
  #lines: number;
  /** FILE is damaged and FILE.previous is not to be replaced by it. */
  #damaged: boolean;
  #closed = false;
  #waiting: { text: string; lines: number; done: PromiseWithResolvers<void> }[] = [];
  #work: Promise<void> = Promise.resolve();

  constructor(file: string, lines: number, damaged: boolean) {
    this.#file = file;
    this.#lines = lines;
    this.#damaged = damaged;
  }

  get lines(): number {
    return this.#lines;
  }

  async #open(): Promise<FileHandle> {
    if (this.#handle) return this.#handle;
    if (this.#closed) throw new Error('it is closed');
    const handle = await open(this.#file, constants.O_RDWR | constants.O_CREAT, 0o600);
    try {
      const bytes = await handle.readFile();
      // A line that a crash cut short must not become the head of the next one.
      this.#size = bytes.lastIndexOf(0x0a) + 1;
      if (this.#size < bytes.length) await handle.truncate(this.#size);
      if (this.#size === 0) {
        const header = Buffer.from(journalLine(HEADER));
        await handle.write(header, 0, header.length, 0);
        await syncFolder(dirname(this.#file));
        this.#size = header.length;
      }
    } catch (error) {
      await handle.close();
      throw error;
    }
    this.#handle = handle;
    return handle;
  }

  append(records: readonly R[]): Promise<void> {
    if (records.length === 0) return Promise.resolve();
    const done = Promise.withResolvers<void>();
    this.#waiting.push({ text: records.map(journalLine).join(''), lines: records.length, done });
    if (this.#waiting.length === 1) void this.#enqueue(() => this.#flush());
    return done.promise;
  }

  rewrite(snapshot: () => readonly R[]): Promise<void> {
    return this.#enqueue(async () => {
      await this.#flush();
      await this.#try('rewrite', async () => {
        await this.#open(); // there must be a file to keep as the previous one
        const records = snapshot();
        const text = [HEADER, ...records].map(journalLine).join('');
        const temporary = `${this.#file}.tmp`;
        await writeAside(temporary, text);
        if (!this.#damaged) await this.#keepAsPrevious();
        await moveDurably(temporary, this.#file);
        await this.#handle?.close();
        this.#handle = await open(this.#file, constants.O_RDWR);
        this.#size = Buffer.byteLength(text);
        this.#lines = records.length + 1;
        this.#damaged = false;
      });
    });
  }

  async #keepAsPrevious(): Promise<void> {
    const temporary = `${this.#file}.previous.tmp`;
    await rm(temporary, { force: true });
    await link(this.#file, temporary);
    await rename(temporary, `${this.#file}.previous`);
  }

  async close(): Promise<void> {
    await this.#enqueue(async () => {
      await this.#flush();
      await this.#handle?.close();
      this.#handle = undefined;
      this.#closed = true;
    });
  }

  /** Runs one piece of work at a time, in order. */
  #enqueue(work: () => Promise<void>): Promise<void> {
    const result = this.#work.then(work);
    this.#work = result.catch(() => {}); // its caller has the error
    return result;
  }

  async #flush(): Promise<void> {
    const batch = this.#waiting;
    this.#waiting = [];
    if (batch.length === 0) return;
    try {
      await this.#try('append', () =>
        this.#write(
          batch.map((b) => b.text).join(''),
          batch.reduce((sum, b) => sum + b.lines, 0),
        ),
      );
      for (const { done } of batch) done.resolve();
    } catch (error) {
      for (const { done } of batch) done.reject(error);
    }
  }

  async #write(text: string, lines: number): Promise<void> {
    const handle = await this.#open();
    const bytes = Buffer.from(text);
    try {
      let written = 0;
      while (written < bytes.length) {
        const result = await handle.write(bytes, written, bytes.length - written, this.#size + written);
        written += result.bytesWritten;
      }
      await handle.datasync();
    } catch (error) {
      // Half a record (disk full) would damage the next one. If even this fails, the next append overwrites the place.
      await handle.truncate(this.#size).catch(() => {});
      throw error;
    }
    this.#size += bytes.length;
    this.#lines += lines;
  }

  async #try(operation: string, work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      const message = `cannot ${operation} ${this.#file}: ${(error as Error).message}`;
      throw new WeirError('STATE_NOT_DURABLE', `journal ${operation}`, message, { cause: error });
    }
  }
}

/** The file's text; undefined if it is not there or, with the reason, cannot be read. */
async function readIfThere(file: string): Promise<{ readonly text?: string; readonly unreadable?: string }> {
  try {
    return { text: await readFile(file, 'utf8') };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return {};
    return { unreadable: `${file} cannot be read (${(error as Error).message})` };
  }
}
