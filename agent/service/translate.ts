/**
 * Which places the virtual addresses of a Service stand for. Sources: kubernetes.io "Virtual IPs and Service Proxies";
 * discovery.k8s.io/v1 EndpointConditions and EndpointHints; KEP-1669 for endpoints that are ending, KEP-3015 and KEP-2433 for hints.
 */
import type { ServiceBackend, ServiceRow } from '../datapath/datapath.ts';
import { familyOf } from '../model/address.ts';
import type { EndpointSlice, Service, ServiceEndpoint, ServicePort } from '../model/object.ts';

/** With one of these, whatever its value, a Service is another proxy's or nobody's: kubernetes.io "Well-Known Labels". */
const NOT_OURS = ['service.kubernetes.io/service-proxy-name', 'service.kubernetes.io/headless'];

/** Where the clients are that rows are for: this node. */
export interface Topology {
  readonly nodeName: string;
  /** Of the label topology.kubernetes.io/zone; '' where it has none, or is not known yet. */
  readonly zone: string;
}

/**
 * A row per cluster address and TCP or UDP port; none for a headless Service, or one that a label gives away. A port without an endpoint gives a row
 * without backends, whose clients are refused at once.
 * @param slices those of the Service, in any order
 */
export function serviceRows(service: Service, slices: readonly EndpointSlice[], from: Topology): ServiceRow[] {
  if (NOT_OURS.some((label) => Object.hasOwn(service.labels, label))) return [];
  return service.clusterIps.flatMap((address) =>
    service.ports.flatMap((port) => {
      const { protocol } = port;
      if (protocol === 'SCTP') return [];
      const candidates = slices.flatMap((slice) => placesOf(slice, port, familyOf(address)));
      const chosen = service.localOnly
        ? serving(candidates.filter(({ endpoint }) => endpoint.nodeName === from.nodeName))
        : near(serving(candidates), from);
      return [
        {
          frontend: { address, protocol, port: port.port },
          backends: inOrder(chosen.map(({ backend }) => backend)),
          affinitySeconds: service.affinitySeconds,
        },
      ];
    }),
  );
}

interface Place {
  readonly endpoint: ServiceEndpoint;
  readonly backend: ServiceBackend;
}

/** The slice's port of that name has the number the pods listen on: named targetPorts are resolved there already. */
function placesOf(slice: EndpointSlice, port: ServicePort, family: 4 | 6): Place[] {
  return slice.ports
    .filter(({ name, protocol }) => name === port.name && protocol === port.protocol)
    .flatMap((target) =>
      slice.endpoints.flatMap((endpoint) =>
        endpoint.addresses
          .filter((address) => familyOf(address) === family)
          .map((address) => ({ endpoint, backend: { address, port: target.port } })),
      ),
    );
}

/** Those that are ready; where there are none, those that still serve while they end. */
function serving(places: readonly Place[]): readonly Place[] {
  const ready = places.filter(({ endpoint }) => endpoint.ready);
  return ready.length > 0 ? ready : places.filter(({ endpoint }) => endpoint.serving && endpoint.terminating);
}

/** Those meant for this node's clients, else those for its zone's, else all. */
function near(places: readonly Place[], { nodeName, zone }: Topology): readonly Place[] {
  return meantFor(nodeName, places, 'forNodes') ?? meantFor(zone, places, 'forZones') ?? places;
}

/** Undefined where there is none, or where one says nothing: hints that are not complete are none. */
function meantFor(name: string, places: readonly Place[], hints: 'forNodes' | 'forZones'): Place[] | undefined {
  if (name === '' || places.some(({ endpoint }) => endpoint[hints].length === 0)) return undefined;
  const meant = places.filter(({ endpoint }) => endpoint[hints].includes(name));
  return meant.length > 0 ? meant : undefined;
}

/** Each once, in an order that does not depend on that of the slices: the same set gives the same row. */
function inOrder(backends: readonly ServiceBackend[]): ServiceBackend[] {
  const byKey = new Map(backends.map((backend) => [`${backend.address} ${backend.port}`, backend]));
  return [...byKey.keys()].sort().map((key) => byKey.get(key) as ServiceBackend);
}
