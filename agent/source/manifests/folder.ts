/**
 * Which objects of a directory's files are in force. Pure: file contents in, changes and problems out.
 *
 * - A file with a syntax error keeps the objects it had; so does a single object with an error, as long as its name can
 *   be read. Where a name cannot be read, nothing that vanished from that file is deleted: it may be the nameless one.
 * - Two files, or two documents of one file, that name the same object: the first in order of file name and line is in
 *   force, the other is a problem that names both places. Order of names, not of events, so that a restart agrees.
 */
import { type Origin, type Problem, refKey, type SourceChange, type SourceObject } from '../../model/object.ts';
import { readObject } from '../object/read-object.ts';
import { parseManifest } from './parse.ts';

/** One object as a file has it. */
interface Entry {
  readonly key: string;
  readonly object: SourceObject;
  readonly origin: Origin;
  readonly fingerprint: string;
}

interface File {
  readonly place: string;
  /** In the order of the file; an object that is kept from before stands at the end. */
  readonly entries: readonly Entry[];
  readonly problems: readonly Problem[];
  /** Free of errors: worth keeping as the last good version. */
  readonly good: boolean;
}

export interface FolderChange {
  readonly changes: readonly SourceChange[];
  /** Every place whose problems are different now, with all of them; [] for one that is clean or gone. */
  readonly problems: ReadonlyMap<string, readonly Problem[]>;
}

export class Folder {
  /** By file name. */
  readonly #files = new Map<string, File>();
  /** What was delivered, by object key. */
  #inForce = new Map<string, Entry>();
  #reported = new Map<string, string>();

  /**
   * A file as it is now. `lastGood` is its last version without errors, from before a restart: used if the file is broken
   * and nothing is known of it.
   */
  setFile(name: string, place: string, text: string, lastGood?: string): void {
    let before = this.#files.get(name)?.entries ?? [];
    const file = readFile(place, text, before);
    if (file.good || before.length > 0 || lastGood === undefined) {
      this.#files.set(name, file);
      return;
    }
    before = readFile(place, lastGood, []).entries;
    this.#files.set(name, readFile(place, text, before));
  }

  /** The file is there but cannot be read: what it had stays in force. */
  setUnreadable(name: string, place: string, message: string): void {
    const problem: Problem = { severity: 'error', code: 'unreadable', message, path: [], place, line: undefined };
    const entries = this.#files.get(name)?.entries ?? [];
    this.#files.set(name, { place, entries, problems: [problem], good: false });
  }

  removeFile(name: string): void {
    this.#files.delete(name);
  }

  has(name: string): boolean {
    return this.#files.has(name);
  }

  names(): string[] {
    return [...this.#files.keys()];
  }

  /** True if the file's text, as last set, has no errors. */
  isGood(name: string): boolean {
    return this.#files.get(name)?.good ?? false;
  }

  /** What became different since the last call. */
  take(): FolderChange {
    const wanted = new Map<string, Entry>();
    const problems = new Map<string, Problem[]>();
    for (const name of [...this.#files.keys()].sort()) {
      const file = this.#files.get(name) as File;
      const ofPlace = [...file.problems];
      problems.set(file.place, ofPlace);
      for (const entry of file.entries) {
        const first = wanted.get(entry.key);
        if (first) ofPlace.push(duplicate(entry, first));
        else wanted.set(entry.key, entry);
      }
    }
    return { changes: this.#difference(wanted), problems: this.#changedProblems(problems) };
  }

  #difference(wanted: Map<string, Entry>): SourceChange[] {
    const changes: SourceChange[] = [];
    for (const [key, { object }] of this.#inForce) {
      if (!wanted.has(key)) changes.push({ type: 'delete', kind: object.kind, ref: object.ref });
    }
    for (const [key, entry] of wanted) {
      if (this.#inForce.get(key)?.fingerprint !== entry.fingerprint)
        changes.push({ type: 'upsert', object: entry.object });
    }
    this.#inForce = wanted;
    return changes;
  }

  #changedProblems(problems: Map<string, Problem[]>): Map<string, Problem[]> {
    const changed = new Map<string, Problem[]>();
    const reported = new Map<string, string>();
    for (const [place, list] of problems) {
      const text = JSON.stringify(list);
      if (list.length > 0) reported.set(place, text);
      if ((this.#reported.get(place) ?? '[]') !== text) changed.set(place, list);
    }
    for (const place of this.#reported.keys()) if (!problems.has(place)) changed.set(place, []);
    this.#reported = reported;
    return changed;
  }
}

function readFile(place: string, text: string, before: readonly Entry[]): File {
  const parsed = parseManifest(text, place);
  if (parsed.problems.length > 0) return { place, entries: before, problems: parsed.problems, good: false };

  const problems: Problem[] = [];
  const entries: Entry[] = [];
  const broken = new Set<string>();
  let nameless = false;
  for (const { raw, origin, fingerprint } of parsed.objects) {
    const reading = readObject(raw, origin);
    problems.push(...reading.problems);
    if (reading.object) {
      entries.push({ key: refKey(reading.object.ref), object: reading.object, origin, fingerprint });
    } else if (reading.problems.some((problem) => problem.severity === 'error')) {
      if (reading.ref) broken.add(refKey(reading.ref));
      else nameless = true;
    }
  }
  const read = new Set(entries.map((entry) => entry.key));
  const kept = before.filter(({ key }) => !read.has(key) && (nameless || broken.has(key)));
  const good = !problems.some((problem) => problem.severity === 'error');
  return { place, entries: [...entries, ...kept], problems, good };
}

function duplicate(entry: Entry, first: Entry): Problem {
  const path = ['metadata', 'name'];
  return {
    severity: 'error',
    code: 'duplicate-object',
    message: `${entry.key} is also at ${first.origin.place}:${first.origin.line(path)}, which is the one in force`,
    path,
    place: entry.origin.place,
    line: entry.origin.line(path),
  };
}
