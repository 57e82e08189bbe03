/** Whom a command asks: one agent, or those of a cluster. Pure: the same words in the same place mean the same. */
import { UsageError } from '../command.ts';

export type Target =
  | { readonly kind: 'agent'; readonly server: string }
  | {
      readonly kind: 'cluster';
      /** Files to be merged; [] for the pod's own service account. */
      readonly kubeconfig: readonly string[];
      /** [] for all. */
      readonly nodes: readonly string[];
    };

export interface Surroundings {
  readonly server: string | undefined;
  /** --node. */
  readonly nodes: readonly string[];
  readonly allNodes: boolean;
  /** --kubeconfig or --context: a cluster was asked for by name. */
  readonly clusterNamed: boolean;
  /** What names the API server: undefined if nothing does. */
  readonly kubeconfig: readonly string[] | undefined;
  readonly defaultServer: string;
  /** Whether the agent's usual socket is on this machine: 'closed' when this user may not look. */
  readonly socket: 'there' | 'absent' | 'closed';
}

/**
 * The agent named by --server or $WEIR_SERVER; else the cluster if nodes or a cluster are named; else the agent of this
 * machine if there is one; else the cluster of the kubeconfig. On a node, -A makes the difference.
 */
export function chooseTarget(around: Surroundings): Target {
  const { server, nodes, allNodes, clusterNamed, kubeconfig, defaultServer, socket } = around;
  const asksCluster = allNodes || nodes.length > 0 || clusterNamed;
  if (allNodes && nodes.length > 0) throw new UsageError('--all-nodes and --node cannot be used together');
  if (server !== undefined && !asksCluster) return { kind: 'agent', server };
  if (asksCluster && kubeconfig === undefined) {
    throw new UsageError(
      'which cluster? There is no kubeconfig: name one by --kubeconfig or $KUBECONFIG, or put it into ~/.kube/config',
    );
  }
  const own = { kind: 'agent', server: defaultServer } as const;
  if (kubeconfig === undefined || (!asksCluster && socket === 'there')) return own;
  return { kind: 'cluster', kubeconfig, nodes };
}
