/**
 * The endpoints of this node on disk, one file each (record.ts). A record is written in two steps, so that its fsync can
 * run while the pod is being wired:
 *
 *     stage    written as ID.IFNAME.staged      before the first step that touches the kernel; survives our own death
 *     commit   fsync, rename to .json, fsync of the folder      before ADD answers; survives a power cut
 *
 * A staged record found at start is an ADD that was never answered: the kernel may hold parts of it, which are removed.
 * (After a power cut the kernel holds nothing, so nothing is lost when the staged record is gone as well.)
 * A removal is not fsynced: a record that comes back after a power cut names a namespace that did not, and is dropped.
 */
import {
  closeSync,
  existsSync,
  fsync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { WeirError } from '../errors.ts';
import type { Problem } from '../model/object.ts';
import {
  decodeRecord,
  encodeRecord,
  parseRecordFileName,
  type RecordedEndpoint,
  type RecordFile,
  recordFileName,
} from './record.ts';

/** A record takes under 2 KiB; a file beyond this is not one, and is not read. */
const LARGEST_RECORD_FILE = 64 << 10;

export interface StoredEndpoints {
  readonly records: readonly RecordedEndpoint[];
  /** ADDs that were never answered. */
  readonly unanswered: readonly RecordedEndpoint[];
  /** Files of which no copy is whole. Still in place: to be set aside once what they stood for is taken down. */
  readonly broken: readonly RecordFile[];
  readonly problems: readonly Problem[];
}

export interface RecordStore {
  /** Writes the record without waiting for the disk. `commit` makes it durable. @throws STATE_NOT_DURABLE */
  stage(record: RecordedEndpoint): { commit(): Promise<void> };
  /** Removes the record in either form; absent is fine. @throws STATE_NOT_DURABLE */
  remove(record: Pick<RecordedEndpoint, 'id' | 'hostInterface'>): void;
  /** Reads everything. A damaged file is a problem in the answer, never an error. @throws STATE_NOT_DURABLE if the folder cannot be read */
  load(): Promise<StoredEndpoints>;
  /** Renames a broken file to NAME.broken, for people to look at; a staged one, which nobody was promised, is removed. @throws STATE_NOT_DURABLE */
  setAside(file: RecordFile): void;
  close(): void;
}

const fsyncAsync = promisify(fsync);

/** Opens, or makes, the folder. @throws STATE_NOT_DURABLE */
export async function openRecordStore(folder: string): Promise<RecordStore> {
  const folderFd = await durably('open the folder of endpoint records', async () => {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    return openSync(folder, 'r');
  });
  const pathOf = (file: Pick<RecordFile, 'id' | 'hostInterface'>, kind: RecordFile['kind']): string =>
    join(folder, recordFileName(file, kind));

  function stage(record: RecordedEndpoint): { commit(): Promise<void> } {
    try {
      writeFileSync(pathOf(record, 'staged'), encodeRecord(record), { mode: 0o600 });
    } catch (cause) {
      throw notDurable(`write the record of endpoint ${record.id}`, cause);
    }
    return { commit: () => commit(record) };
  }

  function commit(record: RecordedEndpoint): Promise<void> {
    const staged = pathOf(record, 'staged');
    return durably(`write the record of endpoint ${record.id}`, async () => {
      const fd = openSync(staged, 'r+'); // fsync is the file's, whichever descriptor wrote it
      try {
        await fsyncAsync(fd);
      } finally {
        closeSync(fd);
      }
      renameSync(staged, pathOf(record, 'json'));
      await fsyncAsync(folderFd);
    });
  }

  function remove(file: Pick<RecordedEndpoint, 'id' | 'hostInterface'>): void {
    for (const kind of ['staged', 'json'] as const) {
      const path = pathOf(file, kind);
      // Looked for first: a read-only disk refuses to remove even what is not there.
      if (!existsSync(path)) continue;
      try {
        unlinkSync(path);
      } catch (cause) {
        throw notDurable(`remove the record of endpoint ${file.id}`, cause);
      }
    }
  }

  async function load(): Promise<StoredEndpoints> {
    const records: RecordedEndpoint[] = [];
    const unanswered: RecordedEndpoint[] = [];
    const broken: RecordFile[] = [];
    const problems: Problem[] = [];
    const report = (severity: Problem['severity'], code: string, place: string, message: string): void => {
      problems.push({ severity, code, message, place, path: [], line: undefined });
    };
    for (const name of listFiles()) {
      if (name.endsWith('.broken')) continue; // Reported when it was set aside.
      const file = parseRecordFileName(name);
      const place = join(folder, name);
      if (!file) {
        report('warning', 'unexpected-file', place, 'not an endpoint record by its name; left alone');
        continue;
      }
      const found = read(place);
      if (!found || found.record.id !== file.id || found.record.hostInterface !== file.hostInterface) {
        broken.push(file);
        // A power cut leaves a staged record half written, and nothing of it in the kernel: no news.
        if (file.kind === 'json') report('error', 'record-broken', place, 'no copy of the record can be read');
        continue;
      }
      if (file.kind === 'staged') {
        unanswered.push(found.record);
        continue;
      }
      records.push(found.record);
      if (!found.whole) {
        const failure = await rewrite(found.record);
        const after = failure ? `could not be written anew: ${failure.message}` : 'written anew';
        report('warning', 'record-damaged', place, `damaged; the record was read from its whole copy and ${after}`);
      }
    }
    records.sort((a, b) => a.id - b.id);
    // Both forms of one record: we died while writing a damaged one anew. It was answered.
    const answered = new Set(records.map((record) => recordFileName(record, 'json')));
    return {
      records,
      unanswered: unanswered.filter((record) => !answered.has(recordFileName(record, 'json'))),
      broken,
      problems,
    };
  }

  function listFiles(): string[] {
    try {
      return readdirSync(folder).sort();
    } catch (cause) {
      throw notDurable('list the endpoint records', cause);
    }
  }

  async function rewrite(record: RecordedEndpoint): Promise<Error | undefined> {
    try {
      await stage(record).commit();
      return undefined;
    } catch (error) {
      return error as Error;
    }
  }

  function setAside(file: RecordFile): void {
    const place = pathOf(file, file.kind);
    try {
      if (file.kind === 'staged') unlinkSync(place);
      else renameSync(place, `${place}.broken`);
    } catch (cause) {
      throw notDurable(`set the broken record of endpoint ${file.id} aside`, cause);
    }
  }

  return { stage, remove, load, setAside, close: () => closeSync(folderFd) };
}

/** Undefined when the file holds no whole copy, is far too large, or cannot be read at all. */
function read(place: string): ReturnType<typeof decodeRecord> {
  try {
    if (statSync(place).size > LARGEST_RECORD_FILE) return undefined;
    return decodeRecord(readFileSync(place, 'utf8'));
  } catch {
    return undefined; // Reported by the caller as broken: a bad sector and a bad byte are the same to us.
  }
}

async function durably<T>(operation: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    throw notDurable(operation, cause);
  }
}

function notDurable(operation: string, cause: unknown): WeirError {
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new WeirError('STATE_NOT_DURABLE', operation, `cannot ${operation}: ${reason}`, { cause });
}
