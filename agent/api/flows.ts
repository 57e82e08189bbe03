/** GET /v1/flows: a page of the history, or a stream of it; of this node or of all. */
import { Readable } from 'node:stream';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { WeirError } from '../errors.ts';
import { formatCursor } from '../flow/cursor.ts';
import type { Flow, LostEvents } from '../flow/flow.ts';
import type { FlowQuery } from '../flow/history.ts';
import { compareTimes } from '../flow/merge.ts';
import { type CheckedFlowQuery, FLOW_QUERY_SCHEMA, readFlowQuery } from './flow-query.ts';
import { eventStream, ndjson, prefersEvents, withLastEvent, written, writtenHere } from './flow-streams.ts';
import type { Peers, Unreachable } from './peers.ts';
import { flag, list, named, record, text, UNREACHABLE } from './schema.ts';
import type { State } from './state.ts';

/** Streams open at once; the rest of the connections stays free for others. */
export const FOLLOWERS_MAX = 32;
/** Of them, those of all nodes: each is a stream on every node, and holds lines until those of slower nodes are there. */
export const CLUSTER_FOLLOWERS_MAX = 8;

/** Answer without `follow`. */
export interface FlowsAnswer {
  /** Oldest first. */
  readonly flows: readonly Flow[];
  /** What is missing within the span of this page. */
  readonly lost: readonly LostEvents[];
  /** Pass as `cursor` to get what follows; '' with scope=cluster. */
  readonly cursor: string;
  /** There is more right now. */
  readonly more: boolean;
  /** The cursor is from before the agent's last start: that history is gone. */
  readonly restarted: boolean;
  /** With scope=cluster. */
  readonly unreachable?: readonly Unreachable[];
}

const FLOWS_ANSWER = record(
  'A page of flows, oldest first.',
  {
    flows: list(named('Flow')),
    lost: list(named('LostEvents'), 'What is missing within the span of this page'),
    cursor: text("Pass as `cursor` to get what follows, newer flows included; '' with scope=cluster: go on with since"),
    more: flag('There is more right now'),
    restarted: flag(
      "The cursor is from before the agent's last start, whose history is gone; the page starts at the oldest",
    ),
    unreachable: UNREACHABLE,
  },
  ['unreachable'],
);

