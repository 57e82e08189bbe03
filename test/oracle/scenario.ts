/** A cluster, its policies and packets: everything the oracle and the engine must agree on. Plain data, JSON both ways. */
export interface PortName {
  readonly name: string;
  readonly protocol: 'TCP' | 'UDP' | 'SCTP';
  readonly port: number;
}
export interface PodSpec {
  readonly namespace: string;
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly serviceAccount: string;
  readonly ports: readonly PortName[];
  readonly ipv4: string;
  readonly ipv6: string;
}
export interface NodeSpec {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly ipv4: string;
  readonly ipv6: string;
}
export interface ServiceSpec {
  readonly namespace: string;
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly selector?: Readonly<Record<string, string>>;
}

/** A policy document as it would be applied. */
export interface RawDocument {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
  };
  readonly spec?: unknown;
  readonly specs?: readonly unknown[];
}

export interface Scenario {
  readonly namespaces: readonly { readonly name: string; readonly labels: Readonly<Record<string, string>> }[];
  readonly pods: readonly PodSpec[];
  /** The first is the node on which all pods are. */
  readonly nodes: readonly NodeSpec[];
  readonly services: readonly ServiceSpec[];
  readonly documents: readonly RawDocument[];
  readonly enforcement: 'default' | 'always' | 'never';
  /** Milliseconds since 1970. */
  readonly now: number;
  readonly packets: readonly Packet[];
}

/** The side that is judged is a pod; the other may be anything. */
export interface Packet {
  readonly direction: 'ingress' | 'egress';
  /** "namespace/name". */
  readonly subject: string;
  readonly peer: PeerSpec;
  readonly family: 4 | 6;
  /** IP protocol number. */
  readonly protocol: number;
  /** Destination port; for ICMP type << 8 | code; 0 for protocols without ports. */
  readonly port: number;
}

export type PeerSpec =
  | { readonly type: 'pod'; readonly pod: string }
  | { readonly type: 'node'; readonly node: string }
  /** Outside the cluster. `apiServer`: the cluster's API server lives there. */
  | { readonly type: 'outside'; readonly ipv4: string; readonly ipv6: string; readonly apiServer: boolean }
  /** An address of a pod range whose pod nobody knows. */
  | { readonly type: 'unmanaged'; readonly ipv4: string; readonly ipv6: string };

/** The name of this cluster in identities. */
export const CLUSTER_NAME = 'default';

export function podNamed(scenario: Scenario, key: string): PodSpec {
  const pod = scenario.pods.find(({ namespace, name }) => `${namespace}/${name}` === key);
  if (!pod) throw new Error(`the scenario has no pod ${key}`);
  return pod;
}
