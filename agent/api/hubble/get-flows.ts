/** Observer.GetFlows: the history and what follows, as encoded messages in batches. */
import type { StoredFlow } from '../../flow/decode.ts';
import type { FlowHistory } from '../../flow/history.ts';
import { LOST_SOURCE } from '../../flow/lines.ts';
import type { Telling } from '../../flow/stream.ts';
import { flowMessages, type HubbleTeller, nodeName } from './flow-message.ts';
import { readFlowRequest } from './flow-request.ts';
import { encode, GET_FLOWS_RESPONSE, type GetFlowsRequest, timestamp } from './messages.ts';

/** flow.LostEventSource. */
const SOURCE_NUMBERS = { PERF_EVENT_RING_BUFFER: 1, OBSERVER_EVENTS_QUEUE: 2, HUBBLE_RING_BUFFER: 3 } as const;
/** Longest that a timer can wait. */
const TIMER_MAX_MS = 2 ** 31 - 1;

export interface FlowSource {
  readonly history: FlowHistory;
  readonly teller: HubbleTeller;
}

/** Ends with what was asked for, or when the signal aborts. Throws Refusal for what is not served, before the first batch. */
export async function* getFlows(
  request: GetFlowsRequest,
  { history, teller }: FlowSource,
  signal: AbortSignal,
): AsyncGenerator<Buffer[], void, void> {
  const plan = readFlowRequest(request, teller, Date.now());
  const kind = `grpc ${(request.field_mask?.paths ?? []).join()}`;
  const shared = history.shared.share<Buffer>(kind, (bytes) => bytes.length);
  const node_name = nodeName(teller);
  const encoder = (run: string) => {
    const message = flowMessages({ ...teller, run }, plan.mask);
    return (flow: StoredFlow) =>
      encode(GET_FLOWS_RESPONSE, { flow: message(flow), node_name, time: timestamp(flow.timeMs) });
  };
  const ours = encoder(teller.run);
  let earlier = { run: teller.run, encode: ours };
  let left = plan.most;
  const telling: Telling<{ bytes: Buffer; isFlow: boolean }> = {
    flow(flow, run) {
      if (run === teller.run) return { isFlow: true, bytes: shared.flow(flow.sequence, () => ours(flow)) };
      if (run !== earlier.run) earlier = { run, encode: encoder(run) };
      return { isFlow: true, bytes: earlier.encode(flow) };
    },
    lost: (stage, count) => ({
      isFlow: false,
      bytes: encode(GET_FLOWS_RESPONSE, {
        lost_events: { source: SOURCE_NUMBERS[LOST_SOURCE[stage]], num_events_lost: count },
        node_name,
        time: timestamp(Date.now()),
      }),
    }),
    giveWay: shared.giveWay,
  };
  const remainingMs = Math.max(0, Math.ceil((plan.until ?? Infinity) - Date.now()));
  // Of an end further away than a timer reaches only the query knows: it shows nothing later.
  const ended = remainingMs > TIMER_MAX_MS ? signal : AbortSignal.any([signal, AbortSignal.timeout(remainingMs)]);
  try {
    for await (const batch of history.stream(plan.query, telling, plan.ends, ended)) {
      const lines: Buffer[] = [];
      for (const { bytes, isFlow } of batch) {
        if (isFlow && left-- <= 0) break;
        lines.push(bytes);
      }
      if (lines.length > 0) yield lines;
      if (left <= 0) return;
    }
  } finally {
    shared.release();
  }
}