export function flowRoutes(app: FastifyInstance, state: State, peers: Peers | undefined): void {
  const history = state.flows;
  const closing = new AbortController();
  let followers = 0;
  let clusterFollowers = 0;
  app.addHook('preClose', async () => closing.abort());

  app.get<{ Querystring: CheckedFlowQuery }>(
    '/v1/flows',
    {
      schema: {
        summary: 'Flows: a page of the history, or with follow=true a stream of it',
        description:
          'Fields of the filter must all hold; values of a repeated field are alternatives. Without first, last, since ' +
          'or cursor: the newest. With follow=true the answer is NDJSON, one FlowLine per line, or server-sent events ' +
          'where the request accepts text/event-stream, and starts now unless last, since or cursor says otherwise; a ' +
          'reader that is too slow gets a lost_events line for what it missed. With scope=cluster this agent asks those ' +
          'of all nodes and puts their flows in order of time.',
        tags: ['flows'],
        querystring: FLOW_QUERY_SCHEMA,
        response: {
          200: {
            description: 'A page, or a stream',
            content: {
              'application/json': { schema: FLOWS_ANSWER },
              'application/x-ndjson': { schema: named('FlowLine') },
              'text/event-stream': { schema: { type: 'string', description: 'data: a FlowLine; id: a cursor' } },
            },
          },
        },
      },
    },
    async (request, reply) => {
      const asked = withLastEvent(request.query, request.headers['last-event-id']);
      const query = readFlowQuery(asked, Date.now());
      if (query.cursor?.run === history.run && query.cursor.sequence > history.next) {
        throw new WeirError('BAD_REQUEST', 'read the flow query', 'cursor: expected the cursor of an earlier page');
      }
      const cluster = asked.scope === 'cluster' ? needPeers(peers) : undefined;
      if (asked.follow === true) return follow(request, reply, query, cluster);
      const { cursor, ...page } = await history.page(query);
      const own: FlowsAnswer = { ...page, cursor: formatCursor(cursor) };
      return cluster ? pageOfAll(own, cluster, ownScope(request.url), query) : own;
    },
  );

  async function follow(request: FastifyRequest, reply: FastifyReply, query: FlowQuery, cluster: Peers | undefined) {
    if (followers >= FOLLOWERS_MAX) {
      throw new WeirError('BUSY', 'follow flows', `${FOLLOWERS_MAX} streams are open already, no more are served`);
    }
    if (cluster && clusterFollowers >= CLUSTER_FOLLOWERS_MAX) {
      const message = `${CLUSTER_FOLLOWERS_MAX} streams of all nodes are open already, no more are served`;
      throw new WeirError('BUSY', 'follow flows', message);
    }
    const count = (by: number): void => {
      followers += by;
      if (cluster) clusterFollowers += by;
    };
    count(1);
    const gone = new AbortController();
    reply.raw.once('close', () => {
      count(-1);
      gone.abort();
    });
    // a stream may be silent for long: nothing happens
    request.raw.socket.setTimeout(0);
    const signal = AbortSignal.any([gone.signal, closing.signal]);
    const { node } = state.status();
    const batches = cluster
      ? written(
          (await import('./follow-cluster.ts')).followCluster({
            own: history.follow(query, signal),
            node,
            peers: cluster,
            path: ownScope(request.url),
            signal,
          }),
        )
      : writtenHere(history, node, query, signal);
    const asEvents = prefersEvents(request.headers.accept);
    reply.header('content-type', asEvents ? 'text/event-stream' : 'application/x-ndjson');
    reply.header('cache-control', 'no-store');
    const sendHead = () => reply.raw.flushHeaders();
    const isNow = query.order === 'newest' && query.cursor === undefined;
    const start = isNow && !cluster ? { run: history.run, sequence: history.next } : undefined;
    const lines = asEvents ? eventStream(batches, sendHead, start) : ndjson(batches, sendHead);
    // one batch ahead of the socket, no more: the history is the queue
    return reply.send(Readable.from(lines, { highWaterMark: 1 }));
  }
}

/** The peers, or an error for who asks an agent that cannot reach any. */
export function needPeers(peers: Peers | undefined): Peers {
  if (peers) return peers;
  const message = 'scope: this agent cannot ask others: apiTlsListenAddress is not set';
  throw new WeirError('NOT_ENABLED', 'ask the cluster', message);
}

/** The same question, about the node that is asked. */
export function ownScope(url: string, more: Readonly<Record<string, string>> = {}): string {
  const at = url.indexOf('?');
  const query = new URLSearchParams(at < 0 ? '' : url.slice(at + 1));
  query.delete('scope');
  for (const [name, value] of Object.entries(more)) query.set(name, value);
  return `${at < 0 ? url : url.slice(0, at)}?${query}`;
}

async function pageOfAll(own: FlowsAnswer, peers: Peers, path: string, query: FlowQuery): Promise<FlowsAnswer> {
  let page = own;
  const unreachable = await peers.ask<FlowsAnswer>(path, (answer) => {
    page = merged(page, answer, query);
  });
  return { ...page, more: query.order === 'oldest' && page.more, cursor: '', restarted: false, unreachable };
}

/** The newest or the oldest of both together. */
function merged(a: FlowsAnswer, b: FlowsAnswer, { order, count }: FlowQuery): FlowsAnswer {
  const all = [...a.flows, ...b.flows].sort((one, other) => compareTimes(one.time, other.time));
  const newest = count === 0 ? [] : all.slice(-count);
  return {
    ...a,
    flows: order === 'newest' ? newest : all.slice(0, count),
    lost: [...a.lost, ...b.lost],
    more: a.more || b.more || all.length > count,
  };
}
