/** What a verb is, and how a command line finds its verb. Knows no terminal and no process: tests run it in memory. */
import type { Readable, Writable } from 'node:stream';
import { type ErrorCode, WeirError } from '../errors.ts';
import { didYouMean } from '../model/did-you-mean.ts';
import { describeFlags, type Flag, parseFlags } from '../run/flags.ts';
import { SHARED_FLAGS } from './flags.ts';

/** How a run ended; the process exits with it. */
export const EXIT = { ok: 0, failed: 1, usage: 2 } as const;
export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

/** The command line is wrong: the message says what was expected. Exit code 2. */
export class UsageError extends Error {}
/** The command line is right but it cannot be done. Exit code 1. */
export class CliError extends Error {
  /** Of the agent's answer (agent/errors.ts), where there was one. */
  readonly code: string | undefined;

  constructor(message: string, { code, cause }: { readonly code?: string | undefined; readonly cause?: unknown } = {}) {
    super(message, { cause });
    this.code = code;
  }
}

/** The world around a command. */
export interface Io {
  /** Resolves when more may be written: a slow reader slows the command down, not the memory up. */
  out(text: string): void | Promise<void>;
  err(text: string): void;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Ctrl-C. */
  readonly signal: AbortSignal;
  /** Somebody looks at it. */
  readonly colors: boolean;
  /** Bytes as they are, for what is no text. */
  readonly stdio: { readonly input: Readable; readonly output: Writable };
}

export interface Call {
  readonly operands: readonly string[];
  readonly flags: FlagValues;
  readonly io: Io;
}

export interface Command {
  /** As typed: ["endpoint", "get"]. */
  readonly words: readonly string[];
  /** Names of what must follow: ["ID"]; the last may be "FILE...": one or more. */
  readonly operands: readonly string[];
  readonly sentence: string;
  readonly flags: readonly Flag[];
  /** Whole command lines, for --help. */
  readonly examples?: readonly string[];
  run(call: Call): Promise<ExitCode>;
}

/** What the flags of one run were set to. */
export class FlagValues {
  readonly #values: ReadonlyMap<string, readonly string[]>;

  constructor(values: ReadonlyMap<string, readonly string[]>) {
    this.#values = values;
  }

  one(name: string): string | undefined {
    return this.#values.get(name)?.[0];
  }

  all(name: string): readonly string[] {
    return this.#values.get(name) ?? [];
  }

  on(name: string): boolean {
    return this.one(name) === 'true';
  }

  /** A whole number, or undefined if the flag was not given. */
  count(name: string): number | undefined {
    const text = this.one(name);
    if (text === undefined) return undefined;
    if (!/^[0-9]{1,9}$/.test(text)) throw new UsageError(`--${name}: expected a whole number, got "${text}"`);
    return Number(text);
  }

  /** One of the flag's choices, which the parser has checked; the first if the flag was not given. */
  choice<const T extends string>(name: string, choices: readonly [T, ...T[]]): T {
    return choices.find((choice) => choice === this.one(name)) ?? choices[0];
  }
}

/** Runs the command line on the commands; never throws for anything a user can do. */
export async function runCli(args: readonly string[], commands: readonly Command[], io: Io): Promise<ExitCode> {
  // What people try first, with a program they do not know.
  const { command, rest } = findCommand(args[0] === '--version' ? ['version', ...args.slice(1)] : args, commands);
  if (!command) return explainUnknown(args, commands, io);
  const flags = [...command.flags, ...SHARED_FLAGS];
  const parsed = parseFlags(rest, flags);
  const name = `weir ${command.words.join(' ')}`;
  if (parsed.values.get('help')?.[0] === 'true') {
    await io.out(commandHelp(command, flags));
    return EXIT.ok;
  }
  const errors = [...parsed.errors, ...operandErrors(command, parsed.words)];
  if (errors.length > 0) return usage(errors, name, io);
  try {
    return await command.run({ operands: parsed.words, flags: new FlagValues(parsed.values), io });
  } catch (error) {
    if (io.signal.aborted) return EXIT.failed; // Ctrl-C: whoever pressed it knows.
    if (error instanceof UsageError || isCode(error, 'BAD_REQUEST')) return usage([error.message], name, io);
    const isTold =
      error instanceof CliError || isCode(error, 'NOT_FOUND') || isClusterTrouble(error) || isFileTrouble(error);
    if (!isTold) throw error;
    io.err(`weir: ${(error as Error).message}\n`);
    return EXIT.failed;
  }
}

