/** weir policy from-flows: the smallest policies that allow what was seen, with the flows behind each rule. */
import { Document, isMap, isSeq, type YAMLMap, type YAMLSeq } from 'yaml';
import type { IdentitiesAnswer } from '../../api/identities.ts';
import { judged } from '../../policy/diff-flows.ts';
import { type Generated, generatePolicies, POLICY_KINDS } from '../../policy/from-flows/generate.ts';
import { benchOf, deniedOf } from '../../policy/from-flows/prove.ts';
import { type Evidence, flowKey, type SeenFlow } from '../../policy/from-flows/seen.ts';
import { type Workload, workloadOf } from '../../policy/from-flows/workload.ts';
import type { Workbench } from '../../policy/workbench/workbench.ts';
import { withAgents } from '../agents.ts';
import { type Call, CliError, type Command, EXIT, type ExitCode } from '../command.ts';
import { flowPages } from '../flows/pages.ts';
import { tellSilent } from '../silence.ts';
import { plural } from '../table.ts';
import { POLICY_FLAGS, workbenchOptions } from './manifests.ts';
import { readFlows, seenFlow } from './record.ts';

const USUAL_SINCE = '1h';

export const POLICY_FROM_FLOWS: Command = {
  words: ['policy', 'from-flows'],
  operands: [],
  sentence: 'Write the smallest policies that allow what was seen, each rule with the flows behind it',
  flags: [
    {
      name: 'namespace',
      short: 'n',
      value: 'NAMESPACE',
      repeat: true,
      sentence: 'Only for pods of it; may be repeated',
    },
    {
      name: 'kind',
      value: POLICY_KINDS.join('|'),
      choices: POLICY_KINDS,
      sentence: `What to write [${POLICY_KINDS[0]}]`,
    },
    { name: 'since', value: 'TIME', sentence: `From flows since then, e.g. "24h" [${USUAL_SINCE}]` },
    { name: 'flows', value: 'FILE', sentence: 'From recorded flows (weir flows record) instead of an agent' },
    ...POLICY_FLAGS,
  ],
  examples: [
    'weir policy from-flows --namespace shop --since 24h > shop.yaml',
    'weir policy from-flows --kind NetworkPolicy --namespace shop > shop.yaml',
    'weir flows record flows.jsonl --since 1h; weir policy from-flows --flows flows.jsonl',
  ],
  async run(call) {
    const file = call.flags.one('flows');
    if (file !== undefined) return write(call, [...readFlows(file)].flatMap(orNone), []);
    return withAgents(call, async ({ ask }) => {
      const since = call.flags.one('since') ?? USUAL_SINCE;
      const asked = await ask(async (client) => {
        const flows: SeenFlow[] = [];
        const query = { since, type: ['new', 'update', 'end', 'drop'] };
        for await (const { flow } of flowPages(client, query)) {
          const seen = flow && seenFlow(flow, 'the agent');
          if (seen) flows.push(seen);
        }
        const { identities } = await client.get<IdentitiesAnswer>('/v1/identities');
        return { flows, known: identities.flatMap(({ labels }) => workloadOf(labels) ?? []) };
      });
      const flows = asked.answers.flatMap(({ value }) => value.flows);
      const known = asked.answers.flatMap(({ value }) => value.known);
      // a node that is silent may have seen what the others did not: policies without it would be a trap
      if (asked.silent.length > 0) return tellSilent(asked, call.io);
      return write(call, flows, known);
    });
  },
};

function orNone(flow: Parameters<typeof seenFlow>[0]): SeenFlow[] {
  const seen = seenFlow(flow, 'the record');
  return seen ? [seen] : [];
}

