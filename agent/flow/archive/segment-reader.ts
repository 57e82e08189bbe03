/**
 * Segments read from disk, one at a time. The last ones stay for a moment: a page or a stream goes through a segment in
 * many steps, and several readers often through the same.
 */
import type { RecordStore } from '../store.ts';
import { loadSegment, type SegmentId } from './segment.ts';

/** Segments of 8 MiB: what all questions about the past together take. */
const KEPT = 2;
const KEPT_MS = 5000;

interface Readable extends SegmentId {
  readonly path: string;
  readonly records: number;
}

export class SegmentReader {
  /** Segments that were met and could not be read. */
  unreadable = 0;
  #kept: { readonly path: string; readonly store: RecordStore }[] = [];
  #timer: NodeJS.Timeout | undefined;
  #reading: Promise<unknown> = Promise.resolve();

  /** At least the records it has now; undefined when it is gone or cannot be read. */
  read(segment: Readable): Promise<RecordStore | undefined> {
    const read = this.#reading.then(() => this.#keptOf(segment) ?? this.#load(segment));
    this.#reading = read.catch(() => undefined); // told to the one who asked
    return read.then(
      (store) => {
        if (store === undefined && segment.records > 0) this.unreadable++;
        return store;
      },
      (error: NodeJS.ErrnoException) => {
        if (error.code !== 'ENOENT') this.unreadable++; // a segment that went meanwhile is retention, not damage
        return undefined;
      },
    );
  }

  /** Gives the memory back. */
  forget(): void {
    clearTimeout(this.#timer);
    this.#kept = [];
  }

  /** A segment that is being written has grown since. */
  #keptOf({ path, first, records }: Readable): RecordStore | undefined {
    const kept = this.#kept.find((one) => one.path === path && one.store.next >= first + records);
    if (kept) this.#keep(kept);
    return kept?.store;
  }

  async #load(segment: Readable): Promise<RecordStore | undefined> {
    const { path } = segment;
    const store = await loadSegment(path, segment, segment.records);
    if (store) this.#keep({ path, store });
    return store;
  }

  #keep(one: { readonly path: string; readonly store: RecordStore }): void {
    this.#kept = [one, ...this.#kept.filter(({ path }) => path !== one.path)].slice(0, KEPT);
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.forget(), KEPT_MS).unref();
  }
}
