/** Where agents run, from the cluster's Nodes and the agents' pods. Pure. */
import type { KubernetesObject } from '../../kubernetes/client.ts';

/** A node, and the pod that can be asked; or why there is none. */
export interface Place {
  readonly node: string;
  readonly pod: string | undefined;
  /** '' when the pod can be asked. */
  readonly why: string;
}

export interface AgentPod extends KubernetesObject {
  readonly spec?: { readonly nodeName?: string; readonly containers?: readonly { readonly image?: string }[] };
  readonly status?: {
    readonly phase?: string;
    readonly containerStatuses?: readonly {
      readonly name: string;
      readonly ready?: boolean;
      readonly restartCount?: number;
      readonly state?: {
        readonly running?: object;
        readonly waiting?: { readonly reason?: string; readonly message?: string };
        readonly terminated?: { readonly reason?: string; readonly exitCode?: number };
      };
    }[];
  };
}

export const CONTAINER = 'weir-agent';
export const AGENT_SELECTOR = 'k8s-app=weir';

/** Agents run nowhere else: of a Windows node nobody misses one. */
export function runsLinux({ metadata }: KubernetesObject): boolean {
  return (metadata.labels?.['kubernetes.io/os'] ?? 'linux') === 'linux';
}

/** One for each node, by name. Of several pods on a node, as in an update, the newest that runs. */
export function placesOf(nodes: readonly string[], pods: readonly AgentPod[]): Place[] {
  const byNode = Map.groupBy(pods, (pod) => pod.spec?.nodeName ?? '');
  const names = new Set([...nodes, ...byNode.keys()]);
  names.delete('');
  return [...names].sort().map((node) => placeOf(node, byNode.get(node) ?? []));
}

function placeOf(node: string, pods: readonly AgentPod[]): Place {
  const newest = [...pods].sort((a, b) => created(b).localeCompare(created(a)));
  const running = newest.filter(isRunning);
  const pod = running.find(({ metadata }) => metadata.deletionTimestamp === undefined) ?? running[0];
  if (pod) return { node, pod: pod.metadata.name ?? '', why: '' };
  const [dead] = newest;
  return { node, pod: undefined, why: dead ? `pod ${dead.metadata.name} ${stateOf(dead)}` : 'no agent runs there' };
}

function created({ metadata }: AgentPod): string {
  return metadata.creationTimestamp ?? '';
}

function isRunning({ status }: AgentPod): boolean {
  return status?.containerStatuses?.some(({ name, state }) => name === CONTAINER && state?.running) === true;
}

/** "is waiting: CrashLoopBackOff (...)". */
function stateOf({ status }: AgentPod): string {
  const container = status?.containerStatuses?.find(({ name }) => name === CONTAINER);
  const { waiting, terminated } = container?.state ?? {};
  if (waiting) return `is waiting: ${waiting.reason ?? ''}${waiting.message ? ` (${waiting.message})` : ''}`;
  if (terminated) return `has ended: ${terminated.reason ?? ''}, exit code ${terminated.exitCode ?? '?'}`;
  return `is ${status?.phase ?? 'not known to the kubelet'}`;
}
