/** Runs one test file as a process group of its own, within its time, and sees to it that nothing of it runs on. */
import { spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';

export interface Execution {
  /** The process id, which is in the names of what the file makes. */
  readonly pid: number;
  /** stdout and stderr as they came. */
  readonly output: string;
  readonly exitCode: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly timedOut: boolean;
  /** Command lines of processes of the group that were still there after the file's own process had ended. */
  readonly strays: readonly string[];
  readonly seconds: number;
}

/** How long a file may take to clean up after SIGTERM. */
const GRACE_MS = 5000;
/** How long its children may take to go after its own end. */
const STRAYS_GRACE_MS = 1000;

export async function execute(path: string, timeLimitS: number, env: Record<string, string>): Promise<Execution> {
  const started = performance.now();
  const child = spawn(process.execPath, [path], {
    detached: true, // A group of its own, led by this process.
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...env },
  });
  const group = child.pid;
  if (group === undefined) throw new Error(`cannot start ${process.execPath}`);
  running.add(group);
  const chunks: Buffer[] = [];
  child.stdout.on('data', (chunk: Buffer) => chunks.push(chunk));
  child.stderr.on('data', (chunk: Buffer) => chunks.push(chunk));

  let timedOut = false;
  let killer: NodeJS.Timeout | undefined;
  const limit = setTimeout(() => {
    timedOut = true;
    signalGroup(group, 'SIGTERM');
    killer = setTimeout(() => signalGroup(group, 'SIGKILL'), GRACE_MS);
  }, timeLimitS * 1000);

  const closed = new Promise<void>((resolve) => child.once('close', () => resolve()));
  const [exitCode, signal] = await new Promise<[number | null, NodeJS.Signals | null]>((resolve) =>
    child.once('exit', (...how) => resolve(how)),
  );
  clearTimeout(limit);
  clearTimeout(killer);
  const strays = await remaining(group);
  signalGroup(group, 'SIGKILL');
  running.delete(group);
  // A process that left the group may still hold the pipes: the check for leftovers will name it.
  await Promise.race([closed, delay(GRACE_MS, undefined, { ref: false })]);
  const output = Buffer.concat(chunks).toString();
  return { pid: group, output, exitCode, signal, timedOut, strays, seconds: (performance.now() - started) / 1000 };
}

const running = new Set<number>();

/** For a runner that is told to end: the groups get SIGTERM, so that they clean up. */
export function endAll(): void {
  for (const group of running) signalGroup(group, 'SIGTERM');
}

async function remaining(group: number): Promise<string[]> {
  const deadline = performance.now() + STRAYS_GRACE_MS;
  for (;;) {
    const members = groupMembers(group);
    if (members.length === 0 || performance.now() > deadline) return members;
    await delay(20);
  }
}

function groupMembers(group: number): string[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid) => {
      try {
        // proc(5): after "(comm)" come state, parent and group. A zombie has ended, somebody only has to notice.
        const [state, , pgrp] = readFileSync(`/proc/${pid}/stat`, 'latin1')
          .replace(/^.*\) /s, '')
          .split(' ');
        if (Number(pgrp) !== group || state === 'Z') return [];
        return [`${pid} ${readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim()}`];
      } catch {
        return []; // Ended while we were looking.
      }
    });
}

function signalGroup(group: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-group, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}
