/** Lines of a stream, as Hubble's GetFlowsResponse in JSON. */
import { formatTime } from './clock.ts';
import type { StoredFlow } from './decode.ts';
import type { FlowLine, LossStage, LostEvents } from './flow.ts';
import { presentFlow, type Teller } from './present.ts';

/** Hubble's name of where events were lost. */
export const LOST_SOURCE: Record<LossStage, LostEvents['source']> = {
  ring: 'PERF_EVENT_RING_BUFFER',
  queue: 'OBSERVER_EVENTS_QUEUE',
  overwritten: 'HUBBLE_RING_BUFFER',
  subscriber: 'HUBBLE_RING_BUFFER',
};

export function lostEvents(stage: LossStage, count: number): LostEvents {
  return { source: LOST_SOURCE[stage], num_events_lost: String(count), weir: { stage } };
}

/** Only for records with an eventName. */
export function flowLine(stored: StoredFlow, teller: Teller): FlowLine {
  const flow = presentFlow(stored, teller);
  return { flow, node_name: teller.node, time: flow.time };
}

/** Of losses found now. */
export function lossLine(stage: LossStage, count: number, node: string): FlowLine {
  return { lost_events: lostEvents(stage, count), node_name: node, time: formatTime(Date.now()) };
}
