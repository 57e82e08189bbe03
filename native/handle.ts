import type { MapShape } from './addon.ts';
import { addon } from './addon.ts';
import { checkedStatus, KernelError } from './error.ts';

/** An open map. `valueBytes` is what a value buffer must hold: per-cpu maps have one value per possible CPU, each rounded up to 8. */
export interface MapHandle extends Readonly<MapShape> {
  readonly kind: 'map';
  readonly fd: number;
  readonly name: string;
}

export interface ProgramHandle {
  readonly kind: 'program';
  readonly fd: number;
  readonly name: string;
  /** enum bpf_prog_type. */
  readonly type: number;
}

export interface LinkHandle {
  readonly kind: 'link';
  readonly fd: number;
}

export type Handle = MapHandle | ProgramHandle | LinkHandle;

const fdOf = (handle: Handle | number): number => (typeof handle === 'number' ? handle : handle.fd);

/** Gives a map, program or link a file in bpffs, so that it outlives this process. EEXIST when the file is there. */
export function pin(handle: Handle | number, path: string): void {
  checkedStatus(`pin ${path}`, addon.pin(fdOf(handle), path));
}

/** Opens what a bpffs file holds; undefined when there is no such file. The caller closes `fd`. */
export function openPinned(path: string): Handle | undefined {
  const found = addon.openPinned(path);
  if (typeof found !== 'number') return found;
  const error = new KernelError(`open pinned ${path}`, -found);
  if (error.code === 'ENOENT') return undefined;
  throw error;
}

/** Closes a descriptor of this module. EBADF when it is not open: closing twice is a mistake worth hearing of. */
export function closeFd(handle: Handle | number): void {
  checkedStatus('close', addon.closeFd(fdOf(handle)));
}
