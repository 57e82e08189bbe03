/** What the traffic pays for being told of: Weir silent, aggregated, and with an event for every packet; beside `conntrack -E` and `tcpdump`. */
import type { Bench } from './bench.ts';
import type { Figure } from './figure.ts';

export async function trafficCost(_bench: Bench): Promise<Figure[]> {
  return [];
}
