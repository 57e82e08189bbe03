/**
 * When is a file whole? inotify (as Node gives it) does not tell that a writer has closed a file, and half a policy may
 * well be valid YAML. rename() is the way to replace a file at once, and it is recognised at once; everything else
 * counts as whole when it has not changed for a moment. A file that vanished may be an editor's save under way, too.
 */
import { type Signature, sameSignature } from './directory.ts';

/** How long a file must stay as it is before it is believed. */
export const SETTLE_MS = 50;
/** A file that never comes to rest is read in the end. */
const LONGEST_MS = 1000;

export interface WatchEvent {
  /** Node's word: "rename" for anything that comes, goes or moves, "change" for data and attributes. */
  readonly type: 'rename' | 'change';
  readonly name: string;
}

/**
 * Names that a rename() inside the directory put there, among events in the order in which they came: the kernel reports
 * both names one behind the other, and the first of them is gone.
 */
export function movedNames(events: readonly WatchEvent[], exists: (name: string) => boolean): Set<string> {
  const moved = new Set<string>();
  events.forEach((event, i) => {
    const before = events[i - 1];
    if (event.type !== 'rename' || before?.type !== 'rename' || before.name === event.name) return;
    // Data that came after the name: it was created here, right after another file was deleted.
    const written = events.slice(i).some(({ type, name }) => type === 'change' && name === event.name);
    if (!written && !exists(before.name)) moved.add(event.name);
  });
  return moved;
}

/**
 * Names that may have come from another directory by rename(): the kernel told of the name and of no data. A file that
 * is created and written here is told of twice, so whoever asks must look once more whether the second word has come.
 */
export function arrivedWhole(events: readonly WatchEvent[], names: readonly string[]): string[] {
  const told = (name: string, type: WatchEvent['type']): boolean =>
    events.some((event) => event.name === name && event.type === type);
  return names.filter((name) => told(name, 'rename') && !told(name, 'change'));
}

interface Waiting {
  readonly seen: Signature | undefined;
  readonly sinceMs: number;
  readonly firstMs: number;
}

/** Remembers which files are waited for. Pure but for its memory; times are the caller's, in milliseconds. */
export class Settling {
  readonly #waiting = new Map<string, Waiting>();

  /**
   * Whether to believe the file as it is now (undefined: it is not there); otherwise it is waited for.
   * @param moved a rename() put it there
   */
  believe(name: string, now: Signature | undefined, moved: boolean, nowMs: number): boolean {
    const waiting = this.#waiting.get(name);
    // Data and inode change together on a write; only a rename, or an owner or mode set afterwards, leaves them apart.
    const whole = now === undefined ? moved : now.size > 0 && (moved || now.changedNs > now.modifiedNs);
    const unchanged = waiting !== undefined && same(waiting.seen, now);
    const rested = unchanged && nowMs - waiting.sinceMs >= SETTLE_MS;
    if (whole || rested || (waiting !== undefined && nowMs - waiting.firstMs >= LONGEST_MS)) {
      this.#waiting.delete(name);
      return true;
    }
    if (!unchanged) this.#waiting.set(name, { seen: now, sinceMs: nowMs, firstMs: waiting?.firstMs ?? nowMs });
    return false;
  }

  forget(name: string): void {
    this.#waiting.delete(name);
  }

  /** Names to look at again after {@link SETTLE_MS}. */
  waiting(): string[] {
    return [...this.#waiting.keys()];
  }
}

function same(a: Signature | undefined, b: Signature | undefined): boolean {
  return a === undefined || b === undefined ? a === b : sameSignature(a, b);
}
