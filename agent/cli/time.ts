/** Spans of time as people write and read them. */
import { type Call, UsageError } from './command.ts';

/** A flag such as "30", "30s", "500ms", "2m", in milliseconds. A bare number is seconds. */
export function milliseconds({ flags }: Call, flag: string, fallback: string): number {
  const written = flags.one(flag) ?? fallback;
  const [, count, unit = 's'] = /^([0-9]{1,9})(ms|s|m|h)?$/.exec(written) ?? [];
  if (count === undefined) throw new UsageError(`--${flag}: expected a time such as 30s or 2m, got "${written}"`);
  return Number(count) * { ms: 1, s: 1000, m: 60_000, h: 3_600_000 }[unit as 'ms' | 's' | 'm' | 'h'];
}

/** "3d4h", "5m12s", "0.4s": the largest unit and the next below it. */
export function duration(seconds: number): string {
  if (seconds < 10) return `${Math.round(seconds * 10) / 10}s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole}s`;
  if (whole < 3600) return `${Math.floor(whole / 60)}m${whole % 60}s`;
  if (whole < 86400) return `${Math.floor(whole / 3600)}h${Math.floor((whole % 3600) / 60)}m`;
  return `${Math.floor(whole / 86400)}d${Math.floor((whole % 86400) / 3600)}h`;
}
