/**
 * Who came to an address and who left it, in Hubble's words (flow.IPCacheNotification). What is there when the agent has
 * first heard of all is known from then on, and not told: in a large cluster it would push out everything else.
 */
import type { Names } from '../../flow/names.ts';
import { type Address, hostPrefix } from '../../model/address.ts';
import type { IdentityNumber } from '../../model/identity.ts';
import { AGENT_EVENT, type AgentEvent } from './agent-changes.ts';

export interface KnownAddress {
  readonly address: Address;
  readonly identity: IdentityNumber;
}

/** What changed of the addresses the agent knows. */
export interface AddressChange {
  readonly set: readonly KnownAddress[];
  readonly remove: readonly Address[];
}

interface Holder {
  readonly identity: number;
  readonly namespace: string;
  readonly pod_name: string;
}

export class AgentAddresses {
  readonly #names: Pick<Names, 'nameOfAddress'>;
  readonly #holders = new Map<Address, Holder>();
  #isFirst = true;

  constructor(names: Pick<Names, 'nameOfAddress'>) {
    this.#names = names;
  }

  /** The events of a change. */
  take({ set, remove }: AddressChange): AgentEvent[] {
    const events = [...remove.flatMap((address) => this.#remove(address)), ...set.flatMap((row) => this.#set(row))];
    const isFirst = this.#isFirst;
    if (set.length + remove.length > 0) this.#isFirst = false;
    return isFirst ? [] : events;
  }

  #set({ address, identity }: KnownAddress): AgentEvent[] {
    const { namespace = '', pod: pod_name = '' } = this.#names.nameOfAddress(address) ?? {};
    const before = this.#holders.get(address);
    this.#holders.set(address, { identity, namespace, pod_name });
    if (before?.identity === identity && before.namespace === namespace && before.pod_name === pod_name) return [];
    const old_identity = before && { value: before.identity };
    const ipcache_update = { cidr: hostPrefix(address), identity, old_identity, namespace, pod_name };
    return [{ type: AGENT_EVENT.IPCACHE_UPSERTED, ipcache_update }];
  }

  #remove(address: Address): AgentEvent[] {
    const holder = this.#holders.get(address);
    if (holder === undefined) return [];
    this.#holders.delete(address);
    return [{ type: AGENT_EVENT.IPCACHE_DELETED, ipcache_update: { cidr: hostPrefix(address), ...holder } }];
  }
}
