/** A scenario of the oracle as the manifests of a cluster, on the bench that matrix and explain work on. */
import type { Address } from '../../agent/model/address.ts';
import type { Pod } from '../../agent/model/object.ts';
import { byName, type Objects } from '../../agent/policy/workbench/objects.ts';
import { createWorkbench, type Workbench } from '../../agent/policy/workbench/workbench.ts';
import { CLUSTER_NAME, type PodSpec, type Scenario } from '../oracle/scenario.ts';
import { documentOf } from './policy-world.ts';

/** All pods are on the first node, as the oracle takes it. */
export function benchOf(scenario: Scenario): Workbench {
  const [own] = scenario.nodes;
  const objects: Objects = {
    namespaces: new Map(scenario.namespaces.map((namespace) => [namespace.name, namespace])),
    pods: byName(scenario.pods.map((pod) => podOf(pod, own?.name ?? ''))),
    nodes: new Map(
      scenario.nodes.map(({ name, labels, ipv4, ipv6 }) => [
        name,
        { name, labels, addresses: [ipv4 as Address, ipv6 as Address], podCidrs: [] },
      ]),
    ),
    services: scenario.services.map((service) => ({
      ...service,
      selector: service.selector,
      clusterIps: [],
      ports: [],
      affinitySeconds: 0,
      localOnly: false,
    })),
    serviceAddresses: new Map(),
    documents: scenario.documents.map(documentOf),
  };
  const { enforcement, now } = scenario;
  return createWorkbench(objects, { enforcement, now, clusterName: CLUSTER_NAME });
}

function podOf(spec: PodSpec, nodeName: string): Pod {
  const { namespace, name, labels, serviceAccount, ports } = spec;
  return {
    namespace,
    name,
    uid: '',
    labels,
    annotations: {},
    serviceAccount,
    nodeName,
    hostNetwork: false,
    addresses: [spec.ipv4 as Address, spec.ipv6 as Address],
    namedPorts: ports,
    workload: undefined,
  };
}
