/**
 * Attaching to and removing a tcx hook waits for an RCU grace period while the kernel's one lock for network devices is
 * held (tcx_entry_sync in include/net/tcx.h): 10 to 20 ms for every pod, one pod after the other. Expedited grace periods
 * take microseconds and cost the other CPUs an interrupt, so they are asked for, for just as long as a pod is wired:
 * measured on 6.18 with two CPUs, a pod takes 1.1 ms instead of 32.
 */
import { readFileSync, writeFileSync } from 'node:fs';

const SETTING = '/sys/kernel/rcu_expedited';

export interface GracePeriods {
  /** Does the work with expedited grace periods. */
  expedited<T>(work: () => Promise<T>): Promise<T>;
}

/** `onUnavailable` hears once that the setting cannot be written (a read-only /sys): all works, but slower. */
export function createGracePeriods(onUnavailable: (cause: unknown) => void, path = SETTING): GracePeriods {
  let users = 0;
  let isOurs = false;
  let isAvailable = true;

  function set(value: '0' | '1'): boolean {
    try {
      writeFileSync(path, value);
      return true;
    } catch (cause) {
      isAvailable = false;
      onUnavailable(cause);
      return false;
    }
  }

  function begin(): void {
    users += 1;
    if (users > 1 || !isAvailable) return;
    // Where it is on already (the administrator's choice, or another agent's of this machine), it is not ours to end.
    isOurs = read(path) === '0' && set('1');
  }

  function end(): void {
    users -= 1;
    if (users === 0 && isOurs) set('0');
  }

  return {
    async expedited(work) {
      begin();
      try {
        return await work();
      } finally {
        end();
      }
    },
  };
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch {
    return '0'; // Then the write says what is wrong.
  }
}
