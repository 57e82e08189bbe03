/** GET /v1/policies, /v1/policies/{namespace}/{name}: the policy documents and what became of each. */
import type { FastifyInstance } from 'fastify';
import { WeirError } from '../errors.ts';
import { formatPath } from '../model/object.ts';
import type { Action, Direction, RuleInfo, Tier } from '../model/verdict.ts';
import { type ProblemAnswer, presentProblem } from './problem.ts';
import { flag, integer, list, named, oneOf, record, type Schema, text } from './schema.ts';
import { POLICY_STATES, type PolicyReport, type PolicyState, type State } from './state.ts';

export interface RuleAnswer {
  readonly id: number;
  readonly tier: Tier;
  readonly direction: Direction;
  readonly action: Action;
  readonly audit: boolean;
  readonly path: string;
  readonly line?: number;
  readonly description: string;
}

export interface PolicyAnswer {
  readonly apiVersion: string;
  readonly kind: string;
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  readonly status: PolicyState;
  readonly problems: readonly ProblemAnswer[];
  /** Since which the document is compiled as it is now; 0 before. */
  readonly revision: number;
  /** The kernel has that revision. */
  readonly realized: boolean;
  readonly place: string;
  readonly rules: readonly RuleAnswer[];
  /** As it came; only where one policy is asked for by name. */
  readonly document?: unknown;
}

export interface PoliciesAnswer {
  readonly policies: readonly PolicyAnswer[];
}

/** Stands for "no namespace" in a path. */
export const CLUSTER_WIDE = '-';

const RULE = record(
  'A rule in force.',
  {
    id: integer('Number in flows; stable over restarts'),
    tier: oneOf(['admin', 'normal', 'baseline'], ''),
    direction: oneOf(['ingress', 'egress'], ''),
    action: oneOf(['allow', 'deny', 'pass'], ''),
    audit: flag('Only reported, not enforced'),
    path: text('Where in the document'),
    line: integer('Absent when there is no text'),
    description: text(''),
  },
  ['line'],
);

const policySchema = (extra: Record<string, Schema>): Schema =>
  record('A policy document and what became of it.', {
    apiVersion: text(''),
    kind: text(''),
    namespace: text("'' for cluster-wide kinds"),
    name: text(''),
    uid: text("'' where the source has none"),
    status: oneOf(
      POLICY_STATES,
      'valid: in force as written; kept-previous: refused, its last valid version stays in force; isolating: refused, ' +
        'isolates what it selects and allows nothing; unreadable: refused, not even its selector can be read',
    ),
    problems: list(named('Problem')),
    revision: integer('Since which it is compiled as it is now; 0 before'),
    realized: flag('The kernel has that revision'),
    place: text('Where it was written'),
    rules: list(RULE, 'Rules of the version in force'),
    ...extra,
  });

const NAME: Schema = { type: 'string', maxLength: 253, pattern: '^[a-zA-Z0-9._:-]+$' };

export function policyRoutes(app: FastifyInstance, state: State): void {
  app.get(
    '/v1/policies',
    {
      schema: {
        summary: 'Policy documents and what became of each',
        tags: ['policies'],
        response: { 200: record('', { policies: list(policySchema({})) }) },
      },
    },
    () => {
      const policies = sorted(state.policies()).map((report) => presentPolicy(report, state));
      return { policies } satisfies PoliciesAnswer;
    },
  );

  app.get<{ Params: { namespace: string; name: string } }>(
    '/v1/policies/:namespace/:name',
    {
      schema: {
        summary: 'The policies of one name, of any kind, with their documents',
        tags: ['policies'],
        params: {
          type: 'object',
          properties: {
            namespace: { ...NAME, description: `Namespace, or "${CLUSTER_WIDE}" for cluster-wide kinds` },
            name: { ...NAME, description: 'the name of a policy document' },
          },
          required: ['namespace', 'name'],
        },
        response: { 200: record('', { policies: list(policySchema({ document: { description: 'As it came' } })) }) },
      },
    },
    ({ params }) => {
      const namespace = params.namespace === CLUSTER_WIDE ? '' : params.namespace;
      const found = sorted(state.policies()).filter(
        ({ ref }) => ref.namespace === namespace && ref.name === params.name,
      );
      if (found.length === 0) {
        const where = namespace === '' ? 'cluster-wide policy' : `policy in namespace ${namespace}`;
        throw new WeirError('NOT_FOUND', 'get a policy', `no ${where} is named ${params.name}`);
      }
      const policies = found.map((report) => ({ ...presentPolicy(report, state), document: report.document ?? null }));
      return { policies } satisfies PoliciesAnswer;
    },
  );
}

function sorted(reports: readonly PolicyReport[]): PolicyReport[] {
  const key = ({ ref }: PolicyReport) => [ref.namespace, ref.name, ref.kind].join('\0');
  return [...reports].sort((a, b) => (key(a) < key(b) ? -1 : 1));
}

function presentPolicy({ ref, status, problems, revision, place, rules }: PolicyReport, state: State): PolicyAnswer {
  return {
    apiVersion: ref.apiVersion,
    kind: ref.kind,
    namespace: ref.namespace,
    name: ref.name,
    uid: ref.uid,
    status,
    problems: problems.map(presentProblem),
    revision,
    realized: revision > 0 && revision <= state.status().revision.realized,
    place,
    rules: rules.map(presentRule),
  };
}

function presentRule(rule: RuleInfo): RuleAnswer {
  const { id, tier, direction, action, audit, path, line, description } = rule;
  return {
    id,
    tier,
    direction,
    action,
    audit,
    path: formatPath(path),
    ...(line !== undefined && { line }),
    description,
  };
}
