/**
 * Whose address it is, when entries of nodes contradict each other for a while. Pure: what is said decides, never the order
 * in which it came.
 *
 * 1. An address belongs to the node whose record has it in its pod CIDRs; of several records to the youngest one, by the API
 *    server's clock: the pod CIDR of a node that was removed is given to the next one while the old record lingers.
 * 2. Of the entries of that node the one with the greatest `since` has it: nodes count up with every endpoint, so the pod
 *    that got the address later wins over the one whose removal is still on its way.
 *
 * Anything else said about the address counts for nothing; it is nobody's when that node says nothing about it.
 */
import {
  type Address,
  addressBytes,
  familyOf,
  formatPrefix,
  type Prefix,
  prefixContains,
  prefixLength,
} from '../model/address.ts';
import { isYounger, type RecordAge } from '../model/record-age.ts';

/** What is needed of a WeirNode. */
export interface NodeClaim extends RecordAge {
  readonly podCidrs: readonly Prefix[];
}

export interface EntryClaim {
  readonly node: string;
  readonly slice: string;
  readonly since: number;
  readonly addresses: readonly Address[];
}

export interface AddressOwners<E extends EntryClaim> {
  setNode(name: string, claim: NodeClaim | undefined): void;
  /** Replaces the slice's entries. One that stays may be the same object: then nothing is different about it. */
  setSlice(slice: string, entries: readonly E[]): void;
  /** Slices in which something may be different since the last call. */
  take(): Set<string>;
  entries(slice: string): readonly E[];
  owns(entry: E, address: Address): boolean;
}

export function createAddressOwners<E extends EntryClaim>(): AddressOwners<E> {
  const nodes = new Map<string, NodeClaim>();
  /** Nodes by each of their prefixes, and how many prefixes there are of a length: "4/24". */
  const byPrefix = new Map<Prefix, Set<string>>();
  const lengths = new Map<string, number>();
  const slices = new Map<string, readonly E[]>();
  const slicesOf = new Map<string, Set<string>>();
  const claims = new Map<Address, Set<E>>();
  const dirty = new Set<string>();

  function index(name: string, prefixes: readonly Prefix[], by: 1 | -1): void {
    for (const prefix of prefixes) {
      const names = byPrefix.get(prefix) ?? new Set();
      if (by > 0) names.add(name);
      else names.delete(name);
      if (names.size > 0) byPrefix.set(prefix, names);
      else byPrefix.delete(prefix);
      const length = `${familyOf(prefix)}/${prefixLength(prefix)}`;
      const left = (lengths.get(length) ?? 0) + by;
      if (left > 0) lengths.set(length, left);
      else lengths.delete(length);
    }
  }

  function nodeOf(address: Address): string | undefined {
    const bytes = addressBytes(address);
    let winner: string | undefined;
    for (const key of lengths.keys()) {
      const [family, length] = key.split('/').map(Number);
      if (family !== familyOf(address)) continue;
      for (const name of byPrefix.get(formatPrefix(bytes, length as number)) ?? []) {
        if (winner === undefined || isYounger(nodes.get(name), nodes.get(winner))) winner = name;
      }
    }
    return winner;
  }

  function touch(addresses: readonly Address[]): void {
    for (const address of addresses) for (const { slice } of claims.get(address) ?? []) dirty.add(slice);
  }

  function touchNode(name: string): void {
    for (const slice of slicesOf.get(name) ?? []) {
      dirty.add(slice);
      for (const { addresses } of slices.get(slice) ?? []) touch(addresses);
    }
  }

  function owner(address: Address): E | undefined {
    const node = nodeOf(address);
    let winner: E | undefined;
    for (const claim of claims.get(address) ?? []) {
      if (claim.node !== node) continue;
      if (!winner || claim.since > winner.since || (claim.since === winner.since && claim.slice < winner.slice))
        winner = claim;
    }
    return winner;
  }

  return {
    setNode(name, claim) {
      const before = nodes.get(name);
      const changed = [...(before?.podCidrs ?? []), ...(claim?.podCidrs ?? [])];
      index(name, before?.podCidrs ?? [], -1);
      if (claim) nodes.set(name, claim);
      else nodes.delete(name);
      index(name, claim?.podCidrs ?? [], 1);
      if (before && claim && before.uid === claim.uid && before.podCidrs.join() === claim.podCidrs.join()) return;
      touchNode(name);
      for (const [other, { podCidrs }] of nodes) {
        if (other !== name && podCidrs.some((prefix) => changed.some((one) => overlap(prefix, one)))) touchNode(other);
      }
    },
    setSlice(slice, entries) {
      const [before, now] = [new Set(slices.get(slice) ?? []), new Set(entries)];
      for (const entry of before) {
        if (now.has(entry)) continue;
        touch(entry.addresses);
        for (const address of entry.addresses) {
          const at = claims.get(address);
          at?.delete(entry);
          if (at?.size === 0) claims.delete(address);
        }
        slicesOf.get(entry.node)?.delete(slice);
      }
      for (const entry of now) {
        slicesOf.set(entry.node, (slicesOf.get(entry.node) ?? new Set()).add(slice));
        if (before.has(entry)) continue;
        for (const address of entry.addresses) claims.set(address, (claims.get(address) ?? new Set<E>()).add(entry));
        touch(entry.addresses);
      }
      dirty.add(slice);
      if (entries.length > 0) slices.set(slice, entries);
      else slices.delete(slice);
    },
    take() {
      const all = new Set(dirty);
      dirty.clear();
      return all;
    },
    entries: (slice) => slices.get(slice) ?? [],
    owns: (entry, address) => owner(address) === entry,
  };
}

function overlap(a: Prefix, b: Prefix): boolean {
  return prefixContains(a, b) || prefixContains(b, a);
}
