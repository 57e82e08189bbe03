/** Why a flow got its verdict: the sentence for people, and the policies behind a default deny. */
import { Direction, DropReason, EventFlags, EventType } from '../datapath/layout.gen.ts';
import { type ObjectRef, refKey } from '../model/object.ts';
import type { StoredFlow } from './decode.ts';
import { dropReason } from './drop-reason.ts';

/** Policies that isolate the pod in the flow's direction; undefined unless nothing but isolation denied it. */
export function isolatedBy(flow: StoredFlow): readonly ObjectRef[] | undefined {
  const denied = flow.isDrop
    ? flow.reason === DropReason.DROP_POLICY_DENIED || isRevokedByDefault(flow)
    : wouldDeny(flow);
  if (!denied || flow.ruleId(flow.direction) !== 0) return undefined;
  const policy = flow.policy(flow.direction);
  if (!policy) return undefined;
  const ingress = flow.direction === Direction.DIRECTION_INGRESS;
  const enforced = ingress ? policy.ingressIsolatedBy : policy.egressIsolatedBy;
  if (flow.isDrop) return enforced;
  return [...enforced, ...(ingress ? policy.ingressAuditedBy : policy.egressAuditedBy)];
}

export function reasonOf(flow: StoredFlow): string {
  const direction = flow.direction === Direction.DIRECTION_INGRESS ? 'ingress' : 'egress';
  const rule = ruleText(flow);
  if (flow.isDrop) {
    if (rule) return `denied by ${rule}`;
    const { meaning, name } = dropReason(flow.reason);
    return isolatedBy(flow) ? `denied ${byDefault(flow, direction)}` : `dropped: ${meaning || name}`;
  }
  if (flow.type === EventType.EVENT_AUDIT) {
    if (!wouldDeny(flow)) return `would be allowed${rule && ` by ${rule}`} if audited policies were enforced`;
    return `would be denied ${rule ? `by ${rule}` : byDefault(flow, direction)}, if audited policies were enforced`;
  }
  return rule ? `allowed by ${rule}` : 'allowed: no policy isolates either side';
}

function byDefault(flow: StoredFlow, direction: string): string {
  const isolating = (isolatedBy(flow) ?? []).map(refKey);
  const who = isolating.length === 0 ? 'the pod is isolated' : `${isolating.join(', ')} isolates the pod`;
  return `by default for ${direction}: ${who} and no rule allows it`;
}

/**
 * Directions with a rule that decided, the flow's own first. Whoever allowed needed both sides to agree; a drop or an
 * audit is one side's alone.
 */
export function decidingDirections(flow: StoredFlow): Direction[] {
  const own = flow.direction;
  const other = own === Direction.DIRECTION_INGRESS ? Direction.DIRECTION_EGRESS : Direction.DIRECTION_INGRESS;
  const asked = flow.isDrop || flow.type === EventType.EVENT_AUDIT ? [own] : [own, other];
  return asked.filter((direction) => flow.ruleId(direction) !== 0);
}

/** The rules in words; '' when no rule decided. */
function ruleText(flow: StoredFlow): string {
  const texts = decidingDirections(flow).map(
    (direction) => flow.rule(direction)?.description ?? `rule ${flow.ruleId(direction)}, which is no longer known`,
  );
  return texts.join(' and ');
}

function wouldDeny(flow: StoredFlow): boolean {
  return flow.type === EventType.EVENT_AUDIT && flow.has(EventFlags.EVENT_AUDIT_WOULD_DENY);
}

function isRevokedByDefault(flow: StoredFlow): boolean {
  return flow.reason === DropReason.DROP_POLICY_REVOKED;
}
