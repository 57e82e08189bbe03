/** What an agent's process costs, seen from outside. */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
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

/** The longest that an event loop was late while something happened, milliseconds. */
export interface LoopDelay {
  readonly ownMs: number;
  /** Of a process beside it that does nothing: what the machine itself was late. */
  readonly idleMs: number;
}

/** How late an agent's event loop is while something happens to it, beside an idle process. */
export class LoopDelays {
  readonly #folder = mkdtempSync(join(tmpdir(), 'wt-loop-'));
  #idle: ChildProcess | undefined;

  static async open(): Promise<LoopDelays> {
    const delays = new LoopDelays();
    const words = ['-e', 'console.log(); setInterval(() => {}, 1e9)'];
    const idle = await delays.during(async () =>
      spawn(process.execPath, words, { stdio: ['ignore', 'pipe', 'inherit'] }),
    );
    delays.#idle = idle;
    await new Promise((resolve) => idle.stdout.once('data', resolve));
    return delays;
  }

  /** Node processes started within can be watched. */
  async during<T>(start: () => Promise<T>): Promise<T> {
    const { NODE_OPTIONS: before } = process.env;
    process.env.NODE_OPTIONS = `${before ?? ''} --import=${PRELOAD}`.trim();
    process.env.WEIR_TEST_LOOP_DELAY = this.#folder;
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
    const both = [pid, this.#idle?.pid ?? 0];
    for (const one of both) {
      rmSync(this.#file(one), { force: true });
      process.kill(one, 'SIGWINCH');
    }
    const result = await work();
    for (const one of both) process.kill(one, 'SIGWINCH');
    const [ownMs = 0, idleMs = 0] = await Promise.all(
      both.map((one) => until(() => this.#read(one), { what: 'the delay of the event loop' })),
    );
    return { result, delay: { ownMs, idleMs } };
  }

  #file(pid: number): string {
    return join(this.#folder, `${pid}`);
  }

  #read(pid: number): number | undefined {
    const file = this.#file(pid);
    return existsSync(file) ? Number(readFileSync(file, 'utf8')) : undefined;
  }

  close(): void {
    this.#idle?.kill('SIGKILL');
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
