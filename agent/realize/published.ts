/** Objects that others write for all nodes: endpoints of Services, identities, and what each node says of itself and its pods. */
import type { Address } from '../model/address.ts';
import type { IdentityNumber } from '../model/identity.ts';
import type { EndpointSlice, ObjectRef, SourceChange, SourceObject } from '../model/object.ts';
import type { Engine } from '../policy/engine.ts';
import type { ServiceTable } from '../service/table.ts';
import type { DenyLists } from './deny-list.ts';
import type { IdentitiesInUse } from './identities-in-use.ts';
import type { NodeTable } from './node-table.ts';
import type { RemoteEndpoints } from './remote-endpoints.ts';

export interface Tables {
  readonly engine: Pick<Engine, 'setServiceAddresses'>;
  readonly services: ServiceTable;
  readonly nodes: NodeTable;
  readonly identities: Pick<IdentitiesInUse, 'learn' | 'unlearn'>;
  readonly remote: RemoteEndpoints;
  readonly denied: DenyLists;
}

export interface Published {
  take(change: SourceChange): void;
  /** A Service came, changed or went: what it stands for in policies may be something else. */
  serviceChanged(namespace: string, name: string): void;
}

export function createPublished({ engine, services, nodes, identities, remote, denied }: Tables): Published {
  /** By slice: the endpoints of default/kubernetes, which each API server writes itself into. */
  const apiServers = new Map<string, readonly Address[]>();
  const numbers = new Map<string, IdentityNumber>();
  /** The Service each slice belongs to. */
  const serviceOf = new Map<string, string>();

  function serviceChanged(namespace: string, name: string): void {
    engine.setServiceAddresses(namespace, name, services.addressesWithoutSelector(namespace, name));
  }

  function takeSlice({ namespace, name }: ObjectRef, slice: EndpointSlice | undefined): void {
    const key = `${namespace}/${name}`;
    const touched = new Set([serviceOf.get(key), slice?.service]);
    if (slice) {
      services.upsertSlice(slice);
      serviceOf.set(key, slice.service);
    } else {
      services.removeSlice({ namespace, name });
      serviceOf.delete(key);
    }
    for (const service of touched) if (service) serviceChanged(namespace, service);
    takeApiServers(key, slice);
  }

  function takeApiServers(key: string, slice: EndpointSlice | undefined): void {
    if (slice?.namespace === 'default' && slice.service === 'kubernetes') {
      apiServers.set(
        key,
        slice.endpoints.flatMap(({ addresses }) => addresses),
      );
    } else if (!apiServers.delete(key)) return;
    nodes.setApiServers([...apiServers.values()].flat());
  }

  function upsert(object: SourceObject): void {
    const { name } = object.ref;
    if (object.kind === 'EndpointSlice') takeSlice(object.ref, object.value);
    else if (object.kind === 'WeirIdentity') {
      const { number, labels } = object.value;
      const before = numbers.get(name);
      if (before !== undefined && before !== number) identities.unlearn(before);
      numbers.set(name, number);
      identities.learn(number, labels);
    } else if (object.kind === 'WeirEndpointSlice') remote.upsert(name, object.value);
    else if (object.kind === 'WeirNode') nodes.upsertRecord(object.value);
    else if (object.kind === 'WeirDenyList') denied.upsert(object.value);
  }

  function remove(kind: SourceObject['kind'], ref: ObjectRef): void {
    if (kind === 'EndpointSlice') takeSlice(ref, undefined);
    else if (kind === 'WeirIdentity') {
      const number = numbers.get(ref.name);
      if (number !== undefined) identities.unlearn(number);
      numbers.delete(ref.name);
    } else if (kind === 'WeirEndpointSlice') remote.remove(ref.name);
    else if (kind === 'WeirNode') nodes.removeRecord(ref.name);
    else if (kind === 'WeirDenyList') denied.remove(ref.name);
  }

  return {
    serviceChanged,
    take(change) {
      if (change.type === 'upsert') upsert(change.object);
      else remove(change.kind, change.ref);
    },
  };
}
