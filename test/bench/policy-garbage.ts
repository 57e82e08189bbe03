/** The heap without garbage: what rounds before have left is nobody's memory and nobody's delay. */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

/** Bytes in use once collecting no longer helps. */
export function liveBytes(): number {
  for (let last = Number.POSITIVE_INFINITY; ; ) {
    collect();
    const now = process.memoryUsage().heapUsed;
    if (now >= last) return last;
    last = now;
  }
}
