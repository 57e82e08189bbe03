/** The agent's own log: one line per event on stderr, as text for people or JSON for machines. */
export const LOG_LEVELS = ['error', 'warn', 'info', 'debug'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];
export const LOG_FORMATS = ['text', 'json'] as const;
export type LogFormat = (typeof LOG_FORMATS)[number];

/** Values beside the message. An Error is written as its message, code and chain of causes. */
export type LogFields = Readonly<Record<string, unknown>>;

export interface Logger {
  error(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  debug(message: string, fields?: LogFields): void;
  /** A logger that adds the fields to each of its lines. The level stays shared with its parent. */
  with(fields: LogFields): Logger;
  /** Changes the level of this logger, its parent and everything made from them. */
  setLevel(level: LogLevel): void;
  readonly level: LogLevel;
}

export interface LogOptions {
  readonly level: LogLevel;
  readonly format: LogFormat;
  /** Receives each line with its newline; stderr by default. */
  readonly write?: (line: string) => void;
  readonly now?: () => Date;
}

export function createLogger(options: LogOptions): Logger {
  const write = options.write ?? ((line) => process.stderr.write(line));
  const now = options.now ?? (() => new Date());
  const print = options.format === 'json' ? jsonLine : textLine;
  let threshold = LOG_LEVELS.indexOf(options.level);

  const make = (base: LogFields): Logger => {
    const at = (level: LogLevel) => (message: string, fields?: LogFields) => {
      if (LOG_LEVELS.indexOf(level) > threshold) return;
      write(`${print(now(), level, message, { ...base, ...fields })}\n`);
    };
    return {
      error: at('error'),
      warn: at('warn'),
      info: at('info'),
      debug: at('debug'),
      with: (fields) => make({ ...base, ...fields }),
      setLevel(level) {
        threshold = LOG_LEVELS.indexOf(level);
      },
      get level() {
        return LOG_LEVELS[threshold] as LogLevel;
      },
    };
  };
  return make({});
}

function jsonLine(time: Date, level: LogLevel, message: string, fields: LogFields): string {
  // The line's own keys come last: a field must not be able to forge the level or the message.
  const line = { ...plainFields(fields), time: time.toISOString(), level, message };
  return JSON.stringify(line);
}

function textLine(time: Date, level: LogLevel, message: string, fields: LogFields): string {
  const pairs = Object.entries(plainFields(fields)).map(([key, value]) => ` ${key}=${quoteIfNeeded(value)}`);
  return `${time.toISOString()} ${level.padEnd(5)} ${escapeControl(message)}${pairs.join('')}`;
}

function plainFields(fields: LogFields): Record<string, unknown> {
  return Object.fromEntries(Object.entries(fields).map(([key, value]) => [key, plain(value)]));
}

function plain(value: unknown): unknown {
  if (value instanceof Error) return describeError(value);
  if (typeof value === 'bigint') return value.toString();
  return value;
}

/** "message (CODE): cause: cause", five causes deep. */
function describeError(error: Error): string {
  const parts: string[] = [];
  for (let at: unknown = error; at !== undefined && parts.length < 5; at = at instanceof Error ? at.cause : undefined) {
    if (!(at instanceof Error)) parts.push(String(at));
    else parts.push('code' in at && typeof at.code === 'string' ? `${at.message} (${at.code})` : at.message);
  }
  return parts.join(': ');
}

function quoteIfNeeded(value: unknown): string {
  const text = typeof value === 'string' ? value : (JSON.stringify(value) ?? 'undefined');
  return /^[^\s"=]+$/.test(text) ? escapeControl(text) : JSON.stringify(text);
}

/** Pod names and file names reach the log: control characters must not reach a terminal. */
function escapeControl(text: string): string {
  return text.replace(/\p{Cc}/gu, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`);
}
