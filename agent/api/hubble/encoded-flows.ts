/**
 * The last flows encoded, so that followers who want the same fields share one encoding. Belongs to the followers: with
 * the last of them that wants these fields it goes.
 */

/** Followers that keep up are at most some batches apart; about 1 MiB. */
const SLOTS = 2048;

export interface SharedEncoding {
  /** The flow with this sequence number, encoded now unless somebody did before. */
  flow(sequence: number, encode: () => Buffer): Buffer;
  release(): void;
}

export class EncodedFlows {
  readonly #rings = new Map<string, { users: number; sequences: Float64Array; flows: (Buffer | undefined)[] }>();

  /** `key` says which fields: equal keys, equal fields. */
  share(key: string): SharedEncoding {
    const ring = this.#rings.get(key) ?? {
      users: 0,
      sequences: new Float64Array(SLOTS),
      flows: new Array<Buffer | undefined>(SLOTS).fill(undefined),
    };
    this.#rings.set(key, ring);
    ring.users++;
    return {
      flow(sequence, encode) {
        const slot = sequence % SLOTS;
        const before = ring.flows[slot];
        if (before !== undefined && ring.sequences[slot] === sequence) return before;
        const encoded = encode();
        ring.sequences[slot] = sequence;
        ring.flows[slot] = encoded;
        return encoded;
      },
      release: () => {
        ring.users--;
        if (ring.users === 0) this.#rings.delete(key);
      },
    };
  }
}
