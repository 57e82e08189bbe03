/**
 * The policy engine: documents, identities and subjects in; rows of the policy tables out. Pure: no clock, no disk, no
 * kernel. The agent, the CLI and the tests use the same one. Picture and terms: agent/policy/README.md.
 */
import type { Address } from '../model/address.ts';
import { type IdentityNumber, RESERVED, RESERVED_IDENTITIES } from '../model/identity.ts';
import type { Labels } from '../model/labels.ts';
import {
  type Document,
  type NamedPort,
  type Node,
  type ObjectRef,
  type Problem,
  refKey,
  type Service,
} from '../model/object.ts';
import {
  type Direction,
  FIRST_POLICY,
  type PolicyDelta,
  type PolicyId,
  type PolicyInfo,
  type PolicyRows,
  type RuleId,
  type RuleInfo,
  type SetId,
} from '../model/verdict.ts';
import { createAttribution } from './attribution.ts';
import { compilePolicy } from './compile/policy.ts';
import { type EnforcementMode, planSubject } from './compile/subject-plan.ts';
import {
  createDocuments,
  type DocumentState,
  isAudited,
  isExpired,
  type KnownDocument,
  nextChange,
  refersTo,
} from './documents.ts';
import { LOCAL_HOST_RULE } from './own-rules.ts';
import type { PeerKind } from './rule.ts';
import { createAddressSets } from './select/address-sets.ts';
import type { Cluster } from './select/cluster.ts';
import { createSelectorSets } from './select/selector-sets.ts';
import type { Subject, SubjectKey } from './subject.ts';
import { createSubjects } from './subjects.ts';
import { createTables, takeAll } from './tables.ts';

export type { EnforcementMode } from './compile/subject-plan.ts';
export type { DocumentState } from './documents.ts';

export interface EngineOptions {
  readonly enforcement?: EnforcementMode;
  /** Name in CLUSTER_LABEL of this cluster's pods; default "default". */
  readonly clusterName?: string;
  /** The node's own processes may reach its pods unless a rule denies it (kubelet probes); default true. */
  readonly allowLocalHost?: boolean;
  /** fromCIDR and toCIDR match nodes too (Cilium's policyCIDRMatchMode: nodes); default false. */
  readonly cidrMatchesNodes?: boolean;
  /** First numbers to use, above what the kernel holds after a restart; defaults FIRST_POLICY and 1. */
  readonly firstPolicy?: PolicyId;
  readonly firstSet?: SetId;
  /** Milliseconds since 1970, until {@link Engine.setNow} is called; default 0. */
  readonly now?: number;
}

export interface DocumentResult {
  readonly status: DocumentState;
  /** Errors and warnings, in the order of the document. */
  readonly problems: readonly Problem[];
}

export interface DocumentStatus extends DocumentResult {
  readonly ref: ObjectRef;
  /** Revision (of the take() that carried it) since which the document is compiled as it is now; 0 before. */
  readonly revision: number;
  /** Rules of the version in force, in the order of the document. */
  readonly rules: readonly RuleInfo[];
  /** Compiled policies that contain its rules or isolation at present. */
  readonly policies: readonly PolicyId[];
  /** At present: changes no verdict. */
  readonly audited: boolean;
  /** Its allows have ended. */
  readonly expired: boolean;
}

export interface Engine {
  /** Takes a document over, in place of the version before. Never throws for bad input: see {@link DocumentResult}. */
  upsertDocument(document: Document): DocumentResult;
  removeDocument(ref: ObjectRef): void;
  /** The last valid version of every document, as it came: to be kept on disk and upserted first after a restart. */
  lastValid(): Document[];
  documents(): DocumentStatus[];

  /** Nodes matter to fromNodes, toNodes and `nodes` peers only. */
  upsertNode(node: Node): void;
  removeNode(name: string): void;
  /** Services matter to toServices only. */
  upsertService(service: Service): void;
  removeService(namespace: string, name: string): void;
  /** Where a Service leads that has no selector; of others it does not matter. Not forgotten with the Service. */
  setServiceAddresses(namespace: string, name: string, addresses: readonly Address[]): void;

  /** Identities peers may have. The reserved ones are always known; upserting one replaces its labels. */
  upsertIdentity(number: IdentityNumber, labels: Labels): void;
  removeIdentity(number: IdentityNumber): void;
  /** All container ports of the pods with this identity: what egress rules by port name mean for that peer. */
  setNamedPorts(identity: IdentityNumber, ports: readonly NamedPort[]): void;

