/** Running a program and waiting for it: with a time limit, its whole output kept, and an error that says what failed. */
import { type SpawnOptions, spawn } from 'node:child_process';

export interface CommandResult {
  /** Exit code; 128 + signal number's name is in `signal` when it was killed. */
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface CommandOptions {
  /** Killed (SIGKILL) after so many milliseconds. */
  readonly timeoutMs?: number;
  readonly input?: string | Uint8Array;
  readonly env?: Record<string, string>;
  readonly cwd?: string;
}

/** Runs `command` (no shell) and resolves with its result, whatever the exit code; rejects when it cannot start or exceeds its time. */
export function tryCommand(command: readonly string[], options: CommandOptions = {}): Promise<CommandResult> {
  const { timeoutMs = 30_000, input, env, cwd } = options;
  const [program, ...args] = command;
  if (program === undefined) throw new TypeError('a command needs at least the name of a program');
  const settings: SpawnOptions = { stdio: ['pipe', 'pipe', 'pipe'], env: { ...process.env, ...env } };
  if (cwd !== undefined) settings.cwd = cwd;
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, settings);
    const stdout: Buffer[] = [];
    const stderr: Buffer[] = [];
    let timedOut = false;
    const timer = setTimeout(() => {
      timedOut = true;
      child.kill('SIGKILL');
    }, timeoutMs);
    child.stdout?.on('data', (chunk: Buffer) => stdout.push(chunk));
    child.stderr?.on('data', (chunk: Buffer) => stderr.push(chunk));
    child.on('error', (error) => {
      clearTimeout(timer);
      reject(new Error(`${command.join(' ')}: ${error.message}`, { cause: error }));
    });
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      const result = {
        code,
        signal,
        stdout: Buffer.concat(stdout).toString(),
        stderr: Buffer.concat(stderr).toString(),
      };
      if (timedOut) reject(new Error(`${command.join(' ')}: not finished after ${timeoutMs} ms\n${said(result)}`));
      else resolve(result);
    });
    // A program that exits without reading its input makes this pipe break; its exit code tells the story.
    child.stdin?.on('error', () => {});
    child.stdin?.end(input);
  });
}

/** Like tryCommand, but anything except exit code 0 is an error that quotes the output. Resolves with stdout. */
export async function command(words: readonly string[], options: CommandOptions = {}): Promise<string> {
  const result = await tryCommand(words, options);
  if (result.code === 0) return result.stdout;
  throw new Error(`${words.join(' ')}: ${result.signal ?? `exit code ${result.code}`}\n${said(result)}`);
}

function said(result: CommandResult): string {
  return [result.stdout.trim(), result.stderr.trim()].filter((text) => text !== '').join('\n');
}
