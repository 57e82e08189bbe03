/**
 * What happened to an agent between two looks at it, in Hubble's words (flow.AgentEvent): policies that came, changed and
 * went, endpoints that were made and removed, and the policy revision that each got. Pure.
 *
 * Endpoints come before policies that go, and after those that come: a reader who follows knows the policy of an endpoint.
 */
import type { Endpoint } from '../../model/endpoint.ts';
import { formatLabels, type Labels } from '../../model/labels.ts';
import { type ObjectRef, refKey } from '../../model/object.ts';
import type { State } from '../state.ts';

/** flow.AgentEventType, as far as Weir has them. */
export const AGENT_EVENT = {
  AGENT_STARTED: 2,
  POLICY_UPDATED: 3,
  POLICY_DELETED: 4,
  ENDPOINT_REGENERATE_SUCCESS: 5,
  ENDPOINT_REGENERATE_FAILURE: 6,
  ENDPOINT_CREATED: 7,
  ENDPOINT_DELETED: 8,
  IPCACHE_UPSERTED: 9,
  IPCACHE_DELETED: 10,
} as const;

/** flow.AgentEvent. */
export interface AgentEvent {
  readonly type: (typeof AGENT_EVENT)[keyof typeof AGENT_EVENT];
  readonly [notification: string]: unknown;
}

interface SeenPolicy {
  readonly ref: ObjectRef;
  readonly revision: number;
  readonly rules: number;
}
type SeenEndpoint = Pick<Endpoint, 'id' | 'namespace' | 'podName' | 'podUid' | 'labels' | 'revision' | 'state'>;

/** An agent at one moment. */
export interface AgentMoment {
  readonly policies: ReadonlyMap<string, SeenPolicy>;
  readonly endpoints: ReadonlyMap<number, SeenEndpoint>;
}

export const NOTHING: AgentMoment = { policies: new Map(), endpoints: new Map() };

/** The agent as it is now. */
export function momentOf(state: Pick<State, 'policies' | 'endpoints'>): AgentMoment {
  return {
    policies: new Map(
      state.policies().map(({ ref, revision, rules }) => [refKey(ref), { ref, revision, rules: rules.length }]),
    ),
    endpoints: new Map(state.endpoints().map((endpoint) => [endpoint.id, endpoint])),
  };
}

export function agentChanges(before: AgentMoment, now: AgentMoment): AgentEvent[] {
  const events: AgentEvent[] = [];
  for (const [key, policy] of now.policies) {
    if (before.policies.get(key)?.revision !== policy.revision) {
      events.push(policyEvent(AGENT_EVENT.POLICY_UPDATED, policy));
    }
  }
  for (const [id, endpoint] of before.endpoints) {
    if (!isSame(endpoint, now.endpoints.get(id))) {
      events.push(endpointEvent(AGENT_EVENT.ENDPOINT_DELETED, endpoint));
    }
  }
  for (const [id, endpoint] of now.endpoints) {
    const known = before.endpoints.get(id);
    const old = known !== undefined && isSame(known, endpoint) ? known : undefined;
    if (old === undefined) events.push(endpointEvent(AGENT_EVENT.ENDPOINT_CREATED, endpoint));
    if (old?.revision !== endpoint.revision || old.state !== endpoint.state) events.push(...regeneration(endpoint));
  }
  for (const [key, policy] of before.policies) {
    if (!now.policies.has(key)) events.push(policyEvent(AGENT_EVENT.POLICY_DELETED, policy));
  }
  return events;
}

/** An index may be given to another pod between two looks. */
function isSame(one: SeenEndpoint, other: SeenEndpoint | undefined): boolean {
  return other !== undefined && one.podUid === other.podUid && one.podName === other.podName;
}

function policyEvent(type: AgentEvent['type'], { ref, revision, rules }: SeenPolicy): AgentEvent {
  const label = (name: string, value: string) => (value === '' ? [] : [`k8s:io.cilium.k8s.policy.${name}=${value}`]);
  const labels = [
    ...label('derived-from', ref.kind),
    ...label('name', ref.name),
    ...label('namespace', ref.namespace),
    ...label('uid', ref.uid),
  ];
  return { type, policy_update: { labels, revision, rule_count: rules } };
}

function endpointEvent(type: AgentEvent['type'], { id, labels, namespace, podName }: SeenEndpoint): AgentEvent {
  return { type, endpoint_update: { id, labels: texts(labels), pod_name: podName, namespace } };
}

/** Its policy is in force, or does not fit; in between there is nothing to tell. */
function regeneration({ id, labels, state }: SeenEndpoint): AgentEvent[] {
  const endpoint_regenerate = { id, labels: texts(labels) };
  if (state === 'ready') return [{ type: AGENT_EVENT.ENDPOINT_REGENERATE_SUCCESS, endpoint_regenerate }];
  if (state !== 'not-ready') return [];
  const error = 'its policy does not fit the tables of the kernel: nothing is let through';
  return [{ type: AGENT_EVENT.ENDPOINT_REGENERATE_FAILURE, endpoint_regenerate: { ...endpoint_regenerate, error } }];
}

function texts(labels: Labels): string[] {
  return formatLabels(labels);
}
