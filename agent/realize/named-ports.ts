/** Container ports by identity: what an egress rule by port name means for a peer. Kept per owner, so that pods come and go. */
import { FIRST_POD_IDENTITY, type IdentityNumber } from '../model/identity.ts';
import type { NamedPort } from '../model/object.ts';

export interface NamedPorts {
  /** The owner's pod has this identity and these ports now, in place of what it had. */
  set(owner: string, identity: IdentityNumber, ports: readonly NamedPort[]): void;
  remove(owner: string): void;
}

/** What pods of one identity have in common: thousands of one Deployment hold one. */
interface PortList {
  readonly identity: IdentityNumber;
  readonly key: string;
  readonly ports: readonly NamedPort[];
  owners: number;
}

/**
 * `tell` is called with all ports of an identity, those of equal pods once, whenever they are others than before. Reserved
 * identities have none.
 */
export function createNamedPorts(tell: (identity: IdentityNumber, ports: readonly NamedPort[]) => void): NamedPorts {
  const byIdentity = new Map<IdentityNumber, Map<string, PortList>>();
  const listOf = new Map<string, PortList>();

  /** True: the first with these ports. */
  function take(owner: string, identity: IdentityNumber, key: string, ports: readonly NamedPort[]): boolean {
    const lists = byIdentity.get(identity) ?? new Map<string, PortList>();
    byIdentity.set(identity, lists);
    const list = lists.get(key) ?? { identity, key, ports, owners: 0 };
    lists.set(key, list);
    listOf.set(owner, list);
    return ++list.owners === 1;
  }

  /** True: the last with its ports. */
  function giveUp(owner: string, list: PortList): boolean {
    listOf.delete(owner);
    if (--list.owners > 0) return false;
    const lists = byIdentity.get(list.identity);
    lists?.delete(list.key);
    if (lists?.size === 0) byIdentity.delete(list.identity);
    return true;
  }

  function tellAll(changed: ReadonlySet<IdentityNumber>): void {
    for (const identity of changed) {
      const lists = [...(byIdentity.get(identity)?.values() ?? [])];
      tell(
        identity,
        lists.flatMap(({ ports }) => ports),
      );
    }
  }

  return {
    set(owner, identity, ports) {
      const before = listOf.get(owner);
      const key = JSON.stringify(ports);
      if (before?.identity === identity && before.key === key) return;
      const changed = new Set<IdentityNumber>();
      if (before && giveUp(owner, before)) changed.add(before.identity);
      const hasSome = identity >= FIRST_POD_IDENTITY && ports.length > 0;
      if (hasSome && take(owner, identity, key, ports)) changed.add(identity);
      tellAll(changed);
    },
    remove(owner) {
      const before = listOf.get(owner);
      if (before && giveUp(owner, before)) tellAll(new Set([before.identity]));
    },
  };
}
