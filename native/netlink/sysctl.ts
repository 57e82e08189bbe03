/** Kernel settings under /proc/sys; those below net/ belong to the namespace the batch runs in. */
import { existsSync } from 'node:fs';
import { nothing, type Request } from './request.ts';

/** In a container that is not privileged /proc/sys can only be read, and nothing may be mounted over it: charts/weir has the host's net/ here. */
const MOUNTED = '/host/proc/sys';
const NET_ROOT = existsSync(`${MOUNTED}/net`) ? MOUNTED : '/proc/sys';

function pathOf(operation: string, key: string): string {
  if (
    !/^[A-Za-z0-9_][^\s\0]*$/.test(key) ||
    key.split('/').some((part) => part === '' || part === '.' || part === '..')
  ) {
    throw new RangeError(`${operation}: "${key}" is no key such as net/ipv4/ip_forward`);
  }
  return `${key.startsWith('net/') ? NET_ROOT : '/proc/sys'}/${key}`;
}

/** `key` with slashes, such as net/ipv4/conf/eth0/rp_filter. ENOENT: the kernel or the device has no such setting. */
export function sysctlSet(op: { readonly key: string; readonly value: string }): Request<undefined> {
  const name = `sysctl set ${op.key}=${op.value}`;
  return { name, steps: [{ kind: 3, path: pathOf(name, op.key), value: op.value }], result: nothing };
}

/** The value without the newline at its end. */
export function sysctlGet(op: { readonly key: string }): Request<string> {
  const name = `sysctl get ${op.key}`;
  return {
    name,
    steps: [{ kind: 2, path: pathOf(name, op.key) }],
    result: ([answer]) => (answer?.value ?? '').replace(/\n$/, ''),
  };
}
