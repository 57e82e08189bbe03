/** The programs' counters, summed over CPUs. */
import { type MapHandle, mapEntries } from '../../native/index.ts';
import type { DatapathCounters } from './datapath.ts';
import * as abi from './layout.gen.ts';

/** "DROP_POLICY_DENIED" as metrics and flows name it: "policy_denied". */
export function reasonName(reason: number): string {
  return (abi.dropReasonName[reason] ?? `reason_${reason}`).replace(/^DROP_/, '').toLowerCase();
}

/** Counts since the maps were made, which outlive the agent. Reasons that never occurred are not listed. */
export function readCounters(counters: MapHandle, drops: MapHandle): DatapathCounters {
  const sums = sumsOf(counters, 1);
  const value = (slot: number): number => sums[slot]?.[0] ?? 0;
  const slots = abi.DatapathCounter;
  return {
    forwarded: { ingress: value(slots.COUNTER_FORWARD_INGRESS), egress: value(slots.COUNTER_FORWARD_EGRESS) },
    drops: sumsOf(drops, 2).flatMap(([packets = 0, bytes = 0], slot) => {
      if (packets === 0) return [];
      const direction = slot % abi.Direction.DIRECTION_COUNT === abi.Direction.DIRECTION_INGRESS ? 'ingress' : 'egress';
      const reason = reasonName(Math.floor(slot / abi.Direction.DIRECTION_COUNT));
      return [{ reason, direction, count: { packets, bytes } } as const];
    }),
    eventsLost: value(slots.COUNTER_EVENTS_LOST),
    consumed: value(slots.COUNTER_CONSUMED),
    answered: value(slots.COUNTER_ANSWERED),
    connectionsOpened: value(slots.COUNTER_CONNTRACK_NEW),
    connectionsClosed: value(slots.COUNTER_CONNTRACK_CLOSED),
    judgedAgain: value(slots.COUNTER_JUDGED_AGAIN),
  };
}

/** By slot of a per-cpu array whose values are `fields` u64 each: the sums of each field over all CPUs. */
function sumsOf(map: MapHandle, fields: number): number[][] {
  const { keys, values, count } = mapEntries(map);
  const slots = new Uint32Array(keys.slice().buffer);
  const numbers = new BigUint64Array(values.slice().buffer);
  const perSlot = count === 0 ? 0 : numbers.length / count;
  const sums: number[][] = [];
  for (let i = 0; i < count; i++) {
    const sum = Array<number>(fields).fill(0);
    for (let at = 0; at < perSlot; at++) {
      sum[at % fields] = (sum[at % fields] ?? 0) + Number(numbers[i * perSlot + at]);
    }
    sums[slots[i] ?? 0] = sum;
  }
  return sums;
}
