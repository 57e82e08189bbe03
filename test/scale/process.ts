/** What an agent's process costs, seen from outside. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { until } from '../kit/until.ts';

const PRELOAD = new URL('./loop-delay.mjs', import.meta.url).href;
/** proc(5): all architectures we run on have 100 clock ticks per second there. */
const TICKS_PER_SECOND = 100;

/** Seconds of CPU time the process has used, in user and system mode. */
export function cpuSeconds(pid: number): number {
  const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
  // The second field may have spaces in it.
  const [user, system] = text.slice(text.lastIndexOf(')') + 2).split(' ').slice(11, 13); // biome-ignore format: one line
  return (Number(user) + Number(system)) / TICKS_PER_SECOND;
}

export interface LoopDelay {
  readonly maxMs: number;
  readonly p99Ms: number;
}

/** How late an agent's event loop is while something happens to it. */
export class LoopDelays {
  readonly #folder = mkdtempSync(join(tmpdir(), 'wt-loop-'));
  readonly #file = join(this.#folder, 'delay.json');

  /** Agents started within can be watched. */
  async during<T>(start: () => Promise<T>): Promise<T> {
    const { NODE_OPTIONS: before } = process.env;
    process.env.NODE_OPTIONS = `${before ?? ''} --import=${PRELOAD}`.trim();
    process.env.WEIR_TEST_LOOP_DELAY = this.#file;
    try {
      return await start();
    } finally {
      if (before === undefined) delete process.env.NODE_OPTIONS;
      else process.env.NODE_OPTIONS = before;
      delete process.env.WEIR_TEST_LOOP_DELAY;
    }
  }

  /** Does the work, and says how late the process' event loop was meanwhile. */
  async of<T>(pid: number, work: () => Promise<T>): Promise<{ readonly result: T; readonly delay: LoopDelay }> {
    rmSync(this.#file, { force: true });
    process.kill(pid, 'SIGWINCH');
    const result = await work();
    process.kill(pid, 'SIGWINCH');
    const delay = await until(() => this.#read(), { what: 'the delay of the event loop' });
    return { result, delay };
  }

  #read(): LoopDelay | undefined {
    try {
      return JSON.parse(readFileSync(this.#file, 'utf8')) as LoopDelay;
    } catch {
      return undefined;
    }
  }

  close(): void {
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