  /** One more endpoint of this subject; the first one makes its policy. Returns the key of its SubjectRow. */
  addSubject(subject: Subject): SubjectKey;
  /** One endpoint fewer; the last one removes the policy. */
  removeSubject(key: SubjectKey): void;

  /** Time for annotations, in milliseconds since 1970; never goes back. */
  setNow(now: number): void;
  /** When the next annotation takes effect, or undefined: call setNow and take then. */
  nextDeadline(): number | undefined;

  /**
   * Computes ahead of {@link take} for as long as `mayGoOn` allows: it is asked after every step, of microseconds. True when
   * nothing is left, so that take() is quick; whatever is left, take() does. Changes may come between two calls.
   */
  prepare(mayGoOn: () => boolean): boolean;
  /** All changes since the last call, to be applied as one. Raises the revision if anything was asked for since. */
  take(): PolicyDelta;
  /** True if take() has something to do. */
  pending(): boolean;
  /** Number of the last take() that had something to do. */
  revision(): number;
  /** Everything, as of the last take(); after prepare() some of it is newer. */
  rows(): PolicyRows;
  /** The policy of a subject, as in {@link rows}; undefined for an unknown subject. */
  policyOf(key: SubjectKey): PolicyId | undefined;
  /** Also for rules that are gone, as long as events may name them (bounded). */
  rule(id: RuleId): RuleInfo | undefined;
  policyInfo(id: PolicyId): PolicyInfo | undefined;
  /** What a class of a policy stands for, for people: the selectors or prefixes its peers match. */
  classInfo(policy: PolicyId, direction: Direction, classId: number): readonly string[];
}

