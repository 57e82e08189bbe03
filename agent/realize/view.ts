/** The agent as its API shows it: values of now, made from what the realizer and the datapath know. */
import type { AgentStatus, PolicyReport, State } from '../api/state.ts';
import type { Datapath } from '../datapath/datapath.ts';
import type { FlowHistory } from '../flow/history.ts';
import { AGGREGATION_ANNOTATION, aggregationMistake } from '../model/aggregation.ts';
import type { Endpoint } from '../model/endpoint.ts';
import { FIRST_POD_IDENTITY, type Identity } from '../model/identity.ts';
import { type Problem, refKey } from '../model/object.ts';
import { POLICY_LOCKDOWN, type PolicyRow } from '../model/verdict.ts';
import type { Engine } from '../policy/engine.ts';
import type { WorkbenchOptions } from '../policy/workbench/workbench.ts';
import { createQuestions } from './questions.ts';
import type { Realizer } from './realizer.ts';

export interface ViewOptions {
  readonly version: string;
  readonly nodeName: string;
  readonly startedAt: number;
  readonly sourceName: string;
  readonly engine: Engine;
  readonly datapath: Datapath;
  readonly realizer: Realizer;
  readonly flows: FlowHistory;
  readonly pending: () => readonly string[];
  /** Problems of the agent's own state: damaged files, a full identity table, endpoints without programs. */
  readonly problems: () => readonly Problem[];
  /** The engine's settings and the documents it fell back on, for questions about its policies. */
  readonly policy: () => WorkbenchOptions;
  /** Endpoints whose programs were missing and could not be put back. */
  readonly unattached: () => readonly number[];
}

export function createView(options: ViewOptions): State {
  const { engine, datapath, realizer, flows } = options;
  const { desired } = realizer;

  function policies(): PolicyReport[] {
    return engine.documents().map(({ ref, status, problems, revision, rules }) => {
      const document = desired.inventory.documents.get(refKey(ref));
      const place = document?.origin.place ?? '';
      return { ref, status, problems, revision, rules, place, document: document?.raw ?? null };
    });
  }

  function endpoints(): Endpoint[] {
    const rows = new Map<number, PolicyRow>(engine.rows().policies.map((row) => [row.id, row]));
    return [...desired.members.values()].map((member) => {
      const row = rows.get(member.policy);
      const locked = realizer.lockedDown.has(member.policy) || member.policy === POLICY_LOCKDOWN;
      return {
        ...member.record,
        state: member.state,
        labels: member.labels,
        identity: member.identity,
        namedPorts: member.namedPorts,
        revision: member.revision,
        ...(member.aggregation && { aggregation: member.aggregation }),
        ingressEnforced: locked || (row?.ingress.isolated ?? true),
        egressEnforced: locked || (row?.egress.isolated ?? true),
      };
    });
  }

  /** Annotations of pods of this node that mean nothing. */
  function podProblems(): Problem[] {
    return [...desired.members.values()].flatMap(({ pod }) => {
      const mistake = pod && aggregationMistake(pod.annotations);
      if (mistake === undefined) return [];
      const path = ['metadata', 'annotations', AGGREGATION_ANNOTATION];
      const message = `annotation ${AGGREGATION_ANNOTATION} of Pod ${pod?.namespace}/${pod?.name}: ${mistake}`;
      return [{ severity: 'warning', code: 'bad-annotation', message, path, place: '', line: undefined } as const];
    });
  }

  function identities(): Identity[] {
    return [...desired.identities.labels]
      .filter(([number]) => number < FIRST_POD_IDENTITY || desired.identities.users.has(number))
      .map(([number, labels]) => ({ number, labels }));
  }

  function status(): AgentStatus {
    const failure = realizer.failure;
    const own: Problem[] = failure
      ? [
          {
            severity: 'error',
            code: failure.code,
            message: `${failure.message}: ${failure.details}`,
            path: [],
            place: '',
            line: undefined,
          },
        ]
      : [];
    const documents = engine.documents().flatMap(({ problems }) => problems);
    const source = [...realizer.problemsByPlace.values()].flat();
    return {
      version: options.version,
      node: options.nodeName,
      startedAt: options.startedAt,
      pending: options.pending(),
      revision: realizer.revision(),
      source: { name: options.sourceName, synced: realizer.isSynced },
      problems: [...own, ...options.problems(), ...podProblems(), ...source, ...documents],
      attachments: { expected: 2 * desired.members.size, missing: options.unattached() },
      devices: datapath.devicePrograms?.() ?? [],
    };
  }

  return {
    endpoints,
    identities,
    policies,
    status,
    counters: () => datapath.counters(),
    maps: () => datapath.maps(),
    tables: () => datapath.read(),
    connections: (limit) => datapath.connections?.(limit) ?? { total: 0, rows: [] },
    flows,
    ...createQuestions({ desired, nodeName: options.nodeName, policy: options.policy }),
  };
}
