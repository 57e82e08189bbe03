/**
 * Labels with their source, as Cilium writes them: "k8s:app=frontend", "reserved:host".
 * Keys carry the source ("k8s:app"); a reserved label has an empty value.
 */
export type Labels = ReadonlyMap<string, string>;

export const NAMESPACE_LABEL = 'k8s:io.kubernetes.pod.namespace';
export const NAMESPACE_LABELS_PREFIX = 'k8s:io.cilium.k8s.namespace.labels.';
export const SERVICE_ACCOUNT_LABEL = 'k8s:io.cilium.k8s.policy.serviceaccount';
export const CLUSTER_LABEL = 'k8s:io.cilium.k8s.policy.cluster';

/** One label as text: "k8s:app=frontend", or "reserved:host" when the value is empty and the source is reserved. */
export function formatLabel(key: string, value: string): string {
  return value === '' && key.startsWith('reserved:') ? key : `${key}=${value}`;
}

/** All labels as sorted text, the form shown to users and in flows. */
export function formatLabels(labels: Labels): string[] {
  return [...labels].map(([key, value]) => formatLabel(key, value)).sort();
}

/** One string per distinct label set; equal sets give equal keys (values are quoted, so that no separator can be forged). */
export function labelsKey(labels: Labels): string {
  return JSON.stringify([...labels].sort(([a], [b]) => (a < b ? -1 : 1)));
}
