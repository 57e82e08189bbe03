/** Asks the API server. Each fact by itself: one that may not be read hides no other. */

import type { KubernetesClient } from '../../kubernetes/client.ts';
import { collectionPath, type Resource } from '../../kubernetes/path.ts';
import type { ClusterFacts, DaemonSet, Definition, NodeInCluster, Permission, PodInCluster } from './cluster-facts.ts';
import { known } from './finding.ts';

/** What `helm install` and `helm uninstall` of the chart create by default, and what the `weir` command needs: verb, group, resource. */
export const TO_INSTALL = [
  ['create', 'apps', 'daemonsets'],
  ['create', 'batch', 'jobs'],
  ['create', '', 'serviceaccounts'],
  ['create', '', 'configmaps'],
  ['create', '', 'secrets'],
  ['create', '', 'services'],
  ['create', 'rbac.authorization.k8s.io', 'clusterroles'],
  ['create', 'rbac.authorization.k8s.io', 'clusterrolebindings'],
  ['create', 'rbac.authorization.k8s.io', 'roles'],
  ['create', 'rbac.authorization.k8s.io', 'rolebindings'],
  ['create', 'admissionregistration.k8s.io', 'validatingadmissionpolicies'],
  ['create', 'admissionregistration.k8s.io', 'validatingadmissionpolicybindings'],
  ['create', 'apiextensions.k8s.io', 'customresourcedefinitions'],
] as const;
const TO_ASK = [
  ['list', '', 'nodes'],
  ['list', '', 'pods'],
  ['get', '', 'pods/exec'],
  ['create', '', 'pods/exec'],
  ['list', 'weir.dev', 'weirnodes'],
] as const;

const CLUSTER_WIDE = new Set([
  'nodes',
  'weirnodes',
  'clusterroles',
  'clusterrolebindings',
  'customresourcedefinitions',
  'validatingadmissionpolicies',
  'validatingadmissionpolicybindings',
]);
const DAEMON_SETS: Resource = { apiVersion: 'apps/v1', plural: 'daemonsets' };
const DEFINITIONS: Resource = { apiVersion: 'apiextensions.k8s.io/v1', plural: 'customresourcedefinitions' };
const REVIEWS: Resource = { apiVersion: 'authorization.k8s.io/v1', plural: 'selfsubjectaccessreviews' };

export async function gatherCluster(
  client: KubernetesClient,
  namespace: string,
  purpose: 'install' | 'ask',
): Promise<ClusterFacts> {
  const all = <T>(resource: Resource) =>
    known(async () => (await client.list<T>(collectionPath(resource), { deadlineMs: 60_000 })).items);
  const asked = purpose === 'install' ? TO_INSTALL : TO_ASK;
  const [version, permissions, nodes, daemonSets, definitions, pods] = await Promise.all([
    known(async () => (await client.get<{ readonly gitVersion: string }>('/version')).gitVersion),
    known(() => Promise.all(asked.map(([verb, group, resource]) => mayDo(client, namespace, verb, group, resource)))),
    all<NodeInCluster>({ apiVersion: 'v1', plural: 'nodes' }),
    all<DaemonSet>(DAEMON_SETS),
    all<Definition>(DEFINITIONS),
    all<PodInCluster>({ apiVersion: 'v1', plural: 'pods' }),
  ]);
  return { server: client.server, version, permissions, nodes, daemonSets, definitions, pods, namespace };
}

async function mayDo(
  client: KubernetesClient,
  namespace: string,
  verb: string,
  group: string,
  written: string,
): Promise<Permission> {
  const [resource, subresource] = written.split('/');
  const where = CLUSTER_WIDE.has(written) ? {} : { namespace };
  const review = {
    apiVersion: REVIEWS.apiVersion,
    kind: 'SelfSubjectAccessReview',
    spec: { resourceAttributes: { verb, group, resource, ...(subresource && { subresource }), ...where } },
  };
  const { status } = await client.create<{ readonly status?: { readonly allowed?: boolean } }>(
    collectionPath(REVIEWS),
    review as object,
  );
  return {
    what: `${verb} ${written}${where.namespace === undefined ? '' : ` in ${namespace}`}`,
    allowed: status?.allowed === true,
  };
}
