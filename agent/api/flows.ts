/** GET /v1/flows: a page of the history, or a stream of it. */
import { Readable } from 'node:stream';
import type { FastifyInstance } from 'fastify';
import { WeirError } from '../errors.ts';
import { formatCursor } from '../flow/cursor.ts';
import type { Flow, FlowLine, LostEvents } from '../flow/flow.ts';
import type { FlowHistory } from '../flow/history.ts';
import { type CheckedFlowQuery, FLOW_QUERY_SCHEMA, readFlowQuery } from './flow-query.ts';
import { flag, list, named, record, text } from './schema.ts';

/** Streams open at once; the rest of the connections stays free for others. */
export const FOLLOWERS_MAX = 32;

/** Answer without `follow`. */
export interface FlowsAnswer {
  /** Oldest first. */
  readonly flows: readonly Flow[];
  /** What is missing within the span of this page. */
  readonly lost: readonly LostEvents[];
  /** Pass as `cursor` to get what follows. */
  readonly cursor: string;
  /** There is more right now. */
  readonly more: boolean;
  /** The cursor is from before the agent's last start: that history is gone. */
  readonly restarted: boolean;
}

const FLOWS_ANSWER = record('A page of flows, oldest first.', {
  flows: list(named('Flow')),
  lost: list(named('LostEvents'), 'What is missing within the span of this page'),
  cursor: text('Pass as `cursor` to get what follows, newer flows included'),
  more: flag('There is more right now'),
  restarted: flag(
    "The cursor is from before the agent's last start, whose history is gone; the page starts at the oldest",
  ),
});

export function flowRoutes(app: FastifyInstance, history: FlowHistory): void {
  const closing = new AbortController();
  let followers = 0;
  app.addHook('preClose', async () => closing.abort());

  app.get<{ Querystring: CheckedFlowQuery }>(
    '/v1/flows',
    {
      schema: {
        summary: 'Flows: a page of the history, or with follow=true a stream of it',
        description:
          'Fields of the filter must all hold; values of a repeated field are alternatives. Without first, last, since ' +
          'or cursor: the newest. With follow=true the answer is NDJSON, one FlowLine per line, and starts now unless ' +
          'last, since or cursor says otherwise; a reader that is too slow gets a lost_events line for what it missed.',
        tags: ['flows'],
        querystring: FLOW_QUERY_SCHEMA,
        response: {
          200: {
            description: 'A page, or a stream',
            content: {
              'application/json': { schema: FLOWS_ANSWER },
              'application/x-ndjson': { schema: named('FlowLine') },
            },
          },
        },
      },
    },
    async (request, reply) => {
      const query = readFlowQuery(request.query, Date.now());
      if (query.cursor?.run === history.run && query.cursor.sequence > history.next) {
        throw new WeirError('BAD_REQUEST', 'read the flow query', 'cursor: expected the cursor of an earlier page');
      }
      if (request.query.follow !== true) {
        const { cursor, ...page } = await history.page(query);
        return { ...page, cursor: formatCursor(cursor) } satisfies FlowsAnswer;
      }
      if (followers >= FOLLOWERS_MAX) {
        throw new WeirError('BUSY', 'follow flows', `${FOLLOWERS_MAX} streams are open already, no more are served`);
      }
      followers++;
      const gone = new AbortController();
      reply.raw.once('close', () => {
        followers--;
        gone.abort();
      });
      // a stream may be silent for long: nothing happens
      request.raw.socket.setTimeout(0);
      reply.header('content-type', 'application/x-ndjson').header('cache-control', 'no-store');
      const signal = AbortSignal.any([gone.signal, closing.signal]);
      const lines = ndjson(history.follow(query, signal), () => reply.raw.flushHeaders());
      // one batch ahead of the socket, no more: the history is the queue
      return reply.send(Readable.from(lines, { highWaterMark: 1 }));
    },
  );
}

/** The head goes out at once, so that a client knows that it is served although nothing happens yet. */
async function* ndjson(batches: AsyncIterable<FlowLine[]>, sendHead: () => void): AsyncGenerator<string, void, void> {
  sendHead();
  for await (const lines of batches) yield lines.map((line) => `${JSON.stringify(line)}\n`).join('');
}
