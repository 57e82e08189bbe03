/**
 * Names already asked for, found by the bytes of an address in a record, without making garbage: a table of fixed size in
 * which a newer address takes an older one's place. `about` tells names of one address apart, such as those of its ports.
 */
import type { AddressPlace, StoredFlow } from './decode.ts';

/** A power of two. */
const SLOTS = 8192;
const WORDS_PER_ADDRESS = 4;

export class AddressCache<Entry> {
  readonly #words = new Uint32Array(SLOTS * WORDS_PER_ADDRESS);
  /** 0: the slot is free. */
  readonly #about = new Float64Array(SLOTS);
  readonly #entries: (Entry | undefined)[] = new Array(SLOTS).fill(undefined);
  #revision = Number.NaN;

  /** Forgets what was found out under another revision. */
  asOf(revision: number): void {
    if (this.#revision === revision) return;
    this.#revision = revision;
    this.#about.fill(0);
  }

  /** Where the address would stand; `about` is above 0. */
  slot(flow: StoredFlow, place: AddressPlace, about: number): number {
    return hash(flow, place, about) & (SLOTS - 1);
  }

  has(slot: number, flow: StoredFlow, place: AddressPlace, about: number): boolean {
    if (this.#about[slot] !== about) return false;
    for (let word = 0; word < WORDS_PER_ADDRESS; word++) {
      if (this.#words[slot * WORDS_PER_ADDRESS + word] !== flow.addressWord(place, word)) return false;
    }
    return true;
  }

  /** Of an address that is there. */
  get(slot: number): Entry | undefined {
    return this.#entries[slot];
  }

  put(slot: number, flow: StoredFlow, place: AddressPlace, about: number, entry: Entry | undefined): void {
    this.#about[slot] = about;
    this.#entries[slot] = entry;
    for (let word = 0; word < WORDS_PER_ADDRESS; word++) {
      this.#words[slot * WORDS_PER_ADDRESS + word] = flow.addressWord(place, word);
    }
  }
}

/** Spreads neighbouring addresses; MurmurHash3's finaliser over the four words. */
function hash(flow: StoredFlow, place: AddressPlace, about: number): number {
  let mixed = about;
  for (let word = 0; word < WORDS_PER_ADDRESS; word++) {
    mixed = Math.imul(mixed ^ flow.addressWord(place, word), 0x85ebca6b);
    mixed ^= mixed >>> 13;
  }
  mixed = Math.imul(mixed, 0xc2b2ae35);
  return (mixed ^ (mixed >>> 16)) >>> 0;
}