export function createEngine(options: EngineOptions = {}): Engine {
  const { enforcement = 'default', clusterName = 'default', allowLocalHost = true } = options;
  const cidrKinds: PeerKind[] = options.cidrMatchesNodes ? ['outside', 'node'] : ['outside'];
  let nextPolicy = options.firstPolicy ?? FIRST_POLICY;
  let nextSet = options.firstSet ?? 1;
  let now = options.now ?? 0;
  let revision = 0;
  /**
   * Identities that go with the next take(). One that comes back before it never left: its class would be another, and a
   * pod pointed to its new policy would miss the class's denials until the identity's own row is written.
   */
  const leaving = new Set<IdentityNumber>();
  let documentsChanged = false;

  const tables = createTables();
  const selectorSets = createSelectorSets(() => nextSet++, tables.identityClasses);
  const addressSets = createAddressSets(() => nextSet++, tables.addressClasses);
  const store = { ...tables, selectorSets, addressSets };
  const attribution = createAttribution([LOCAL_HOST_RULE]);
  const documents = createDocuments({ clusterName, cidrKinds }, attribution);
  const cluster: Cluster = { nodes: new Map(), services: new Map(), serviceAddresses: new Map(), groups: new Map() };
  const subjects = createSubjects({
    plan: (subject) => planSubject(subject, documents, cluster, { enforcement, allowLocalHost, now }),
    compile: (plan) => compilePolicy(nextPolicy++, revision + 1, plan, store),
    rows: tables.subjects,
    attribution,
  });
  /** Revision that carried each document's latest change. */
  const carried = new Map<string, number>();

  function carriedBy(ref: ObjectRef): number {
    const at = carried.get(refKey(ref)) ?? 0;
    return at <= revision ? at : 0;
  }

  function touchDocumentsWith(type: 'nodes' | 'services' | 'group'): void {
    for (const { inForce } of documents.all()) if (inForce && refersTo(inForce, type)) subjects.touch(inForce);
  }

  function documentChanged(before: KnownDocument | undefined, after: KnownDocument | undefined): void {
    if (before?.inForce === after?.inForce) return;
    subjects.touch(before?.inForce);
    subjects.touch(after?.inForce);
    const [oldGroup, newGroup] = [before?.inForce?.group, after?.inForce?.group];
    if (!oldGroup && !newGroup) return;
    if (oldGroup) cluster.groups.delete(oldGroup.name);
    if (newGroup) cluster.groups.set(newGroup.name, newGroup);
    touchDocumentsWith('group');
  }

  function knowIdentity(number: IdentityNumber, labels: Labels): void {
    leaving.delete(number);
    selectorSets.upsertIdentity(number, labels);
    tables.identities.set(number);
  }

  function dismissIdentities(): void {
    for (const number of leaving) {
      selectorSets.removeIdentity(number);
      tables.identities.remove(number);
    }
    leaving.clear();
  }
  // 0 is no identity but the lack of one: it stays unknown, so that isolation drops it.
  for (const { number, labels } of RESERVED) if (number !== RESERVED_IDENTITIES.unknown) knowIdentity(number, labels);

  return {
    upsertDocument(document) {
      const { before, after } = documents.upsert(document, now);
      carried.set(refKey(document.ref), revision + 1);
      documentsChanged = true;
      documentChanged(before, after);
      return { status: after.status, problems: after.problems };
    },
    removeDocument(ref) {
      carried.delete(refKey(ref));
      documentsChanged = true;
      documentChanged(documents.remove(ref), undefined);
    },
    lastValid: () => documents.all().flatMap(({ lastValid }) => (lastValid ? [lastValid.document] : [])),
    documents() {
      const policies = subjects.policiesByDocument();
      return documents.all().map(({ ref, status, problems, inForce }) => ({
        ref,
        status,
        problems,
        revision: carriedBy(ref),
        rules: (inForce?.specs ?? []).flatMap(({ rules }) => rules).flatMap(({ id }) => attribution.rule(id) ?? []),
        policies: policies.get(refKey(ref)) ?? [],
        audited: inForce !== undefined && isAudited(inForce, now),
        expired: inForce !== undefined && isExpired(inForce, now),
      }));
    },

    upsertNode(node) {
      cluster.nodes.set(node.name, node);
      touchDocumentsWith('nodes');
    },
    removeNode(name) {
      if (cluster.nodes.delete(name)) touchDocumentsWith('nodes');
    },
    upsertService(service) {
      cluster.services.set(`${service.namespace}/${service.name}`, service);
      touchDocumentsWith('services');
    },
    removeService(namespace, name) {
      if (cluster.services.delete(`${namespace}/${name}`)) touchDocumentsWith('services');
    },

    setServiceAddresses(namespace, name, addresses) {
      const key = `${namespace}/${name}`;
      if ((cluster.serviceAddresses.get(key) ?? []).join() === addresses.join()) return;
      if (addresses.length > 0) cluster.serviceAddresses.set(key, addresses);
      else cluster.serviceAddresses.delete(key);
      touchDocumentsWith('services');
    },

    upsertIdentity: knowIdentity,
    removeIdentity: (number) => void leaving.add(number),
    setNamedPorts: (identity, ports) => selectorSets.setNamedPorts(identity, ports),

    addSubject: subjects.add,
    removeSubject: subjects.remove,

    setNow(time) {
      if (time <= now) return;
      const before = now;
      now = time;
      for (const { inForce } of documents.all()) {
        const change = inForce && nextChange(inForce, before);
        if (!inForce || change === undefined || change > now) continue;
        attribution.adopt(inForce, isAudited(inForce, now));
        subjects.touch(inForce);
      }
    },
    nextDeadline() {
      const times = documents.all().flatMap(({ inForce }) => (inForce ? (nextChange(inForce, now) ?? []) : []));
      return times.length === 0 ? undefined : Math.min(...times);
    },

    prepare: subjects.prepare,
    take() {
      dismissIdentities();
      subjects.prepare(() => true);
      if (documentsChanged || Object.values(tables).some((rows) => rows.pending())) revision++;
      documentsChanged = false;
      return takeAll(tables);
    },
    pending: () =>
      documentsChanged ||
      leaving.size > 0 ||
      !subjects.isDone() ||
      Object.values(tables).some((rows) => rows.pending()),
    revision: () => revision,
    rows: () => ({
      policies: tables.policies.values(),
      verdicts: tables.verdicts.values(),
      identityClasses: tables.identityClasses.values(),
      addressClasses: tables.addressClasses.values(),
      identities: tables.identities.values(),
      subjects: tables.subjects.values(),
    }),
    policyOf: subjects.policyOf,
    rule: attribution.rule,
    policyInfo: attribution.policy,
    classInfo: subjects.classInfo,
  };
}
