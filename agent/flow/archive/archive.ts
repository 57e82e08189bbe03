/**
 * The history on disk: follows the store as a reader of its own and writes what it reads into segments; the oldest go when
 * there are too many or they are too old. What fails here costs history only, and is counted.
 */
import { type FileHandle, mkdir, open, readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Logger } from '../../run/log.ts';
import { RECORD_BYTES, type RecordStore } from '../store.ts';
import { findEarlierRuns, forgetRun, SeenMark } from './seen-mark.ts';
import { parseSegmentName, SegmentEncoder, type SegmentId, segmentName } from './segment.ts';
import { SegmentReader } from './segment-reader.ts';

export interface ArchiveOptions {
  readonly directory: string;
  /** Size of all segments together. */
  readonly maxBytes: number;
  readonly maxAgeMs: number;
  readonly log?: Logger | undefined;
  /** ms since 1970. */
  readonly now?: () => number;
  /** How often it writes, and after a failure tries again; ms. */
  readonly everyMs?: number;
  readonly retryMs?: number;
}

export interface Segment extends SegmentId {
  readonly path: string;
  records: number;
  /** Of both files. */
  bytes: number;
  /** No record is younger. */
  endMs: number;
}

export interface ArchiveStats {
  readonly segments: number;
  readonly records: number;
  readonly bytes: number;
  /** ms since 1970; undefined when there is none. */
  readonly oldestMs: number | undefined;
  /**
   * Records that are not on disk. refused, slow: overwritten before they were written, because the disk refused or was too
   * slow. crash: the run before ended without having written them; what a crash of the machine took is not known.
   */
  readonly lost: { readonly refused: number; readonly slow: number; readonly crash: number };
  /** Segments that were met and could not be read. */
  readonly unreadable: number;
  /** Why nothing can be written now; undefined: all is well. */
  readonly failure: string | undefined;
}

/** A segment is read whole, so this bounds what a question about the past takes. */
const SEGMENT_RECORDS = Math.floor((8 << 20) / RECORD_BYTES);
const SEGMENT_AGE_MS = 10 * 60_000;
const CHUNK_RECORDS = 8192;
const WRITE_EVERY_MS = 1000;
const RETRY_MS = 10_000;

interface Writing {
  readonly segment: Segment;
  readonly encoder: SegmentEncoder;
  readonly flows: FileHandle;
  readonly names: FileHandle;
  /** Bytes of names that belong to the records counted. */
  namesBytes: number;
}

export class FlowArchive {
  /** Oldest first. */
  readonly segments: Segment[] = [];
  readonly #options: ArchiveOptions;
  readonly #now: () => number;
  #store: RecordStore | undefined;
  #run = '';
  #next = 1;
  /** Records before `#next` were skipped. */
  #gap = false;
  #writing: Writing | undefined;
  #timer: NodeJS.Timeout | undefined;
  #busy: Promise<void> = Promise.resolve();
  readonly #reader = new SegmentReader();
  #mark: SeenMark | undefined;
  #stopMarking = (): void => {};
  /** What would have followed the last record of a run that is over. */
  readonly #ends = new Map<string, number>();
  #ringLostBefore: number | undefined;
  #lost = { refused: 0, slow: 0, crash: 0 };
  #failure: string | undefined;
  #retryAt = 0;
  #closed = false;

  private constructor(options: ArchiveOptions) {
    this.#options = options;
    this.#now = options.now ?? Date.now;
  }

