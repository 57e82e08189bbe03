/** Small numbers for nodes, given in ascending order and round again, so that one given up rests before it comes back. */
export interface NodeNumbers {
  /** The node's number, a new one if it has none; 0 when all are taken. */
  take(name: string): number;
  release(name: string): void;
  /** 0: none. */
  of(name: string): number;
}

/** Numbers from 1 to `last`. */
export function createNumbers(last: number): NodeNumbers {
  const byName = new Map<string, number>();
  const taken = new Set<number>();
  let next = 1;
  return {
    take(name) {
      const known = byName.get(name);
      if (known !== undefined) return known;
      if (taken.size >= last) return 0;
      while (taken.has(next)) next = next >= last ? 1 : next + 1;
      const number = next;
      next = next >= last ? 1 : next + 1;
      byName.set(name, number);
      taken.add(number);
      return number;
    },
    release(name) {
      taken.delete(byName.get(name) ?? 0);
      byName.delete(name);
    },
    of: (name) => byName.get(name) ?? 0,
  };
}
