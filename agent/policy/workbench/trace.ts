/**
 * Which rules match a packet on one side, in the order in which they decide: what the compiled rows no longer tell,
 * because they hold winners only. The verdict itself always comes from the rows; a test holds the two together.
 */
import type { Document, NamedPort, ObjectRef } from '../../model/object.ts';
import { type Direction, TIERS, type Tier } from '../../model/verdict.ts';
import { createAttribution } from '../attribution.ts';
import { precedences } from '../compile/precedence.ts';
import { activeRules, createDocuments, type Documents, isAudited, type KnownDocument, specsFor } from '../documents.ts';
import type { EngineOptions } from '../engine.ts';
import { ENFORCEMENT_ALWAYS, INIT_ISOLATION, isInit, LOCAL_HOST_RULE } from '../own-rules.ts';
import type { PolicyRule, PolicySpec } from '../rule.ts';
import type { Cluster } from '../select/cluster.ts';
import type { Subject } from '../subject.ts';
import { matchRule } from './match.ts';
import type { Objects } from './objects.ts';
import type { Peer } from './party.ts';
import type { Target } from './port.ts';

export interface MatchedRule {
  readonly rule: PolicyRule;
  /** Only reported, not enforced. */
  readonly audited: boolean;
  /** Its allows have ended: it counts no more. */
  readonly expired: boolean;
  /** The peers of the rule that are the packet's, in words. */
  readonly peers: readonly string[];
  /** The ports of the rule that are the packet's, in words. */
  readonly ports: readonly string[];
}

/** A rule set that says something about the subject in this direction. */
export interface Holding {
  readonly document: KnownDocument;
  readonly spec: PolicySpec;
}

export interface Trace {
  /** Rules that match and are enforced, the one that decides first. */
  readonly matched: readonly MatchedRule[];
  /** Rules that match but do not count: audited, or expired. */
  readonly idle: readonly MatchedRule[];
  /** Who isolates the subject; audited policies do not. */
  readonly isolatedBy: readonly ObjectRef[];
  /** All rule sets that select the subject. */
  readonly holdings: readonly Holding[];
}

export interface TraceQuestion {
  readonly direction: Direction;
  readonly subject: Subject;
  readonly peer: Peer;
  /** Port names of the peer, which egress rules may name. */
  readonly peerPorts: readonly NamedPort[];
  readonly target: Target;
}

export interface TraceOptions
  extends Pick<EngineOptions, 'enforcement' | 'clusterName' | 'allowLocalHost' | 'cidrMatchesNodes' | 'now'> {
  /** Last valid versions, in force for documents that are refused now. */
  readonly lastValid?: readonly Document[];
}

export interface Tracer {
  readonly documents: Documents;
  readonly cluster: Cluster;
  trace(question: TraceQuestion): Trace;
}

export function createTracer(objects: Objects, options: TraceOptions): Tracer {
  const { clusterName = 'default', enforcement = 'default', allowLocalHost = true, now = 0 } = options;
  const cidrKinds = options.cidrMatchesNodes ? (['outside', 'node'] as const) : (['outside'] as const);
  const documents = createDocuments({ clusterName, cidrKinds }, createAttribution([LOCAL_HOST_RULE]));
  for (const document of [...(options.lastValid ?? []), ...objects.documents]) documents.upsert(document, now);
  const groups = documents.all().flatMap(({ inForce }) => (inForce?.group ? [inForce.group] : []));
  const cluster: Cluster = {
    nodes: new Map(objects.nodes),
    services: new Map(objects.services.map((service) => [`${service.namespace}/${service.name}`, service])),
    serviceAddresses: new Map(objects.serviceAddresses),
    groups: new Map(groups.map((group) => [group.name, group])),
  };

  return {
    documents,
    cluster,
    trace(question) {
      const { direction, subject } = question;
      if (enforcement === 'never') return { matched: [], idle: [], isolatedBy: [], holdings: [] };
      const isolatedBy: ObjectRef[] = [];
      if (enforcement === 'always') isolatedBy.push(ENFORCEMENT_ALWAYS);
      if (isInit(subject)) isolatedBy.push(INIT_ISOLATION);
      const holdings: Holding[] = [];
      const active: PolicyRule[] = [];
      const idle: PolicyRule[] = [];
      const audited = new Set<PolicyRule>();
      let speaks = isolatedBy.length > 0;
      for (const document of documents.selecting(subject)) {
        const { inForce, ref } = document;
        if (!inForce) continue;
        for (const spec of specsFor(inForce, subject)) {
          holdings.push({ document, spec });
          const counts = new Set(activeRules(inForce, spec, now).map(({ rule }) => rule));
          const audit = isAudited(inForce, now);
          for (const rule of spec.rules.filter((one) => one.direction === direction)) {
            (counts.has(rule) && !audit ? active : idle).push(rule);
            if (audit) audited.add(rule);
            speaks ||= counts.has(rule);
          }
          speaks ||= spec.isolates[direction];
          if (spec.isolates[direction] && !audit && !isolatedBy.includes(ref)) isolatedBy.push(ref);
        }
      }
      if (allowLocalHost && speaks && direction === 'ingress') active.push(LOCAL_HOST_RULE);
      const match = (rule: PolicyRule): MatchedRule[] => {
        const owner = direction === 'ingress' ? subject.namedPorts : question.peerPorts;
        const found = matchRule(rule, question.peer, question.target, owner, cluster);
        if (!found) return [];
        const isAudit = audited.has(rule);
        return [{ rule, audited: isAudit, expired: !isAudit && idle.includes(rule), ...found }];
      };
      return { matched: inOrder(active).flatMap(match), idle: idle.flatMap(match), isolatedBy, holdings };
    },
  };
}

function inOrder(rules: readonly PolicyRule[]): PolicyRule[] {
  const precedence = precedences(rules);
  const rank = (rule: PolicyRule): number => precedence.get(rule) ?? 0;
  return [...rules].sort((a, b) => TIERS.indexOf(a.tier) - TIERS.indexOf(b.tier) || rank(b) - rank(a));
}

export interface Decision {
  readonly verdict: 'allowed' | 'denied';
  readonly reason: 'rule' | 'default-allow' | 'default-deny';
  readonly tier: Tier | undefined;
  readonly by: MatchedRule | undefined;
}

/** Goes through the tiers as the kernel does: the first rule of a tier decides, unless it passes the packet on. */
export function decide(matched: readonly MatchedRule[], isolated: boolean): Decision {
  for (const tier of TIERS) {
    const by = matched.find(({ rule }) => rule.tier === tier);
    if (by && by.rule.action !== 'pass') {
      return { verdict: by.rule.action === 'allow' ? 'allowed' : 'denied', reason: 'rule', tier, by };
    }
    if (tier === 'normal' && isolated) return { verdict: 'denied', reason: 'default-deny', tier, by: undefined };
  }
  return { verdict: 'allowed', reason: 'default-allow', tier: undefined, by: undefined };
}
