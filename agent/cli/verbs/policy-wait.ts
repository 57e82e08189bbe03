/** weir policy wait: until a policy is in force; on a cluster, its present version on every node. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { PoliciesAnswer } from '../../api/policies.ts';
import { type Agents, withAgents } from '../agents.ts';
import type { Client } from '../client.ts';
import { type Call, CliError, type Command, EXIT, UsageError } from '../command.ts';
import { findPolicies, nodesWithout, type Wanted } from '../policy/in-force.ts';
import { plural, printable } from '../table.ts';
import { milliseconds } from '../time.ts';
import { CLUSTER_WIDE, NAMESPACE_FLAG } from './policy.ts';

/** How often agents are asked while waiting. */
const ASK_EVERY_MS = 100;

export const POLICY_WAIT: Command = {
  words: ['policy', 'wait'],
  operands: ['NAME'],
  sentence: 'Wait until a policy is valid and in force; on a cluster, as the API server has it now, on every node',
  flags: [
    NAMESPACE_FLAG,
    { name: 'timeout', value: 'TIME', sentence: 'Give up after this long, e.g. 10s or 2m, with exit code 1 [30s]' },
    {
      name: 'after',
      value: 'REVISION',
      sentence: 'Only a version newer than this revision counts, e.g. the one before an edit; of one agent [0]',
    },
  ],
  examples: ['weir policy wait default/backend-policy --timeout 10s'],
  async run(call) {
    const timeoutMs = milliseconds(call, 'timeout', '30s');
    return withAgents(call, async (agents) => {
      const look = agents.cluster ? await lookAtNodes(call, agents) : lookAtOne(call, agents);
      const end = performance.now() + timeoutMs;
      for (;;) {
        const { ready, why } = await look();
        if (ready) {
          await call.io.out(`${why}\n`);
          return EXIT.ok;
        }
        if (performance.now() > end) throw new CliError(`not in force after ${timeoutMs / 1000} s: ${why}`);
        await sleep(ASK_EVERY_MS, undefined, { signal: call.io.signal });
      }
    });
  },
};

interface Look {
  readonly ready: boolean;
  readonly why: string;
}

/** The API server knows which version is the last one, which no agent can know. */
async function lookAtNodes(call: Call, agents: Agents): Promise<() => Promise<Look>> {
  if (call.flags.count('after') !== undefined)
    throw new UsageError(
      '--after is for one agent: each counts revisions for itself; a cluster is asked for what is there now',
    );
  const wanted = await wantedOf(call, agents.cluster as NonNullable<Agents['cluster']>);
  const name = wanted.namespace === '' ? wanted.name : `${wanted.namespace}/${wanted.name}`;
  let { all } = agents;
  return async () => {
    const behind = await nodesWithout(agents, wanted, all);
    const count = plural(all.length, 'node');
    if (behind.length === 0) return { ready: true, why: `${name} is in force on ${count}` };
    const reasons = behind.map(({ node, why }) => printable(`${node}: ${why}`)).join('; ');
    // Agents are replaced and nodes go while one waits; where the API server does not say, as they were.
    all = await agents.again().catch(() => all);
    return { ready: false, why: `on ${behind.length} of ${count}: ${reasons}` };
  };
}

async function wantedOf({ operands, flags }: Call, { client }: NonNullable<Agents['cluster']>): Promise<Wanted> {
  const written = operands[0] as string;
  const slash = written.indexOf('/');
  const name = written.slice(slash + 1);
  const namespace = slash >= 0 ? written.slice(0, slash) : flags.one('namespace');
  const found = await findPolicies(client, name, namespace === CLUSTER_WIDE ? '' : namespace);
  const [only] = found;
  if (!only) throw new CliError(`the API server has no policy named ${written}`);
  if (found.length > 1) {
    const names = found.map((one) => `${one.kind} ${one.namespace || CLUSTER_WIDE}/${one.name}`);
    throw new UsageError(`several policies are named ${written}: ${names.join(', ')}`);
  }
  return only;
}

function lookAtOne(call: Call, { all }: Agents): () => Promise<Look> {
  const after = call.flags.count('after') ?? 0;
  const [only] = all;
  return () => inForce(call, only?.client as Client, after);
}

async function inForce(call: Call, client: Client, after: number): Promise<Look> {
  const { policies } = await client.get<PoliciesAnswer>('/v1/policies');
  const written = call.operands[0] as string;
  const namespace = call.flags.one('namespace');
  const found = policies.filter(({ name, namespace: of }) =>
    written.includes('/')
      ? `${of}/${name}` === written
      : name === written && (namespace === undefined || (namespace === CLUSTER_WIDE ? '' : namespace) === of),
  );
  const [policy] = found;
  if (!policy) return { ready: false, why: `no policy is named ${written}` };
  if (found.length > 1) throw new UsageError(`several policies are named ${written}: give --namespace`);
  if (policy.status !== 'valid') return { ready: false, why: `it is ${policy.status}: ${policy.problems[0]?.message}` };
  if (!policy.realized) return { ready: false, why: `revision ${policy.revision} is being applied` };
  if (policy.revision <= after) return { ready: false, why: `it is still at revision ${policy.revision}` };
  return { ready: true, why: `${written} is in force since revision ${policy.revision}` };
}
