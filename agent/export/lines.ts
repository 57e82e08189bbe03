/** A flow, or a loss, as a line of JSON: Hubble's ExportEvent as protojson writes it. */
import { type FieldMask, keepMasked } from '../api/hubble/field-mask.ts';
import {
  emitter,
  endpoint,
  type HubbleTeller,
  nodeLabelTexts,
  nodeName,
  observationPoint,
  traceReason,
} from '../api/hubble/flow-message.ts';
import { formatTime } from '../flow/clock.ts';
import { DESTINATION, SOURCE, type StoredFlow } from '../flow/decode.ts';
import type { LostEvents } from '../flow/flow.ts';
import { presentFlow } from '../flow/present.ts';

/** What leaves the agent. Exactly one of `flow` and `lost_events` is there. */
export interface ExportEvent {
  readonly flow?: object;
  readonly lost_events?: Pick<LostEvents, 'source' | 'num_events_lost'>;
  readonly node_name: string;
  /** RFC 3339, microseconds. */
  readonly time: string;
}

const STRUCT = 'type.googleapis.com/google.protobuf.Struct';
/** Hubble's name of a loss in the agent, as far as it says more than that. */
export const LOST_BY_EXPORT = 'OBSERVER_EVENTS_QUEUE';

export function flowEvent(stored: StoredFlow, teller: HubbleTeller, mask: FieldMask | undefined): ExportEvent {
  const { weir, ...flow } = presentFlow(stored, teller);
  const named = {
    ...flow,
    source: endpoint(stored, SOURCE, teller),
    destination: endpoint(stored, DESTINATION, teller),
    node_name: nodeName(teller),
    emitter: emitter(teller),
    ...whereSeen(stored),
    ...(mask?.has('extensions') && { extensions: { '@type': STRUCT, value: weir } }),
    ...(mask?.has('node_labels') && { node_labels: nodeLabelTexts(teller) }),
  };
  return { flow: keepMasked(named, mask ?? 'all') as object, node_name: named.node_name, time: flow.time };
}

/** Of packets that were let through. */
function whereSeen(stored: StoredFlow): object {
  const trace_observation_point = observationPoint(stored);
  return trace_observation_point ? { trace_observation_point, trace_reason: traceReason(stored) } : {};
}

export function lossEvent(source: LostEvents['source'], count: number, node: string): ExportEvent {
  const lost_events = { source, num_events_lost: String(count) };
  return { lost_events, node_name: node, time: formatTime(Date.now()) };
}
