/** Where the API serves what. Source: kubernetes.io/docs/reference/using-api/api-concepts, "Resource URIs". */

export interface Resource {
  /** "v1" or "group/version". */
  readonly apiVersion: string;
  /** "pods". */
  readonly plural: string;
}

/** "/api/v1/namespaces/shop/pods"; without a namespace, those of all namespaces, or of a cluster-wide kind. */
export function collectionPath({ apiVersion, plural }: Resource, namespace = ''): string {
  const root = apiVersion === 'v1' ? '/api/v1' : `/apis/${apiVersion}`;
  return namespace === '' ? `${root}/${plural}` : `${root}/namespaces/${encodeURIComponent(namespace)}/${plural}`;
}

/** "/api/v1/namespaces/shop/pods/web"; `namespace` is '' for cluster-wide kinds. */
export function objectPath(resource: Resource, namespace: string, name: string): string {
  return `${collectionPath(resource, namespace)}/${encodeURIComponent(name)}`;
}

export const LEASES: Resource = { apiVersion: 'coordination.k8s.io/v1', plural: 'leases' };
