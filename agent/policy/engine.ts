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
  CLASS_ANY,
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
import { type CompiledPolicy, compilePolicy } from './compile/policy.ts';
import { type EnforcementMode, planSubject } from './compile/subject-plan.ts';
import {
  createDocuments,
  type DocumentState,
  isAudited,
  isExpired,
  type KnownDocument,
  nextChange,
  refersTo,
  specsFor,
} from './documents.ts';
import { LOCAL_HOST_RULE } from './own-rules.ts';
import type { Cidr, ParsedDocument, PeerKind } from './rule.ts';
import { cidrKey, createAddressSets } from './select/address-sets.ts';
import type { Cluster } from './select/cluster.ts';
import { createSelectorSets } from './select/selector-sets.ts';
import type { Steps } from './steps.ts';
import { type Subject, type SubjectKey, subjectKey } from './subject.ts';
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

/** A subject with its endpoints counted, and the policy compiled for it. */
interface SubjectState {
  readonly key: SubjectKey;
  readonly subject: Subject;
  endpoints: number;
  compiled:
    | { readonly policy: CompiledPolicy; readonly key: string; readonly documents: ReadonlySet<string> }
    | undefined;
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
  const subjects = new Map<SubjectKey, SubjectState>();
  const dirty = new Set<SubjectState>();
  /** Policies no subject has any more, whose rows are still there. */
  const departing = new Set<CompiledPolicy>();
  /** What prepare() has begun. */
  let working: Steps | undefined;
  /** Revision that carried each document's latest change. */
  const carried = new Map<string, number>();

  function carriedBy(ref: ObjectRef): number {
    const at = carried.get(refKey(ref)) ?? 0;
    return at <= revision ? at : 0;
  }

  function touchSubjectsOf(document: ParsedDocument | undefined): void {
    if (!document) return;
    for (const state of subjects.values()) {
      if (specsFor(document, state.subject).length > 0) dirty.add(state);
    }
  }

  function touchDocumentsWith(type: 'nodes' | 'services' | 'group'): void {
    for (const { inForce } of documents.all()) if (inForce && refersTo(inForce, type)) touchSubjectsOf(inForce);
  }

  function documentChanged(before: KnownDocument | undefined, after: KnownDocument | undefined): void {
    if (before?.inForce === after?.inForce) return;
    touchSubjectsOf(before?.inForce);
    touchSubjectsOf(after?.inForce);
    const [oldGroup, newGroup] = [before?.inForce?.group, after?.inForce?.group];
    if (!oldGroup && !newGroup) return;
    if (oldGroup) cluster.groups.delete(oldGroup.name);
    if (newGroup) cluster.groups.set(newGroup.name, newGroup);
    touchDocumentsWith('group');
  }

  function isDone(): boolean {
    return working === undefined && dirty.size === 0 && departing.size === 0;
  }

  /** Whoever becomes dirty again meanwhile comes round again: a plan made while documents changed lasts no longer than that. */
  function* work(): Steps {
    for (const state of dirty) {
      dirty.delete(state);
      try {
        yield* compile(state);
      } catch (error) {
        dirty.add(state);
        throw error;
      }
    }
    for (const policy of departing) {
      departing.delete(policy);
      yield* policy.remove();
    }
  }

  function prepare(mayGoOn: () => boolean): boolean {
    while (!isDone()) {
      working ??= work();
      let more = false;
      try {
        more = working.next().done !== true;
      } finally {
        if (!more) working = undefined;
      }
      if (more && !mayGoOn()) return false;
    }
    return true;
  }

  function* compile(state: SubjectState): Steps {
    const next = yield* planSubject(state.subject, documents, cluster, { enforcement, allowLocalHost, now });
    const { key } = next;
    if (state.compiled?.key === key) {
      state.compiled = { ...state.compiled, documents: next.documents };
      return;
    }
    // The new one first: sets that both use stay as they are.
    const policy = yield* compilePolicy(nextPolicy++, revision + 1, next.plan, store);
    if (subjects.get(state.key) !== state) {
      departing.add(policy); // The last endpoint went while this paused.
      return;
    }
    const old = state.compiled;
    state.compiled = { policy, key, documents: next.documents };
    tables.subjects.set({ subject: state.key, policy: policy.id });
    attribution.policyAdded({
      id: policy.id,
      revision: policy.row.revision,
      subject: state.key,
      ingressIsolatedBy: next.plan.ingress.isolation.enforcedBy,
      egressIsolatedBy: next.plan.egress.isolation.enforcedBy,
      ingressAuditedBy: next.plan.ingress.isolation.auditedBy,
      egressAuditedBy: next.plan.egress.isolation.auditedBy,
    });
    discard(old);
  }

  function discard(compiled: SubjectState['compiled']): void {
    if (!compiled) return;
    departing.add(compiled.policy);
    attribution.policyRemoved(compiled.policy.id);
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
      const policies = new Map<string, PolicyId[]>();
      for (const { compiled } of subjects.values()) {
        for (const key of compiled?.documents ?? []) {
          policies.set(key, [...(policies.get(key) ?? []), compiled?.policy.id as PolicyId]);
        }
      }
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

    addSubject(subject) {
      const key = subjectKey(subject);
      const known = subjects.get(key);
      if (known) {
        known.endpoints++;
        return key;
      }
      const state = { key, subject, endpoints: 1, compiled: undefined };
      subjects.set(key, state);
      dirty.add(state);
      return key;
    },
    removeSubject(key) {
      const state = subjects.get(key);
      if (!state || --state.endpoints > 0) return;
      subjects.delete(key);
      dirty.delete(state);
      tables.subjects.remove(key);
      discard(state.compiled);
    },

    setNow(time) {
      if (time <= now) return;
      const before = now;
      now = time;
      for (const { inForce } of documents.all()) {
        const change = inForce && nextChange(inForce, before);
        if (!inForce || change === undefined || change > now) continue;
        attribution.adopt(inForce, isAudited(inForce, now));
        touchSubjectsOf(inForce);
      }
    },
    nextDeadline() {
      const times = documents.all().flatMap(({ inForce }) => (inForce ? (nextChange(inForce, now) ?? []) : []));
      return times.length === 0 ? undefined : Math.min(...times);
    },

    prepare,
    take() {
      dismissIdentities();
      prepare(() => true);
      if (documentsChanged || Object.values(tables).some((rows) => rows.pending())) revision++;
      documentsChanged = false;
      return takeAll(tables);
    },
    pending: () =>
      documentsChanged || leaving.size > 0 || !isDone() || Object.values(tables).some((rows) => rows.pending()),
    revision: () => revision,
    rows: () => ({
      policies: tables.policies.values(),
      verdicts: tables.verdicts.values(),
      identityClasses: tables.identityClasses.values(),
      addressClasses: tables.addressClasses.values(),
      identities: tables.identities.values(),
      subjects: tables.subjects.values(),
    }),
    policyOf: (key) => subjects.get(key)?.compiled?.policy.id,
    rule: attribution.rule,
    policyInfo: attribution.policy,
    classInfo(id, direction, classId) {
      const state = [...subjects.values()].find(({ compiled }) => compiled?.policy.id === id);
      const policy = state?.compiled?.policy;
      if (!policy) return [];
      if (classId === CLASS_ANY) return ['everybody'];
      const { selectors, cidrs } = policy.plan[direction];
      const peers = policy.classPeers(direction, classId);
      const bySelector = peers?.selectors.map((i) => selectors[i]?.key ?? '') ?? [];
      return [...bySelector, ...(peers?.cidrs.map((i) => cidrKey(cidrs[i] as Cidr)) ?? [])];
    },
  };
}
