/** How a stream of flows is written: a line of JSON each, or as server-sent events (WHATWG HTML, 9.2). */
import { type Cursor, formatCursor } from '../flow/cursor.ts';
import type { FlowLine } from '../flow/flow.ts';
import type { FlowHistory, FlowQuery } from '../flow/history.ts';
import { flowLine, lossLine } from '../flow/lines.ts';
import type { Telling } from '../flow/stream.ts';
import type { CheckedFlowQuery } from './flow-query.ts';

/** At least so often a stream of events says something. */
export const SIGN_OF_LIFE_MS = 15_000;

/** A line as it is sent. */
export interface WrittenLine {
  readonly json: string;
  /** Name of the server-sent event; undefined: a flow. */
  readonly event: 'lost_events' | 'node_status' | undefined;
  /** What follows it, where one agent tells. */
  readonly next: Cursor | undefined;
}

/** The history's own lines: each is written once for all who follow. */
export async function* writtenHere(
  history: FlowHistory,
  node: string,
  query: FlowQuery,
  signal: AbortSignal,
): AsyncGenerator<WrittenLine[], void, void> {
  const shared = history.shared.share<string>('json', (json) => json.length);
  const telling: Telling<WrittenLine> = {
    flow(flow, run) {
      const write = () => JSON.stringify(flowLine(flow, { node, run }));
      const json = run === history.run ? shared.flow(flow.sequence, write) : write();
      return { json, event: undefined, next: { run, sequence: flow.sequence + 1 } };
    },
    lost: (stage, count) => ({
      json: JSON.stringify(lossLine(stage, count, node)),
      event: 'lost_events',
      next: undefined,
    }),
    giveWay: shared.giveWay,
  };
  try {
    yield* history.stream(query, telling, 'never', signal);
  } finally {
    shared.release();
  }
}

/** Lines of several nodes, which have no cursor in common. */
export async function* written(batches: AsyncIterable<FlowLine[]>): AsyncGenerator<WrittenLine[], void, void> {
  for await (const lines of batches) {
    yield lines.map((line) => ({
      json: JSON.stringify(line),
      event: line.lost_events ? 'lost_events' : line.node_status ? 'node_status' : undefined,
      next: undefined,
    }));
  }
}

/** The head goes out at once, so that a client knows that it is served although nothing happens yet. */
export async function* ndjson(
  batches: AsyncIterable<WrittenLine[]>,
  sendHead: () => void,
): AsyncGenerator<string, void, void> {
  sendHead();
  for await (const lines of batches) yield lines.map(({ json }) => `${json}\n`).join('');
}

/**
 * With a cursor as each event's id, where there is one, and at the beginning `start`; a silent stream gives a sign of life now and
 * then, so that a reader can tell silence from a node that is gone.
 */
export async function* eventStream(
  batches: AsyncIterable<WrittenLine[]>,
  sendHead: () => void,
  start?: Cursor,
  signOfLifeMs: number = SIGN_OF_LIFE_MS,
): AsyncGenerator<string, void, void> {
  sendHead();
  yield start ? `id: ${formatCursor(start)}\n\n` : ':\n\n';
  for await (const lines of withPauses(batches, signOfLifeMs)) {
    yield lines === undefined ? ':\n\n' : lines.map(eventOf).join('');
  }
}

/** What comes, and undefined whenever nothing came for so long. */
async function* withPauses<Value>(
  source: AsyncIterable<Value>,
  ms: number,
): AsyncGenerator<Value | undefined, void, void> {
  const iterator = source[Symbol.asyncIterator]();
  try {
    for (;;) {
      const next = iterator.next();
      let isThere = false;
      let wake = (): void => {};
      const arrived = (): void => {
        isThere = true;
        wake();
      };
      next.then(arrived, arrived); // once, however many pauses: a promise keeps all who ever waited for it
      while (!isThere) {
        await new Promise<void>((resolve) => {
          const timer = setTimeout(resolve, ms);
          wake = () => {
            clearTimeout(timer);
            resolve();
          };
        });
        if (!isThere) yield undefined;
      }
      const { done, value } = await next;
      if (done) return;
      yield value;
    }
  } finally {
    // Not waited for: it may hang in `next` until the signal of the stream aborts.
    void iterator.return?.();
  }
}

function eventOf({ json, event, next }: WrittenLine): string {
  return `${event ? `event: ${event}\n` : ''}${next ? `id: ${formatCursor(next)}\n` : ''}data: ${json}\n\n`;
}

export function prefersEvents(accept: string | undefined): boolean {
  return (accept ?? '').split(',').some((range) => range.split(';')[0]?.trim().toLowerCase() === 'text/event-stream');
}

/** A browser that connects again says what it saw last: that is where it goes on, whatever its first query said. */
export function withLastEvent(query: CheckedFlowQuery, lastEvent: string | string[] | undefined): CheckedFlowQuery {
  if (typeof lastEvent !== 'string' || lastEvent === '' || query.follow !== true) return query;
  const { last: _last, since: _since, ...rest } = query;
  return { ...rest, cursor: lastEvent };
}
