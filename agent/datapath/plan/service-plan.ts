/**
 * How a change of Services is written: the new backends of each beside the old ones, under an id that was never used, and
 * then one write that switches. So a packet sees all of the old set or all of the new one. Pure.
 *
 *     backends | services switched or made | addresses that are virtual now | services that go | addresses that go
 *         || (grace) backends nothing leads to any more
 */
import { isDeepStrictEqual } from 'node:util';
import type { Address } from '../../model/address.ts';
import type { ServiceBackend, ServiceFrontend, ServiceRow } from '../datapath.ts';
import type { Changes } from './changes.ts';
import { keyText } from './changes.ts';

/** Id of a set of backends; 0: the empty one. */
export type SlotsId = number;

export interface BackendSet {
  readonly slots: SlotsId;
  readonly backends: readonly ServiceBackend[];
}

export type ServiceOp =
  | { readonly kind: 'backends.set'; readonly set: BackendSet }
  | { readonly kind: 'service.set'; readonly row: ServiceRow; readonly slots: SlotsId }
  | { readonly kind: 'virtualAddress.set'; readonly address: Address }
  | { readonly kind: 'service.delete'; readonly key: ServiceFrontend }
  | { readonly kind: 'virtualAddress.delete'; readonly address: Address };

export type ServiceDeletion = { readonly kind: 'backends.delete'; readonly key: BackendSet };

/** What the kernel holds of Services, as far as a plan needs it. */
export interface HeldServices {
  service(frontend: ServiceFrontend): { readonly row: ServiceRow; readonly slots: SlotsId } | undefined;
  /** How many frontends the address has. */
  frontendsAt(address: Address): number;
  /** Above every id that has been in use. */
  readonly nextSlots: SlotsId;
}

export interface ServicePlan {
  readonly ops: readonly ServiceOp[];
  readonly later: readonly ServiceDeletion[];
}

export function planServices({ services }: Pick<Changes, 'services'>, held: HeldServices): ServicePlan {
  let { nextSlots } = held;
  const backends: ServiceOp[] = [];
  const switches: ServiceOp[] = [];
  const deletions: ServiceOp[] = [];
  const later: ServiceDeletion[] = [];
  /** Frontends more or less at each address. */
  const moved = new Map<Address, number>();
  const move = ({ address }: ServiceFrontend, by: number): void =>
    void moved.set(address, (moved.get(address) ?? 0) + by);
  const retire = (before: { row: ServiceRow; slots: SlotsId } | undefined): void => {
    if (before && before.slots !== 0) {
      later.push({ kind: 'backends.delete', key: { slots: before.slots, backends: before.row.backends } });
    }
  };

  for (const row of services.set) {
    const before = held.service(row.frontend);
    let slots = before?.slots ?? 0;
    if (before === undefined) move(row.frontend, 1);
    if (before === undefined || !isDeepStrictEqual(before.row.backends, row.backends)) {
      slots = row.backends.length === 0 ? 0 : nextSlots++;
      if (slots !== 0) backends.push({ kind: 'backends.set', set: { slots, backends: row.backends } });
      retire(before);
    }
    switches.push({ kind: 'service.set', row, slots });
  }
  for (const { frontend: key } of services.remove) {
    const before = held.service(key);
    if (before === undefined) continue;
    move(key, -1);
    retire(before);
    deletions.push({ kind: 'service.delete', key });
  }
  const addresses = [...moved].map(([address, by]) => ({ address, was: held.frontendsAt(address), by }));
  return {
    ops: [
      ...backends,
      ...switches,
      ...addresses
        .filter(({ was, by }) => was === 0 && by > 0)
        .map(({ address }): ServiceOp => ({ kind: 'virtualAddress.set', address })),
      ...deletions,
      ...addresses
        .filter(({ was, by }) => was > 0 && was + by === 0)
        .map(({ address }): ServiceOp => ({ kind: 'virtualAddress.delete', address })),
    ],
    later,
  };
}

/**
 * Why connections through Services must be looked at again: a backend they use may have gone, or packets to what is a
 * Service now may have begun as something else. Undefined when nobody can have been sent to the wrong place.
 */
export function servicesChanged({ services }: Pick<Changes, 'services'>, held: HeldServices): string | undefined {
  for (const row of services.set) {
    const before = held.service(row.frontend);
    const name = keyText.services(row);
    if (before === undefined) return `Service ${name} is new`;
    const kept = new Set(row.backends.map(backendText));
    if (!before.row.backends.every((backend) => kept.has(backendText(backend))))
      return `Service ${name} lost a backend`;
  }
  const gone = services.remove.find(({ frontend }) => held.service(frontend));
  return gone && `Service ${keyText.services(gone)} removed`;
}

export function backendText({ address, port }: ServiceBackend): string {
  return `${address} ${port}`;
}
