/** Everything that holds for one subject at present: the rules that select it, and who isolates it. */
import { NAMESPACE_LABEL } from '../../model/labels.ts';
import { type ObjectRef, refKey } from '../../model/object.ts';
import type { Direction } from '../../model/verdict.ts';
import { activeRules, type Documents, isAudited, specsFor } from '../documents.ts';
import { ENFORCEMENT_ALWAYS, INIT_ISOLATION, isInit, LOCAL_HOST_RULE } from '../own-rules.ts';
import type { PolicySpec } from '../rule.ts';
import type { Cluster } from '../select/cluster.ts';
import type { Steps } from '../steps.ts';
import type { Subject } from '../subject.ts';
import { type ActiveRule, planDirection } from './direction.ts';
import type { PolicyPlan } from './policy.ts';

/** Cilium's policyEnforcementMode: isolate where a policy says so, everywhere, or nowhere (no policy is enforced at all). */
export type EnforcementMode = 'default' | 'always' | 'never';

export interface Circumstances {
  readonly enforcement: EnforcementMode;
  readonly allowLocalHost: boolean;
  /** Milliseconds since 1970. */
  readonly now: number;
}

export interface SubjectPlan {
  readonly plan: PolicyPlan;
  /** refKeys of the documents that select the subject. */
  readonly documents: ReadonlySet<string>;
  /** Equal for plans that would be compiled to the same rows with the same attribution. */
  readonly key: string;
}

type Isolations = { readonly [Name in Direction]: { enforcedBy: ObjectRef[]; auditedBy: ObjectRef[] } };

export function* planSubject(
  subject: Subject,
  documents: Documents,
  cluster: Cluster,
  { enforcement, allowLocalHost, now }: Circumstances,
): Steps<SubjectPlan> {
  const rules: ActiveRule[] = [];
  const used = new Set<string>();
  const isolation: Isolations = {
    ingress: { enforcedBy: [], auditedBy: [] },
    egress: { enforcedBy: [], auditedBy: [] },
  };
  if (enforcement !== 'never') {
    if (enforcement === 'always') isolate(isolation, { ingress: true, egress: true }, ENFORCEMENT_ALWAYS, false);
    if (isInit(subject)) isolate(isolation, { ingress: true, egress: true }, INIT_ISOLATION, false);
    for (const { ref, inForce } of documents.candidates(subject.labels.get(NAMESPACE_LABEL) ?? '')) {
      if (!inForce) continue;
      for (const spec of specsFor(inForce, subject)) {
        used.add(refKey(ref));
        rules.push(...activeRules(inForce, spec, now));
        isolate(isolation, spec.isolates, ref, isAudited(inForce, now));
      }
    }
  }
  function* direction(name: Direction): Steps<PolicyPlan['ingress']> {
    const own = rules.filter(({ rule }) => rule.direction === name);
    const { enforcedBy, auditedBy } = isolation[name];
    const matters = own.length + enforcedBy.length + auditedBy.length > 0;
    if (allowLocalHost && matters && name === 'ingress') own.push({ rule: LOCAL_HOST_RULE, audit: false });
    return { ...(yield* planDirection(name, own, subject.namedPorts, cluster)), isolation: isolation[name] };
  }
  const plan = { ingress: yield* direction('ingress'), egress: yield* direction('egress') };
  return { plan, documents: used, key: planKey(plan) };
}

function isolate(isolations: Isolations, isolates: PolicySpec['isolates'], by: ObjectRef, audited: boolean): void {
  for (const direction of ['ingress', 'egress'] as const) {
    const { enforcedBy, auditedBy } = isolations[direction];
    const list = audited ? auditedBy : enforcedBy;
    if (isolates[direction] && !list.includes(by)) list.push(by);
  }
}

function planKey({ ingress, egress }: PolicyPlan): string {
  const names = (refs: readonly ObjectRef[]): string[] => refs.map(refKey).sort();
  return JSON.stringify(
    [ingress, egress].map(({ key, isolation }) => [key, names(isolation.enforcedBy), names(isolation.auditedBy)]),
  );
}
