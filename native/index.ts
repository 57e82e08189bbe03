/**
 * The one door to the kernel: BPF objects, maps, attachments, rings, and netlink. Mechanism is in C++ (src/), words and
 * checks of arguments are here. Nothing in this folder knows what the bytes mean. See README.md.
 */
import { readdirSync, rmSync } from 'node:fs';

export type { MapShape, ProgramFacts } from './addon.ts';
export * from './clsact.ts';
export type { KernelErrorFacts } from './error.ts';
export { KernelError } from './error.ts';
export * from './features.ts';
export type { Handle, LinkHandle, MapHandle, ProgramHandle } from './handle.ts';
export { closeFd, openPinned, pin } from './handle.ts';
export * from './link.ts';
export * from './map.ts';
export * from './netlink.ts';
export * from './netns.ts';
export type { LoadedObject, ObjectOptions } from './object.ts';
export { openObject } from './object.ts';
export * from './program.ts';
export * from './ring.ts';

/** Removes a pin; the object lives on while something else holds it. An absent file is fine. */
export function unpin(path: string): void {
  rmSync(path, { force: true });
}

/** CLOCK_MONOTONIC, ns: the clock of bpf_ktime_get_ns. */
export function monotonicNs(): bigint {
  return process.hrtime.bigint();
}

/** Open descriptors of this process; a test compares two counts. */
export function openFds(): number {
  return readdirSync('/proc/self/fd').length - 1; // less the one that reads the folder
}
