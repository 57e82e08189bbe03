/** Where engine and oracle disagree about a scenario, if they do. */
import { formatPath, refKey } from '../../agent/model/object.ts';
import type { RuleInfo } from '../../agent/model/verdict.ts';
import { createJudge } from '../../agent/policy/evaluate.ts';
import { ask, LOCAL_HOST } from '../oracle/judge.ts';
import type { Packet, Scenario } from '../oracle/scenario.ts';
import { canonical } from './policy-compare.ts';
import { buildWorld } from './policy-world.ts';

export interface Disagreement {
  readonly packet: Packet;
  readonly audited: boolean;
  readonly engine: string;
  readonly oracle: string;
}

/** The first packet on which the two differ in verdict, or in whose rule it was. */
export function disagreement(scenario: Scenario, seed: number): Disagreement | undefined {
  const world = buildWorld(scenario, seed);
  const judge = createJudge(world.rows);
  for (const packet of scenario.packets) {
    for (const audited of [false, true]) {
      const oracle = ask(scenario, packet, audited);
      const engine = judge({ ...world.question(packet), audited });
      const rule = engine.rule === undefined ? undefined : ruleName(world.engine.rule(engine.rule));
      const sameVerdict = engine.verdict === oracle.verdict;
      // Nobody has to name the rule for the node's own packets where they would be allowed without it.
      const sameRule =
        rule === undefined ? oracle.rules.every((name) => name === LOCAL_HOST) : oracle.rules.includes(rule);
      if (sameVerdict && sameRule) continue;
      return {
        packet,
        audited,
        engine: `${engine.verdict} by ${rule ?? engine.reason}`,
        oracle: `${oracle.verdict} by ${oracle.rules.join(' or ') || 'default'}`,
      };
    }
  }
  return undefined;
}

/** How the oracle names the rule. */
export function ruleName(info: RuleInfo | undefined): string {
  if (!info) return 'a rule nobody knows';
  return info.path.length === 0 ? LOCAL_HOST : `${refKey(info.policy)} ${formatPath(info.path)}`;
}

/**
 * True if the order in which things came, and what came and went in between, left a trace: the rows of two histories
 * that end in the same scenario must be the same but for their numbers.
 */
export function leavesTraces(scenario: Scenario, seed: number): boolean {
  return canonical(buildWorld(scenario, seed).rows) !== canonical(buildWorld(scenario, seed + 1).rows);
}
