/** What is watched of the API, and which CRD a kind needs. */
import { NODES, PODS } from '../../cluster/objects.ts';
import type { KubernetesObject, Selectors } from '../../kubernetes/client.ts';
import type { Resource } from '../../kubernetes/path.ts';
import type { ObjectRef, Origin, SourceObject } from '../../model/object.ts';
import { type ObjectReading, readObject } from '../object/read-object.ts';

export interface Collection extends Selectors {
  readonly resource: Resource;
  /** Of its objects, as the source delivers them. */
  readonly kind: SourceObject['kind'];
  /** The CustomResourceDefinition that must be there; absent: the API server always has it. */
  readonly crd?: string;
  /** Its objects have `status.conditions`. */
  readonly hasConditions?: boolean;
  /** What is delivered of an object, or why it cannot be read. */
  read(object: KubernetesObject, origin: Origin): ObjectReading;
  /** The name an object of this collection goes by when it is deleted. */
  refOf(namespace: string, name: string, uid: string): ObjectRef;
}

function collection(
  apiVersion: string,
  plural: string,
  kind: string,
  more: Partial<Pick<Collection, 'crd' | 'fieldSelector' | 'hasConditions' | 'kind'>> = {},
): Collection {
  return {
    resource: { apiVersion, plural },
    kind: kind as SourceObject['kind'],
    read: readObject,
    refOf: (namespace, name, uid) => ({ apiVersion, kind, namespace, name, uid }),
    ...more,
  };
}

function documents(apiVersion: string, plural: string, kind: string, hasConditions: boolean): Collection {
  const crd = `${plural}.${apiVersion.split('/', 1)[0]}`;
  return collection(apiVersion, plural, kind, { kind: 'Document', crd, hasConditions });
}

/** Everything but pods elsewhere: of those each node publishes what others need (agent/cluster). */
export function collectionsOf(nodeName: string): Collection[] {
  return [
    collection('v1', 'namespaces', 'Namespace'),
    collection('v1', PODS.plural, 'Pod', { fieldSelector: `spec.nodeName=${nodeName}` }),
    collection('v1', NODES.plural, 'Node'),
    collection('v1', 'services', 'Service'),
    collection('discovery.k8s.io/v1', 'endpointslices', 'EndpointSlice'),
    collection('networking.k8s.io/v1', 'networkpolicies', 'NetworkPolicy', { kind: 'Document' }),
    collection('weir.dev/v1alpha1', 'weirdenylists', 'WeirDenyList', { crd: 'weirdenylists.weir.dev' }),
    ...POLICY_CRDS,
  ];
}

export const POLICY_CRDS: readonly Collection[] = [
  documents('cilium.io/v2', 'ciliumnetworkpolicies', 'CiliumNetworkPolicy', true),
  documents('cilium.io/v2', 'ciliumclusterwidenetworkpolicies', 'CiliumClusterwideNetworkPolicy', true),
  documents('cilium.io/v2', 'ciliumcidrgroups', 'CiliumCIDRGroup', false),
  documents('policy.networking.k8s.io/v1alpha2', 'clusternetworkpolicies', 'ClusterNetworkPolicy', true),
  documents('policy.networking.k8s.io/v1alpha1', 'adminnetworkpolicies', 'AdminNetworkPolicy', true),
  documents('policy.networking.k8s.io/v1alpha1', 'baselineadminnetworkpolicies', 'BaselineAdminNetworkPolicy', true),
];

export const CRDS: Resource = { apiVersion: 'apiextensions.k8s.io/v1', plural: 'customresourcedefinitions' };
