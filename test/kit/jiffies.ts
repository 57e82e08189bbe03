/** The kernel's jiffies and CLOCK_MONOTONIC, by the program `sample_clock` that the agent uses too. */
import { openObject, type ProgramHandle, testRun } from '../../native/index.ts';

export interface KernelTime {
  readonly jiffies: bigint;
  readonly ns: bigint;
}

/** What kernels can be built with (CONFIG_HZ). */
const RATES = [100, 250, 300, 1000];
const TICKS = 9n;

let measured: number | undefined;

export function kernelTime(sampleClock: ProgramHandle): KernelTime {
  const { data } = testRun(sampleClock, { data: new Uint8Array(64) });
  const view = new DataView(data.buffer, data.byteOffset);
  return { jiffies: view.getBigUint64(0, true), ns: view.getBigUint64(8, true) };
}

/** Jiffies per second, measured once per process with a load of the object at `path`. */
export function jiffiesPerSecond(path: string, maxEntries: Record<string, number>): number {
  if (measured !== undefined) return measured;
  const object = openObject(path, { maxEntries });
  try {
    const { sample_clock } = object.programs;
    if (!sample_clock) throw new Error(`${path} has no program sample_clock`);
    measured = measure(() => kernelTime(sample_clock));
    return measured;
  } finally {
    object.close();
  }
}

/** From one tick to a later one, so that no part of a jiffy is counted. */
function measure(now: () => KernelTime): number {
  const tickAfter = (jiffies: bigint): KernelTime => {
    for (;;) {
      const time = now();
      if (time.jiffies > jiffies) return time;
    }
  };
  const first = tickAfter(now().jiffies);
  const last = tickAfter(first.jiffies + TICKS);
  const rate = (Number(last.jiffies - first.jiffies) * 1e9) / Number(last.ns - first.ns);
  return RATES.reduce((best, one) => (Math.abs(one - rate) < Math.abs(best - rate) ? one : best));
}
