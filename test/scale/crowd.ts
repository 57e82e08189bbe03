/** Writes a population into an API server: plain objects one by one, what agents agree on as agents write it. */
import { RANGE_NAME, RANGES } from '../../agent/cluster/objects.ts';
import { createClient, type KubernetesClient, type KubernetesObject } from '../../agent/kubernetes/client.ts';
import { connect } from '../../agent/kubernetes/connection.ts';
import { collectionPath } from '../../agent/kubernetes/path.ts';
import { nodeObject } from '../cluster/bare-nodes.ts';
import {
  applicationOf,
  identityObjects,
  identityOf,
  namespaceObjects,
  nextIdentity,
  nodeRecord,
  podsOf,
  podsPerNode,
  policyObjects,
  type Scale,
  serviceObjects,
} from './population.ts';
import { type SimulatedNode, simulateNode } from './simulated-node.ts';

/** More at once only fills the API server's queues. */
const AT_ONCE = 16;

export interface Crowd {
  readonly client: KubernetesClient;
  /** Simulated nodes by number, from 1. */
  readonly nodes: ReadonlyMap<number, SimulatedNode>;
  stop(): Promise<void>;
}

/** A client that is never held up by its own rate limit. */
export async function unlimitedClient(kubeconfig: string): Promise<KubernetesClient> {
  return createClient({ connection: await connect({ kubeconfig }), rate: { perSecond: 1e5, burst: 1e5 } });
}

/** Everything but pods: Nodes, Namespaces, Services with EndpointSlices, policies, identities. The CRDs must be there. */
export async function writeSurroundings(client: KubernetesClient, scale: Scale): Promise<void> {
  await inParallel(namespaceObjects(), (object) => create(client, object));
  const nodes = Array.from({ length: scale.nodes }, (_, i) => nodeObject(nodeRecord(i + 1)));
  const range = {
    apiVersion: RANGES.apiVersion,
    kind: 'WeirIdentityRange',
    metadata: { name: RANGE_NAME },
    spec: { next: nextIdentity(scale) },
  };
  const rest = [...nodes, range, ...identityObjects(scale), ...serviceObjects(scale), ...policyObjects(scale)];
  await inParallel(rest, (object) => create(client, object));
}

/** The nodes' agents begin to write: their WeirNodes are there when this resolves, none of their pods. */
export async function gather(client: KubernetesClient, scale: Scale): Promise<Crowd> {
  const nodes = new Map<number, SimulatedNode>();
  await inParallel(
    Array.from({ length: scale.nodes }, (_, i) => i + 1),
    async (node) => {
      const applications = Array.from({ length: podsPerNode(scale) }, (_, pod) => applicationOf(scale, node, pod));
      const identities = [...new Set(applications)].map(identityOf);
      nodes.set(node, await simulateNode(client, nodeRecord(node), identities));
    },
  );
  return {
    client,
    nodes,
    async stop() {
      await Promise.all([...nodes.values()].map((node) => node.stop()));
    },
  };
}

/** All pods of all nodes appear. */
export async function populate(crowd: Crowd, scale: Scale): Promise<void> {
  await inParallel([...crowd.nodes], ([number, node]) => node.publish(podsOf(scale, number)));
}

const PLURALS: Readonly<Record<string, string>> = {
  NetworkPolicy: 'networkpolicies',
  CiliumNetworkPolicy: 'ciliumnetworkpolicies',
  CiliumClusterwideNetworkPolicy: 'ciliumclusterwidenetworkpolicies',
  WeirIdentity: 'weiridentities',
};

/** Of a namespace or of none, by its kind. */
export function create(client: KubernetesClient, object: KubernetesObject): Promise<KubernetesObject> {
  const { apiVersion = '', kind = '', metadata } = object;
  const plural = PLURALS[kind] ?? `${kind.toLowerCase()}s`;
  return client.create(collectionPath({ apiVersion, plural }, metadata.namespace ?? ''), object);
}

/** Some at once, the first failure ends it. */
export async function inParallel<T>(items: Iterable<T>, work: (item: T) => Promise<unknown>): Promise<void> {
  const queue = [...items];
  const worker = async (): Promise<void> => {
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) await work(next);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
}
