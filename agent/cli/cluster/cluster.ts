/** The cluster that a command line names: its API server, and ways through it to the agents. */
import { Agent, type ClientRequestArgs } from 'node:http';
import type { Duplex } from 'node:stream';
import {
  type KubernetesClient,
  type KubernetesObject,
  createClient as kubernetesClient,
} from '../../kubernetes/client.ts';
import { type Connection, connect } from '../../kubernetes/connection.ts';
import { collectionPath } from '../../kubernetes/path.ts';
import { type Call, CliError } from '../command.ts';
import { AGENT_NAMESPACE } from '../flags.ts';
import { execute } from './exec.ts';
import { AGENT_SELECTOR, type AgentPod, CONTAINER, type Place, placesOf, runsLinux } from './places.ts';

export interface Cluster {
  readonly connection: Connection;
  readonly client: KubernetesClient;
  /** Where agents run. */
  readonly namespace: string;
}

const NODES = { apiVersion: 'v1', plural: 'nodes' };
const PODS = { apiVersion: 'v1', plural: 'pods' };
/** A person waits: not as patient as an agent. Milliseconds. */
const DEADLINE_MS = 10_000;

export async function openCluster(call: Call, kubeconfig: readonly string[]): Promise<Cluster> {
  const connection = await connect({ kubeconfig, context: call.flags.one('context') });
  return {
    connection,
    client: kubernetesClient({ connection }),
    namespace: call.flags.one('agent-namespace') ?? AGENT_NAMESPACE,
  };
}

/** Every node with its agent's pod. Throws CliError when there is no agent at all. */
export async function findPlaces({ client, namespace }: Cluster, signal: AbortSignal): Promise<Place[]> {
  const limits = { signal, deadlineMs: DEADLINE_MS };
  const [nodes, pods] = await Promise.all([
    client.list<KubernetesObject>(collectionPath(NODES), limits),
    client.list<AgentPod>(collectionPath(PODS, namespace), { ...limits, labelSelector: AGENT_SELECTOR }),
  ]);
  if (pods.items.length === 0) {
    const where = `no agent runs in namespace ${namespace} of ${client.server} (pods labelled ${AGENT_SELECTOR})`;
    throw new CliError(`${where}: is Weir installed? Another namespace is named by --agent-namespace`);
  }
  return placesOf(
    nodes.items.filter(runsLinux).map(({ metadata }) => metadata.name ?? ''),
    pods.items,
  );
}

/** Connections to the API socket of the agent in a pod: each is a program there that joins its stdio with the socket. */
export class PodAgent extends Agent {
  readonly #cluster: Cluster;
  readonly #pod: string;
  readonly #signal: AbortSignal;

  constructor(cluster: Cluster, pod: string, signal: AbortSignal) {
    super({ keepAlive: true, maxFreeSockets: 1 });
    this.#cluster = cluster;
    this.#pod = pod;
    this.#signal = signal;
  }

  override createConnection(_: ClientRequestArgs, created?: (error: Error | null, stream: Duplex) => void): null {
    const { connection, namespace } = this.#cluster;
    const words = ['weir', 'dial-stdio'];
    execute(connection, { namespace, pod: this.#pod, container: CONTAINER, words, signal: this.#signal }).then(
      (stream) => created?.(null, stream),
      (error) => created?.(error, undefined as unknown as Duplex),
    );
    return null;
  }
}
