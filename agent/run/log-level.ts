/** The log's level, changed while the process runs: SIGUSR2 turns debug messages on, and the next one off again. */
import type { Logger, LogLevel } from './log.ts';

/** Where the signal comes from; the process by default. */
type Host = { on(signal: 'SIGUSR2', listener: () => void): unknown };

/** `configured`: the level to come back to; debug itself turns to info and back. */
export function listenForLogLevel(log: Logger, configured: LogLevel, host: Host = process): void {
  const other: LogLevel = configured === 'debug' ? 'info' : 'debug';
  host.on('SIGUSR2', () => {
    const level = log.level === configured ? other : configured;
    log.setLevel(level);
    // Whatever the level, that it changed is worth a line.
    log.error('the log level was changed by a signal', { logLevel: level });
  });
}
