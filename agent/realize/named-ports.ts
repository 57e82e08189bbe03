/** Container ports by identity: what an egress rule by port name means for a peer. Kept per owner, so that pods come and go. */
import { FIRST_POD_IDENTITY, type IdentityNumber } from '../model/identity.ts';
import type { NamedPort } from '../model/object.ts';

export interface NamedPorts {
  /** The owner's pod has this identity and these ports now, in place of what it had. */
  set(owner: string, identity: IdentityNumber, ports: readonly NamedPort[]): void;
  remove(owner: string): void;
}

/** `tell` is called with all ports of an identity whenever they may have changed. Reserved identities have none. */
export function createNamedPorts(tell: (identity: IdentityNumber, ports: readonly NamedPort[]) => void): NamedPorts {
  const byIdentity = new Map<IdentityNumber, Map<string, readonly NamedPort[]>>();
  const identityOf = new Map<string, IdentityNumber>();

  function remove(owner: string): void {
    const identity = identityOf.get(owner);
    if (identity === undefined) return;
    identityOf.delete(owner);
    const owners = byIdentity.get(identity);
    owners?.delete(owner);
    if (owners?.size === 0) byIdentity.delete(identity);
    tell(identity, [...(owners?.values() ?? [])].flat());
  }

  return {
    set(owner, identity, ports) {
      const before = identityOf.get(owner);
      if (before === identity && byIdentity.get(identity)?.get(owner) === ports) return;
      if (before !== undefined && before !== identity) remove(owner);
      if (identity < FIRST_POD_IDENTITY || (ports.length === 0 && before !== identity)) return;
      const owners = byIdentity.get(identity) ?? new Map<string, readonly NamedPort[]>();
      byIdentity.set(identity, owners);
      owners.set(owner, ports);
      identityOf.set(owner, identity);
      tell(identity, [...owners.values()].flat());
    },
    remove,
  };
}
