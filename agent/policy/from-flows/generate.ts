/**
 * The smallest policies that allow what was seen: for each workload one that isolates it both ways and allows exactly the
 * recorded peers and ports. A drop is never made into a rule: it is told beside. Neither is what the kind of policy cannot
 * say: it is told too, and not allowed, rather than allowed with more.
 */
import { type CiliumPolicy, ciliumPolicies } from './cilium-policy.ts';
import { type KubernetesPolicy, kubernetesPolicies } from './network-policy.ts';
import { type Evidence, flowKey, type SeenFlow, type SeenOptions, sortFlows } from './seen.ts';

export const POLICY_KINDS = ['CiliumNetworkPolicy', 'NetworkPolicy'] as const;
export type PolicyKind = (typeof POLICY_KINDS)[number];
export type GeneratedPolicy = CiliumPolicy | KubernetesPolicy;

/** A policy and the flows behind its rules. */
export interface Explained<Policy> {
  readonly policy: Policy;
  /** By rule, in the order of the policy. */
  readonly ingress: readonly (readonly Evidence[])[];
  readonly egress: readonly (readonly Evidence[])[];
}

/** Flows that a policy would have to allow with others that nobody saw, or not at all. */
export interface Unsaid extends Evidence {
  readonly why: string;
}

export interface Written<Policy> {
  readonly policies: readonly Explained<Policy>[];
  readonly unsaid: readonly Unsaid[];
}

export interface Generated extends Written<GeneratedPolicy> {
  /** What was dropped, and is denied by the policies too unless `alsoAllowed` says that it was let through as well. */
  readonly drops: readonly (Evidence & { readonly alsoAllowed: boolean })[];
}

export interface GenerateOptions extends SeenOptions {
  readonly kind?: PolicyKind;
}

export function generatePolicies(flows: Iterable<SeenFlow>, options: GenerateOptions = {}): Generated {
  const seen = sortFlows(flows, options);
  const write = options.kind === 'NetworkPolicy' ? kubernetesPolicies : ciliumPolicies;
  const { policies, unsaid } = write(seen);
  const nameless = seen.nameless.map((one) => ({ ...one, why: 'no rule can name the other side' }));
  const all = [...unsaid, ...nameless];
  const isUnsaid = new Set(all.map(({ flow }) => flowKey(flow)));
  const isAllowed = (key: string) => seen.allowed.has(key) && !isUnsaid.has(key);
  return {
    policies,
    unsaid: all,
    drops: seen.drops.map((one) => ({ ...one, alsoAllowed: isAllowed(flowKey(one.flow)) })),
  };
}
