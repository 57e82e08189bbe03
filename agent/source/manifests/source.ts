/** A directory of manifests as a source: watched, and read again now and then in case the watch missed something. */
import { type FSWatcher, watch } from 'node:fs';
import { basename, join } from 'node:path';
import type { Problem } from '../../model/object.ts';
import { type Clock, systemClock } from '../../run/clock.ts';
import type { Sink, Source } from '../source.ts';
import {
  hasName,
  inodeOf,
  isManifestName,
  listManifests,
  readText,
  type Signature,
  sameSignature,
  signatureOf,
} from './directory.ts';
import { Folder } from './folder.ts';
import { type LastGood, openLastGood } from './last-good.ts';
import { arrivedWhole, movedNames, SETTLE_MS, Settling, type WatchEvent } from './settle.ts';

export interface ManifestsOptions {
  readonly directory: string;
  /** The whole directory is looked at again this often, milliseconds. */
  readonly rescanMs: number;
  /** Where the last good version of each file is kept over a restart; undefined: it is not. */
  readonly lastGoodDirectory?: string;
  readonly clock?: Clock;
}

/**
 * The source. Files are taken in order of their names; directories below are not entered. A directory that is not there
 * (yet) is reported and waited for: until it was read once nothing counts as deleted.
 */
export function manifestsSource(options: ManifestsOptions): Source {
  return {
    name: `manifests ${options.directory}`,
    run: (sink, signal) => new Watched(options, sink).run(signal),
  };
}

class Watched {
  readonly #directory: string;
  readonly #rescanMs: number;
  readonly #clock: Clock;
  readonly #sink: Sink;
  readonly #folder = new Folder();
  readonly #settling = new Settling();
  readonly #lastGood: LastGood | undefined;
  /** As the files were when they were last read. */
  readonly #known = new Map<string, Signature>();
  #watcher: FSWatcher | undefined;
  /** dev:inode of the directory that is watched: a path can come to mean another one. */
  #watchedInode = '';
  #events: WatchEvent[] = [];
  /** The directory was there, and its names are known. */
  #listed = false;
  /** Which directory that was, as dev:inode. */
  #listedInode = '';
  #synced = false;
  #cancelSettle: (() => void) | undefined;
  #cancelRescan = (): void => {};
  readonly #ownProblems = new Map<string, Problem>();

