/** What this agent tells the others: its endpoints as they are in force, and how it is itself. */
import type { State } from '../api/state.ts';
import type { Realize } from '../endpoint/options.ts';
import { FIRST_POD_IDENTITY } from '../model/identity.ts';
import type { NodeRecord } from '../model/object.ts';
import type { RefusedDocument } from '../model/refused-document.ts';
import type { Realizer } from '../realize/realizer.ts';
import type { AgentReport, AnnouncedEndpoint, Joined } from './join.ts';

/** The endpoints of this node that have an identity of the cluster. Those that wait for theirs are nobody's peers yet. */
export function announcedEndpoints(realizer: Realizer): AnnouncedEndpoint[] {
  return [...realizer.desired.members.values()]
    .filter(({ subject, identity }) => subject !== '' && identity >= FIRST_POD_IDENTITY)
    .map(({ record, identity, labels, namedPorts, pod }) => ({ record, identity, labels, namedPorts, pod }));
}

/** ADD answers once the other nodes can know of the pod too. */
export function announcing(realizer: Realizer, joined: Joined): Realize {
  return {
    podOf: realizer.podOf,
    withdraw: realizer.withdraw,
    told: joined.told,
    async admit(record, pod) {
      await realizer.admit(record, pod);
      await joined.announced(record.id);
    },
  };
}

export function agentReport(state: State, self: NodeRecord): AgentReport {
  const { pending, revision, problems } = state.status();
  return {
    self,
    ready: pending.length === 0,
    desiredRevision: revision.desired,
    realizedRevision: revision.realized,
    drops: state.counters().drops.reduce((sum, { count }) => sum + count.packets, 0),
    refused: state.policies().flatMap(refusal),
    problems: problems.filter(({ severity }) => severity === 'error').map(({ message }) => message),
  };
}

function refusal({ ref, status, problems, document }: ReturnType<State['policies']>[number]): RefusedDocument[] {
  if (status === 'valid') return [];
  const { kind, namespace, name, uid } = ref;
  const { metadata } = (document ?? {}) as { readonly metadata?: { readonly generation?: number } };
  const reasons = problems.filter(({ severity }) => severity === 'error').map(({ message }) => message);
  return [{ kind, namespace, name, uid, generation: metadata?.generation ?? 0, reason: reasons.join('; ') }];
}
