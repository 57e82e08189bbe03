/** What is found out about a cluster through its API server, to be judged by judge-cluster.ts. */
import type { EndpointsAnswer } from '../../api/endpoints.ts';
import type { StatusAnswer } from '../../api/status.ts';
import type { NodeObject } from '../../cluster/objects.ts';
import type { KubernetesObject } from '../../kubernetes/client.ts';
import type { Answers } from '../agents.ts';
import type { Known } from './finding.ts';

export interface ClusterFacts {
  readonly server: string;
  /** "v1.34.1". */
  readonly version: Known<string>;
  readonly permissions: Known<readonly Permission[]>;
  readonly nodes: Known<readonly NodeInCluster[]>;
  readonly daemonSets: Known<readonly DaemonSet[]>;
  readonly definitions: Known<readonly Definition[]>;
  readonly pods: Known<readonly PodInCluster[]>;
  /** Where agents run. */
  readonly namespace: string;
}

/** What agents say of themselves. */
export interface AgentFacts {
  readonly status: Answers<StatusAnswer>;
  readonly endpoints: Answers<EndpointsAnswer>;
}

export interface Permission {
  /** "create daemonsets in kube-system". */
  readonly what: string;
  readonly allowed: boolean;
}

export interface NodeInCluster extends NodeObject {
  readonly status?: NodeObject['status'] & {
    readonly nodeInfo?: { readonly kernelVersion?: string; readonly containerRuntimeVersion?: string };
  };
}

export interface DaemonSet extends KubernetesObject {
  readonly status?: { readonly desiredNumberScheduled?: number; readonly numberReady?: number };
}

export interface Definition extends KubernetesObject {
  readonly status?: { readonly conditions?: readonly { readonly type: string; readonly status: string }[] };
}

export interface PodInCluster extends KubernetesObject {
  readonly spec?: { readonly nodeName?: string; readonly hostNetwork?: boolean };
  readonly status?: { readonly phase?: string };
}