/** What the policy engine finds wrong with a question, offline. */
function isCode(error: unknown, code: ErrorCode): error is WeirError {
  return error instanceof WeirError && error.code === code;
}

/** What the kubeconfig or the API server says; the cause is what a person needs to know. */
function isClusterTrouble(error: unknown): boolean {
  return error instanceof WeirError && (error.code.startsWith('API_') || CLUSTER_CODES.has(error.code));
}
const CLUSTER_CODES: ReadonlySet<ErrorCode> = new Set(['CONFIG_INVALID', 'TIMEOUT', 'BUSY']);

/** A file that the command line names and that cannot be opened or written; Node's message says which and why. */
function isFileTrouble(error: unknown): boolean {
  const { syscall = '' } = error instanceof Error ? (error as NodeJS.ErrnoException) : {};
  return syscall === 'open' || syscall === 'write';
}

/** The command whose words the line starts with, the longest first. Flags come behind them. */
function findCommand(
  args: readonly string[],
  commands: readonly Command[],
): { readonly command?: Command; readonly rest: readonly string[] } {
  const longestFirst = [...commands].sort((a, b) => b.words.length - a.words.length);
  for (const command of longestFirst) {
    if (command.words.every((word, i) => args[i] === word)) return { command, rest: args.slice(command.words.length) };
  }
  return { rest: args };
}

async function explainUnknown(args: readonly string[], commands: readonly Command[], io: Io): Promise<ExitCode> {
  const [first = '--help', second] = args;
  if (['--help', '-h', 'help'].includes(first)) {
    await io.out(overview(commands));
    return EXIT.ok;
  }
  if (first.startsWith('-')) return usage([`expected a command before ${first}`], 'weir', io);
  const below = commands.filter((command) => command.words[0] === first);
  if (below.length === 0) {
    const firsts = new Set(commands.map((command) => command.words[0] as string));
    return usage([`unknown command "${first}"${didYouMean(first, firsts)}`], 'weir', io);
  }
  if (second === '--help' || second === '-h') {
    await io.out(overview(below));
    return EXIT.ok;
  }
  const seconds = below.map((command) => command.words[1] as string);
  const problem =
    second === undefined || second.startsWith('-')
      ? `weir ${first} needs one of: ${seconds.join(', ')}`
      : `unknown command "${first} ${second}"${didYouMean(second, seconds)}`;
  return usage([problem], `weir ${first}`, io);
}

function operandErrors(command: Command, words: readonly string[]): string[] {
  const missing = command.operands.slice(words.length);
  if (missing.length > 0) return [`weir ${command.words.join(' ')} needs ${missing.join(' ')}`];
  if (command.operands.at(-1)?.endsWith('...')) return [];
  const extra = words[command.operands.length];
  return extra === undefined ? [] : [`unexpected "${extra}"`];
}

function usage(errors: readonly string[], name: string, io: Io): ExitCode {
  for (const error of errors) io.err(`weir: ${error}\n`);
  io.err(`See: ${name} --help\n`);
  return EXIT.usage;
}

function overview(commands: readonly Command[]): string {
  const heads = commands.map((command) => `  weir ${[...command.words, ...command.operands].join(' ')}`);
  const width = Math.max(...heads.map((head) => head.length)) + 3;
  const lines = commands.map((command, i) => `${(heads[i] as string).padEnd(width)}${command.sentence}`);
  return `Commands:\n${lines.join('\n')}\n\nFlags of a command: weir COMMAND --help\n`;
}

function commandHelp(command: Command, flags: readonly Flag[]): string {
  const parts = [
    command.sentence,
    `Usage: weir ${[...command.words, ...command.operands].join(' ')} [flags]`,
    `Flags:\n${describeFlags(flags)}`,
  ];
  if (command.examples) parts.push(`Examples:\n${command.examples.map((line) => `  ${line}`).join('\n')}`);
  return `${parts.join('\n\n')}\n`;
}
