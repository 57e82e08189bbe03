/** weir policy list | get: the policy documents and what became of each. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { PoliciesAnswer, PolicyAnswer } from '../../api/policies.ts';
import type { Flag } from '../../run/flags.ts';
import { type Client, connect } from '../client.ts';
import { type Call, CliError, type Command, EXIT, type ExitCode, UsageError } from '../command.ts';
import { OUTPUT_FLAG, OUTPUTS } from '../flags.ts';
import { problemLine } from '../problem.ts';
import { json, plural, table } from '../table.ts';

/** Stands for "no namespace" in the API's paths, and may be written here. */
const CLUSTER_WIDE = '-';
const HEADER = ['NAMESPACE', 'NAME', 'KIND', 'STATUS', 'REVISION', 'RULES', 'PROBLEMS', 'PLACE'];

const NAMESPACE_FLAG: Flag = {
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
  flags: [NAMESPACE_FLAG, OUTPUT_FLAG],
  examples: ['weir policy get backend-policy', 'weir policy get default/backend-policy -o json'],
  async run(call) {
    const client = connect(call);
    const { namespace, name } = await locate(call, client);
    const path = `/v1/policies/${encodeURIComponent(namespace)}/${encodeURIComponent(name)}`;
    const { policies } = await client.get<PoliciesAnswer>(path);
    return print(call, policies);
  },
};

/** How often the agent is asked while waiting. */
const ASK_EVERY_MS = 100;

export const POLICY_WAIT: Command = {
  words: ['policy', 'wait'],
  operands: ['NAME'],
  sentence: 'Wait until a policy is valid and in force',
  flags: [
    NAMESPACE_FLAG,
    { name: 'timeout', value: 'TIME', sentence: 'Give up after this long, e.g. 10s or 2m, with exit code 1 [30s]' },
    {
      name: 'after',
      value: 'REVISION',
      sentence: 'Only a version newer than this revision counts, e.g. the one before an edit [0]',
    },
  ],
  examples: ['weir policy wait default/backend-policy --timeout 10s'],
  async run(call) {
    const timeoutMs = milliseconds(call, 'timeout', '30s');
    const after = call.flags.count('after') ?? 0;
    const client = connect(call);
    const end = performance.now() + timeoutMs;
    for (;;) {
      const { ready, why } = await inForce(call, client, after);
      if (ready) {
        await call.io.out(`${why}\n`);
        return EXIT.ok;
      }
      if (performance.now() > end) throw new CliError(`not in force after ${timeoutMs / 1000} s: ${why}`);
      await sleep(ASK_EVERY_MS, undefined, { signal: call.io.signal });
    }
  },
};

async function inForce(call: Call, client: Client, after: number): Promise<{ ready: boolean; why: string }> {
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

/** "30", "30s", "500ms", "2m": milliseconds. A bare number is seconds. */
function milliseconds(call: Call, flag: string, fallback: string): number {
  const written = call.flags.one(flag) ?? fallback;
  const [, count, unit = 's'] = /^([0-9]{1,9})(ms|s|m|h)?$/.exec(written) ?? [];
  if (count === undefined) throw new UsageError(`--${flag}: expected a time such as 30s or 2m, got "${written}"`);
  return Number(count) * { ms: 1, s: 1000, m: 60_000, h: 3_600_000 }[unit as 'ms' | 's' | 'm' | 'h'];
}

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
