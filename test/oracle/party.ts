/** The other side of a packet, as policies can see it. */
import { CLUSTER_NAME, type Packet, type PodSpec, podNamed, type Scenario } from './scenario.ts';

/** A label and where it comes from. */
export interface SourcedLabel {
  readonly source: string;
  readonly key: string;
  readonly value: string;
}
export interface Party {
  readonly kind: 'outside' | 'node' | 'pod';
  readonly address: string;
  readonly labels: readonly SourcedLabel[];
  /** Set if it is a pod with a name. */
  readonly pod: PodSpec | undefined;
  /** Set if it is a node. */
  readonly node: string | undefined;
}

/** Labels of a pod: its own, its namespace's, its account's, its cluster's (policy-language.md, B5.1). */
export function podParty(scenario: Scenario, pod: PodSpec, family: 4 | 6): Party {
  const k8s = (key: string, value: string): SourcedLabel => ({ source: 'k8s', key, value });
  const namespace = scenario.namespaces.find(({ name }) => name === pod.namespace);
  const labels = [
    ...Object.entries(pod.labels).map(([key, value]) => k8s(key, value)),
    ...Object.entries(namespace?.labels ?? {}).map(([key, value]) =>
      k8s(`io.cilium.k8s.namespace.labels.${key}`, value),
    ),
    k8s('io.kubernetes.pod.namespace', pod.namespace),
    k8s('io.cilium.k8s.policy.serviceaccount', pod.serviceAccount),
    k8s('io.cilium.k8s.policy.cluster', CLUSTER_NAME),
  ];
  return { kind: 'pod', address: family === 4 ? pod.ipv4 : pod.ipv6, labels, pod, node: undefined };
}

export function peerOf(scenario: Scenario, { peer, family }: Packet): Party {
  const reserved = (...names: string[]): SourcedLabel[] => names.map((key) => ({ source: 'reserved', key, value: '' }));
  if (peer.type === 'pod') return podParty(scenario, podNamed(scenario, peer.pod), family);
  if (peer.type === 'node') {
    const node = scenario.nodes.find(({ name }) => name === peer.node);
    if (!node) throw new Error(`the scenario has no node ${peer.node}`);
    const labels = reserved(node === scenario.nodes[0] ? 'host' : 'remote-node');
    return { kind: 'node', address: family === 4 ? node.ipv4 : node.ipv6, labels, pod: undefined, node: node.name };
  }
  const address = family === 4 ? peer.ipv4 : peer.ipv6;
  const none = { address, pod: undefined, node: undefined };
  if (peer.type === 'unmanaged') return { ...none, kind: 'pod', labels: reserved('unmanaged') };
  if (peer.apiServer) return { ...none, kind: 'outside', labels: reserved('kube-apiserver', 'world') };
  return { ...none, kind: 'outside', labels: reserved('world', family === 4 ? 'world-ipv4' : 'world-ipv6') };
}
