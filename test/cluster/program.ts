/**
 * A program of a cluster that goes on running when the harness ends: started in its control group and namespaces, its output
 * in a file, known later by process id and start time (an id alone is used again).
 */
import { spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { until } from '../kit/until.ts';
import { procsFiles } from './cgroups.ts';

export interface RunningProgram {
  readonly pid: number;
  /** Clock ticks since boot, field 22 of proc_pid_stat(5). */
  readonly startTime: string;
}

export interface Launch {
  readonly words: readonly string[];
  readonly cgroup: string;
  /** What enters its namespaces: ["nsenter", ..., "--"]. */
  readonly enter: readonly string[];
  /** Appended to. */
  readonly log: string;
  readonly env?: Readonly<Record<string, string>>;
}

/** "$1" is how many of the following words are cgroup.procs files; 0 means the writer itself. */
const JOIN_AND_RUN = 'n=$1; shift; while [ $n -gt 0 ]; do echo 0 > "$1"; shift; n=$((n - 1)); done; exec "$@"';

/** The words that run `words` in `cgroup` and the namespaces of `enter`. */
export function joined(cgroup: string, enter: readonly string[], words: readonly string[]): string[] {
  const files = procsFiles(cgroup);
  return ['sh', '-ec', JOIN_AND_RUN, 'join', String(files.length), ...files, ...enter, ...words];
}

/** As an init system hands it down: nothing of the person's or the test runner's own, such as TMPDIR. */
const CLEAN_ENVIRONMENT = { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', HOME: '/root' };
/** By which the test runner finds processes that were left behind. */
const testRun = process.env.WEIR_TEST_RUN;

export async function launch({ words, cgroup, enter, log, env }: Launch): Promise<RunningProgram> {
  const [program = '', ...args] = joined(cgroup, enter, words);
  mkdirSync(dirname(log), { recursive: true });
  const output = openSync(log, 'a');
  const child = spawn(program, args, {
    detached: true,
    stdio: ['ignore', output, output],
    env: { ...CLEAN_ENVIRONMENT, ...(testRun === undefined ? {} : { WEIR_TEST_RUN: testRun }), ...env },
  });
  closeSync(output);
  child.unref();
  if (child.pid === undefined) throw new Error(`cannot start ${words.join(' ')}`);
  const startTime = startTimeOf(child.pid);
  if (startTime === undefined) throw new Error(`${words[0]} ended at once\n${endOf(log)}`);
  return { pid: child.pid, startTime };
}

export function isRunning({ pid, startTime }: RunningProgram): boolean {
  return startTimeOf(pid) === startTime;
}

/** SIGTERM, and SIGKILL when it has not ended after `graceMs`. */
export async function end(program: RunningProgram, graceMs: number): Promise<void> {
  signal(program, 'SIGTERM');
  const deadline = performance.now() + graceMs;
  await until(
    () => {
      if (performance.now() > deadline) signal(program, 'SIGKILL');
      return !isRunning(program);
    },
    { what: `process ${program.pid} to end`, timeoutMs: graceMs + 10_000 },
  );
}

export function signal(program: RunningProgram, name: NodeJS.Signals): void {
  if (isRunning(program)) process.kill(program.pid, name);
}

/** The last lines of a log, for errors. */
export function endOf(log: string, lines = 15): string {
  return readFileSync(log, 'utf8').trimEnd().split('\n').slice(-lines).join('\n');
}

/** Undefined when there is no such process, or only its zombie. */
function startTimeOf(pid: number): string | undefined {
  try {
    // After "(comm)": state is field 3, the start time field 22.
    const fields = readFileSync(`/proc/${pid}/stat`, 'latin1')
      .replace(/^.*\) /s, '')
      .split(' ');
    return fields[0] === 'Z' ? undefined : fields[19];
  } catch (error) {
    if (['ENOENT', 'ESRCH'].includes((error as NodeJS.ErrnoException).code ?? '')) return undefined;
    throw error;
  }
}
