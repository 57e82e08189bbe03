/** Where the node's BPF objects live in bpffs, and that there is one. The folder is all that tells two nodes apart. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, statfsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { WeirError } from '../errors.ts';

/** linux/magic.h */
const BPF_FS_MAGIC = 0xcafe4a11;
/** Where distributions and Kubernetes have it. */
const USUAL_MOUNT = '/sys/fs/bpf';

export type Direction = 'ingress' | 'egress';

export interface Pins {
  readonly directory: string;
  /** Makes the folders; somebody may have wiped them. @throws WeirError KERNEL_UNSUPPORTED */
  make(): void;
  map(name: string): string;
  /** Names of all pinned maps, of whatever version. */
  mapNames(): string[];
  program(name: string): string;
  link(endpoint: number, direction: Direction): string;
}

/**
 * The pins below `directory`, which is made; a BPF file system is mounted where there should be one and is none.
 * @throws WeirError CONFIG_INVALID when the directory is not on one, KERNEL_UNSUPPORTED when it cannot be mounted
 */
export function openPins(directory: string): Pins {
  const mount = (): void => {
    if (directory.startsWith(`${USUAL_MOUNT}/`)) mountBpffs();
  };
  mount();
  const parent = nearestExisting(directory);
  if (statfsSync(parent).type !== BPF_FS_MAGIC) {
    const message = `the pin directory ${directory} is not on a BPF file system; expected one below ${USUAL_MOUNT}`;
    throw new WeirError('CONFIG_INVALID', 'pin directory', message);
  }
  const folders = {
    maps: join(directory, 'maps'),
    programs: join(directory, 'programs'),
    links: join(directory, 'links'),
  };
  const make = (): void => {
    mount();
    for (const folder of Object.values(folders)) mkdirSync(folder, { recursive: true, mode: 0o700 });
  };
  make();
  return {
    directory,
    make,
    map: (name) => join(folders.maps, name),
    mapNames: () => readdirSync(folders.maps),
    program: (name) => join(folders.programs, name),
    link: (endpoint, direction) => join(folders.links, `${endpoint}-${direction}`),
  };
}

function mountBpffs(): void {
  if (existsSync(USUAL_MOUNT) && statfsSync(USUAL_MOUNT).type === BPF_FS_MAGIC) return;
  try {
    execFileSync('mount', ['-t', 'bpf', 'bpf', USUAL_MOUNT, '-o', 'mode=0700'], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
  } catch (cause) {
    throw new WeirError('KERNEL_UNSUPPORTED', 'mount bpffs', `no BPF file system could be mounted on ${USUAL_MOUNT}`, {
      cause,
    });
  }
}

function nearestExisting(path: string): string {
  return existsSync(path) ? path : nearestExisting(dirname(path));
}
