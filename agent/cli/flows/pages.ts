/** All flows of an agent that a query wants, page after page. */
import type { FlowsAnswer } from '../../api/flows.ts';
import type { FlowLine } from '../../flow/flow.ts';
import type { Client, Query } from '../client.ts';

const PAGE = 5000;

/** Oldest first, up to the newest there is when the last page is asked for; losses as lines of their own. */
export async function* flowPages(client: Client, query: Query): AsyncGenerator<FlowLine, void, void> {
  let asked: Query = { ...query, first: String(PAGE) };
  for (;;) {
    const page = await client.get<FlowsAnswer>('/v1/flows', asked);
    for (const lost of page.lost) yield { lost_events: lost, node_name: '', time: '' };
    for (const flow of page.flows) yield { flow, node_name: flow.node_name, time: flow.time };
    if (!page.more) return;
    asked = { ...query, cursor: page.cursor, first: String(PAGE) };
  }
}
