/**
 * The taint node.weir.dev/agent-not-ready: pods are not scheduled where nobody can wire them. NoSchedule only: it never
 * evicts. The node's own agent takes it away when it can serve; the holder of the Lease sets it. Pure.
 */
import { type Condition, NOT_READY_TAINT, type NodeObject, type Taint } from './objects.ts';

/** What the holder of the Lease knows of a node. */
export interface AgentSigns {
  /** There is a pod of the agent on it. */
  readonly hasPod: boolean;
  /** One of them is ready. */
  readonly isReady: boolean;
  /** An agent has been there before: it has a WeirNode. */
  readonly hasRecord: boolean;
  /** For how long the holder has seen no ready agent, milliseconds on its own clock. */
  readonly notReadyMs: number;
}

/** A restart or an upgrade of the agent takes less: what is pinned goes on, and ADD waits. */
export const RESTART_MS = 60_000;

/**
 * True when the node is to be tainted: an agent comes up on it for the first time, or one that was there has not been ready
 * for longer than a restart takes. A node on which no agent is to run is nobody's business.
 */
export function isToBeTainted(node: NodeObject, signs: AgentSigns): boolean {
  if (signs.isReady || hasTaint(node)) return false;
  if (!signs.hasRecord) return signs.hasPod;
  return signs.notReadyMs >= RESTART_MS;
}

export function hasTaint({ spec }: NodeObject): boolean {
  return (spec?.taints ?? []).some(({ key }) => key === NOT_READY_TAINT);
}

export function withTaint({ spec }: NodeObject): Taint[] {
  return [...(spec?.taints ?? []), { key: NOT_READY_TAINT, effect: 'NoSchedule' }];
}

export function withoutTaint({ spec }: NodeObject): Taint[] {
  return (spec?.taints ?? []).filter(({ key }) => key !== NOT_READY_TAINT);
}

/** Some clouds set NetworkUnavailable on a new node and expect the network's agent to take it back. */
export function isNetworkUnavailable({ status }: NodeObject): boolean {
  const condition = (status?.conditions ?? []).find(({ type }: Condition) => type === 'NetworkUnavailable');
  return condition?.status !== 'False';
}
