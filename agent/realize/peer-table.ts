/**
 * Who lives at each address, when several claim it. A claim belongs to an owner (a pod's uid, a node's name), so a
 * late delete of the old owner never takes a new owner's entry away, whatever order events come in.
 */
import type { PeerRow } from '../datapath/datapath.ts';
import type { Address } from '../model/address.ts';

/** Higher wins: a pod wired here is certain; a manifest about somewhere else is hearsay. */
export const CLAIM_RANK = { remotePod: 1, node: 2, apiServer: 3, local: 4, endpoint: 5 } as const;

/** Owner of the node's own addresses. */
export const THIS_NODE = 'this node';

interface Claim {
  readonly owner: string;
  readonly rank: number;
  /** Among equals the later owner wins: the earlier one's delete may still be on its way. */
  readonly order: number;
  readonly row: PeerRow;
}

export interface PeerTable {
  /** Replaces everything the owner claimed before. */
  claim(owner: string, rank: number, rows: readonly PeerRow[]): void;
  withdraw(owner: string): void;
  at(address: Address): PeerRow | undefined;
  /** Whose claim to the address holds. */
  ownerOf(address: Address): string | undefined;
  /** Grows with every change of a claim. */
  readonly revision: number;
  rows(): PeerRow[];
  /** What changed since the last call. */
  take(): { readonly set: PeerRow[]; readonly remove: Address[] };
}

export function createPeerTable(): PeerTable {
  const claims = new Map<Address, Map<string, Claim>>();
  const owned = new Map<string, Address[]>();
  const winners = new Map<Address, PeerRow>();
  const dirty = new Set<Address>();
  let order = 0;
  let revision = 0;

  function winnerAt(address: Address): Claim | undefined {
    let winner: Claim | undefined;
    for (const claim of claims.get(address)?.values() ?? []) {
      if (!winner || claim.rank > winner.rank || (claim.rank === winner.rank && claim.order > winner.order))
        winner = claim;
    }
    return winner;
  }
  const best = (address: Address): PeerRow | undefined => winnerAt(address)?.row;

  function withdraw(owner: string): void {
    revision += 1;
    for (const address of owned.get(owner) ?? []) {
      const at = claims.get(address);
      at?.delete(owner);
      if (at?.size === 0) claims.delete(address);
      dirty.add(address);
    }
    owned.delete(owner);
  }

  return {
    claim(owner, rank, rows) {
      const since = new Map(
        (owned.get(owner) ?? []).map((address) => [address, claims.get(address)?.get(owner)?.order]),
      );
      withdraw(owner);
      for (const row of rows) {
        let at = claims.get(row.address);
        if (!at) {
          at = new Map();
          claims.set(row.address, at);
        }
        at.set(owner, { owner, rank, order: since.get(row.address) ?? order++, row });
        dirty.add(row.address);
      }
      if (rows.length > 0)
        owned.set(
          owner,
          rows.map((row) => row.address),
        );
    },
    withdraw,
    at: best,
    ownerOf: (address) => winnerAt(address)?.owner,
    get revision() {
      return revision;
    },
    rows: () => [...claims.keys()].map(best).filter((row) => row !== undefined),
    take() {
      const set: PeerRow[] = [];
      const remove: Address[] = [];
      for (const address of dirty) {
        const now = best(address);
        const before = winners.get(address);
        if (now && !(before && sameRow(before, now))) {
          set.push(now);
          winners.set(address, now);
        } else if (!now && before) {
          remove.push(address);
          winners.delete(address);
        }
      }
      dirty.clear();
      return { set, remove };
    },
  };
}

function sameRow(a: PeerRow, b: PeerRow): boolean {
  return a.identity === b.identity && a.endpoint === b.endpoint && a.kind === b.kind && (a.node ?? 0) === (b.node ?? 0);
}
