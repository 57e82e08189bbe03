/** Objects that others write for all nodes: endpoints of Services, identities, and what each node says of itself and its pods. */
import type { Address } from '../model/address.ts';
import type { IdentityNumber } from '../model/identity.ts';
import type { EndpointSlice, ObjectRef, SourceChange, SourceObject } from '../model/object.ts';
import type { ServiceTable } from '../service/table.ts';
import type { IdentitiesInUse } from './identities-in-use.ts';
import type { NodeTable } from './node-table.ts';
import type { RemoteEndpoints } from './remote-endpoints.ts';

export interface Tables {
  readonly services: ServiceTable;
  readonly nodes: NodeTable;
  readonly identities: Pick<IdentitiesInUse, 'learn' | 'unlearn'>;
  readonly remote: RemoteEndpoints;
}

export function createPublished({ services, nodes, identities, remote }: Tables): { take(change: SourceChange): void } {
  /** By slice: the endpoints of default/kubernetes, which each API server writes itself into. */
  const apiServers = new Map<string, readonly Address[]>();
  const numbers = new Map<string, IdentityNumber>();

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
    const { name, namespace } = object.ref;
    if (object.kind === 'EndpointSlice') {
      services.upsertSlice(object.value);
      takeApiServers(`${namespace}/${name}`, object.value);
    } else if (object.kind === 'WeirIdentity') {
      const { number, labels } = object.value;
      const before = numbers.get(name);
      if (before !== undefined && before !== number) identities.unlearn(before);
      numbers.set(name, number);
      identities.learn(number, labels);
    } else if (object.kind === 'WeirEndpointSlice') remote.upsert(name, object.value);
    else if (object.kind === 'WeirNode') nodes.upsertRecord(object.value);
  }

  function remove(kind: SourceObject['kind'], ref: ObjectRef): void {
    if (kind === 'EndpointSlice') {
      services.removeSlice(ref);
      takeApiServers(`${ref.namespace}/${ref.name}`, undefined);
    } else if (kind === 'WeirIdentity') {
      const number = numbers.get(ref.name);
      if (number !== undefined) identities.unlearn(number);
      numbers.delete(ref.name);
    } else if (kind === 'WeirEndpointSlice') remote.remove(ref.name);
    else if (kind === 'WeirNode') nodes.removeRecord(ref.name);
  }

  return {
    take(change) {
      if (change.type === 'upsert') upsert(change.object);
      else remove(change.kind, change.ref);
    },
  };
}
