/**
 * Flows as they were told, so that followers who want them told alike share one telling: made once, whoever comes first, and
 * kept until the last of them has passed. In blocks of neighbours:
 *
 *     block      7812          7813          7814     ...  7931          7932         64 flows each
 *                [ told ]      [ told ]      [ told ]      [ told ]      [ told ]
 *                  ^ third       ^ second                                  ^ first follower
 *
 * Where all that lies between them does not fit in, what nobody has looked at for longest goes: that is what the last of them
 * would need next, who then has flows told for itself.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';

export interface SharedTelling<Told> {
  /** The flow with this sequence number, told now unless somebody did before. */
  flow(sequence: number, tell: () => Told): Told;
  /**
   * To be waited for between two batches. Somebody who reads, and is so far behind that what this one is told would be forgotten
   * before it gets there, goes first for a few turns: it comes nearer until both share again.
   */
  giveWay(): Promise<void>;
  release(): void;
}

const BLOCK_FLOWS = 64;
/** Turns that a follower gives to those behind for each batch of its own. */
const TURNS_GIVEN = 8;
/** Who does not get on in so many turns is not reading: nobody waits for it. */
const TURNS_IDLE = 3;
/** Those behind come nearer while they are this far away, as parts of what can be remembered. */
const STRUGGLES = { from: 0.5, to: 4 } as const;
/** What a flow takes beside what was told of it: its place, and the object. */
const PLACE_BYTES = 96;

export class SharedFlows {
  /** Tellings since the start: made, and given to another follower who wanted the same. */
  readonly tellings = { made: 0, shared: 0 };
  readonly #maxBytes: number;
  readonly #kinds = new Map<string, Blocks<unknown>>();

  /** `maxBytes`: of all that is remembered, shared alike among the kinds in use. */
  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** Bytes remembered now. */
  get bytes(): number {
    return [...this.#kinds.values()].reduce((sum, { bytes }) => sum + bytes, 0);
  }

  /** `kind` says how: of one kind, equal tellings. `sizeOf`: bytes that a telling takes. */
  share<Told>(kind: string, sizeOf: (told: Told) => number): SharedTelling<Told> {
    const blocks = (this.#kinds.get(kind) ?? new Blocks<unknown>()) as Blocks<Told>;
    this.#kinds.set(kind, blocks);
    for (const one of this.#kinds.values()) one.trim(this.#maxBytes / this.#kinds.size);
    const reader: Reader = { at: NOT_BEGUN };
    blocks.readers.add(reader);
    let block: Block<Told> = { told: [], bytes: 0, isKept: false };
    return {
      flow: (sequence, tell) => {
        const number = Math.floor(sequence / BLOCK_FLOWS);
        if (number !== reader.at) block = blocks.enter(reader, number);
        const place = sequence % BLOCK_FLOWS;
        const before = block.told[place];
        if (before !== undefined) {
          this.tellings.shared++;
          return before;
        }
        this.tellings.made++;
        const told = tell();
        block.told[place] = told;
        if (block.isKept) blocks.grow(block, sizeOf(told) + PLACE_BYTES, this.#maxBytes / this.#kinds.size);
        return told;
      },
      giveWay: async () => {
        for (let turn = 0, idle = 0; turn < TURNS_GIVEN && idle < TURNS_IDLE; turn++) {
          const before = blocks.placeOfStrugglers(reader, this.#maxBytes / this.#kinds.size);
          if (before === undefined) return;
          await nextTurn();
          const now = blocks.placeOfStrugglers(reader, this.#maxBytes / this.#kinds.size);
          idle = now === before ? idle + 1 : 0;
        }
      },
      release: () => {
        blocks.readers.delete(reader);
        if (blocks.readers.size === 0) this.#kinds.delete(kind);
        else blocks.forgetPassed();
      },
    };
  }
}

interface Reader {
  /** Number of its block. */
  at: number;
}
/** May want all that others are told. */
const NOT_BEGUN = -1;

interface Block<Told> {
  readonly told: (Told | undefined)[];
  bytes: number;
  /** False: of one reader alone. */
  isKept: boolean;
}

class Blocks<Told> {
  bytes = 0;
  readonly readers = new Set<Reader>();
  /** In the order of their last use. */
  readonly #blocks = new Map<number, Block<Told>>();
  #last = NOT_BEGUN;

  /** The block as others left it, or a new one, which is kept if somebody is behind and will come here. */
  enter(reader: Reader, number: number): Block<Told> {
    reader.at = number;
    this.forgetPassed();
    const block = this.#blocks.get(number) ?? {
      told: new Array(BLOCK_FLOWS).fill(undefined),
      bytes: 0,
      isKept: this.#last < number,
    };
    if (!block.isKept) return block;
    this.#blocks.delete(number);
    this.#blocks.set(number, block);
    return block;
  }

  /** What all readers are past. */
  forgetPassed(): void {
    const last = Math.min(...[...this.readers].map(({ at }) => at));
    if (last === this.#last) return;
    this.#last = last;
    for (const number of this.#blocks.keys()) if (number < last) this.#forget(number);
  }

  /** Those behind `reader` who need what it is told, but not in time: the sum of their places; undefined: there are none. */
  placeOfStrugglers(reader: Reader, maxBytes: number): number | undefined {
    const fit = (maxBytes / this.bytes) * this.#blocks.size;
    let sum: number | undefined;
    for (const { at } of this.readers) {
      const behind = reader.at - at;
      if (behind > STRUGGLES.from * fit && behind < STRUGGLES.to * fit) sum = (sum ?? 0) + at;
    }
    return sum;
  }

  /** The block takes so much more. */
  grow(block: Block<Told>, bytes: number, maxBytes: number): void {
    block.bytes += bytes;
    this.bytes += bytes;
    this.trim(maxBytes);
  }

  /** Those unused for longest go. */
  trim(maxBytes: number): void {
    for (const number of this.#blocks.keys()) {
      if (this.bytes <= maxBytes) return;
      this.#forget(number);
    }
  }

  #forget(number: number): void {
    const block = this.#blocks.get(number);
    if (block === undefined) return;
    this.#blocks.delete(number);
    this.bytes -= block.bytes;
    block.isKept = false;
  }
}
