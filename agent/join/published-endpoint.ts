/** What other nodes are told of an endpoint. Pure. */
import type { NamedPort, PublishedEndpoint } from '../model/object.ts';
import type { AnnouncedEndpoint } from './join.ts';

/**
 * What a WeirEndpointSlice takes (crds/weir/endpoint-slice.ts). The API server refuses a slice whole, with all pods in it, so
 * what the author of a pod may write as he likes must not get there.
 */
const LONGEST_KIND = 63;
const LONGEST_NAME = 253;
const MOST_NAMED_PORTS = 256;

/** Undefined: it has more named ports than can be told. Then it stays unknown to other nodes, and what is unknown is denied. */
export function publishedEndpoint(endpoint: AnnouncedEndpoint): PublishedEndpoint | undefined {
  const { record, identity, pod } = endpoint;
  const namedPorts = distinct(endpoint.namedPorts);
  if (namedPorts.length > MOST_NAMED_PORTS) return undefined;
  const { addresses, namespace, podName } = record;
  return { addresses, identity, namespace, pod: podName, uid: uidOf(endpoint), namedPorts, workload: workloadOf(pod) };
}

/** The pod's uid; of a container that is no pod, its own id. */
function uidOf({ record, pod }: AnnouncedEndpoint): string {
  return record.podUid || pod?.uid || record.containerId;
}

/** Only people read it, and the API server lets any text be an owner's kind and name. */
function workloadOf(pod: AnnouncedEndpoint['pod']): PublishedEndpoint['workload'] {
  const workload = pod?.workload;
  if (!workload || workload.kind.length > LONGEST_KIND || workload.name.length > LONGEST_NAME) return undefined;
  return workload.name === '' ? undefined : workload;
}

/** Containers of one pod may name the same port. */
function distinct(ports: readonly NamedPort[]): NamedPort[] {
  return [...new Map(ports.map((port) => [`${port.name} ${port.protocol} ${port.port}`, port])).values()];
}