async function write(call: Call, flows: readonly SeenFlow[], known: readonly Workload[]): Promise<ExitCode> {
  const { io, flags } = call;
  const namespaces = flags.all('namespace');
  const generated = generatePolicies(flows, {
    kind: flags.choice('kind', POLICY_KINDS),
    namespaces: namespaces.length > 0 ? namespaces : undefined,
    known,
  });
  if (generated.policies.length === 0)
    throw new CliError(`no pod was seen in ${plural(flows.length, 'flow')}: there is nothing to allow`);
  const policies = generated.policies.map(({ policy }) => policy);
  const bench = benchOf(policies, workbenchOptions(flags));
  const unsaid = new Set(generated.unsaid.map(({ flow }) => flowKey(flow)));
  const said = flows.filter((flow) => !unsaid.has(flowKey(flow)));
  const denied = deniedOf(bench, said);
  if (denied.length > 0) {
    const [first] = denied;
    throw new CliError(
      `the policies would deny ${plural(denied.length, 'recorded flow')}, first ${JSON.stringify(first)}: this is a mistake of Weir; nothing was written`,
    );
  }
  const told = tellApart(generated, bench);
  await io.out(heading(generated, told, flows.length));
  for (const one of generated.policies) await io.out(`---\n${yamlOf(one)}`);
  const { drops } = generated;
  if (drops.length > 0)
    io.err(`weir: ${plural(drops.length, 'kind')} of dropped flows are told at the top, and not allowed\n`);
  if (told.denied.length > 0) {
    io.err(`weir: ${plural(told.denied.length, 'kind')} of flows cannot be allowed: the reasons are told at the top\n`);
    return EXIT.failed;
  }
  return EXIT.ok;
}

/** What no rule says, by what becomes of it. */
interface Told {
  readonly denied: Generated['unsaid'];
  /** Without a rule: by the agent's settings. */
  readonly passing: Generated['unsaid'];
  /** Drops, with what the policies make of them. */
  readonly drops: readonly { readonly drop: Evidence; readonly now: string }[];
}

function tellApart({ unsaid, drops }: Generated, bench: Workbench): Told {
  const passes = ({ flow }: Evidence) => judged(bench, flow) === 'allowed';
  const now = (drop: Generated['drops'][number]) => {
    if (drop.alsoAllowed) return ' (at other times it was let through: that is allowed)';
    return passes(drop) ? ' (the policies do not stop it: allow-local-host)' : '';
  };
  return {
    denied: unsaid.filter((one) => !passes(one)),
    passing: unsaid.filter(passes),
    drops: drops.map((drop) => ({ drop, now: now(drop) })),
  };
}

function heading({ policies }: Generated, { denied, passing, drops }: Told, flows: number): string {
  const lines = [
    `${plural(policies.length, 'policy', 'policies')} from ${plural(flows, 'flow')}: they allow what was seen and nothing else.`,
    'What did not happen meanwhile (a job at night, a failover) is not in them: read before you apply.',
  ];
  if (drops.length > 0) lines.push('', 'DROPPED while this was recorded, and not allowed here:');
  lines.push(...drops.map(({ drop, now }) => `  ${words(drop)}${now}`));
  if (denied.length > 0) lines.push('', 'NOT ALLOWED, because no rule can say it:', ...denied.map(wordsAndWhy));
  if (passing.length > 0) {
    lines.push('', 'ALLOWED WITHOUT A RULE: a node may always reach its own pods (allow-local-host):');
    lines.push(...passing.map(wordsAndWhy));
  }
  return lines
    .map((line) => `# ${line}`.trimEnd())
    .join('\n')
    .concat('\n');
}

function wordsAndWhy(one: Generated['unsaid'][number]): string {
  return `  ${words(one)}: ${one.why}`;
}

/** The policy as YAML, with the flows behind each rule as comments. */
function yamlOf({ policy, ingress, egress }: Generated['policies'][number]): string {
  const document = new Document(policy);
  for (const [direction, evidence] of Object.entries({ ingress, egress })) {
    const rules = document.getIn(['spec', direction], true) as YAMLSeq | undefined;
    if (!isSeq(rules)) continue;
    rules.items.forEach((rule, i) => {
      const behind = evidence[i] ?? [];
      const comment =
        behind.length > 0 ? behind.map((one) => ` ${words(one)}`) : [' nothing was seen: nothing is allowed'];
      if (isMap(rule)) (rule as YAMLMap).commentBefore = comment.join('\n');
    });
  }
  return document.toString({ lineWidth: 120 });
}

function words({ from, to, target, count, time }: Evidence): string {
  return `${plural(count, 'event')}, last ${time.slice(0, 19)}Z: ${from} -> ${to} ${target.number}/${target.protocol}`;
}
