/** What an address is that no peer has exactly: of the pod CIDRs, and of prefixes that are the node itself. */
import type { RangeRow } from '../datapath/datapath.ts';
import type { Prefix } from '../model/address.ts';
import { RESERVED_IDENTITIES } from '../model/identity.ts';

export interface RangeTable {
  /** Prefixes that are this node, replacing those of before. A pod CIDR among them stays a pod CIDR. */
  setLocal(prefixes: readonly Prefix[]): void;
  rows(): RangeRow[];
  /** What changed since the last call. */
  take(): { readonly set: RangeRow[]; readonly remove: Prefix[] };
}

export function createRangeTable(podCidrs: readonly Prefix[]): RangeTable {
  const pods = podCidrs.map((prefix) => ({ prefix, identity: RESERVED_IDENTITIES.unmanaged, kind: 'pod' as const }));
  let local: RangeRow[] = [];
  const set = new Map<Prefix, RangeRow>();
  const remove = new Set<Prefix>();

  return {
    setLocal(prefixes) {
      const gone = new Set(local.map((row) => row.prefix));
      local = prefixes
        .filter((prefix) => !podCidrs.includes(prefix))
        .map((prefix) => ({ prefix, identity: RESERVED_IDENTITIES.host, kind: 'node' }));
      for (const row of local) {
        if (!gone.delete(row.prefix)) set.set(row.prefix, row);
        remove.delete(row.prefix);
      }
      for (const prefix of gone) {
        set.delete(prefix);
        remove.add(prefix);
      }
    },
    rows: () => [...pods, ...local],
    take() {
      const change = { set: [...set.values()], remove: [...remove] };
      set.clear();
      remove.clear();
      return change;
    },
  };
}
