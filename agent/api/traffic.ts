/** GET /v1/flows/stats and /v1/service-map: who talks to whom, summed over the flows that are held. */
import type { FastifyInstance } from 'fastify';
import type { LostEvents } from '../flow/flow.ts';
import { compareTimes } from '../flow/merge.ts';
import { type DropTraffic, GROUPINGS, type Grouping, type PairTraffic, TrafficSummary } from '../flow/traffic.ts';
import { formatPath } from '../model/object.ts';
import { type CheckedFlowQuery, FLOW_FILTER_PROPERTIES, readFlowQuery } from './flow-query.ts';
import { needPeers, ownScope } from './flows.ts';
import type { Peers, Unreachable } from './peers.ts';
import { integer, list, named, oneOf, record, type Schema, text, UNREACHABLE } from './schema.ts';
import type { State } from './state.ts';

export interface PairAnswer extends Omit<PairTraffic, 'lastSeen'> {
  readonly lastSeen: string;
}

export interface TalkerAnswer {
  readonly name: string;
  readonly connections: number;
  readonly drops: number;
  readonly packets: number;
  readonly bytes: number;
}

export interface DropAnswer {
  readonly reason: string;
  /** Absent: no rule decided. */
  readonly rule?: { readonly policy: string; readonly path: string; readonly description: string };
  readonly isolatedBy: readonly string[];
  readonly drops: number;
  readonly lastSeen: string;
}

export interface StatsAnswer {
  /** Flow events that were looked at. */
  readonly flows: number;
  /** Events left out because there were too many pairs or connections. */
  readonly leftOut: number;
  readonly talkers: readonly TalkerAnswer[];
  readonly pairs: readonly PairAnswer[];
  readonly drops: readonly DropAnswer[];
  readonly lost: readonly LostEvents[];
  readonly unreachable?: readonly Unreachable[];
}

export interface ServiceMapAnswer {
  readonly services: readonly TalkerAnswer[];
  readonly edges: readonly PairAnswer[];
  readonly leftOut: number;
  readonly lost: readonly LostEvents[];
  readonly unreachable?: readonly Unreachable[];
}

const COUNTS: Readonly<Record<string, Schema>> = {
  connections: integer(''),
  drops: integer('Drop events'),
  packets: integer('Both ways'),
  bytes: integer('Both ways'),
};
const TALKER = record('', { name: text(''), ...COUNTS });
const PAIR = record('Initiator to responder.', {
  from: text(''),
  to: text(''),
  protocol: text(''),
  port: integer('Of the responder; 0: none'),
  ...COUNTS,
  lastSeen: text(''),
});
const DROP = record(
  '',
  {
    reason: text(''),
    rule: record('', { policy: text('"Kind namespace/name"'), path: text(''), description: text('') }),
    isolatedBy: list(text('"Kind namespace/name"'), 'Where no rule decided: the policies that isolate the pod'),
    drops: integer(''),
    lastSeen: text(''),
  },
  ['rule'],
);
const COMMON: Readonly<Record<string, Schema>> = {
  leftOut: integer('Events left out because there were too many pairs or connections'),
  lost: list(named('LostEvents'), 'What is missing'),
  unreachable: UNREACHABLE,
};
const STATS_ANSWER = record(
  'Sums, the largest first.',
  {
    flows: integer('Flow events looked at'),
    talkers: list(TALKER),
    pairs: list(PAIR),
    drops: list(DROP),
    ...COMMON,
  },
  ['unreachable'],
);
const MAP_ANSWER = record('A graph.', { services: list(TALKER), edges: list(PAIR), ...COMMON }, ['unreachable']);

const ROWS_MAX = 5000;
const ROWS_USUAL = 20;
/** Of all nodes together, while they are added. */
const ROWS_OF_ALL_MAX = 50_000;
const ONCE: Schema = {
  type: 'boolean',
  description: 'Leave a connection to the node of its initiator, so that the sums of several nodes may be added',
};

interface StatsQuery extends CheckedFlowQuery {
  readonly by?: Grouping;
  readonly top?: number;
  readonly once?: boolean;
}

