/** Fields of the cluster-wide policies of policy.networking.k8s.io, by kind. */
import { parsePrefix } from '../../model/address.ts';
import { ANP_PORTS, CNP_PROTOCOLS } from './cluster-ports.ts';
import { labelSelector } from './label-selector.ts';
import { ANYTHING, found, list, type ObjectSchema, object, type Schema, TEXT, UNSUPPORTED } from './schema.ts';

export type Dialect = 'ClusterNetworkPolicy' | 'AdminNetworkPolicy' | 'BaselineAdminNetworkPolicy';

const NAMESPACES = labelSelector('namespaces');
const PODS = object(
  { namespaceSelector: NAMESPACES, podSelector: labelSelector('pods') },
  { required: ['podSelector'] },
);
export const SUBJECT = object({ namespaces: NAMESPACES, pods: PODS }, { oneOf: true });

const NETWORK: Schema = {
  type: 'text',
  check(text, path, report) {
    const prefix = text.includes('/') ? parsePrefix(text) : undefined;
    if (!prefix) report.error('bad-cidr', path, `expected a CIDR like 10.0.0.0/8 or fd00::/8, found ${found(text)}`);
  },
};
const INGRESS_PEER = SUBJECT;
const EGRESS_PEER = object(
  {
    namespaces: NAMESPACES,
    pods: PODS,
    nodes: labelSelector('objects'),
    networks: list(NETWORK, { min: 1, max: 25 }),
    domainNames: UNSUPPORTED,
  },
  { oneOf: true },
);

function rules(dialect: Dialect, direction: 'from' | 'to'): Schema {
  const max = dialect === 'ClusterNetworkPolicy' ? 25 : 100;
  const actions = dialect === 'ClusterNetworkPolicy' ? ['Accept', 'Deny', 'Pass'] : ['Allow', 'Deny', 'Pass'];
  const fields = {
    name: TEXT,
    action: { type: 'text' as const, values: dialect === 'BaselineAdminNetworkPolicy' ? actions.slice(0, 2) : actions },
    [direction]: list(direction === 'from' ? INGRESS_PEER : EGRESS_PEER, { min: 1, max }),
    ...(dialect === 'ClusterNetworkPolicy' ? { protocols: CNP_PROTOCOLS } : { ports: ANP_PORTS }),
  };
  return list(object(fields, { required: ['action', direction] }), { max });
}

function policy(dialect: Dialect): ObjectSchema {
  const priority: Schema = { type: 'integer', min: 0, max: 1000 };
  const tier: Schema = { type: 'text', values: ['Admin', 'Baseline'] };
  const place = {
    ClusterNetworkPolicy: { tier, priority },
    AdminNetworkPolicy: { priority },
    BaselineAdminNetworkPolicy: {},
  }[dialect];
  const fields = { ...place, subject: SUBJECT, ingress: rules(dialect, 'from'), egress: rules(dialect, 'to') };
  const spec = object(fields, { required: [...Object.keys(place), 'subject'] });
  const top = { apiVersion: ANYTHING, kind: ANYTHING, metadata: ANYTHING, status: ANYTHING, spec };
  return object(top, { required: ['spec'] });
}

export const CLUSTER_POLICIES: Readonly<Record<Dialect, ObjectSchema>> = {
  ClusterNetworkPolicy: policy('ClusterNetworkPolicy'),
  AdminNetworkPolicy: policy('AdminNetworkPolicy'),
  BaselineAdminNetworkPolicy: policy('BaselineAdminNetworkPolicy'),
};
