/** Some machines (sandboxes of CI systems) keep capabilities from root itself; runc refuses a container that asks for one of those. */
import { readFileSync } from 'node:fs';

/** linux/capability.h, in its order: the place is the number. */
const NAMES =
  'CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE'.split(
    ' ',
  );

/** Those of `wanted` ("NET_ADMIN") that the bounding set in `status` (/proc/self/status) has; a name that nobody knows stays. */
export function withinBounds(
  wanted: readonly string[],
  status: string = readFileSync('/proc/self/status', 'utf8'),
): string[] {
  const bounds = BigInt(`0x${/^CapBnd:\s*([0-9a-f]+)$/m.exec(status)?.[1] ?? 'ffffffffffffffff'}`);
  return wanted.filter((name) => {
    const number = NAMES.indexOf(name);
    return number === -1 || ((bounds >> BigInt(number)) & 1n) === 1n;
  });
}
