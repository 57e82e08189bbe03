/** Turns SIGTERM and SIGINT into an AbortSignal, and makes sure that the process then really ends. */
import { type Clock, systemClock } from './clock.ts';
import type { Logger } from './log.ts';

export interface ShutdownOptions {
  /** How long the parts may take to stop before the process exits without them. */
  readonly deadlineMs: number;
  readonly log: Logger;
  readonly clock?: Clock;
  /** Where signals come from and how to exit; the process by default. */
  readonly process?: {
    on(signal: 'SIGTERM' | 'SIGINT', listener: () => void): unknown;
    off(signal: 'SIGTERM' | 'SIGINT', listener: () => void): unknown;
    exit(code: number): void;
  };
}

export interface Shutdown {
  readonly signal: AbortSignal;
  /** Begins the same shutdown without a signal, e.g. because a part can never work. */
  begin(reason: string): void;
  /** All parts have stopped: the deadline and the signal handlers are taken away. */
  finished(): void;
}

/** The first signal aborts; a second one, or the deadline, exits at once with status 1. */
export function listenForShutdown(options: ShutdownOptions): Shutdown {
  const host = options.process ?? process;
  const clock = options.clock ?? systemClock;
  const controller = new AbortController();
  let cancelDeadline = (): void => {};

  const begin = (reason: string): void => {
    if (controller.signal.aborted) return;
    options.log.info('stopping', { reason });
    cancelDeadline = clock.after(options.deadlineMs, () => {
      options.log.error('parts did not stop in time, exiting without them', { deadlineMs: options.deadlineMs });
      host.exit(1);
    });
    controller.abort(reason);
  };
  const on = (signal: 'SIGTERM' | 'SIGINT') => (): void => {
    if (controller.signal.aborted) {
      options.log.warn('second signal, exiting at once', { signal });
      host.exit(1);
    } else {
      begin(signal);
    }
  };
  const onTerm = on('SIGTERM');
  const onInterrupt = on('SIGINT');
  host.on('SIGTERM', onTerm);
  host.on('SIGINT', onInterrupt);

  return {
    signal: controller.signal,
    begin,
    finished() {
      cancelDeadline();
      host.off('SIGTERM', onTerm);
      host.off('SIGINT', onInterrupt);
    },
  };
}
