/** All Services as rows, and what changed since the last question. Two Services with one address: the older name wins. */
import type { ServiceFrontend, ServiceRow } from '../datapath/datapath.ts';
import type { Address } from '../model/address.ts';
import type { EndpointSlice, ObjectRef, Service } from '../model/object.ts';
import { serviceRows } from './translate.ts';

export interface ServiceTable {
  upsertService(service: Service): void;
  removeService(namespace: string, name: string): void;
  upsertSlice(slice: EndpointSlice): void;
  /** The node is in another zone than was known: '' at first. */
  setZone(zone: string): void;
  removeSlice(ref: Pick<ObjectRef, 'namespace' | 'name'>): void;
  rows(): ServiceRow[];
  /** The Service that has the virtual address: of several, the one that connections go to. */
  ownerOf(frontend: ServiceFrontend): { readonly namespace: string; readonly name: string } | undefined;
  /** Grows when an answer of {@link ownerOf} may have changed. */
  readonly revision: number;
  /** Every endpoint of the Service if it has no selector; [] of others. */
  addressesWithoutSelector(namespace: string, name: string): Address[];
  /** What changed since the last call. */
  take(): { readonly set: ServiceRow[]; readonly remove: ServiceFrontend[] };
}

export function createServiceTable(nodeName: string): ServiceTable {
  const services = new Map<string, Service>();
  const slices = new Map<string, EndpointSlice>();
  /** Keys of slices by the key of their Service. */
  const slicesOf = new Map<string, Set<string>>();
  const rowsOf = new Map<string, ServiceRow[]>();
  /** Who has a frontend, in the order in which they came. */
  const owners = new Map<string, string[]>();
  const given = new Map<string, ServiceRow>();
  const dirty = new Set<string>();
  const touched = new Set<string>();
  let revision = 0;
  let zone = '';

  function refresh(key: string): void {
    const service = services.get(key);
    const own = [...(slicesOf.get(key) ?? [])].map((slice) => slices.get(slice) as EndpointSlice);
    const rows = service ? serviceRows(service, own, { nodeName, zone }) : [];
    for (const row of rowsOf.get(key) ?? []) {
      const at = frontendKey(row.frontend);
      touched.add(at);
      if (rows.some(({ frontend }) => frontendKey(frontend) === at)) continue;
      const left = (owners.get(at) ?? []).filter((owner) => owner !== key);
      if (left.length > 0) owners.set(at, left);
      else owners.delete(at);
    }
    for (const row of rows) {
      const at = frontendKey(row.frontend);
      touched.add(at);
      const others = owners.get(at) ?? [];
      if (!others.includes(key)) owners.set(at, [...others, key]);
    }
    if (rows.length > 0) rowsOf.set(key, rows);
    else rowsOf.delete(key);
  }

  function rowAt(at: string): ServiceRow | undefined {
    const [owner] = owners.get(at) ?? [];
    return owner === undefined ? undefined : rowsOf.get(owner)?.find((row) => frontendKey(row.frontend) === at);
  }

  function settle(): void {
    if (dirty.size > 0) revision++;
    for (const key of dirty) refresh(key);
    dirty.clear();
  }

  function dropSlice(key: string): void {
    const before = slices.get(key);
    if (!before) return;
    slices.delete(key);
    const service = `${before.namespace}/${before.service}`;
    const left = slicesOf.get(service);
    left?.delete(key);
    if (left?.size === 0) slicesOf.delete(service);
    dirty.add(service);
  }

  return {
    upsertService(service) {
      const key = `${service.namespace}/${service.name}`;
      services.set(key, service);
      dirty.add(key);
    },
    removeService(namespace, name) {
      services.delete(`${namespace}/${name}`);
      dirty.add(`${namespace}/${name}`);
    },
    upsertSlice(slice) {
      const key = `${slice.namespace}/${slice.name}`;
      dropSlice(key);
      slices.set(key, slice);
      const service = `${slice.namespace}/${slice.service}`;
      slicesOf.set(service, (slicesOf.get(service) ?? new Set()).add(key));
      dirty.add(service);
    },
    setZone(now) {
      if (now === zone) return;
      zone = now;
      for (const key of services.keys()) dirty.add(key);
    },
    removeSlice: ({ namespace, name }) => dropSlice(`${namespace}/${name}`),
    rows() {
      settle();
      return [...owners.keys()].map(rowAt).filter((row) => row !== undefined);
    },
    ownerOf(frontend) {
      settle();
      const [owner] = owners.get(frontendKey(frontend)) ?? [];
      const service = owner === undefined ? undefined : services.get(owner);
      return service && { namespace: service.namespace, name: service.name };
    },
    get revision() {
      settle();
      return revision;
    },
    addressesWithoutSelector(namespace, name) {
      const key = `${namespace}/${name}`;
      if (services.get(key)?.selector) return [];
      const own = [...(slicesOf.get(key) ?? [])].flatMap((slice) => slices.get(slice)?.endpoints ?? []);
      return [...new Set(own.flatMap(({ addresses }) => addresses))].sort();
    },
    take() {
      settle();
      const set: ServiceRow[] = [];
      const remove: ServiceFrontend[] = [];
      for (const at of touched) {
        const now = rowAt(at);
        const before = given.get(at);
        if (now && JSON.stringify(now) !== JSON.stringify(before)) {
          set.push(now);
          given.set(at, now);
        } else if (!now && before) {
          remove.push(before.frontend);
          given.delete(at);
        }
      }
      touched.clear();
      return { set, remove };
    },
  };
}

function frontendKey({ address, protocol, port }: ServiceFrontend): string {
  return `${address} ${protocol} ${port}`;
}
