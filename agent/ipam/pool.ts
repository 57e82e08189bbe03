/**
 * Which pod has which address: a pool over the node's pod CIDRs of both families. Pure; nothing is written here. The
 * durable record of an allocation is the endpoint's own (endpoint/record-store.ts), from which the pool is filled again.
 *
 * Addresses go round: the next one given is the lowest free one after the last given, so that a freed address rests for
 * as long as the prefix allows. A late DELETE or a client's cache then meets no new owner (faults.md 21).
 */
import { WeirError } from '../errors.ts';
import { type Address, type Family, familyOf, type Prefix } from '../model/address.ts';
import { addressAt, type Block, blockOf, positionOf } from './block.ts';

export interface PoolUse {
  readonly family: Family;
  readonly prefixes: readonly Prefix[];
  readonly used: number;
  /** Addresses that can still be given. A bigint where IPv6 has more than a number counts exactly. */
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
  /** Frees what `owner` owns of these addresses; those of others are left alone. Returns how many were freed. */
  release(addresses: readonly Address[], owner: string): number;
  ownerOf(address: Address): string | undefined;
  use(): PoolUse[];
}

interface FamilyPool {
  readonly family: Family;
  readonly blocks: readonly Block[];
  readonly capacity: bigint;
  used: number;
  /** Position after the last one given: where the next search starts. */
  next: bigint;
}

/** @throws CONFIG_INVALID for a prefix without room, for overlapping prefixes, and for none at all. */
export function createPool(podCidrs: readonly Prefix[]): Pool {
  const owners = new Map<Address, string>();
  const families = ([4, 6] as const).flatMap((family) => {
    const blocks = podCidrs.filter((prefix) => familyOf(prefix) === family).map(blockOf);
    const capacity = blocks.reduce((sum, block) => sum + block.size, 0n);
    return blocks.length > 0 ? [{ family, blocks, capacity, used: 0, next: 0n }] : [];
  });
  if (families.length === 0) throw new WeirError('CONFIG_INVALID', 'ipam', 'there must be at least one pod CIDR');
  for (const { blocks } of families) refuseOverlap(blocks);

  function nextFree(pool: FamilyPool): Address {
    // At most `used` + 1 positions are looked at before a free one is found, if there is one.
    if (BigInt(pool.used) < pool.capacity) {
      for (let position = pool.next; ; position = (position + 1n) % pool.capacity) {
        const address = addressAt(pool.blocks, position);
        if (owners.has(address)) continue;
        pool.next = (position + 1n) % pool.capacity;
        return address;
      }
    }
    const prefixes = pool.blocks.map((block) => block.prefix).join(', ');
    throw new WeirError(
      'IPAM_EXHAUSTED',
      'allocate an address',
      `no free IPv${pool.family} address in ${prefixes}: ${pool.used} used, 0 free`,
    );
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
      owners.set(address, owner);
      pool.used += 1;
      // Nobody wrote down which was the last one given; after the highest is the best guess.
      if (position >= pool.next) pool.next = (position + 1n) % pool.capacity;
      return 'restored';
    },
    release(addresses, owner) {
      let freed = 0;
      for (const address of addresses) {
        if (owners.get(address) !== owner) continue;
        owners.delete(address);
        (familyPool(address) as FamilyPool).used -= 1;
        freed += 1;
      }
      return freed;
    },
    ownerOf: (address) => owners.get(address),
    use: () =>
      families.map(({ family, blocks, capacity, used }) => ({
        family,
        prefixes: blocks.map((block) => block.prefix),
        used,
        free: capacity - BigInt(used),
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
