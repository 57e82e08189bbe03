/**
 * What an address is that no peer has exactly: of somebody's pod CIDR, or of a prefix that is the node itself. Claims have
 * owners, and where two claim one prefix the higher rank wins.
 */
import type { RangeRow } from '../datapath/datapath.ts';
import type { Prefix } from '../model/address.ts';
import { RESERVED_IDENTITIES } from '../model/identity.ts';

/** A pod CIDR of this node stays one, whatever else is said of it. */
export const RANGE_RANK = { cluster: 1, node: 2, local: 3, ownPods: 4 } as const;

export interface RangeTable {
  /** Replaces everything the owner claimed before. */
  claim(owner: string, rank: number, rows: readonly RangeRow[]): void;
  rows(): RangeRow[];
  /** What changed since the last call. */
  take(): { readonly set: RangeRow[]; readonly remove: Prefix[] };
}

/** Pods nobody has told us of: never the world, never a node. `node` as in PeerRow. */
export function unmanaged(prefixes: readonly Prefix[], node = 0): RangeRow[] {
  return prefixes.map((prefix) => ({
    prefix,
    identity: RESERVED_IDENTITIES.unmanaged,
    kind: 'pod',
    ...(node === 0 ? {} : { node }),
  }));
}

export function createRangeTable(): RangeTable {
  const claims = new Map<string, { readonly rank: number; readonly rows: readonly RangeRow[] }>();
  const given = new Map<Prefix, RangeRow>();
  let changed = false;

  function winners(): Map<Prefix, RangeRow> {
    const byRank = [...claims.values()].sort((a, b) => a.rank - b.rank);
    return new Map(byRank.flatMap(({ rows }) => rows.map((row) => [row.prefix, row] as const)));
  }

  return {
    claim(owner, rank, rows) {
      if (rows.length === 0) changed = claims.delete(owner) || changed;
      else {
        claims.set(owner, { rank, rows });
        changed = true;
      }
    },
    rows: () => [...winners().values()],
    take() {
      if (!changed) return { set: [], remove: [] };
      changed = false;
      const now = winners();
      const set = [...now.values()].filter((row) => !isSame(given.get(row.prefix), row));
      const remove = [...given.keys()].filter((prefix) => !now.has(prefix));
      for (const prefix of remove) given.delete(prefix);
      for (const row of set) given.set(row.prefix, row);
      return { set, remove };
    },
  };
}

function isSame(a: RangeRow | undefined, b: RangeRow): boolean {
  return a !== undefined && a.identity === b.identity && a.kind === b.kind && (a.node ?? 0) === (b.node ?? 0);
}
