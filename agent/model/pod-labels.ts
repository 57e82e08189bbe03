/**
 * The labels of a pod's identity: its own labels after Cilium's static filter, and what the cluster says about it.
 * Filter: cilium/cilium pkg/labelsfilter/filter.go, Documentation/operations/performance/scalability/identity-relevant-labels.rst.
 */
import {
  CLUSTER_LABEL,
  type Labels,
  NAMESPACE_LABEL,
  NAMESPACE_LABELS_PREFIX,
  SERVICE_ACCOUNT_LABEL,
} from './labels.ts';
import type { Namespace, Pod } from './object.ts';

/** Keys (without source) that only the cluster itself may set: a pod cannot claim another namespace or account. */
const OWNED_BY_CLUSTER = /^(io\.kubernetes\.pod\.namespace|io\.cilium\.k8s\.)/;

/** Keys that differ per pod or per rollout and would give every pod its own identity. All match from the key's start. */
const IGNORED = [
  /^io\.kubernetes/,
  /^kubernetes\.io/,
  /^.*beta\.kubernetes\.io/,
  /^k8s\.io/,
  /^topology\.kubernetes\.io/,
  /^statefulset\.kubernetes\.io\/pod-name/,
  /^apps\.kubernetes\.io\/pod-index/,
  /^batch\.kubernetes\.io\/(job-completion-index|controller-uid)/,
  /^controller-uid/,
  /^pod-template-(generation|hash)/,
  /^controller-revision-hash/,
  /^annotation/,
  /^etcd_node/,
];

/** True if a pod's own label of this key (without source) becomes part of its identity, so that a selector can see it. */
export function isIdentityLabel(key: string): boolean {
  return !OWNED_BY_CLUSTER.test(key) && !IGNORED.some((pattern) => pattern.test(key));
}

/** The API server gives every Namespace this label with its name, and refuses another value (KEP-2161). */
const NAMESPACE_NAME_LABEL = 'kubernetes.io/metadata.name';

/**
 * The labels of the pod's identity. `namespace` may be undefined while the Namespace object is not known: then only its
 * name is in the identity. `clusterName` is Cilium's cluster.name, "default" unless configured.
 */
export function podLabels(
  pod: Pick<Pod, 'namespace' | 'labels' | 'serviceAccount'>,
  namespace: Namespace | undefined,
  options: { readonly clusterName: string },
): Labels {
  const labels = new Map<string, string>();
  for (const [key, value] of Object.entries(pod.labels)) {
    if (isIdentityLabel(key)) labels.set(`k8s:${key}`, value);
  }
  for (const [key, value] of Object.entries(namespace?.labels ?? {})) {
    labels.set(`${NAMESPACE_LABELS_PREFIX}${key}`, value);
  }
  // Manifests written by hand lack it, and selecting a namespace by its name must work there too.
  labels.set(NAMESPACE_LABELS_PREFIX + NAMESPACE_NAME_LABEL, pod.namespace);
  labels.set(NAMESPACE_LABEL, pod.namespace);
  labels.set(SERVICE_ACCOUNT_LABEL, pod.serviceAccount || 'default');
  labels.set(CLUSTER_LABEL, options.clusterName);
  return labels;
}
