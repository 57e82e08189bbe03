/** CPU time of the whole machine, which includes what the kernel does in softirqs on nobody's account. */
import { readFileSync } from 'node:fs';

/** proc(5): all architectures we run on have 100 clock ticks per second there. */
const TICKS_PER_SECOND = 100;

/** Seconds that all CPUs together have been busy since boot. */
export function busySeconds(): number {
  const [, ...fields] = readFileSync('/proc/stat', 'utf8').split('\n', 1)[0]?.split(/ +/) ?? [];
  const [user = 0, nice = 0, system = 0, , , irq = 0, softirq = 0, steal = 0] = fields.map(Number);
  return (user + nice + system + irq + softirq + steal) / TICKS_PER_SECOND;
}

/** Client and server on a CPU of their own, as far as there are two. */
export const CLIENT_CPU = ['taskset', '-c', '0'] as const;
export const SERVER_CPU = ['taskset', '-c', '1'] as const;
