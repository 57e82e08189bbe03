/**
 * A cluster on paper: nodes, namespaces, Services, policies, and pods that belong to some hundred applications. Pure, and
 * the same every time: who asks for pod 7 of node 3 always gets the same.
 */
import { identityObject } from '../../agent/cluster/objects.ts';
import type { KubernetesObject } from '../../agent/kubernetes/client.ts';
import type { Address, Prefix } from '../../agent/model/address.ts';
import type { Labels } from '../../agent/model/labels.ts';
import type { NodeRecord, PublishedEndpoint } from '../../agent/model/object.ts';
import { podLabels } from '../../agent/model/pod-labels.ts';

export interface Scale {
  /** Simulated nodes, at most 250; the real one comes on top. */
  readonly nodes: number;
  /** On all simulated nodes together, the same number on each. */
  readonly pods: number;
  /** As many as Services: each has one. */
  readonly applications: number;
  readonly policies: number;
}

/** What the project asks an agent to bear. */
export const FULL: Scale = { nodes: 100, pods: 5000, applications: 500, policies: 100 };
/** A fifth of it, for a test that is run often. */
export const SMALL: Scale = { nodes: 20, pods: 1000, applications: 100, policies: 20 };

export const NAMESPACES = 20;
export const PORT = 8080;
/** Of application 0. */
const FIRST_IDENTITY = 256;

export const nodeName = (node: number): string => `sim-${node}`;
export const namespaceOf = (application: number): string => `team-${application % NAMESPACES}`;
export const applicationName = (application: number): string => `app-${application}`;
export const identityOf = (application: number): number => FIRST_IDENTITY + application;
/** The first ticket that is left (agent/cluster/number-range.ts). */
export const nextIdentity = (scale: Scale): number => identityOf(scale.applications);

/** The node as its agent would describe it; counted from 1. */
export function nodeRecord(node: number): NodeRecord {
  return {
    name: nodeName(node),
    addresses: [`172.30.0.${node}`, `fd00:172:30::${node.toString(16)}`] as Address[],
    podCidrs: [`10.200.${node}.0/24`, `fd00:200:${node.toString(16)}::/64`] as Prefix[],
    routerAddresses: [`10.200.${node}.1`, `fd00:200:${node.toString(16)}::1`] as Address[],
  };
}

export function namespaceObjects(): KubernetesObject[] {
  return Array.from({ length: NAMESPACES }, (_, i) => ({
    apiVersion: 'v1',
    kind: 'Namespace',
    metadata: { name: `team-${i}`, labels: { team: `${i}`, stage: i % 2 === 0 ? 'live' : 'test' } },
  }));
}

/** The pod's own labels, as a Deployment of a Helm chart has them. */
export function labelsOf(application: number): Record<string, string> {
  return {
    'app.kubernetes.io/name': applicationName(application),
    'app.kubernetes.io/instance': applicationName(application),
    tier: application % 5 === 0 ? 'front' : 'back',
  };
}

export function identityLabels(application: number): Labels {
  const namespace = namespaceOf(application);
  const { metadata } = namespaceObjects()[application % NAMESPACES] as KubernetesObject;
  const pod = { namespace, labels: labelsOf(application), serviceAccount: 'default' };
  return podLabels(pod, { name: namespace, labels: metadata.labels ?? {} }, { clusterName: 'default' });
}

export function identityObjects(scale: Scale): KubernetesObject[] {
  return Array.from({ length: scale.applications }, (_, i) => identityObject(identityOf(i), identityLabels(i)));
}

/** The application of a node's pod: its neighbours belong to others, and so does the pod that has its address later. */
export function applicationOf(scale: Scale, node: number, pod: number, generation = 0): number {
  return ((node - 1) * podsPerNode(scale) + pod + generation) % scale.applications;
}

export const podsPerNode = ({ pods, nodes }: Scale): number => Math.ceil(pods / nodes);

