/** How a stream of flows is written: a line of JSON each, or as server-sent events (WHATWG HTML, 9.2). */
import { formatCursor } from '../flow/cursor.ts';
import type { FlowLine } from '../flow/flow.ts';
import type { CheckedFlowQuery } from './flow-query.ts';

/** The head goes out at once, so that a client knows that it is served although nothing happens yet. */
export async function* ndjson(
  batches: AsyncIterable<FlowLine[]>,
  sendHead: () => void,
): AsyncGenerator<string, void, void> {
  sendHead();
  for await (const lines of batches) yield lines.map((line) => `${json(line)}\n`).join('');
}

/** @param run of this agent: makes the cursor that stands as the event's id; undefined where there is no cursor */
export async function* eventStream(
  batches: AsyncIterable<FlowLine[]>,
  sendHead: () => void,
  run: string | undefined,
): AsyncGenerator<string, void, void> {
  sendHead();
  for await (const lines of batches) yield lines.map((line) => event(line, run)).join('');
}

function event(line: FlowLine, run: string | undefined): string {
  const kind = line.lost_events ? 'event: lost_events\n' : line.node_status ? 'event: node_status\n' : '';
  const id = line.flow && run ? `id: ${formatCursor({ run, sequence: line.flow.weir.sequence + 1 })}\n` : '';
  return `${kind}${id}data: ${json(line)}\n\n`;
}

/** Followers share their lines (FlowHistory.follow): each is written once for all of them. */
const TEXTS = new WeakMap<FlowLine, string>();
function json(line: FlowLine): string {
  const before = TEXTS.get(line);
  if (before !== undefined) return before;
  const text = JSON.stringify(line);
  TEXTS.set(line, text);
  return text;
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
