/** Kernel settings under /proc/sys; those below net/ belong to the namespace the batch runs in. */
import { nothing, type Request } from './request.ts';

function pathOf(operation: string, key: string): string {
  if (
    !/^[A-Za-z0-9_][^\s\0]*$/.test(key) ||
    key.split('/').some((part) => part === '' || part === '.' || part === '..')
  ) {
    throw new RangeError(`${operation}: "${key}" is no key such as net/ipv4/ip_forward`);
  }
  return `/proc/sys/${key}`;
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
