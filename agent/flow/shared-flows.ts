/**
 * The last flows as they were told, so that followers who want them told alike share one telling: made once, whoever asks
 * first. Belongs to the followers: with the last of them that wants it so it goes.
 */

export interface SharedTelling<Told> {
  /** The flow with this sequence number, told now unless somebody did before. */
  flow(sequence: number, tell: () => Told): Told;
  release(): void;
}

export class SharedFlows<Told> {
  readonly #slots: number;
  readonly #rings = new Map<string, { users: number; sequences: Float64Array; flows: (Told | undefined)[] }>();

  /** `slots`: flows remembered. Followers that keep up are some batches apart, those that do not tell for themselves. */
  constructor(slots: number) {
    this.#slots = slots;
  }

  /** `key` says how: equal keys, equal tellings. */
  share(key: string): SharedTelling<Told> {
    const slots = this.#slots;
    const ring = this.#rings.get(key) ?? {
      users: 0,
      sequences: new Float64Array(slots),
      flows: new Array<Told | undefined>(slots).fill(undefined),
    };
    this.#rings.set(key, ring);
    ring.users++;
    return {
      flow(sequence, tell) {
        const slot = sequence % slots;
        const before = ring.flows[slot];
        if (before !== undefined && ring.sequences[slot] === sequence) return before;
        const told = tell();
        ring.sequences[slot] = sequence;
        ring.flows[slot] = told;
        return told;
      },
      release: () => {
        ring.users--;
        if (ring.users === 0) this.#rings.delete(key);
      },
    };
  }
}
