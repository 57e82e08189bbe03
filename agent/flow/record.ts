/**
 * Where the fields of a flow_event stand in its bytes. Read off the generated codec (agent/datapath/layout.gen.ts), so
 * that a change of bpf/abi/event.h moves them.
 */
import { type FlowEvent, flowEvent } from '../datapath/layout.gen.ts';

/** Bytes of one record as the kernel sends it. */
export const EVENT_SIZE = flowEvent.size;

/** The machine's byte order, which the kernel uses for all but ports and addresses. */
export const LITTLE_ENDIAN = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1;

/** An event with everything zero. */
export function emptyEvent(): FlowEvent {
  return flowEvent.decode(new Uint8Array(EVENT_SIZE));
}

/** Byte offset of each field; of an array, of its first element. */
export const AT: Readonly<Record<keyof FlowEvent, number>> = fieldOffsets();

/** Sets one byte after the other and looks which field the codec sees change: its first such byte is where it starts. */
function fieldOffsets(): Record<keyof FlowEvent, number> {
  const fields = Object.keys(emptyEvent()) as (keyof FlowEvent)[];
  const offsets: Partial<Record<keyof FlowEvent, number>> = {};
  for (let at = 0; at < EVENT_SIZE; at++) {
    const event = flowEvent.decode(new Uint8Array(EVENT_SIZE).fill(1, at, at + 1));
    const changed = fields.find((field) => [event[field]].flat().some((part) => !isZero(part)));
    if (changed !== undefined) offsets[changed] ??= at;
  }
  return offsets as Record<keyof FlowEvent, number>;
}

function isZero(part: number | bigint | Uint8Array): boolean {
  return part instanceof Uint8Array ? part.every((byte) => byte === 0) : Number(part) === 0;
}
