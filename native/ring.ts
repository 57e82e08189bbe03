import { addon } from './addon.ts';
import { checked } from './error.ts';
import type { MapHandle } from './handle.ts';

export interface RingOptions {
  /** Bytes of every record; others are counted and left out. */
  readonly recordSize: number;
  /** How many may wait for JS; what comes on top is dropped and counted. */
  readonly maxQueuedRecords: number;
  readonly maxBatchRecords: number;
  /** A record waits no longer than this for its batch to fill. Also how often the ring is looked at if the program wakes nobody. */
  readonly maxDelayMs: number;
}

export interface RingStats {
  /** Records of the right size read from the kernel. */
  readonly received: number;
  /** Of these: lost because JS did not keep up. */
  readonly queuedDropped: number;
  readonly badSize: number;
}

/** `records`: `count` records, one behind the other; `dropped`: lost in the queue since the batch before. */
export type OnBatch = (records: Uint8Array, count: number, dropped: number) => void;

export interface RingConsumer {
  /** Ends the thread, hands over what is queued, then calls no more. Twice is fine. */
  stop(): Promise<void>;
  stats(): RingStats;
}

/**
 * Reads a BPF ring buffer on a thread of its own; `onBatch` is called on the JS thread. One consumer per ring. It does
 * not keep Node running. EINVAL: the map is no ring buffer.
 */
export function ringConsumer(map: MapHandle, options: RingOptions, onBatch: OnBatch): RingConsumer {
  const { recordSize, maxQueuedRecords, maxBatchRecords, maxDelayMs } = options;
  for (const [name, value, least] of [
    ['recordSize', recordSize, 1],
    ['maxQueuedRecords', maxQueuedRecords, 1],
    ['maxBatchRecords', maxBatchRecords, 1],
    ['maxDelayMs', maxDelayMs, 0],
  ] as const) {
    if (!Number.isInteger(value) || value < least || value > 0x7fffffff) {
      throw new RangeError(`ring ${map.name}: ${name} must be an integer from ${least}, got ${value}`);
    }
  }
  const ring = checked(
    `ring open ${map.name}`,
    addon.openRing(map.fd, recordSize, maxQueuedRecords, maxBatchRecords, maxDelayMs, onBatch),
  );
  return { stop: async () => ring.stop(), stats: () => ring.stats() };
}
