/** weir policy unused: rules that decided nothing for a while, on any node that was asked. */
import type { RuleAnswer, RulesAnswer } from '../../api/rules.ts';
import { type Answers, withAgents } from '../agents.ts';
import { type Command, EXIT, UsageError } from '../command.ts';
import { OUTPUT_FLAG, OUTPUTS } from '../flags.ts';
import { tellSilent } from '../silence.ts';
import { json, plural, table } from '../table.ts';

const USUAL_SINCE = '30d';
const UNITS: Readonly<Record<string, number>> = { s: 1e3, m: 6e4, h: 3.6e6, d: 8.64e7 };

export const POLICY_UNUSED: Command = {
  words: ['policy', 'unused'],
  operands: [],
  sentence: 'List rules that decided nothing for a while; those not watched for so long yet are told apart',
  flags: [
    { name: 'since', value: 'DURATION', sentence: `For how long, e.g. "30d" or "12h" [${USUAL_SINCE}]` },
    OUTPUT_FLAG,
  ],
  examples: ['weir policy unused --since 30d', 'weir policy unused -A -o json'],
  run: (call) =>
    withAgents(call, async ({ ask }) => {
      const text = call.flags.one('since') ?? USUAL_SINCE;
      const from = Date.now() - readDuration(text);
      const asked = await ask((client) => client.get<RulesAnswer>('/v1/rules'));
      const rules = unusedRules(asked, from);
      const asJson = call.flags.choice('output', OUTPUTS) === 'json';
      if (asJson) await call.io.out(json(rules));
      else {
        const sure = rules.filter(({ certain }) => certain).length;
        const unsure = rules.length - sure;
        const more = unsure > 0 ? `, ${unsure} more since they are watched, which is shorter` : '';
        await call.io.out(`${plural(sure, 'rule')} decided nothing for ${text}${more}\n`);
        if (rules.length > 0) await call.io.out(table(HEADER, rules.map(row)));
      }
      return asked.silent.length > 0 ? tellSilent(asked, call.io) : EXIT.ok;
    }),
};

const HEADER = ['NAMESPACE', 'POLICY', 'KIND', 'DIRECTION', 'ACTION', 'RULE', 'LAST HIT', 'WATCHED SINCE', 'NODES'];

/** A rule that none of the nodes saw decide since `from`. */
export interface UnusedRule extends RuleAnswer {
  readonly nodes: readonly string[];
  /** It was watched for all of the time on every node. */
  readonly certain: boolean;
}

/** @param from ms since 1970 */
export function unusedRules({ answers }: Pick<Answers<RulesAnswer>, 'answers'>, from: number): UnusedRule[] {
  const all = answers.flatMap(({ value }) => value.rules.map((rule) => ({ rule, node: value.node })));
  const byRule = Map.groupBy(all, ({ rule: { policy, path, direction, id } }) =>
    [policy.kind, policy.namespace, policy.name, path, direction, id].join('\u0000'),
  );
  return [...byRule.values()].flatMap((of) => {
    const rules = of.map(({ rule }) => rule);
    const lastHit = rules
      .flatMap((rule) => rule.lastHit ?? [])
      .toSorted()
      .at(-1);
    const watchedSince = rules
      .map((rule) => rule.watchedSince)
      .toSorted()
      .at(-1) as string;
    if (lastHit !== undefined && Date.parse(lastHit) >= from) return [];
    const hits = rules.reduce((sum, rule) => sum + rule.hits, 0);
    const certain = Date.parse(watchedSince) <= from;
    const nodes = of.map(({ node }) => node);
    return [{ ...(rules[0] as RuleAnswer), hits, ...(lastHit && { lastHit }), watchedSince, nodes, certain }];
  });
}

function row(rule: UnusedRule): string[] {
  return [
    rule.policy.namespace || '-',
    rule.policy.name,
    rule.policy.kind,
    rule.direction,
    rule.action,
    rule.line === undefined ? rule.path : `${rule.path} (line ${rule.line})`,
    rule.lastHit ?? 'never',
    rule.certain ? rule.watchedSince : `${rule.watchedSince} (not long enough to tell)`,
    String(rule.nodes.length),
  ];
}

/** Milliseconds of "30d", "1h30m". */
function readDuration(text: string): number {
  if (!/^([0-9]{1,6}[smhd])+$/.test(text)) {
    throw new UsageError(`--since: expected how long, such as "30d" or "12h", got "${text}"`);
  }
  const parts = [...text.matchAll(/([0-9]+)([smhd])/g)];
  return parts.reduce((sum, [, count, unit]) => sum + Number(count) * (UNITS[unit as string] as number), 0);
}
