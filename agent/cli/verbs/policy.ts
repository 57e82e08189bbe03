/** weir policy list | get: the policy documents and what became of each, on one node or on all. */
import type { PoliciesAnswer, PolicyAnswer } from '../../api/policies.ts';
import type { Flag } from '../../run/flags.ts';
import { type Answers, withAgents } from '../agents.ts';
import type { Client } from '../client.ts';
import { type Call, CliError, type Command, UsageError } from '../command.ts';
import { OUTPUT_FLAG, OUTPUTS } from '../flags.ts';
import { problemLine } from '../problem.ts';
import { manyAnswers, tellSilent } from '../silence.ts';
import { json, plural, table } from '../table.ts';

/** Stands for "no namespace" in the API's paths, and may be written here. */
export const CLUSTER_WIDE = '-';
const HEADER = ['NAMESPACE', 'NAME', 'KIND', 'STATUS', 'REVISION', 'RULES', 'PROBLEMS', 'PLACE'];

export const NAMESPACE_FLAG: Flag = {
  name: 'namespace',
  short: 'n',
  value: 'NAMESPACE',
  sentence: 'Its namespace; "-" for a cluster-wide one [the only one of that name]',
};

export const POLICY_LIST: Command = {
  words: ['policy', 'list'],
  operands: [],
  sentence: 'List the policy documents and whether each is in force',
  flags: [OUTPUT_FLAG],
  run: (call) =>
    withAgents(call, async ({ ask, areMany }) => {
      const asked = await ask((client) => client.get<PoliciesAnswer>('/v1/policies'));
      const { answers } = asked;
      const asJson = call.flags.choice('output', OUTPUTS) === 'json';
      if (asJson) await call.io.out(json(areMany ? manyAnswers(asked) : answers[0]?.value.policies));
      else if (areMany) await call.io.out(table(MANY_HEADER, rowsOfMany(asked)));
      else
        await call.io.out(
          table(
            HEADER,
            answers.flatMap(({ value }) => value.policies.map(row)),
          ),
        );
      return tellSilent(asked, call.io);
    }),
};

export const POLICY_GET: Command = {
  words: ['policy', 'get'],
  operands: ['NAME'],
  sentence: 'Show one policy: its rules, its problems and where it stands; with -A the revision on every node',
  flags: [NAMESPACE_FLAG, OUTPUT_FLAG],
  examples: ['weir policy get backend-policy', 'weir policy get default/backend-policy -A'],
  run: (call) =>
    withAgents(call, async ({ ask, areMany }) => {
      const asked = await ask(async (client) => {
        const found = await locate(call, client);
        if (!found) return { policies: [] };
        const path = `/v1/policies/${encodeURIComponent(found.namespace)}/${encodeURIComponent(found.name)}`;
        return client.get<PoliciesAnswer>(path).catch(noneIfNotFound);
      });
      if (asked.answers.every(({ value }) => value.policies.length === 0)) {
        tellSilent(asked, call.io);
        throw new CliError(`no policy is named ${call.operands[0]}`);
      }
      if (areMany) await printMany(call, asked);
      else for (const { value } of asked.answers) await print(call, value.policies);
      return tellSilent(asked, call.io);
    }),
};

function noneIfNotFound(error: unknown): PoliciesAnswer {
  if (error instanceof CliError && error.code === 'NOT_FOUND') return { policies: [] };
  throw error;
}

/** Undefined when the agent has no policy of that name. */
async function locate(call: Call, client: Client): Promise<{ namespace: string; name: string } | undefined> {
  const written = call.operands[0] as string;
  const slash = written.indexOf('/');
  if (slash >= 0) return { namespace: written.slice(0, slash) || CLUSTER_WIDE, name: written.slice(slash + 1) };
  const namespace = call.flags.one('namespace');
  if (namespace !== undefined) return { namespace, name: written };
  const { policies } = await client.get<PoliciesAnswer>('/v1/policies');
  const namespaces = new Set(policies.filter((policy) => policy.name === written).map((policy) => policy.namespace));
  const [only] = namespaces;
  if (only === undefined) return undefined;
  if (namespaces.size > 1) {
    const names = [...namespaces].map((one) => `${one || CLUSTER_WIDE}/${written}`);
    throw new UsageError(`several policies are named ${written}: ${names.join(', ')}`);
  }
  return { namespace: only || CLUSTER_WIDE, name: written };
}

