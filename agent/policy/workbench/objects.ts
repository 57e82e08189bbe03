/** The objects of a cluster by kind: what questions are about. */
import type { Address } from '../../model/address.ts';
import {
  type Document,
  type EndpointSlice,
  type Namespace,
  type Node,
  type Pod,
  refKey,
  type Service,
  type SourceObject,
} from '../../model/object.ts';
import { nodeAddresses } from '../../model/router-address.ts';

export interface Objects {
  readonly namespaces: ReadonlyMap<string, Namespace>;
  /** By namespace and name. */
  readonly pods: readonly Pod[];
  /** With all their addresses (model/router-address.ts). */
  readonly nodes: ReadonlyMap<string, Node>;
  readonly services: readonly Service[];
  /** Where the Services lead, by "namespace/name": needed of those without a selector. */
  readonly serviceAddresses: ReadonlyMap<string, readonly Address[]>;
  readonly documents: readonly Document[];
}

export function podName({ namespace, name }: Pick<Pod, 'namespace' | 'name'>): string {
  return `${namespace}/${name}`;
}

export function byName(pods: Iterable<Pod>): Pod[] {
  return [...pods].sort((a, b) => (podName(a) < podName(b) ? -1 : 1));
}

/** Of several objects with one name the last counts. */
export function objectsOf(list: readonly SourceObject[]): Objects {
  const namespaces = new Map<string, Namespace>();
  const nodes = new Map<string, Node>();
  const pods = new Map<string, Pod>();
  const services = new Map<string, Service>();
  const slices = new Map<string, EndpointSlice>();
  const documents = new Map<string, Document>();
  for (const object of list) {
    if (object.kind === 'Namespace') namespaces.set(object.value.name, object.value);
    else if (object.kind === 'Node')
      nodes.set(object.value.name, { ...object.value, addresses: nodeAddresses(object.value) });
    else if (object.kind === 'Pod') pods.set(podName(object.value), object.value);
    else if (object.kind === 'Service') services.set(refKey(object.ref), object.value);
    else if (object.kind === 'EndpointSlice') slices.set(refKey(object.ref), object.value);
    else if (object.kind === 'Document') documents.set(refKey(object.ref), object.value);
  }
  return {
    namespaces,
    pods: byName(pods.values()),
    nodes,
    services: [...services.values()],
    serviceAddresses: serviceAddresses(slices.values()),
    documents: [...documents.values()],
  };
}

/** By "namespace/name" of the Service. */
export function serviceAddresses(slices: Iterable<EndpointSlice>): Map<string, Address[]> {
  const byService = new Map<string, Address[]>();
  for (const { namespace, service, endpoints } of slices) {
    const key = `${namespace}/${service}`;
    const known = byService.get(key) ?? [];
    byService.set(key, [...known, ...endpoints.flatMap(({ addresses }) => addresses)]);
  }
  return byService;
}
