/** A pod of another node as far as this one knows it: for questions about policies, which are asked of Pods. */
import { type Labels, SERVICE_ACCOUNT_LABEL } from '../model/labels.ts';
import type { Pod } from '../model/object.ts';
import { isIdentityLabel } from '../model/pod-labels.ts';
import type { RemoteEndpoint } from './remote-endpoints.ts';

const KUBERNETES = 'k8s:';

/** Labels that are not part of its identity are not known here, and no policy looks at them. */
export function publishedPod({ node, endpoint }: RemoteEndpoint, identity: Labels = new Map()): Pod {
  const own = [...identity]
    .filter(([key]) => key.startsWith(KUBERNETES))
    .map(([key, value]) => [key.slice(KUBERNETES.length), value] as const)
    .filter(([key]) => isIdentityLabel(key));
  return {
    namespace: endpoint.namespace,
    name: endpoint.pod,
    uid: endpoint.uid,
    labels: Object.fromEntries(own),
    annotations: {},
    serviceAccount: identity.get(SERVICE_ACCOUNT_LABEL) ?? '',
    nodeName: node,
    hostNetwork: false,
    addresses: endpoint.addresses,
    namedPorts: endpoint.namedPorts,
    workload: endpoint.workload,
  };
}
