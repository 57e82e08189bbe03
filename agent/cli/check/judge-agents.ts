/** Whether agents are well, by what they say of themselves. Pure. */
import type { AgentFacts } from './cluster-facts.ts';
import { type Category, type Finding, failed, fine, odd, some } from './finding.ts';

/** One agent, where no cluster is known. */
export function judgeOwnAgent(status: AgentFacts['status'], version: string): Category[] {
  return [{ categoryName: 'weir-agent', checks: agentChecks({ status }, version) }];
}

export function agentChecks({ status }: Pick<AgentFacts, 'status'>, version: string): Finding[] {
  const { answers, silent } = status;
  const those = (
    holds: (value: (typeof answers)[number]['value']) => boolean,
    say: (value: (typeof answers)[number]['value']) => string,
  ) =>
    answers
      .filter(({ value }) => holds(value))
      .map(({ node, value }) => `${node}${node === '' ? '' : ': '}${say(value)}`);
  const all = (
    description: string,
    wrong: readonly string[],
    not: typeof failed | typeof odd,
    hint: string,
  ): Finding => ({
    description,
    ...(wrong.length === 0 ? fine : not(some(wrong), hint)),
  });
  const answering = all(
    'every node’s agent answers',
    silent.map(({ node, why }) => `${node}: ${why}`),
    failed,
    'kubectl -n kube-system logs ds/weir, describe pod -l k8s-app=weir',
  );
  if (answers.length === 0) return [answering]; // Of nobody there is nothing more to say, least of all that it is well.
  return [
    answering,
    all(
      'agents are ready',
      those(
        (s) => !s.ready,
        (s) => `waits for ${s.pending.join(', ')}`,
      ),
      failed,
      'what it waits for is in its log',
    ),
    all(
      'agents are of this command’s version',
      those(
        (s) => s.version !== version,
        (s) => s.version,
      ),
      odd,
      `this is weir ${version}; fields it does not know are not shown`,
    ),
    all(
      'the last policies are in force',
      those(
        (s) => s.revision.realized < s.revision.desired,
        (s) => `${s.revision.realized} of ${s.revision.desired}`,
      ),
      odd,
      'in a moment, else the agent’s log says why',
    ),
    all(
      'every pod has its programs',
      those(
        (s) => s.attachments.missing.length > 0,
        (s) => `missing at endpoints ${s.attachments.missing.join(', ')}`,
      ),
      failed,
      'the agent attaches them again within seconds; who takes them off?',
    ),
    all(
      'the node’s own devices have their programs',
      those(
        (s) => s.devices.some(({ fault }) => fault !== undefined),
        (s) =>
          s.devices
            .flatMap(({ device, program, fault }) => (fault ? [`${device} ${program} (${fault})`] : []))
            .join(', '),
      ),
      failed,
      'weir status names them; until then forged sources and foreign tunnels are not refused there',
    ),
    all(
      'no policy is refused',
      refusedOf(status),
      failed,
      'weir policy list; weir policy lint FILE shows where and why',
    ),
    all(
      'agents have no problems',
      those(
        (s) => s.problems.some(({ severity }) => severity === 'error'),
        (s) => s.problems.find(({ severity }) => severity === 'error')?.message ?? '',
      ),
      failed,
      'weir status shows all of them',
    ),
    all(
      'kernel maps have room',
      those(
        (s) => s.maps.some(isFull),
        (s) =>
          s.maps
            .filter(isFull)
            .map(({ name }) => name)
            .join(', '),
      ),
      odd,
      'what does not fit is dropped and counted; weir status -v shows how full each is',
    ),
    all(
      'no flows are lost',
      those(
        (s) => lost(s) > 0,
        (s) => `${lost(s)} events since its start`,
      ),
      odd,
      'weir observe shows where; more aggregation or a larger ring helps',
    ),
  ];
}

function refusedOf({ answers }: AgentFacts['status']): string[] {
  const refused = answers.flatMap(({ value }) =>
    Object.entries(value.policies).filter(([state, count]) => state !== 'valid' && count > 0),
  );
  const worst = new Map<string, number>();
  for (const [state, count] of refused) worst.set(state, Math.max(worst.get(state) ?? 0, count));
  return [...worst].map(([state, count]) => `${count} ${state}`);
}

const FULL = 0.9;
const isFull = ({ entries, capacity }: { entries: number; capacity: number }) => entries >= FULL * capacity;

function lost({ flows }: AgentFacts['status']['answers'][number]['value']): number {
  const { overwritten, ...stages } = flows.lost;
  return Object.values(stages).reduce((sum, count) => sum + count, 0);
}
