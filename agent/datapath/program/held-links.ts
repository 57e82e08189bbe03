/** Links are pinned for the time after us, and held open in ours: then wiped pins take no program off. */
import { closeFd, type LinkHandle, openPinned, pin, unpin } from '../../../native/index.ts';

export class HeldLinks {
  readonly #held = new Map<string, LinkHandle>();
  readonly #earlierAreStale: boolean;

  /** `earlierAreStale`: what an earlier agent has pinned is not taken over. */
  constructor(earlierAreStale = false) {
    this.#earlierAreStale = earlierAreStale;
  }

  /** The link as we hold it, or as an earlier agent pinned it. */
  at(path: string): LinkHandle | undefined {
    const known = this.#held.get(path);
    if (known) return known;
    const found = openPinned(path);
    if (found?.kind === 'link' && !this.#earlierAreStale) this.#held.set(path, found);
    else if (found) closeFd(found);
    return this.#held.get(path);
  }

  /** Holds and pins it, in the place of an earlier one. */
  keep(path: string, link: LinkHandle): void {
    this.#letGo(path);
    this.#held.set(path, link);
    unpin(path); // Of an earlier device or group.
    pin(link, path);
  }

  /** Neither held nor pinned any more: the program is off as soon as nobody else holds the link. */
  drop(path: string): void {
    this.#letGo(path);
    unpin(path);
  }

  /** Lets go; what is pinned stays. */
  close(): void {
    for (const path of [...this.#held.keys()]) this.#letGo(path);
  }

  #letGo(path: string): void {
    const link = this.#held.get(path);
    this.#held.delete(path);
    if (link) closeFd(link);
  }
}