async function print(call: Call, policies: readonly PolicyAnswer[]): Promise<void> {
  const asJson = call.flags.choice('output', OUTPUTS) === 'json';
  const texts = policies.map((policy) => details(policy, call.io.colors));
  await call.io.out(asJson ? json(policies.length === 1 ? policies[0] : policies) : texts.join('\n'));
}

/** What it says, once; then how it stands on each node. Revisions are each agent's own count. */
async function printMany(call: Call, asked: Answers<PoliciesAnswer>): Promise<void> {
  const { io, flags } = call;
  if (flags.choice('output', OUTPUTS) === 'json') return io.out(json(manyAnswers(asked)));
  const stands = [...byDocument(asked).values()].map((of) => {
    const [first] = of;
    const nodes = asked.answers.map(({ node }) => {
      const policy = of.find((one) => one.node === node)?.policy;
      return policy ? [node, policy.status, revision(policy)] : [node, 'not there', ''];
    });
    return `${first ? details(first.policy, io.colors) : ''}\n${table(['NODE', 'STATUS', 'REVISION'], nodes)}`;
  });
  await io.out(stands.join('\n'));
}

const MANY_HEADER = ['NAMESPACE', 'NAME', 'KIND', 'STATUS', 'IN FORCE', 'RULES', 'PROBLEMS'];

/** A row for each document; IN FORCE: on how many nodes, of those that answered. */
function rowsOfMany(asked: Answers<PoliciesAnswer>): string[][] {
  return [...byDocument(asked).values()].flatMap((of) => {
    const [first] = of;
    if (!first) return [];
    const { namespace, name, kind, rules } = first.policy;
    const statuses = [...new Set(of.map(({ policy }) => policy.status))].sort();
    const inForce = of.filter(({ policy }) => policy.status === 'valid' && policy.realized).length;
    const problems = Math.max(...of.map(({ policy }) => policy.problems.length));
    const nodes = `${inForce}/${asked.answers.length} nodes`;
    return [[namespace, name, kind, statuses.join(', '), nodes, String(rules.length), String(problems)]];
  });
}

function byDocument({ answers }: Answers<PoliciesAnswer>) {
  const all = answers.flatMap(({ node, value }) => value.policies.map((policy) => ({ node, policy })));
  return Map.groupBy(all, ({ policy }) => `${policy.kind} ${policy.namespace}/${policy.name}`);
}

function row(policy: PolicyAnswer): string[] {
  return [
    policy.namespace,
    policy.name,
    policy.kind,
    policy.status,
    revision(policy),
    String(policy.rules.length),
    String(policy.problems.length),
    policy.place,
  ];
}

function revision(policy: PolicyAnswer): string {
  return policy.realized ? String(policy.revision) : `${policy.revision} (not in force yet)`;
}

function details(policy: PolicyAnswer, colors: boolean): string {
  const name = policy.namespace === '' ? policy.name : `${policy.namespace}/${policy.name}`;
  const head = [
    ['Name:', name],
    ['Kind:', `${policy.kind} (${policy.apiVersion})`],
    ['Status:', policy.status],
    ['Revision:', revision(policy)],
    ['Place:', policy.place || 'the API server'],
  ];
  const [first, ...rest] = head;
  const rules = policy.rules.map((rule) => [
    rule.direction,
    rule.audit ? `${rule.action} (audit)` : rule.action,
    rule.line === undefined ? rule.path : `${rule.path} (line ${rule.line})`,
    rule.description,
  ]);
  const parts = [table(first ?? [], rest), `${plural(policy.rules.length, 'rule')}\n`];
  if (rules.length > 0) parts.push(table(['DIRECTION', 'ACTION', 'WHERE', 'RULE'], rules));
  for (const problem of policy.problems) parts.push(`${problemLine(problem, colors)}\n`);
  return parts.join('');
}
