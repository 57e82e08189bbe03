/** How much this process holds: what collecting garbage does not give back. */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { until } from './until.ts';

setFlagsFromString('--expose-gc');
export const collectGarbage = runInNewContext('gc') as () => void;

/** Bytes in use once collecting no longer helps: the heap, and buffers outside it. */
export function heldBytes(): number {
  for (let last = Number.POSITIVE_INFINITY; ; ) {
    collectGarbage();
    const { heapUsed, external } = process.memoryUsage();
    if (heapUsed + external >= last) return last;
    last = heapUsed + external;
  }
}

/**
 * Waits until no more than `growth` bytes are held beyond `before`. A wait, as what is dropped is not all free at once:
 * buffers are given back by another thread, weak references at the end of a turn, sockets after their peer.
 */
export async function untilHeldAsBefore(before: number, growth: number): Promise<void> {
  const detail = () => `before ${before >> 10} KiB, now ${heldBytes() >> 10} KiB`;
  await until(() => heldBytes() - before < growth, { what: 'memory to be as before', detail });
}