export function trafficRoutes(app: FastifyInstance, state: State, peers: Peers | undefined): void {
  async function summed(query: StatsQuery, url: string, by: Grouping): Promise<StatsAnswer> {
    const { by: _by, top: _top, once, ...filter } = query;
    const { wanted, sinceMs } = readFlowQuery(filter, Date.now());
    const cluster = query.scope === 'cluster' ? needPeers(peers) : undefined;
    const summary = new TrafficSummary(by, cluster !== undefined || once === true);
    const lost = await state.flows.each(wanted, summary.add, sinceMs);
    const own = present(summary, lost);
    if (cluster === undefined) return own;
    const path = ownScope(url, { once: 'true', top: String(ROWS_MAX), by }).replace(/^[^?]*/, '/v1/flows/stats');
    let sums = own;
    const unreachable = await cluster.ask<StatsAnswer>(path, (answer) => {
      sums = added([sums, answer]);
    });
    return { ...sums, unreachable };
  }

  app.get<{ Querystring: StatsQuery }>(
    '/v1/flows/stats',
    {
      schema: {
        summary: 'Top talkers, traffic by pair, drops by rule',
        description:
          "Over all flows held that the filter wants, or since a time. What a pod does in reply is its peer's traffic too.",
        tags: ['flows'],
        querystring: {
          type: 'object',
          additionalProperties: false,
          properties: {
            ...FLOW_FILTER_PROPERTIES,
            by: { ...oneOf(GROUPINGS, 'What parties are called (default pod)') },
            top: {
              type: 'integer',
              minimum: 0,
              maximum: ROWS_MAX,
              description: `Rows of each (default ${ROWS_USUAL})`,
            },
            once: ONCE,
          },
        },
        response: { 200: { description: 'Sums', content: { 'application/json': { schema: STATS_ANSWER } } } },
      },
    },
    async ({ query, url }): Promise<StatsAnswer> => {
      const { talkers, pairs, drops, leftOut, ...rest } = await summed(query, url, query.by ?? 'pod');
      const top = query.top ?? ROWS_USUAL;
      const shown = { talkers: talkers.slice(0, top), pairs: pairs.slice(0, top), drops: drops.slice(0, top) };
      // Whoever adds these sums to others must know what is not in them.
      const cut = query.once ? pairs.slice(top).reduce((sum, pair) => sum + eventsOf(pair), 0) : 0;
      return { ...rest, ...shown, leftOut: leftOut + cut };
    },
  );

  app.get<{ Querystring: StatsQuery }>(
    '/v1/service-map',
    {
      schema: {
        summary: 'Which workloads talk to which, as a graph',
        tags: ['flows'],
        querystring: {
          type: 'object',
          additionalProperties: false,
          properties: {
            ...FLOW_FILTER_PROPERTIES,
            by: { ...oneOf(GROUPINGS, 'What is a node of the graph (default workload)') },
          },
        },
        response: { 200: { description: 'A graph', content: { 'application/json': { schema: MAP_ANSWER } } } },
      },
    },
    async ({ query, url }): Promise<ServiceMapAnswer> => {
      const { talkers, pairs, leftOut, lost, unreachable } = await summed(query, url, query.by ?? 'workload');
      const edges = pairs.slice(0, ROWS_MAX);
      const named = new Set(edges.flatMap(({ from, to }) => [from, to]));
      const services = talkers.filter(({ name }) => named.has(name));
      const cut = pairs.slice(ROWS_MAX).reduce((sum, pair) => sum + eventsOf(pair), 0);
      return { services, edges, leftOut: leftOut + cut, lost, ...(unreachable && { unreachable }) };
    },
  );
}

function present(summary: TrafficSummary, lost: readonly LostEvents[]): StatsAnswer {
  const pairs = summary.pairs().map((pair): PairAnswer => ({ ...pair, lastSeen: time(pair.lastSeen) }));
  const drops = summary.drops().map(presentDrop);
  return { flows: summary.flows, leftOut: summary.leftOut, talkers: talkersOf(pairs), pairs, drops, lost };
}

function presentDrop({ reason, rule, isolatedBy, drops, lastSeen }: DropTraffic): DropAnswer {
  return {
    reason,
    ...(rule && {
      rule: {
        policy: `${rule.policy.kind} ${rule.policy.namespace}/${rule.policy.name}`,
        path: formatPath(rule.path),
        description: rule.description,
      },
    }),
    isolatedBy,
    drops,
    lastSeen: time(lastSeen),
  };
}

/** Each end of a pair has all of the pair's traffic. */
function talkersOf(pairs: readonly PairAnswer[]): TalkerAnswer[] {
  const rows = new Map<string, { -readonly [field in keyof TalkerAnswer]: TalkerAnswer[field] }>();
  for (const { from, to, connections, drops, packets, bytes } of pairs) {
    for (const name of new Set([from, to])) {
      const row = rows.get(name) ?? { name, connections: 0, drops: 0, packets: 0, bytes: 0 };
      row.connections += connections;
      row.drops += drops;
      row.packets += packets;
      row.bytes += bytes;
      rows.set(name, row);
    }
  }
  return [...rows.values()].sort((a, b) => b.bytes - a.bytes || b.connections - a.connections);
}

/** Answers of nodes that each counted a connection once. */
function added(answers: readonly StatsAnswer[]): StatsAnswer {
  const pairs = new Map<string, PairAnswer>();
  const drops = new Map<string, DropAnswer>();
  let cut = 0;
  for (const answer of answers) {
    for (const pair of answer.pairs) {
      const key = [pair.from, pair.to, pair.protocol, pair.port].join('\u0000');
      const before = pairs.get(key);
      if (before || pairs.size < ROWS_OF_ALL_MAX) pairs.set(key, before ? sum(before, pair) : pair);
      else cut += eventsOf(pair);
    }
    for (const drop of answer.drops) {
      const key = [drop.reason, drop.rule?.policy, drop.rule?.path, ...drop.isolatedBy].join('\u0000');
      const before = drops.get(key);
      const lastSeen = later(before?.lastSeen ?? '', drop.lastSeen);
      drops.set(key, { ...drop, drops: drop.drops + (before?.drops ?? 0), lastSeen });
    }
  }
  const all = [...pairs.values()].sort((a, b) => b.bytes - a.bytes || b.drops - a.drops);
  return {
    flows: answers.reduce((total, { flows }) => total + flows, 0),
    leftOut: answers.reduce((total, { leftOut }) => total + leftOut, cut),
    talkers: talkersOf(all),
    pairs: all,
    drops: [...drops.values()].sort((a, b) => b.drops - a.drops),
    lost: answers.flatMap(({ lost }) => lost),
  };
}

function sum(a: PairAnswer, b: PairAnswer): PairAnswer {
  return {
    ...a,
    connections: a.connections + b.connections,
    drops: a.drops + b.drops,
    packets: a.packets + b.packets,
    bytes: a.bytes + b.bytes,
    lastSeen: later(a.lastSeen, b.lastSeen),
  };
}

/** What is left out with a pair, at least. */
function eventsOf({ connections, drops }: PairAnswer): number {
  return Math.max(1, connections + drops);
}

/** Of two times as text. */
function later(a: string, b: string): string {
  return compareTimes(a, b) < 0 ? b : a;
}

function time(ms: number): string {
  return new Date(ms).toISOString();
}
