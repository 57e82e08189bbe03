/** Records that the programs before an upgrade left in the ring have another size: they cannot be read, and count as lost. */
import type { EventListener } from './datapath.ts';

/** Hands batches on; what has become unreadable since the last one (`unreadable`: ever) is among what was lost before it. */
export function countUnreadable(listener: EventListener, unreadable: () => number): EventListener {
  let told = 0;
  return (records, count, lost) => {
    const now = unreadable();
    const more = now - told;
    told = now;
    listener(records, count, lost + more);
  };
}
