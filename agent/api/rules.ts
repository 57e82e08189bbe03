/** GET /v1/rules: every rule of the policies, how often it decided and when last. */
import type { FastifyInstance } from 'fastify';
import { formatPath } from '../model/object.ts';
import type { Action, Direction, Tier } from '../model/verdict.ts';
import { integer, list, named, oneOf, record, text } from './schema.ts';
import type { State } from './state.ts';

export interface RuleAnswer {
  readonly id: number;
  readonly policy: { readonly kind: string; readonly namespace: string; readonly name: string };
  readonly tier: Tier;
  readonly direction: Direction;
  readonly action: Action;
  readonly path: string;
  readonly place: string;
  readonly line?: number;
  readonly description: string;
  readonly hits: number;
  /** RFC 3339; absent: it never decided since `watchedSince`. */
  readonly lastHit?: string;
  /** RFC 3339: before that nobody looked. */
  readonly watchedSince: string;
}

export interface RulesAnswer {
  readonly node: string;
  readonly rules: readonly RuleAnswer[];
}

const RULES_ANSWER = record('The rules of this node.', {
  node: text(''),
  rules: list(
    record(
      '',
      {
        id: integer('As in weir.rule.id of flows'),
        policy: named('Object'),
        tier: oneOf(['admin', 'normal', 'baseline'], ''),
        direction: oneOf(['ingress', 'egress'], ''),
        action: oneOf(['allow', 'deny', 'pass'], ''),
        path: text('Where in the document: "spec.ingress[0]"'),
        place: text('File, or other origin'),
        line: integer('Line of the file, from 1'),
        description: text(''),
        hits: integer('Connections allowed, packets dropped or audited; goes on over restarts of the agent'),
        lastHit: text('When it decided last, or an old connection it allowed gave a sign of life; absent: never'),
        watchedSince: text('Since when its hits are counted'),
      },
      ['line', 'lastHit'],
    ),
  ),
});

export function ruleRoutes(app: FastifyInstance, state: State): void {
  app.get(
    '/v1/rules',
    {
      schema: {
        summary: 'Rules, with how often each decided and when last',
        tags: ['policies'],
        response: { 200: { description: 'All rules', content: { 'application/json': { schema: RULES_ANSWER } } } },
      },
    },
    (): RulesAnswer => {
      state.flows.rules.watch(
        state.policies().flatMap(({ rules }) => rules.map(({ id }) => id)),
        Date.now(),
      );
      return { node: state.status().node, rules: state.policies().flatMap((policy) => answers(policy, state)) };
    },
  );
}

function answers({ ref, rules }: ReturnType<State['policies']>[number], { flows }: State): RuleAnswer[] {
  return rules.map(({ id, tier, direction, action, path, place, line, description }) => {
    const hit = flows.rules.of(id);
    return {
      id,
      policy: { kind: ref.kind, namespace: ref.namespace, name: ref.name },
      tier,
      direction,
      action,
      path: formatPath(path),
      place,
      ...(line !== undefined && { line }),
      description,
      hits: hit?.hits ?? 0,
      ...(hit?.lastHit !== undefined && { lastHit: new Date(hit.lastHit).toISOString() }),
      watchedSince: new Date(hit?.since ?? Date.now()).toISOString(),
    };
  });
}