  constructor(options: ManifestsOptions, sink: Sink) {
    this.#directory = options.directory;
    this.#rescanMs = options.rescanMs;
    this.#clock = options.clock ?? systemClock;
    this.#sink = sink;
    if (options.lastGoodDirectory !== undefined) {
      const place = options.lastGoodDirectory;
      this.#lastGood = openLastGood(place, (error) =>
        this.#setOwnProblem('last-good', `cannot keep good versions in ${place}: ${error.message}`),
      );
    }
  }

  async run(signal: AbortSignal): Promise<void> {
    if (signal.aborted) return;
    this.#rescan();
    await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
    this.#cancelRescan();
    this.#cancelSettle?.();
    this.#watcher?.close();
    this.#watcher = undefined;
    await this.#lastGood?.written();
  }

  #rescan(): void {
    this.#watchDirectory();
    this.#lookAtAll(false);
    this.#cancelRescan();
    this.#cancelRescan = this.#clock.after(this.#rescanMs, () => this.#rescan());
  }

  /** Watches before looking, so that nothing falls in between. */
  #watchDirectory(): void {
    const inode = inodeOf(this.#directory);
    if (this.#watcher && inode === this.#watchedInode) return;
    this.#watcher?.close();
    this.#watcher = undefined;
    if (inode === '') return; // looking at it will report that
    try {
      this.#watcher = watch(this.#directory, { persistent: false }, (type, name) =>
        this.#onEvent({ type, name: name ?? '' }),
      );
      this.#watcher.on('error', (error) => this.#onWatchError(error));
      this.#watchedInode = inode;
      this.#setOwnProblem('watch', undefined);
    } catch (error) {
      this.#onWatchError(error as Error);
    }
  }

  #onWatchError(error: Error): void {
    this.#watcher?.close();
    this.#watcher = undefined;
    const seconds = this.#rescanMs / 1000;
    this.#setOwnProblem('watch', `cannot be watched, changes are seen every ${seconds} s: ${error.message}`);
  }

  /** What arrives in one turn of the event loop is one change. */
  #onEvent(event: WatchEvent): void {
    if (this.#events.push(event) === 1) setImmediate(() => this.#onEvents());
  }

  #onEvents(): void {
    const events = this.#events;
    this.#events = [];
    if (!this.#watcher) return; // stopped, or the watch broke: then the rescan looks
    const moved = movedNames(events, (name) => hasName(this.#directory, name));
    const names = new Set(events.map((event) => event.name));
    // The directory itself came or went; or a "..data" link was moved, the way Kubernetes mounts a ConfigMap.
    if (names.has(basename(this.#directory)) || names.has('')) this.#rescan();
    else if ([...names].some((name) => name.startsWith('..')))
      this.#lookAtAll([...moved].some((name) => name.startsWith('..')));
    else {
      const manifests = [...names].filter(isManifestName);
      this.#look(manifests, (name) => moved.has(name));
      this.#confirm(arrivedWhole(events, manifests));
    }
  }

  /** Files that seem to have been moved in are believed if the kernel has no word of data for them one turn later. */
  #confirm(names: readonly string[]): void {
    if (names.length === 0) return;
    setImmediate(() => {
      const untouched = names.filter((name) => !this.#events.some((event) => event.name === name));
      if (this.#watcher && untouched.length > 0) this.#look(untouched, () => true);
    });
  }

  #lookAtAll(moved: boolean): void {
    const inode = inodeOf(this.#directory);
    let names: string[];
    try {
      names = listManifests(this.#directory);
    } catch (error) {
      // Gone or unmounted is more likely an accident than a wish to drop all policies: everything stays in force.
      this.#setOwnProblem('directory', `cannot be read, what was known stays in force: ${(error as Error).message}`);
      return;
    }
    if (names.length === 0 && this.#folder.names().length > 0 && inode !== this.#listedInode) {
      this.#setOwnProblem('directory', 'is another directory now, and empty: what was known stays in force');
      return;
    }
    this.#setOwnProblem('directory', undefined);
    this.#listed = true;
    this.#listedInode = inode;
    this.#look([...new Set([...names, ...this.#folder.names()])], () => moved);
  }

  /** The first reading is complete when every file was believed: one that is just being written may open what it should close. */
  #endFirstReading(): void {
    if (this.#synced || !this.#listed || this.#settling.waiting().length > 0) return;
    this.#synced = true;
    this.#lastGood?.keepOnly(this.#folder.names());
    this.#sink.synced();
  }

  #look(names: readonly string[], isMoved: (name: string) => boolean): void {
    const vanished: string[] = [];
    const inodes = new Set<string>();
    for (const name of names) {
      const signature = signatureOf(this.#directory, name);
      if (!signature) {
        this.#settleGone(name, vanished);
        continue;
      }
      const known = this.#known.get(name);
      if (known && sameSignature(known, signature)) {
        this.#settling.forget(name);
        inodes.add(signature.inode);
      } else if (this.#settling.believe(name, signature, isMoved(name), this.#clock.nowMs())) {
        inodes.add(signature.inode);
        this.#read(name, signature);
      }
    }
    // With its directory it is gone for another reason, which lookAtAll() tells.
    const isStillThere = vanished.length > 0 && inodeOf(this.#directory) === this.#listedInode;
    for (const name of vanished) {
      if (!isStillThere) {
        this.#settling.forget(name);
        continue;
      }
      // Found under another name: it was renamed, and both halves are one change.
      const renamed = inodes.has(this.#known.get(name)?.inode ?? '');
      if (this.#settling.believe(name, undefined, renamed, this.#clock.nowMs())) this.#forget(name);
    }
    this.#deliver();
    this.#endFirstReading();
    this.#lookAgainSoon();
  }

  /** No regular file of that name: deleted, unless the name is there still, as a link to nothing, say. */
  #settleGone(name: string, vanished: string[]): void {
    if (!this.#folder.has(name)) {
      this.#settling.forget(name);
      return;
    }
    const place = join(this.#directory, name);
    if (!hasName(this.#directory, name)) {
      vanished.push(name);
      return;
    }
    this.#settling.forget(name);
    this.#known.delete(name);
    this.#folder.setUnreadable(name, place, 'is no file any more: what it had stays in force');
  }

  #lookAgainSoon(): void {
    if (this.#cancelSettle || this.#settling.waiting().length === 0) return;
    // A timer may fire a little early by the monotonic clock.
    this.#cancelSettle = this.#clock.after(SETTLE_MS + 1, () => {
      this.#cancelSettle = undefined;
      this.#look(this.#settling.waiting(), () => false);
    });
  }

  #read(name: string, signature: Signature): void {
    const place = join(this.#directory, name);
    const read = readText(this.#directory, name);
    this.#known.set(name, signature);
    if ('unreadable' in read) {
      this.#folder.setUnreadable(name, place, read.unreadable);
      return;
    }
    this.#folder.setFile(name, place, read.text, this.#synced ? undefined : this.#lastGood?.read(name));
    if (this.#folder.isGood(name)) this.#lastGood?.keep(name, read.text);
  }

  #forget(name: string): void {
    this.#known.delete(name);
    this.#folder.removeFile(name);
    this.#lastGood?.keep(name, undefined);
  }

  #deliver(): void {
    const { changes, problems } = this.#folder.take();
    for (const [place, list] of problems) this.#sink.problems(place, list);
    if (changes.length > 0) this.#sink.change(changes);
  }

  /** Problems of the directory as a whole, told under its path. */
  #setOwnProblem(topic: string, message: string | undefined): void {
    if (this.#ownProblems.get(topic)?.message === message) return;
    const place = this.#directory;
    if (message === undefined) this.#ownProblems.delete(topic);
    else {
      const problem: Problem = { severity: 'error', code: 'unreadable', message, path: [], place, line: undefined };
      this.#ownProblems.set(topic, problem);
    }
    this.#sink.problems(place, [...this.#ownProblems.values()]);
  }
}
