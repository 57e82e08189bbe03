/**
 * Which pod has which address: a pool over the node's pod CIDRs of both families. Pure; nothing is written here. The
 * durable record of an allocation is the endpoint's own (endpoint/record-store.ts), from which the pool is filled again.
 *
 * Addresses go round: the next one given is the lowest free one after the last given, so that a freed address rests for
 * as long as the prefix allows. A late DELETE or a client's cache then meets no new owner (faults.md 21). However small the
 * prefix, it rests for `restMs`: other nodes hear a moment after the API server that its old owner is gone, and until then
 * would take the new one for it. Over a restart too, when the agent ended in order (endpoint/resting-addresses.ts).
 */
import { WeirError } from '../errors.ts';
import { type Address, type Family, familyOf, type Prefix } from '../model/address.ts';
import { addressAt, type Block, blockOf, positionOf } from './block.ts';

export interface PoolUse {
  readonly family: Family;
  readonly prefixes: readonly Prefix[];
  readonly used: number;
  /** Addresses that can be given now. A bigint where IPv6 has more than a number counts exactly. */
  readonly free: bigint;
}

export type Restored = 'restored' | 'outside' | 'taken';

export interface Pool {
  /** One address of each family the pool has, all or none. `owner` must not own any yet. @throws IPAM_EXHAUSTED */
  allocate(owner: string): Address[];
  /**
   * Gives a recorded address back to its owner after a restart. 'outside': not in the pod CIDRs (any more), which is no
   * conflict; 'taken': it belongs to another owner, who keeps it.
   */
  restore(address: Address, owner: string): Restored;
  /**
   * Frees what `owner` owns of these addresses; those of others are left alone. Returns how many were freed. Their rest
   * begins when `told` resolves: other nodes can know then that they are nobody's. Absent: none ever knew of them.
   */
  release(addresses: readonly Address[], owner: string, told?: Promise<void>): number;
  /** Addresses that rest now: the next run of the agent is to {@link rest} them. */
  resting(): Address[];
  /** Addresses that an earlier run let rest, before any is allocated: they rest from now on. Those not of the pod CIDRs are left alone. */
  rest(addresses: readonly Address[]): void;
  ownerOf(address: Address): string | undefined;
  use(): PoolUse[];
}

export interface Rest {
  readonly restMs: number;
  /** Milliseconds that only grow. */
  readonly now: () => number;
}

interface FamilyPool {
  readonly family: Family;
  readonly blocks: readonly Block[];
  readonly capacity: bigint;
  used: number;
  /** Position after the last one given: where the next search starts. */
  next: bigint;
}

const NO_REST: Rest = { restMs: 0, now: () => 0 };

/** @throws CONFIG_INVALID for a prefix without room, for overlapping prefixes, and for none at all. */
export function createPool(podCidrs: readonly Prefix[], { restMs, now }: Rest = NO_REST): Pool {
  const owners = new Map<Address, string>();
  /** Addresses that are free and must not be given yet, with the time when they may; undefined: not even told. */
  const resting = new Map<Address, { until: number | undefined }>();
  const families = ([4, 6] as const).flatMap((family) => {
    const blocks = podCidrs.filter((prefix) => familyOf(prefix) === family).map(blockOf);
    const capacity = blocks.reduce((sum, block) => sum + block.size, 0n);
    return blocks.length > 0 ? [{ family, blocks, capacity, used: 0, next: 0n }] : [];
  });
  if (families.length === 0) throw new WeirError('CONFIG_INVALID', 'ipam', 'there must be at least one pod CIDR');
  for (const { blocks } of families) refuseOverlap(blocks);

  function nextFree(pool: FamilyPool): Address {
    // At most those used and resting and one more are looked at before a free one is found, if there is one.
    if (freeOf(pool) > 0n) {
      for (let position = pool.next; ; position = (position + 1n) % pool.capacity) {
        const address = addressAt(pool.blocks, position);
        if (owners.has(address) || resting.has(address)) continue;
        pool.next = (position + 1n) % pool.capacity;
        return address;
      }
    }
    const prefixes = pool.blocks.map((block) => block.prefix).join(', ');
    const rests = restingOf(pool);
    const why = rests === 0 ? '' : `, ${rests} of pods that went within the last ${restMs / 1000} s`;
    throw new WeirError(
      'IPAM_EXHAUSTED',
      'allocate an address',
      `no free IPv${pool.family} address in ${prefixes}: ${pool.used} used${why}, 0 free`,
    );
  }

  function restingOf({ family }: FamilyPool): number {
    return [...resting.keys()].filter((address) => familyOf(address) === family).length;
  }

  function forgetRested(): void {
    for (const [address, { until }] of resting) if (until !== undefined && until <= now()) resting.delete(address);
  }

  function freeOf(pool: FamilyPool): bigint {
    forgetRested();
    return pool.capacity - BigInt(pool.used + restingOf(pool));
  }

  function rest(address: Address, told: Promise<void>): void {
    const entry: { until: number | undefined } = { until: undefined };
    resting.set(address, entry);
    void told.then(() => {
      entry.until = now() + restMs;
    });
  }

  function familyPool(address: Address): FamilyPool | undefined {
    return families.find((pool) => pool.family === familyOf(address));
  }

  return {
    allocate(owner) {
      // All families are asked before any is taken, so a failure leaves nothing taken.
      const addresses = families.map(nextFree);
      for (const address of addresses) owners.set(address, owner);
      for (const pool of families) pool.used += 1;
      return addresses;
    },
    restore(address, owner) {
      const pool = familyPool(address);
      const position = pool && positionOf(pool.blocks, address);
      if (!pool || position === undefined) return 'outside';
      const known = owners.get(address);
      if (known !== undefined) return known === owner ? 'restored' : 'taken';
      resting.delete(address);
      owners.set(address, owner);
      pool.used += 1;
      // Nobody wrote down which was the last one given; after the highest is the best guess.
      if (position >= pool.next) pool.next = (position + 1n) % pool.capacity;
      return 'restored';
    },
    release(addresses, owner, told) {
      let freed = 0;
      for (const address of addresses) {
        if (owners.get(address) !== owner) continue;
        owners.delete(address);
        if (told && restMs > 0) rest(address, told);
        (familyPool(address) as FamilyPool).used -= 1;
        freed += 1;
      }
      return freed;
    },
    resting() {
      forgetRested();
      return [...resting.keys()];
    },
    rest(addresses) {
      for (const address of addresses) {
        const pool = familyPool(address);
        const isOurs = pool !== undefined && positionOf(pool.blocks, address) !== undefined;
        if (restMs > 0 && isOurs && !owners.has(address)) resting.set(address, { until: now() + restMs });
      }
    },
    ownerOf: (address) => owners.get(address),
    use: () =>
      families.map((pool) => ({
        family: pool.family,
        prefixes: pool.blocks.map((block) => block.prefix),
        used: pool.used,
        free: freeOf(pool),
      })),
  };
}

function refuseOverlap(blocks: readonly Block[]): void {
  const sorted = [...blocks].sort((a, b) => (a.first < b.first ? -1 : 1));
  for (const [i, block] of sorted.entries()) {
    const before = sorted[i - 1];
    if (before && before.first + before.size > block.first) {
      throw new WeirError('CONFIG_INVALID', 'ipam', `pod CIDRs ${before.prefix} and ${block.prefix} overlap`);
    }
  }
}
