/** GET /v1/explain, /v1/matrix: what the policies of now say about packets that nobody has to send. */
import type { FastifyInstance } from 'fastify';
import type { Explanation, MatrixEntry } from '../model/explanation.ts';
import { integer, list, oneOf, record, type Schema, text } from './schema.ts';
import type { State } from './state.ts';

export interface ExplainAnswer {
  /** One for each family in which the two may talk. */
  readonly explanations: readonly Explanation[];
}
export interface MatrixAnswer {
  readonly entries: readonly MatrixEntry[];
}

const PARTY_TEXT = 'NAMESPACE/POD, ip:ADDRESS, entity:NAME (host, world, ...) or labels like app=frontend';
const PORT_TEXT = '8080, 8080/TCP, a port name like http, or a type like 8/ICMP';
const VERDICT = oneOf(['allowed', 'denied'], '');
const SIDE_VERDICT = oneOf(['allowed', 'denied', 'n/a'], 'n/a: no policy is about this side');
const PORT: Schema = { description: 'As asked: a number or a name', oneOf: [{ type: 'integer' }, { type: 'string' }] };
const FAMILY = oneOf(['IPv4', 'IPv6'], '');

const DOCUMENT = record(
  'A policy document.',
  {
    kind: text(''),
    namespace: text("'' for cluster-wide kinds"),
    name: text(''),
    place: text("Where it was written; '' for an object without a file"),
    line: integer('From 1; absent when there is no text'),
  },
  ['line'],
);
const RULE_FIELDS = {
  document: DOCUMENT,
  direction: oneOf(['ingress', 'egress'], ''),
  tier: oneOf(['admin', 'normal', 'baseline'], ''),
  action: oneOf(['allow', 'deny', 'pass'], ''),
  path: text("Where in the document; '' for rules of the agent itself"),
  line: integer('From 1; absent when there is no text'),
  description: text(''),
  peers: list(text(''), 'The peers of the rule that the other side is among'),
  ports: list(text(''), "The ports of the rule that the packet's is among"),
};
const RULE = record('A rule that matches.', RULE_FIELDS, ['line']);
const DECISION_FIELDS = {
  reason: oneOf(['rule', 'default-allow', 'default-deny'], ''),
  sentence: text('For people'),
  rule: RULE,
};
const EDIT = record('A change to one document.', {
  operation: oneOf(['add', 'insert', 'remove', 'new-document'], ''),
  document: DOCUMENT,
  path: text('Of add what grows, of insert the item it comes before, of remove what goes'),
  snippet: text('YAML of what is added or removed'),
  sentence: text('For people'),
});
const SIDE = record(
  'How one side decides.',
  {
    ...DECISION_FIELDS,
    verdict: SIDE_VERDICT,
    reason: oneOf(['rule', 'default-allow', 'default-deny', 'not-judged'], ''),
    isolatedBy: list(DOCUMENT, 'Policies that isolate this side'),
    next: record('What would decide if what decided were not there.', { verdict: VERDICT, ...DECISION_FIELDS }, [
      'rule',
    ]),
    idle: list(
      record('A rule that matches but does not count.', { ...RULE_FIELDS, why: oneOf(['audited', 'expired'], '') }, [
        'line',
      ]),
    ),
    fix: list(EDIT, 'Of a denial: the smallest edits found that would allow it, each tried; [] if none is known'),
  },
  ['rule', 'next', 'fix'],
);
const PARTY = record(
  'Who takes part.',
  {
    name: text('As asked'),
    kind: oneOf(['pod', 'node', 'entity', 'outside', 'unmanaged'], ''),
    labels: list(text(''), 'What the other side sees'),
    address: text('Absent when not known'),
  },
  ['address'],
);
const EXPLANATION = record('Why a packet would pass or not.', {
  from: PARTY,
  to: PARTY,
  port: PORT,
  protocol: text('TCP, UDP, SCTP, ICMPv4 or ICMPv6'),
  number: integer('What the name stands for; of ICMP the type'),
  family: FAMILY,
  verdict: VERDICT,
  egress: SIDE,
  ingress: SIDE,
});
const ENTRY = record('Whether one may talk to another.', {
  from: text('"ns/pod", "ip:ADDR" or "entity:NAME"'),
  to: text(''),
  port: PORT,
  protocol: text(''),
  family: FAMILY,
  ingress: SIDE_VERDICT,
  egress: SIDE_VERDICT,
  verdict: VERDICT,
});

const words = (description: string): Schema => ({ type: 'string', minLength: 1, maxLength: 253 * 4, description });
const many = (description: string): Schema => ({ ...list(words(description)), maxItems: 32 });

export function explainRoutes(app: FastifyInstance, state: State): void {
  app.get<{ Querystring: { from: string; to: string; port: string } }>(
    '/v1/explain',
    {
      schema: {
        summary: 'Why a packet would be allowed or denied, by which rule, and what edit would allow it',
        tags: ['policies'],
        querystring: record('', { from: words(PARTY_TEXT), to: words(PARTY_TEXT), port: words(PORT_TEXT) }),
        response: { 200: record('', { explanations: list(EXPLANATION) }) },
      },
    },
    ({ query }) => ({ explanations: state.explain(query) }) satisfies ExplainAnswer,
  );

  app.get<{ Querystring: { port?: string[]; peer?: string[] } }>(
    '/v1/matrix',
    {
      schema: {
        summary: 'Who may talk to whom: every pair of pods, judged on both sides',
        tags: ['policies'],
        querystring: record(
          '',
          { port: many(PORT_TEXT), peer: many('ip:ADDRESS or entity:NAME, a party beside the pods') },
          ['port', 'peer'],
        ),
        response: { 200: record('', { entries: list(ENTRY) }) },
      },
    },
    ({ query }) => ({ entries: state.matrix(query.port ?? [], query.peer ?? []) }) satisfies MatrixAnswer,
  );
}
