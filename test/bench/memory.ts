/** Resident memory of a Node process, after it has collected its garbage. */
import { spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { until } from '../kit/until.ts';

const COLLECTOR = new URL('./collect-garbage.mjs', import.meta.url).href;
/** Pages go back to the kernel some time after the collection. */
const SETTLE = { timeoutMs: 15_000, everyMs: 500 };

/** Node processes started within collect their garbage on SIGUSR2. */
export async function withGarbageCollector<T>(start: () => Promise<T>): Promise<T> {
  const before = process.env.NODE_OPTIONS;
  process.env.NODE_OPTIONS = `${before ?? ''} --import=${COLLECTOR}`.trim();
  try {
    return await start();
  } finally {
    if (before === undefined) delete process.env.NODE_OPTIONS;
    else process.env.NODE_OPTIONS = before;
  }
}

/** VmRSS once it no longer falls. The process must have been started by withGarbageCollector. */
export async function residentMiB(pid: number): Promise<number> {
  let last = Number.POSITIVE_INFINITY;
  const settled = async () => {
    process.kill(pid, 'SIGUSR2');
    const now = await vmRssMiB(pid);
    const falls = now < last - 0.5;
    last = Math.min(last, now);
    return !falls && last;
  };
  return until(settled, { what: `the memory of process ${pid} to settle`, ...SETTLE });
}

/** A Node that does nothing. */
export async function bareNodeMiB(): Promise<number> {
  const idle = await withGarbageCollector(async () =>
    spawn(process.execPath, ['-e', 'setInterval(() => {}, 1e9); console.log()'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    }),
  );
  try {
    await new Promise((resolve) => idle.stdout.once('data', resolve));
    return await residentMiB(idle.pid ?? 0);
  } finally {
    idle.kill('SIGKILL');
  }
}

async function vmRssMiB(pid: number): Promise<number> {
  const kiB = /^VmRSS:\s+(\d+) kB$/m.exec(await readFile(`/proc/${pid}/status`, 'utf8'))?.[1];
  if (kiB === undefined) throw new Error(`process ${pid} has no VmRSS: has it ended?`);
  return Number(kiB) / 1024;
}
