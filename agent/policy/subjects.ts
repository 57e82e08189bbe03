/**
 * The subjects, each with its endpoints counted and the policy compiled for it; and what has to be compiled again, in steps.
 * What holds for a subject, and how it is compiled, it is told: see {@link SubjectsOptions}.
 */
import { CLASS_ANY, type Direction, type PolicyId, type SubjectRow } from '../model/verdict.ts';
import type { Attribution } from './attribution.ts';
import type { CompiledPolicy, PolicyPlan } from './compile/policy.ts';
import type { SubjectPlan } from './compile/subject-plan.ts';
import { specsFor } from './documents.ts';
import type { Cidr, ParsedDocument } from './rule.ts';
import { cidrKey } from './select/address-sets.ts';
import type { Steps } from './steps.ts';
import { type Subject, type SubjectKey, subjectKey } from './subject.ts';
import type { Table } from './table.ts';

export interface SubjectsOptions {
  readonly plan: (subject: Subject) => Steps<SubjectPlan>;
  /** Under a number of its own. */
  readonly compile: (plan: PolicyPlan) => Steps<CompiledPolicy>;
  /** Which policy each subject has. */
  readonly rows: Table<SubjectRow>;
  readonly attribution: Attribution;
}

export interface Subjects {
  /** One more endpoint of this subject; the first one makes its policy. */
  add(subject: Subject): SubjectKey;
  /** One endpoint fewer; the last one removes the policy. */
  remove(key: SubjectKey): void;
  /** The subjects of this document have to be compiled again. */
  touch(document: ParsedDocument | undefined): void;
  /** Compiles for as long as `mayGoOn`, asked after every step, allows; true when nothing is left. */
  prepare(mayGoOn: () => boolean): boolean;
  isDone(): boolean;
  policyOf(key: SubjectKey): PolicyId | undefined;
  /** The policies that contain rules or isolation of each document, by the document's refKey. */
  policiesByDocument(): Map<string, PolicyId[]>;
  /** What a class of a policy stands for, for people. */
  classInfo(policy: PolicyId, direction: Direction, classId: number): readonly string[];
}

interface State {
  readonly key: SubjectKey;
  readonly subject: Subject;
  endpoints: number;
  compiled:
    | { readonly policy: CompiledPolicy; readonly key: string; readonly documents: ReadonlySet<string> }
    | undefined;
}

export function createSubjects({ plan, compile, rows, attribution }: SubjectsOptions): Subjects {
  const subjects = new Map<SubjectKey, State>();
  const dirty = new Set<State>();
  /** Policies no subject has any more, whose rows are still there. */
  const departing = new Set<CompiledPolicy>();
  /** What prepare() has begun. */
  let working: Steps | undefined;

  function isDone(): boolean {
    return working === undefined && dirty.size === 0 && departing.size === 0;
  }

  /** Whoever becomes dirty again meanwhile comes round again: a plan made while documents changed lasts no longer than that. */
  function* work(): Steps {
    for (const state of dirty) {
      dirty.delete(state);
      try {
        yield* renew(state);
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

  function* renew(state: State): Steps {
    const next = yield* plan(state.subject);
    const { key, documents } = next;
    if (state.compiled?.key === key) {
      state.compiled = { ...state.compiled, documents };
      return;
    }
    // The new one first: sets that both use stay as they are.
    const policy = yield* compile(next.plan);
    if (subjects.get(state.key) !== state) {
      departing.add(policy); // The last endpoint went while this paused.
      return;
    }
    const old = state.compiled;
    state.compiled = { policy, key, documents };
    rows.set({ subject: state.key, policy: policy.id });
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

  function discard(compiled: State['compiled']): void {
    if (!compiled) return;
    departing.add(compiled.policy);
    attribution.policyRemoved(compiled.policy.id);
  }

  return {
    add(subject) {
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
    remove(key) {
      const state = subjects.get(key);
      if (!state || --state.endpoints > 0) return;
      subjects.delete(key);
      dirty.delete(state);
      rows.remove(key);
      discard(state.compiled);
    },
    touch(document) {
      if (!document) return;
      for (const state of subjects.values()) {
        if (specsFor(document, state.subject).length > 0) dirty.add(state);
      }
    },

    prepare(mayGoOn) {
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
    },
    isDone,

    policyOf: (key) => subjects.get(key)?.compiled?.policy.id,
    policiesByDocument() {
      const policies = new Map<string, PolicyId[]>();
      for (const { compiled } of subjects.values()) {
        for (const key of compiled?.documents ?? []) {
          policies.set(key, [...(policies.get(key) ?? []), compiled?.policy.id as PolicyId]);
        }
      }
      return policies;
    },
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