/** `generation`: how often the pod was replaced by another one, which has its address. */
export function podOf(scale: Scale, node: number, pod: number, generation = 0): PublishedEndpoint {
  const application = applicationOf(scale, node, pod, generation);
  const id = (part: number) => part.toString(16).padStart(4, '0');
  return {
    addresses: [`10.200.${node}.${pod + 2}`, `fd00:200:${node.toString(16)}::${(pod + 2).toString(16)}`] as Address[],
    identity: identityOf(application),
    namespace: namespaceOf(application),
    pod: `${applicationName(application)}-6d4b75cb6d-${id(node)}${id(pod)}${generation}`,
    uid: `0b4f4e5c-1f8e-4d3a-${id(generation)}-${id(node)}0000${id(pod)}`,
    namedPorts: [{ name: 'http', protocol: 'TCP', port: PORT }],
    workload: { kind: 'Deployment', name: applicationName(application) },
  };
}

/** `generations`: of pods that were replaced. */
export function podsOf(scale: Scale, node: number, generations?: ReadonlyMap<number, number>): PublishedEndpoint[] {
  return Array.from({ length: podsPerNode(scale) }, (_, pod) => podOf(scale, node, pod, generations?.get(pod)));
}

/** Each application's Service and the EndpointSlice its controller would write. */
export function serviceObjects(scale: Scale): KubernetesObject[] {
  const backends = Map.groupBy(
    Array.from({ length: scale.nodes }, (_, i) => i + 1).flatMap((node) =>
      podsOf(scale, node).map((pod) => ({ node, pod })),
    ),
    ({ pod }) => pod.identity,
  );
  return Array.from({ length: scale.applications }, (_, i) => {
    const [namespace, name] = [namespaceOf(i), applicationName(i)];
    const service = {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name, namespace, labels: labelsOf(i) },
      spec: { selector: labelsOf(i), ports: [{ name: 'http', protocol: 'TCP', port: 80, targetPort: 'http' }] },
    };
    const slice = {
      apiVersion: 'discovery.k8s.io/v1',
      kind: 'EndpointSlice',
      metadata: { name: `${name}-4`, namespace, labels: { 'kubernetes.io/service-name': name } },
      addressType: 'IPv4',
      ports: [{ name: 'http', protocol: 'TCP', port: PORT }],
      endpoints: (backends.get(identityOf(i)) ?? []).map(({ node, pod }) => ({
        addresses: [pod.addresses[0]],
        conditions: { ready: true, serving: true, terminating: false },
        nodeName: nodeName(node),
        targetRef: { kind: 'Pod', namespace, name: pod.pod, uid: pod.uid },
      })),
    };
    return [service, slice] as KubernetesObject[];
  }).flat();
}

/** Half NetworkPolicies, half CiliumNetworkPolicies: each about one application, by labels, namespaces and ports. */
export function policyObjects(scale: Scale): KubernetesObject[] {
  return Array.from({ length: scale.policies }, (_, i) => {
    const metadata = { name: `policy-${i}`, namespace: namespaceOf(i) };
    const http = { port: 'http', protocol: 'TCP' };
    if (i % 2 === 0) {
      return {
        apiVersion: 'networking.k8s.io/v1',
        kind: 'NetworkPolicy',
        metadata,
        spec: {
          podSelector: { matchLabels: { 'app.kubernetes.io/name': applicationName(i) } },
          policyTypes: ['Ingress', 'Egress'],
          ingress: [{ from: [{ namespaceSelector: { matchLabels: { stage: 'live' } } }], ports: [http] }],
          egress: [{ to: [{ namespaceSelector: {}, podSelector: { matchLabels: { tier: 'back' } } }], ports: [http] }],
        },
      };
    }
    return {
      apiVersion: 'cilium.io/v2',
      kind: 'CiliumNetworkPolicy',
      metadata,
      spec: {
        endpointSelector: { matchLabels: { 'app.kubernetes.io/name': applicationName(i) } },
        ingress: [
          {
            fromEndpoints: [{ matchLabels: { tier: 'front', 'k8s:io.kubernetes.pod.namespace': namespaceOf(i + 1) } }],
            toPorts: [{ ports: [{ port: `${PORT}`, protocol: 'TCP' }] }],
          },
        ],
      },
    };
  }) as KubernetesObject[];
}
