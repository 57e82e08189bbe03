/** Everything that holds for one subject at present: the rules that select it, and who isolates it. */
import { type ObjectRef, refKey } from '../../model/object.ts';
import type { Direction } from '../../model/verdict.ts';
import { activeRules, type Documents, isAudited, specsFor } from '../documents.ts';
import { ENFORCEMENT_ALWAYS, INIT_ISOLATION, isInit, LOCAL_HOST_RULE } from '../own-rules.ts';
import type { PolicySpec } from '../rule.ts';
import type { Cluster } from '../select/cluster.ts';
import type { Steps } from '../steps.ts';
import type { Subject } from '../subject.ts';
import { type ActiveRule, planDirection } from './direction.ts';
import type { Isolation, PolicyPlan } from './policy.ts';

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

/** One document that isolates in a direction. */
interface Isolator {
  readonly ref: ObjectRef;
  readonly audited: boolean;
  readonly keepsEstablished: boolean;
}

export function* planSubject(
  subject: Subject,
  documents: Documents,
  cluster: Cluster,
  { enforcement, allowLocalHost, now }: Circumstances,
): Steps<SubjectPlan> {
  const rules: ActiveRule[] = [];
  const used = new Set<string>();
  const isolators: Record<Direction, Map<ObjectRef, Isolator>> = { ingress: new Map(), egress: new Map() };
  const isolate = (by: Isolator, isolates: PolicySpec['isolates']): void => {
    for (const name of ['ingress', 'egress'] as const) {
      if (isolates[name] && !isolators[name].has(by.ref)) isolators[name].set(by.ref, by);
    }
  };
  const own = { audited: false, keepsEstablished: false };
  if (enforcement !== 'never') {
    if (enforcement === 'always') isolate({ ref: ENFORCEMENT_ALWAYS, ...own }, { ingress: true, egress: true });
    if (isInit(subject)) isolate({ ref: INIT_ISOLATION, ...own }, { ingress: true, egress: true });
    for (const { ref, inForce } of documents.selecting(subject)) {
      if (!inForce) continue;
      for (const spec of specsFor(inForce, subject)) {
        used.add(refKey(ref));
        rules.push(...activeRules(inForce, spec, now));
        const { keepEstablished: keepsEstablished } = inForce.lifetime;
        isolate({ ref, audited: isAudited(inForce, now), keepsEstablished }, spec.isolates);
      }
      yield;
    }
  }
  function* direction(name: Direction): Steps<PolicyPlan['ingress']> {
    const about = rules.filter(({ rule }) => rule.direction === name);
    const matters = about.length + isolators[name].size > 0;
    if (allowLocalHost && matters && name === 'ingress') about.push({ rule: LOCAL_HOST_RULE, audit: false });
    const planned = yield* planDirection(name, about, subject.namedPorts, cluster);
    return { ...planned, isolation: isolationBy([...isolators[name].values()]) };
  }
  const plan = { ingress: yield* direction('ingress'), egress: yield* direction('egress') };
  return { plan, documents: used, key: planKey(plan) };
}

function isolationBy(isolators: readonly Isolator[]): Isolation {
  const enforcing = isolators.filter(({ audited }) => !audited);
  const decisive = enforcing.length > 0 ? enforcing : isolators;
  return {
    enforcedBy: enforcing.map(({ ref }) => ref),
    auditedBy: isolators.filter(({ audited }) => audited).map(({ ref }) => ref),
    keepsEstablished: decisive.length > 0 && decisive.every(({ keepsEstablished }) => keepsEstablished),
  };
}

function planKey({ ingress, egress }: PolicyPlan): string {
  const names = (refs: readonly ObjectRef[]): string[] => refs.map(refKey).sort();
  return JSON.stringify(
    [ingress, egress].map(({ key, isolation: { enforcedBy, auditedBy, keepsEstablished } }) => [
      key,
      names(enforcedBy),
      names(auditedBy),
      keepsEstablished,
    ]),
  );
}
