/**
 * A file of lines that is put aside when it is full: flows.log, flows-2026-11-23T05-40-00.000Z.log, the oldest removed. Whoever
 * moves or removes the file under it (logrotate) gets a new one made.
 */
import { constants, createReadStream, createWriteStream } from 'node:fs';
import { type FileHandle, mkdir, open, readdir, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, extname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';
import type { Place } from './export.ts';
import type { ExportEvent } from './lines.ts';

export interface RotatingFileOptions {
  readonly path: string;
  /** It is put aside before it gets longer, but a batch is never divided. */
  readonly maxBytes: number;
  /** Files put aside that are kept. */
  readonly backups: number;
  /** Those are gzipped. */
  readonly compress: boolean;
}

/** Readable by its owner only: flows say who talks to whom. */
const MODE = 0o600;

export class RotatingFile implements Place {
  readonly kind = 'file';
  readonly name: string;
  readonly #options: RotatingFileOptions;
  #file: FileHandle | undefined;
  #bytes = 0;
  /** When it was put aside last, as its name says; ms since 1970. */
  #rotatedMs = 0;

  constructor(options: RotatingFileOptions) {
    this.#options = options;
    this.name = options.path;
  }

  async write(events: readonly ExportEvent[]): Promise<void> {
    const text = Buffer.from(events.map((event) => `${JSON.stringify(event)}\n`).join(''));
    await this.#reopenIfTaken();
    if (this.#bytes > 0 && this.#bytes + text.length > this.#options.maxBytes) await this.#rotate();
    const file = await this.#opened();
    try {
      await file.appendFile(text);
      this.#bytes += text.length;
    } catch (cause) {
      // Part of it may be there; half a line would spoil the next one.
      await file.truncate(this.#bytes);
      throw cause;
    }
  }

  async close(): Promise<void> {
    const file = this.#file;
    this.#file = undefined;
    await file?.close();
  }

  async #opened(): Promise<FileHandle> {
    if (this.#file !== undefined) return this.#file;
    const { path } = this.#options;
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    const flags = constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT | constants.O_NOFOLLOW;
    const file = await open(path, flags, MODE);
    this.#bytes = (await file.stat()).size;
    this.#file = file;
    return file;
  }

  async #reopenIfTaken(): Promise<void> {
    const file = await this.#opened();
    const [ours, there] = await Promise.all([file.stat(), stat(this.#options.path).catch(() => undefined)]);
    if (there?.ino === ours.ino && there.dev === ours.dev) this.#bytes = ours.size;
    else await this.close();
  }

  async #rotate(): Promise<void> {
    const { path, compress } = this.#options;
    await this.close();
    const extension = extname(path);
    // No two names alike, or the second would take the first one's place.
    this.#rotatedMs = Math.max(Date.now(), this.#rotatedMs + 1);
    const time = new Date(this.#rotatedMs).toISOString().replaceAll(':', '-');
    const aside = join(dirname(path), `${basename(path, extension)}-${time}${extension}`);
    await rename(path, aside);
    if (compress) await compressed(aside);
    await this.#forget();
  }

  /** The times in their names order them. */
  async #forget(): Promise<void> {
    const { path, backups } = this.#options;
    const extension = extname(path);
    const stem = `${basename(path, extension)}-`;
    const aside = (await readdir(dirname(path)))
      .filter((name) => name.startsWith(stem) && /^\d{4}-\d\d-\d\dT[\d.-]+Z/.test(name.slice(stem.length)))
      .sort();
    for (const name of aside.slice(0, Math.max(0, aside.length - backups))) await rm(join(dirname(path), name));
  }
}

/** Where there is no room for both, the file stays as it is: that is no reason to lose what comes. */
async function compressed(path: string): Promise<void> {
  try {
    await pipeline(createReadStream(path), createGzip(), createWriteStream(`${path}.gz`, { mode: MODE }));
  } catch {
    await rm(`${path}.gz`, { force: true });
    return;
  }
  await rm(path);
}
