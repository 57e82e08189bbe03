import type { RawAnswer, RawStep } from '../addon.ts';

/** What an operation sends and how it reads the answers, one per step. Composing touches nothing but memory and fds. */
export interface Request<Result> {
  /** Words for the error: "link set ifindex 5". */
  readonly name: string;
  readonly steps: readonly RawStep[];
  readonly result: (answers: readonly RawAnswer[]) => Result;
  /** Closes what the message refers to. */
  readonly release?: () => void;
}

export const ENOENT = 2;
export const ESRCH = 3;
export const ENODEV = 19;
export const EADDRNOTAVAIL = 99;

export const request = (message: Uint8Array, accepted: number[] = []): RawStep => ({ kind: 0, message, accepted });
export const dump = (message: Uint8Array): RawStep => ({ kind: 1, message });

export const nothing = (): undefined => undefined;
/** True unless the kernel said that the thing was not there. */
export const wasThere = ([answer]: readonly RawAnswer[]): boolean => answer?.status === 0;

/** Interface index, as asked for: 1 to 2^31-1. */
export function checkIndex(operation: string, index: number): number {
  if (!Number.isInteger(index) || index < 1 || index > 0x7fffffff)
    throw new RangeError(`${operation}: index must be 1 to 2^31-1, got ${index}`);
  return index;
}

/** An interface name as the kernel takes it: 1 to 15 bytes, no "/", ":" or white space. */
export function checkName(operation: string, name: string): string {
  if (!/^[^\s/:]{1,15}$/.test(name) || name === '.' || name === '..')
    throw new RangeError(
      `${operation}: "${name}" is no interface name (1 to 15 characters without "/", ":" and spaces)`,
    );
  return name;
}

/** Six bytes of "0a:77:65:69:72:01". */
export function macBytes(operation: string, mac: string): Uint8Array {
  if (!/^[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}$/.test(mac))
    throw new RangeError(`${operation}: "${mac}" is no MAC address such as 0a:77:65:69:72:01`);
  return Uint8Array.from(mac.split(':'), (byte) => Number.parseInt(byte, 16));
}

export function macText(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join(':');
}
