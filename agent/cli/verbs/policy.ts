/** weir policy list | get: the policy documents and what became of each. */
import type { PoliciesAnswer, PolicyAnswer } from '../../api/policies.ts';
import { type Client, connect } from '../client.ts';
import { type Call, CliError, type Command, EXIT, type ExitCode } from '../command.ts';
import { OUTPUT_FLAG, OUTPUTS } from '../flags.ts';
import { problemLine } from '../problem.ts';
import { json, plural, table } from '../table.ts';

/** Stands for "no namespace" in the API's paths, and may be written here. */
const CLUSTER_WIDE = '-';
const HEADER = ['NAMESPACE', 'NAME', 'KIND', 'STATUS', 'REVISION', 'RULES', 'PROBLEMS', 'PLACE'];

export const POLICY_LIST: Command = {
  words: ['policy', 'list'],
  operands: [],
  sentence: 'List the policy documents and whether each is in force',
  flags: [OUTPUT_FLAG],
  async run(call) {
    const { policies } = await connect(call).get<PoliciesAnswer>('/v1/policies');
    const asJson = call.flags.choice('output', OUTPUTS) === 'json';
    await call.io.out(asJson ? json(policies) : table(HEADER, policies.map(row)));
    return EXIT.ok;
  },
};

export const POLICY_GET: Command = {
  words: ['policy', 'get'],
  operands: ['NAME'],
  sentence: 'Show one policy: its rules, its problems and where it stands',
  flags: [
    {
      name: 'namespace',
      short: 'n',
      value: 'NAMESPACE',
      sentence: 'Its namespace; "-" for a cluster-wide one [the only one of that name]',
    },
    OUTPUT_FLAG,
  ],
  examples: ['weir policy get backend-policy', 'weir policy get default/backend-policy -o json'],
  async run(call) {
    const client = connect(call);
    const { namespace, name } = await locate(call, client);
    const path = `/v1/policies/${encodeURIComponent(namespace)}/${encodeURIComponent(name)}`;
    const { policies } = await client.get<PoliciesAnswer>(path);
    return print(call, policies);
  },
};

async function locate(call: Call, client: Client): Promise<{ readonly namespace: string; readonly name: string }> {
  const written = call.operands[0] as string;
  const slash = written.indexOf('/');
  if (slash >= 0) return { namespace: written.slice(0, slash) || CLUSTER_WIDE, name: written.slice(slash + 1) };
  const namespace = call.flags.one('namespace');
  if (namespace !== undefined) return { namespace, name: written };
  const { policies } = await client.get<PoliciesAnswer>('/v1/policies');
  const namespaces = new Set(policies.filter((policy) => policy.name === written).map((policy) => policy.namespace));
  const [only] = namespaces;
  if (only === undefined) throw new CliError(`no policy is named ${written}`);
  if (namespaces.size > 1) {
    const names = [...namespaces].map((one) => `${one || CLUSTER_WIDE}/${written}`);
    throw new CliError(`several policies are named ${written}: ${names.join(', ')}`);
  }
  return { namespace: only || CLUSTER_WIDE, name: written };
}

async function print(call: Call, policies: readonly PolicyAnswer[]): Promise<ExitCode> {
  const asJson = call.flags.choice('output', OUTPUTS) === 'json';
  const texts = policies.map((policy) => details(policy, call.io.colors));
  await call.io.out(asJson ? json(policies.length === 1 ? policies[0] : policies) : texts.join('\n'));
  return EXIT.ok;
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
