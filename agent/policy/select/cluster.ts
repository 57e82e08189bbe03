/** Objects other than pods that rules refer to, and what a reference to them means at present. */
import { type Address, hostPrefix, type Prefix } from '../../model/address.ts';
import { type Labels, NAMESPACE_LABEL } from '../../model/labels.ts';
import type { Node, Service } from '../../model/object.ts';
import type { CidrGroup, GroupReference, PeerKind, ServiceReference } from '../rule.ts';
import { type Requirement, type Selector, selector, selectorMatches } from './selector.ts';

export interface Cluster {
  readonly nodes: Map<string, Node>;
  /** By "namespace/name". */
  readonly services: Map<string, Service>;
  /** By the same key: where a Service without a selector leads. */
  readonly serviceAddresses: Map<string, readonly Address[]>;
  readonly groups: Map<string, CidrGroup>;
}

/** Full-length prefixes of the addresses of the nodes that match. */
export function nodePrefixes(wanted: Selector, cluster: Cluster): Prefix[] {
  const matching = [...cluster.nodes.values()].filter((node) => selectorMatches(wanted, kubernetesLabels(node.labels)));
  return matching.flatMap((node) => node.addresses).map(hostPrefix);
}

/** Prefixes of the groups that match; none if the group does not exist (an empty set allows nothing, CVE-2025-64715). */
export function groupPrefixes(reference: GroupReference, cluster: Cluster): Prefix[] {
  if ('name' in reference) return [...(cluster.groups.get(reference.name)?.prefixes ?? [])];
  const groups = [...cluster.groups.values()];
  return groups
    .filter((group) => selectorMatches(reference.selector, kubernetesLabels(group.labels)))
    .flatMap((group) => group.prefixes);
}

/** What the endpoints of a Service without a selector can be. */
export const SERVICE_KINDS: readonly PeerKind[] = ['outside', 'node'];

function isMeant(reference: ServiceReference, service: Service): boolean {
  if (reference.namespace !== '' && reference.namespace !== service.namespace) return false;
  if ('name' in reference) return reference.name === service.name;
  return selectorMatches(reference.selector, kubernetesLabels(service.labels));
}

/**
 * Full-length prefixes of the endpoints of the Services that match and have no selector, such as default/kubernetes.
 * Pods among them are not meant: a pod is chosen by its labels.
 */
export function servicePrefixes(reference: ServiceReference, cluster: Cluster): Prefix[] {
  return [...cluster.services.values()]
    .filter((service) => !hasSelector(service) && isMeant(reference, service))
    .flatMap(({ namespace, name }) => cluster.serviceAddresses.get(`${namespace}/${name}`) ?? [])
    .map(hostPrefix);
}

function hasSelector({ selector }: Service): boolean {
  return selector !== undefined && Object.keys(selector).length > 0;
}

/**
 * Selectors of the pods behind the Services that match. A Service that does not exist stands for nobody (B7, case 20). The Service's ports play no part: policy is judged after translation (B7, case 6).
 */
export function servicePods(reference: ServiceReference, cluster: Cluster): Selector[] {
  const out: Selector[] = [];
  for (const service of cluster.services.values()) {
    const { selector: pods, namespace } = service;
    if (!pods || !hasSelector(service) || !isMeant(reference, service)) continue;
    const own: Requirement[] = Object.entries(pods).map(([key, value]) => ({
      operator: 'In',
      key: `k8s:${key}`,
      values: [value],
    }));
    out.push(selector([{ operator: 'In', key: NAMESPACE_LABEL, values: [namespace] }, ...own]));
  }
  return out;
}

function kubernetesLabels(labels: Readonly<Record<string, string>>): Labels {
  return new Map(Object.entries(labels).map(([key, value]) => [`k8s:${key}`, value]));
}
