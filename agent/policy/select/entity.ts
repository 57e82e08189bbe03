/** Cilium's entities as selectors over reserved labels. Facts: reference policy-language.md, B3. */
import { CLUSTER_LABEL } from '../../model/labels.ts';
import { type Requirement, type Selector, selector } from './selector.ts';

export const ENTITIES = [
  'all',
  'world',
  'world-ipv4',
  'world-ipv6',
  'cluster',
  'cluster-mesh',
  'host',
  'remote-node',
  'kube-apiserver',
  'health',
  'init',
  'ingress',
  'unmanaged',
  'none',
] as const;
export type Entity = (typeof ENTITIES)[number];

function reserved(name: string): Requirement[] {
  return [{ operator: 'Exists', key: `reserved:${name}` }];
}

/** What belongs to a cluster besides its pods. */
const IN_CLUSTER = ['host', 'remote-node', 'init', 'ingress', 'health', 'unmanaged', 'kube-apiserver'].map(reserved);

/** The entity as a selector; undefined for `all`, which is everybody. */
export function entitySelector(entity: Entity, clusterName: string): Selector | undefined {
  switch (entity) {
    case 'all':
      return undefined;
    case 'none':
      return selector();
    case 'cluster':
      return selector(...IN_CLUSTER, [{ operator: 'In', key: CLUSTER_LABEL, values: [clusterName] }]);
    case 'cluster-mesh':
      return selector(...IN_CLUSTER, [{ operator: 'Exists', key: CLUSTER_LABEL }]);
    default:
      return selector(reserved(entity));
  }
}
