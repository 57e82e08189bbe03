/** Whether a policy is in force: by what agents say of it, and what the API server has. */
import type { PoliciesAnswer, PolicyAnswer } from '../../api/policies.ts';
import { ApiError } from '../../kubernetes/api-error.ts';
import type { KubernetesClient, KubernetesObject } from '../../kubernetes/client.ts';
import { collectionPath, type Resource } from '../../kubernetes/path.ts';
import type { AgentOfNode, Agents } from '../agents.ts';
import { CliError } from '../command.ts';

/** A policy and the version of it that counts. */
export interface Wanted {
  readonly kind: string;
  /** '' for a cluster-wide one. */
  readonly namespace: string;
  readonly name: string;
  /** metadata.generation: nodes that still have an older one have not seen the last edit. */
  readonly generation: number;
}

export interface PolicyResource extends Resource {
  readonly kind: string;
  readonly clusterWide: boolean;
}

const resource = (kind: string, apiVersion: string, plural: string, clusterWide: boolean): PolicyResource => ({
  kind,
  apiVersion,
  plural,
  clusterWide,
});

/** Kinds of policy documents, and where the API server has them: what agents watch (source/kubernetes/collections.ts). */
export const POLICY_RESOURCES: readonly PolicyResource[] = [
  resource('NetworkPolicy', 'networking.k8s.io/v1', 'networkpolicies', false),
  resource('CiliumNetworkPolicy', 'cilium.io/v2', 'ciliumnetworkpolicies', false),
  resource('CiliumClusterwideNetworkPolicy', 'cilium.io/v2', 'ciliumclusterwidenetworkpolicies', true),
  resource('ClusterNetworkPolicy', 'policy.networking.k8s.io/v1alpha2', 'clusternetworkpolicies', true),
  resource('AdminNetworkPolicy', 'policy.networking.k8s.io/v1alpha1', 'adminnetworkpolicies', true),
  resource('BaselineAdminNetworkPolicy', 'policy.networking.k8s.io/v1alpha1', 'baselineadminnetworkpolicies', true),
];

/** The policies of that name the API server has. `namespace`: '' for cluster-wide ones, undefined for any. */
export async function findPolicies(
  client: Pick<KubernetesClient, 'list'>,
  name: string,
  namespace: string | undefined,
): Promise<Wanted[]> {
  const resources = POLICY_RESOURCES.filter(
    ({ clusterWide }) => namespace === undefined || clusterWide === (namespace === ''),
  );
  const fieldSelector = `metadata.name=${name}`;
  const found = await Promise.all(
    resources.map(async (each) => {
      const path = collectionPath(each, namespace);
      const { items } = await client.list<KubernetesObject>(path, { fieldSelector }).catch(noneIfKindIsMissing);
      return items.map(({ metadata }) => ({
        kind: each.kind,
        namespace: metadata.namespace ?? '',
        name,
        generation: metadata.generation ?? 0,
      }));
    }),
  );
  return found.flat();
}

function noneIfKindIsMissing(error: unknown): { items: KubernetesObject[] } {
  if (error instanceof ApiError && error.code === 'NOT_FOUND') return { items: [] };
  throw error;
}

/** Of a node that has not got so far: why. Undefined: it is in force there. */
export function lacking(policy: PolicyAnswer | undefined, generation: number): string | undefined {
  if (!policy) return 'it is not there yet';
  const { metadata } = (policy.document ?? {}) as { readonly metadata?: { readonly generation?: number } };
  if ((metadata?.generation ?? 0) < generation) return `it still has generation ${metadata?.generation ?? 0}`;
  if (policy.status !== 'valid') return `it is ${policy.status}: ${policy.problems[0]?.message}`;
  if (!policy.realized) return `revision ${policy.revision} is being applied`;
  return undefined;
}

/** The nodes (`of` those, else all) on which it is not in force as wanted, with the reason; [] when it is everywhere. */
export async function nodesWithout(
  agents: Pick<Agents, 'ask'>,
  wanted: Wanted,
  of?: readonly AgentOfNode[],
): Promise<{ node: string; why: string }[]> {
  const path = `/v1/policies/${encodeURIComponent(wanted.namespace || '-')}/${encodeURIComponent(wanted.name)}`;
  const { answers, silent } = await agents.ask(async (client) => {
    const policies = await client.get<PoliciesAnswer>(path).then(
      (answer) => answer.policies,
      (error) => {
        if (error instanceof CliError && error.code === 'NOT_FOUND') return [];
        throw error;
      },
    );
    return lacking(
      policies.find(({ kind }) => kind === wanted.kind),
      wanted.generation,
    );
  }, of);
  const behind = answers.flatMap(({ node, value }) => (value === undefined ? [] : [{ node, why: value }]));
  return [...behind, ...silent];
}
