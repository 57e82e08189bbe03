/** Tables of rows that remember what changed since it was last asked. */
export interface Table<Row> {
  get(key: string | number): Row | undefined;
  set(row: Row): void;
  remove(key: string | number): void;
  values(): Row[];
  /** Rows to write and rows to delete since the last call; a row that went and came back unchanged is neither. */
  take(): { set: Row[]; remove: Row[] };
  pending(): boolean;
}

/** `keyOf` must be the key under which the kernel finds the row; `same` tells whether two rows of one key are equal. */
export function table<Row>(keyOf: (row: Row) => string | number, same: (a: Row, b: Row) => boolean): Table<Row> {
  const rows = new Map<string | number, Row>();
  /** What stood under a changed key at the last take. */
  const before = new Map<string | number, Row | undefined>();
  const touch = (key: string | number): void => {
    if (!before.has(key)) before.set(key, rows.get(key));
  };
  return {
    get: (key) => rows.get(key),
    set(row) {
      const key = keyOf(row);
      touch(key);
      rows.set(key, row);
    },
    remove(key) {
      touch(key);
      rows.delete(key);
    },
    values: () => [...rows.values()],
    take() {
      const set: Row[] = [];
      const remove: Row[] = [];
      for (const [key, old] of before) {
        const now = rows.get(key);
        if (now === undefined) {
          if (old !== undefined) remove.push(old);
        } else if (old === undefined || !same(old, now)) set.push(now);
      }
      before.clear();
      return { set, remove };
    },
    pending: () => before.size > 0,
  };
}
