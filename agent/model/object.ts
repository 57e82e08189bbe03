/** Names of things in a cluster, where they were written down, and what a source says about them. */
import type { Address, Prefix } from './address.ts';
import type { IdentityNumber } from './identity.ts';
import type { Labels } from './labels.ts';
import type { RecordAge } from './record-age.ts';

/** Names one object. `namespace` is '' for cluster-wide kinds; `uid` is '' where the source has none. */
export interface ObjectRef {
  readonly apiVersion: string;
  readonly kind: string;
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
}

/** "Kind namespace/name", the form used in messages; also the key an object is found by (uid not included). */
export function refKey(ref: ObjectRef): string {
  return ref.namespace === '' ? `${ref.kind} ${ref.name}` : `${ref.kind} ${ref.namespace}/${ref.name}`;
}

/** A step into a document: a field name or a list index. */
export type Path = readonly (string | number)[];

/** Where a document was written. `line` counts from 1 and is undefined when there is no text (an API object). */
export interface Origin {
  readonly place: string;
  line(path: Path): number | undefined;
}

/** "spec.ingress[0].toPorts[1].ports[0].port". */
export function formatPath(path: Path): string {
  return path.map((step, i) => (typeof step === 'number' ? `[${step}]` : i === 0 ? step : `.${step}`)).join('');
}

/** Something wrong, or suspicious, in a document: which field, on which line, and what was expected. */
export interface Problem {
  readonly severity: 'error' | 'warning';
  /** Stable short name, e.g. "unknown-field", "unsupported-field", "no-dns-egress". */
  readonly code: string;
  readonly message: string;
  readonly path: Path;
  readonly place: string;
  readonly line: number | undefined;
}

export type TransportName = 'TCP' | 'UDP' | 'SCTP';

/** A container port a policy may name. */
export interface NamedPort {
  readonly name: string;
  readonly protocol: TransportName;
  readonly port: number;
}

export interface Namespace {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
}

export interface Pod {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  readonly serviceAccount: string;
  readonly nodeName: string;
  readonly hostNetwork: boolean;
  /** Addresses from status.podIPs; empty in a manifest of a pod that the CNI has yet to wire. */
  readonly addresses: readonly Address[];
  readonly namedPorts: readonly NamedPort[];
  /** Owner for display, e.g. {kind: 'Deployment', name: 'web'}. */
  readonly workload: { readonly kind: string; readonly name: string } | undefined;
}

export interface Node {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly addresses: readonly Address[];
  readonly podCidrs: readonly Prefix[];
}

export interface ServicePort {
  readonly name: string;
  readonly protocol: TransportName;
  readonly port: number;
  readonly targetPort: number | string;
}

export interface Service {
  readonly namespace: string;
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  /** Undefined: a Service without a selector, whose endpoints are written by somebody else. */
  readonly selector: Readonly<Record<string, string>> | undefined;
  readonly clusterIps: readonly Address[];
  readonly ports: readonly ServicePort[];
  /** sessionAffinity ClientIP: how long a client keeps its backend, in seconds; 0: no affinity. */
  readonly affinitySeconds: number;
  /** internalTrafficPolicy Local: only endpoints of the client's own node serve it. */
  readonly localOnly: boolean;
}

/** One place behind a Service. Source: discovery.k8s.io/v1 Endpoint, EndpointConditions. */
export interface ServiceEndpoint {
  readonly addresses: readonly Address[];
  /** Takes new connections. */
  readonly ready: boolean;
  /** Able to serve, also while it ends. */
  readonly serving: boolean;
  readonly terminating: boolean;
  readonly nodeName: string;
  /** Names of the nodes, and of the zones, whose clients should come here, as trafficDistribution has it; [] where that is not said. */
  readonly forNodes: readonly string[];
  readonly forZones: readonly string[];
  /** "namespace/name" of the pod it is; '' for something else. */
  readonly pod: string;
}

/** Part of the endpoints of one Service: discovery.k8s.io/v1 EndpointSlice. */
export interface EndpointSlice {
  readonly namespace: string;
  readonly name: string;
  /** Of the label kubernetes.io/service-name; '' for a slice of no Service. */
  readonly service: string;
  readonly ports: readonly { readonly name: string; readonly protocol: TransportName; readonly port: number }[];
  readonly endpoints: readonly ServiceEndpoint[];
}

/** The cluster's number for a set of labels: weir.dev WeirIdentity. */
export interface ClusterIdentity {
  readonly number: IdentityNumber;
  readonly labels: Labels;
}

/** A pod as its node publishes it. */
export interface PublishedEndpoint {
  readonly addresses: readonly Address[];
  readonly identity: IdentityNumber;
  readonly namespace: string;
  readonly pod: string;
  /** The pod's uid: an address belongs to it, not to the name. */
  readonly uid: string;
  readonly namedPorts: readonly NamedPort[];
  readonly workload: { readonly kind: string; readonly name: string } | undefined;
}

/** Some of the pods of one node: weir.dev WeirEndpointSlice. */
export interface PublishedEndpoints {
  readonly node: string;
  readonly endpoints: readonly PublishedEndpoint[];
}

/** What an agent says of its node: weir.dev WeirNode. */
export interface NodeRecord {
  readonly name: string;
  /** Where its tunnel ends, and its routes lead. */
  readonly addresses: readonly Address[];
  readonly podCidrs: readonly Prefix[];
  /** The address of each pod CIDR with which the node itself speaks to pods elsewhere. */
  readonly routerAddresses: readonly Address[];
  /** Of the object; undefined where no agent wrote one. */
  readonly age?: RecordAge | undefined;
}

/** Sources that nodes drop where they arrive: weir.dev WeirDenyList. */
export interface DenyList {
  readonly name: string;
  readonly prefixes: readonly Prefix[];
}

/** A document of one of the policy languages, as it came: the policy engine parses it. */
export interface Document {
  readonly ref: ObjectRef;
  readonly annotations: Readonly<Record<string, string>>;
  readonly raw: unknown;
  readonly origin: Origin;
}

/** One object as a source delivers it. Kinds nobody here needs are not delivered. */
export type SourceObject =
  | { readonly kind: 'Namespace'; readonly ref: ObjectRef; readonly value: Namespace }
  | { readonly kind: 'Pod'; readonly ref: ObjectRef; readonly value: Pod }
  | { readonly kind: 'Node'; readonly ref: ObjectRef; readonly value: Node }
  | { readonly kind: 'Service'; readonly ref: ObjectRef; readonly value: Service }
  | { readonly kind: 'EndpointSlice'; readonly ref: ObjectRef; readonly value: EndpointSlice }
  | { readonly kind: 'WeirIdentity'; readonly ref: ObjectRef; readonly value: ClusterIdentity }
  | { readonly kind: 'WeirEndpointSlice'; readonly ref: ObjectRef; readonly value: PublishedEndpoints }
  | { readonly kind: 'WeirNode'; readonly ref: ObjectRef; readonly value: NodeRecord }
  | { readonly kind: 'WeirDenyList'; readonly ref: ObjectRef; readonly value: DenyList }
  /** CiliumNetworkPolicy, CiliumClusterwideNetworkPolicy, CiliumCIDRGroup, NetworkPolicy, ClusterNetworkPolicy, ... */
  | { readonly kind: 'Document'; readonly ref: ObjectRef; readonly value: Document };

export type SourceChange =
  | { readonly type: 'upsert'; readonly object: SourceObject }
  | { readonly type: 'delete'; readonly kind: SourceObject['kind']; readonly ref: ObjectRef };
