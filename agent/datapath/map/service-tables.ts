/** The tables of Services over the kernel's maps: see service-plan.ts for what may be seen between two writes. */
import { KernelError } from '../../../native/index.ts';
import type { Address } from '../../model/address.ts';
import type { ServiceBackend, ServiceFrontend, ServiceRow } from '../datapath.ts';
import { keyText } from '../plan/changes.ts';
import type { BackendSet, HeldServices, ServiceDeletion, SlotsId } from '../plan/service-plan.ts';
import { addressOf } from './addresses.ts';
import type { PolicyMaps } from './maps.ts';
import {
  decodeBackend,
  decodeFrontend,
  encodeBackend,
  encodeFrontend,
  encodeVirtualKey,
  NO_BACKENDS,
} from './service-rows.ts';

const NOT_READ = 1;

export interface ServiceTables extends HeldServices {
  rows(): ServiceRow[];
  setBackends(set: BackendSet): void;
  deleteBackends(set: BackendSet): void;
  setService(row: ServiceRow, slots: SlotsId): void;
  deleteService(frontend: ServiceFrontend): void;
  setVirtual(address: Address): void;
  deleteVirtual(address: Address): void;
  /** Backends no Service leads to: an agent ended before it could delete them. */
  unused(): ServiceDeletion[];
}

type Maps = Pick<PolicyMaps, 'services' | 'serviceSlots' | 'serviceMembers'>;

/** Counts the frontends there are, and puts right the addresses that are virtual, if an agent ended in between. */
export function serviceTables(maps: Maps): ServiceTables {
  /** Keys of the frontends at each address. */
  const frontends = new Map<Address, Set<string>>();
  let nextSlots = 1;

  const note = (frontend: ServiceFrontend): void => {
    const known = frontends.get(frontend.address) ?? new Set();
    frontends.set(frontend.address, known.add(keyText.services({ frontend })));
  };
  const virtual = new Set<Address>();
  for (const [key, value] of maps.services.entries()) {
    const frontend = decodeFrontend(key);
    if (frontend === undefined) virtual.add(addressOf(key.address, key.family));
    else note(frontend);
    nextSlots = Math.max(nextSlots, value.slots + 1);
  }
  const setVirtual = (address: Address): void => maps.services.set(encodeVirtualKey(address), NO_BACKENDS);
  const deleteVirtual = (address: Address): void => void maps.services.deleteAll([encodeVirtualKey(address)]);
  for (const address of virtual) if (!frontends.has(address)) deleteVirtual(address);
  for (const address of frontends.keys()) if (!virtual.has(address)) setVirtual(address);

  function all(): Map<SlotsId, ServiceBackend[]> {
    const found = new Map<SlotsId, ServiceBackend[]>();
    for (const [{ slots, index }, value] of maps.serviceSlots.entries()) {
      const list = found.get(slots) ?? [];
      list[index] = decodeBackend(value);
      found.set(slots, list);
    }
    return found;
  }
  for (const slots of all().keys()) nextSlots = Math.max(nextSlots, slots + 1);

  return {
    get nextSlots() {
      return nextSlots;
    },
    frontendsAt: (address) => frontends.get(address)?.size ?? 0,
    service(frontend) {
      const value = maps.services.get(encodeFrontend(frontend));
      if (value === undefined) return undefined;
      const backends = Array.from({ length: value.count }, (_, index) =>
        maps.serviceSlots.get({ slots: value.slots, index }),
      ).flatMap((backend) => (backend ? [decodeBackend(backend)] : []));
      return { row: { frontend, backends, affinitySeconds: value.affinitySeconds }, slots: value.slots };
    },
    rows() {
      const backends = all();
      return [...maps.services.entries()].flatMap(([key, value]): ServiceRow[] => {
        const frontend = decodeFrontend(key);
        const { slots, affinitySeconds } = value;
        return frontend ? [{ frontend, backends: (backends.get(slots) ?? []).filter(Boolean), affinitySeconds }] : [];
      });
    },
    setBackends: ({ slots, backends }) =>
      whole(() => {
        nextSlots = Math.max(nextSlots, slots + 1);
        const encoded = backends.map(encodeBackend);
        maps.serviceMembers.setAll(encoded.map((backend) => [{ slots, backend }, NOT_READ]));
        maps.serviceSlots.setAll(encoded.map((backend, index) => [{ slots, index }, backend]));
      }),
    deleteBackends: ({ slots, backends }) =>
      whole(() => {
        maps.serviceSlots.deleteAll(backends.map((_, index) => ({ slots, index })));
        maps.serviceMembers.deleteAll(backends.map((backend) => ({ slots, backend: encodeBackend(backend) })));
      }),
    setService(row, slots) {
      const { backends, affinitySeconds } = row;
      maps.services.set(encodeFrontend(row.frontend), {
        slots,
        count: backends.length,
        affinitySeconds,
        flags: 0,
      });
      note(row.frontend);
    },
    deleteService(frontend) {
      maps.services.deleteAll([encodeFrontend(frontend)]);
      const left = frontends.get(frontend.address);
      left?.delete(keyText.services({ frontend }));
      if (left?.size === 0) frontends.delete(frontend.address);
    },
    setVirtual,
    deleteVirtual,
    unused() {
      const used = new Set([...maps.services.entries()].map(([, { slots }]) => slots));
      const sets = new Map<SlotsId, ServiceBackend[]>([...all()].filter(([slots]) => !used.has(slots)));
      for (const [{ slots, backend }] of maps.serviceMembers.entries()) {
        if (!used.has(slots) && !sets.has(slots)) sets.set(slots, []);
        if (!used.has(slots)) sets.get(slots)?.push(decodeBackend(backend));
      }
      return [...sets].map(([slots, backends]) => ({
        kind: 'backends.delete',
        key: { slots, backends: backends.filter(Boolean) },
      }));
    },
  };
}

/** Of an operation of many writes that fails it is not said how many were done: it is tried again from its beginning. */
export function whole(write: () => void): void {
  try {
    write();
  } catch (cause) {
    if (!(cause instanceof KernelError)) throw cause;
    throw Object.assign(new Error(cause.message, { cause }), { code: cause.code });
  }
}