  /** Finds what earlier runs left. Rejects when the directory cannot be made or read. */
  static async open(options: ArchiveOptions): Promise<FlowArchive> {
    const archive = new FlowArchive(options);
    await mkdir(options.directory, { recursive: true, mode: 0o700 });
    for (const file of await readdir(options.directory)) {
      if (!file.endsWith('.flows')) continue;
      const id = parseSegmentName(file.slice(0, -'.flows'.length));
      if (id !== undefined) archive.segments.push(await archive.#found(id));
    }
    archive.segments.sort((a, b) => a.startMs - b.startMs || a.first - b.first);
    archive.#endEachWhereTheNextBegins();
    await archive.#findUnwritten();
    await archive.#retain();
    archive.#tellWhatIsLeft();
    return archive;
  }

  /**
   * Follows this store, whose records are those of `run`, from its next record on. `ringLost`: the kernel's count of events
   * it lost, as far as the store tells of them.
   */
  attach(store: RecordStore, run: string, ringLost: () => number): void {
    this.#store = store;
    this.#run = run;
    this.#next = store.next;
    const { directory, log } = this.#options;
    const mark = new SeenMark(
      directory,
      run,
      () => ({ next: store.next, ringLost: ringLost() }),
      (cause) => log?.warn('how many flows there were cannot be written: a crash would lose some uncounted', { cause }),
    );
    this.#mark = mark;
    this.#stopMarking = store.onAppend(() => void mark.write());
    this.#schedule();
  }

  /** The records of a segment, at least those it has now, or undefined when it is gone or cannot be read. */
  read(segment: Segment): Promise<RecordStore | undefined> {
    return this.#reader.read(segment);
  }

  /** The kernel's count of events it lost, as far as the run before told of them; undefined: there was none. */
  get ringLostBefore(): number | undefined {
    return this.#ringLostBefore;
  }

  /** What would have followed the last record of a run that is over; undefined: nothing is known of it. */
  endOf(run: string): number | undefined {
    return this.#ends.get(run);
  }

  /** Writes all there is now. Never rejects: what fails is in {@link stats}. */
  flush(): Promise<void> {
    this.#busy = this.#busy.then(() => this.#write());
    return this.#busy;
  }

  stats(): ArchiveStats {
    const sum = (of: (segment: Segment) => number) => this.segments.reduce((total, one) => total + of(one), 0);
    return {
      segments: this.segments.length,
      records: sum(({ records }) => records),
      bytes: sum(({ bytes }) => bytes),
      oldestMs: this.segments[0]?.startMs,
      lost: { ...this.#lost },
      unreadable: this.#reader.unreadable,
      failure: this.#failure,
    };
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#stopMarking();
    this.#retryAt = 0;
    await this.flush();
    await this.#end();
    await this.#mark?.close();
    this.#reader.forget();
  }

  #schedule(): void {
    if (this.#closed) return;
    this.#timer = setTimeout(
      () => void this.flush().then(() => this.#schedule()),
      this.#options.everyMs ?? WRITE_EVERY_MS,
    );
    this.#timer.unref();
  }

  async #write(): Promise<void> {
    const store = this.#store;
    if (store === undefined) return;
    this.#skipOverwritten(store);
    if (this.#failure !== undefined && this.#now() < this.#retryAt) return;
    try {
      while (this.#next < store.next) {
        const writing = await this.#segment();
        const { segment, encoder, flows, names } = writing;
        if (this.#skipOverwritten(store)) continue;
        const room = SEGMENT_RECORDS - segment.records;
        const from = this.#next;
        const to = Math.min(store.next, from + CHUNK_RECORDS, from + room);
        const encoded = encoder.encode(store, from, to);
        // names first: a record never comes before what it refers to
        await names.appendFile(encoded.names);
        await flows.appendFile(encoded.records);
        segment.records += to - from;
        writing.namesBytes += Buffer.byteLength(encoded.names);
        segment.bytes += Buffer.byteLength(encoded.names) + encoded.records.length;
        segment.endMs = Math.max(segment.endMs, this.#now()); // a clock may be set back
        this.#next = to;
      }
      if (this.#failure !== undefined) this.#options.log?.info('flows are written to disk again');
      this.#failure = undefined;
      await this.#retain();
    } catch (cause) {
      await this.#fail(cause as Error);
    }
  }

  /** Counts records that made room in memory before they came here. A segment has no gaps: the next begins another. */
  #skipOverwritten(store: RecordStore): boolean {
    const gone = store.oldest - this.#next;
    if (gone <= 0) return false;
    this.#lost[this.#failure === undefined ? 'slow' : 'refused'] += gone;
    this.#next = store.oldest;
    this.#gap = true;
    return true;
  }

  async #segment(): Promise<Writing> {
    const now = this.#now();
    const writing = this.#writing;
    const isFull = writing !== undefined && writing.segment.records >= SEGMENT_RECORDS;
    const isOld = writing !== undefined && now - writing.segment.startMs >= SEGMENT_AGE_MS;
    if (writing !== undefined && !isFull && !isOld && !this.#gap) return writing;
    await this.#end();
    this.#gap = false;
    // their order is that of their names, whatever the clock does
    const id: SegmentId = {
      startMs: Math.max(now, (this.segments.at(-1)?.startMs ?? -1) + 1),
      run: this.#run,
      first: this.#next,
    };
    const path = join(this.#options.directory, segmentName(id));
    const encoder = new SegmentEncoder();
    const names = await open(`${path}.names`, 'ax', 0o600);
    let flows: FileHandle;
    try {
      await names.appendFile(encoder.head());
      flows = await open(`${path}.flows`, 'ax', 0o600);
    } catch (error) {
      await names.close();
      await rm(`${path}.names`, { force: true });
      throw error;
    }
    const segment: Segment = { ...id, path, records: 0, bytes: 0, endMs: now };
    this.segments.push(segment);
    this.#writing = { segment, encoder, flows, names, namesBytes: Buffer.byteLength(encoder.head()) };
    return this.#writing;
  }

  async #end(): Promise<void> {
    const writing = this.#writing;
    this.#writing = undefined;
    if (writing === undefined) return;
    await Promise.all([writing.flows.close(), writing.names.close()]);
    if (writing.segment.records === 0) await this.#remove(writing.segment);
  }

  /** What was half written is cut off, so that what counts as lost is not there after all when somebody reads. */
  async #fail(cause: Error): Promise<void> {
    if (this.#failure === undefined) {
      this.#options.log?.error('flows cannot be written to disk; they are still in memory', { cause });
    }
    this.#failure = cause.message;
    this.#retryAt = this.#now() + (this.#options.retryMs ?? RETRY_MS);
    try {
      const writing = this.#writing;
      await writing?.flows.truncate(writing.segment.records * RECORD_BYTES);
      await writing?.names.truncate(writing.namesBytes);
      await this.#end();
    } catch (also) {
      this.#options.log?.debug('a segment could not be closed after a failure', { cause: also });
    }
  }

  async #retain(): Promise<void> {
    const now = this.#now();
    let bytes = this.segments.reduce((sum, segment) => sum + segment.bytes, 0);
    for (const segment of [...this.segments]) {
      if (segment === this.#writing?.segment) continue;
      // Each by itself: one that was written while the clock ran ahead does not keep those behind it.
      if (bytes <= this.#options.maxBytes && now - segment.endMs <= this.#options.maxAgeMs) continue;
      bytes -= segment.bytes;
      await this.#remove(segment);
    }
  }

  async #remove(segment: Segment): Promise<void> {
    this.segments.splice(this.segments.indexOf(segment), 1);
    await Promise.all([rm(`${segment.path}.flows`, { force: true }), rm(`${segment.path}.names`, { force: true })]);
    const { run } = segment;
    const isOver = run !== this.#run && this.segments.every((other) => other.run !== run);
    if (isOver) await forgetRun(this.#options.directory, run);
  }

  /** Up to where each earlier run had come in memory; what is missing on disk is counted by the first who finds it. */
  async #findUnwritten(): Promise<void> {
    for (const { run, first, records } of this.segments) this.#ends.set(run, first + records);
    for (const { run, next, ringLost, isNew } of await findEarlierRuns(this.#options.directory)) {
      if (isNew) this.#ringLostBefore = ringLost;
      const written = this.#ends.get(run);
      if (isNew) this.#lost.crash += Math.max(0, next - (written ?? 1));
      // without segments there is no place in the history to tell of it
      if (written === undefined) await forgetRun(this.#options.directory, run);
      else this.#ends.set(run, Math.max(next, written));
    }
  }

  #tellWhatIsLeft(): void {
    const { records, oldestMs, lost } = this.stats();
    const oldest = oldestMs === undefined ? 'none' : new Date(oldestMs).toISOString();
    this.#options.log?.info('flows of earlier runs are on disk', { records, oldest });
    if (lost.crash > 0) {
      this.#options.log?.warn('flows were in memory and not yet on disk when the run before ended: they are gone', {
        records: lost.crash,
      });
    }
  }

  async #found(id: SegmentId): Promise<Segment> {
    const path = join(this.#options.directory, segmentName(id));
    const [flows, names] = await Promise.all([
      stat(`${path}.flows`),
      stat(`${path}.names`).catch(() => ({ size: 0 })), // then it is unreadable, and says so when it is read
    ]);
    return {
      ...id,
      path,
      records: Math.floor(flows.size / RECORD_BYTES),
      bytes: flows.size + names.size,
      endMs: flows.mtimeMs,
    };
  }

  #endEachWhereTheNextBegins(): void {
    for (const [i, segment] of this.segments.entries()) {
      const next = this.segments[i + 1];
      if (next?.run === segment.run) segment.records = Math.min(segment.records, next.first - segment.first);
    }
  }
}
