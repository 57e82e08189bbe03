/** A small seeded generator of random numbers (mulberry32): the same seed gives the same test everywhere. */
export interface Random {
  /** At least 0, below 1. */
  next(): number;
  /** 0 to below - 1. */
  int(below: number): number;
  chance(probability: number): boolean;
  pick<T>(from: readonly T[]): T;
  /** Between `least` and `most` distinct elements, in order. */
  some<T>(from: readonly T[], least: number, most: number): T[];
  /** `least` to `most` results of `make`. */
  many<T>(least: number, most: number, make: (i: number) => T): T[];
  shuffled<T>(list: readonly T[]): T[];
}

export function random(seed: number): Random {
  let state = seed >>> 0;
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let x = Math.imul(state ^ (state >>> 15), state | 1);
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61);
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32;
  };
  const int = (below: number): number => Math.floor(next() * below);
  const shuffled = <T>(list: readonly T[]): T[] => {
    const out = [...list];
    for (let i = out.length - 1; i > 0; i--) {
      const j = int(i + 1);
      [out[i], out[j]] = [out[j] as T, out[i] as T];
    }
    return out;
  };
  return {
    next,
    int,
    chance: (probability) => next() < probability,
    pick: <T>(from: readonly T[]): T => from[int(from.length)] as T,
    some<T>(from: readonly T[], least: number, most: number): T[] {
      const count = Math.min(from.length, least + int(most - least + 1));
      const chosen = new Set(shuffled(from).slice(0, count));
      return from.filter((one) => chosen.has(one));
    },
    many: (least, most, make) => Array.from({ length: least + int(most - least + 1) }, (_, i) => make(i)),
    shuffled,
  };
}
