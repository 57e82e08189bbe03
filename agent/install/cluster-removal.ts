/**
 * The end of `helm uninstall`, done once for the cluster: waits until every node has been cleaned (a pod of the DaemonSet
 * weir-cleanup is ready where that is so), removes what the agents left in the API server, and at last that DaemonSet. Helm
 * must not: it would also when a node is not clean, and nobody would clean that one when it comes back.
 */
import { WeirError } from '../errors.ts';
import type { KubernetesClient, KubernetesObject } from '../kubernetes/client.ts';
import { collectionPath, objectPath, type Resource } from '../kubernetes/path.ts';

const DAEMON_SETS: Resource = { apiVersion: 'apps/v1', plural: 'daemonsets' };
const NODES: Resource = { apiVersion: 'v1', plural: 'nodes' };
const CONFIG_MAPS: Resource = { apiVersion: 'v1', plural: 'configmaps' };
const PODS: Resource = { apiVersion: 'v1', plural: 'pods' };
/** Keeps pods away from nodes whose agent is not ready: nobody would take it away any more. */
const TAINT = 'node.weir.dev/agent-not-ready';
/** Made by agents and of no use without them. What people wrote (weirdenylists, policies) is theirs. */
const STATE = ['weirendpointslices', 'weirnodes', 'weiridentities', 'weiridentityranges'];
const LOOK_AGAIN_MS = 500;
/** Rounds over all Nodes; each takes the taint from nearly all that have it. */
const TRIES = 20;

interface DaemonSet extends KubernetesObject {
  readonly metadata: KubernetesObject['metadata'] & { readonly generation?: number };
  readonly status?: {
    readonly observedGeneration?: number;
    readonly desiredNumberScheduled?: number;
    readonly numberReady?: number;
  };
}

interface Node extends KubernetesObject {
  readonly spec?: { readonly taints?: readonly { readonly key: string; readonly effect: string }[] };
}

interface Pod extends KubernetesObject {
  readonly spec?: { readonly nodeName?: string };
  readonly status?: { readonly conditions?: readonly { readonly type: string; readonly status: string }[] };
}

type Client = Pick<KubernetesClient, 'get' | 'list' | 'patch' | 'remove'>;

export interface WaitOptions {
  readonly client: Client;
  readonly namespace: string;
  readonly daemonSet: string;
  /** How long all nodes together may take, milliseconds. */
  readonly timeoutMs: number;
}

/**
 * All of it; `tell` hears what was done, a sentence each. What agents left goes also when a node is not clean: they are gone,
 * and the taint keeps pods from every node. @throws as {@link waitForNodes}, or what the API server says
 */
export async function finishRemoval(options: WaitOptions, tell: (change: string) => void): Promise<void> {
  const { client, namespace, daemonSet } = options;
  let failure: unknown;
  try {
    tell(`${await waitForNodes(options)} nodes are clean`);
  } catch (error) {
    failure = error;
  }
  for (const change of await removeState(client)) tell(change);
  if (failure !== undefined) throw failure;
  // The ConfigMap has its name.
  for (const resource of [DAEMON_SETS, CONFIG_MAPS])
    await unlessGone(client.remove(objectPath(resource, namespace, daemonSet)));
}

/**
 * Resolves with how many nodes there are when every node that the DaemonSet is for is clean. @throws TIMEOUT naming the
 * nodes that are not, or what the API server says.
 */
export async function waitForNodes({ client, namespace, daemonSet, timeoutMs }: WaitOptions): Promise<number> {
  const untilMs = performance.now() + timeoutMs;
  for (;;) {
    const isLate = performance.now() >= untilMs;
    try {
      const { metadata, status = {} } = await client.get<DaemonSet>(objectPath(DAEMON_SETS, namespace, daemonSet));
      const { desiredNumberScheduled = 0, numberReady = 0, observedGeneration = 0 } = status;
      const isCounted = observedGeneration >= (metadata.generation ?? 1);
      if (isCounted && numberReady >= desiredNumberScheduled) return numberReady;
    } catch (error) {
      // An API server that is away for a moment says nothing about the nodes.
      if (isLate || !(error instanceof WeirError && error.retryable)) throw error;
    }
    if (isLate) {
      const left = await unreadyNodes(client, namespace, daemonSet);
      const where = left.length === 0 ? 'some nodes' : left.join(', ');
      const message = `not clean after ${timeoutMs / 1000} s: ${where}; the DaemonSet ${daemonSet} goes on until it is deleted`;
      throw new WeirError('TIMEOUT', 'wait for the nodes', message);
    }
    await new Promise((resolve) => setTimeout(resolve, LOOK_AGAIN_MS));
  }
}

async function unreadyNodes(client: Client, namespace: string, daemonSet: string): Promise<string[]> {
  const labelSelector = `app.kubernetes.io/name=${daemonSet}`;
  const { items } = await client.list<Pod>(collectionPath(PODS, namespace), { labelSelector });
  const isReady = ({ status }: Pod) =>
    status?.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True');
  return items.filter((pod) => !isReady(pod)).map(({ spec }) => spec?.nodeName ?? 'a node that has no pod yet');
}

/** Removes the agents' objects and taints. Resolves with what was done, a sentence each. */
export async function removeState(client: Client): Promise<string[]> {
  const done: string[] = [];
  for (const plural of STATE) {
    const resource = { apiVersion: 'weir.dev/v1alpha1', plural };
    const names = (await listIfThere(client, resource)).map(({ metadata }) => metadata.name);
    for (const name of names) await unlessGone(client.remove(objectPath(resource, '', name)));
    if (names.length > 0) done.push(`deleted ${names.length} ${plural}`);
  }
  return [...done, ...(await removeTaints(client))];
}

/** Kubelets write their Nodes all the time: what one has changed since it was read is read again. */
async function removeTaints(client: Client): Promise<string[]> {
  const done: string[] = [];
  for (let tries = 1; ; tries++) {
    let conflict: unknown;
    for (const { metadata, spec } of await listIfThere<Node>(client, NODES)) {
      const taints = spec?.taints ?? [];
      const others = taints.filter(({ key }) => key !== TAINT);
      if (others.length === taints.length) continue;
      const body = { metadata: { resourceVersion: metadata.resourceVersion }, spec: { taints: others } };
      try {
        await unlessGone(client.patch(objectPath(NODES, '', metadata.name), { type: 'merge', body }));
        done.push(`removed the taint ${TAINT} from ${metadata.name}`);
      } catch (cause) {
        if (!(cause instanceof WeirError && cause.code === 'API_CONFLICT')) throw cause;
        conflict = cause;
      }
    }
    if (conflict === undefined) return done;
    if (tries >= TRIES) throw conflict;
  }
}

async function listIfThere<T extends KubernetesObject>(client: Client, resource: Resource): Promise<readonly T[]> {
  try {
    return (await client.list<T>(collectionPath(resource))).items;
  } catch (error) {
    if (error instanceof WeirError && error.code === 'NOT_FOUND') return []; // Its definition is gone.
    throw error;
  }
}

async function unlessGone(work: Promise<unknown>): Promise<void> {
  await work.catch((error: unknown) => {
    if (!(error instanceof WeirError && error.code === 'NOT_FOUND')) throw error;
  });
}
