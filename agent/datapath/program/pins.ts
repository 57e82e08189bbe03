/** Where the node's BPF objects live in bpffs, and that there is one. The folder is all that tells two nodes apart. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, statfsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { WeirError } from '../../errors.ts';

/** linux/magic.h */
const BPF_FS_MAGIC = 0xcafe4a11;
/** Where distributions and Kubernetes have it. */
const USUAL_MOUNT = '/sys/fs/bpf';

export type Direction = 'ingress' | 'egress';

/** A program on one of the node's own devices; XDP is run by the driver (native) or by the kernel (generic). */
export interface DevicePin {
  readonly device: string;
  readonly hook: 'ingress' | 'egress' | 'xdp';
  readonly xdp?: 'native' | 'generic';
}

export interface Pins {
  readonly directory: string;
  /** Makes the folders; somebody may have wiped them. @throws WeirError KERNEL_UNSUPPORTED */
  make(): void;
  map(name: string): string;
  /** Names of all pinned maps, of whatever version. */
  mapNames(): string[];
  program(name: string): string;
  link(endpoint: number, direction: Direction): string;
  /** Link of a socket program, by the program's name. */
  socket(program: string): string;
  device(of: DevicePin): string;
  /** All that {@link device} has ever named and that is pinned. */
  devices(): DevicePin[];
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
    socket: (program) => join(folders.links, `socket-${program}`),
    device: ({ device, hook, xdp }) =>
      join(folders.links, `${device.replaceAll('.', ':')}${DEVICE_MARK}${xdp ? `${hook}-${xdp}` : hook}`),
    devices: () =>
      readdirSync(folders.links).flatMap((file): DevicePin[] => {
        const at = file.lastIndexOf(DEVICE_MARK);
        const [hook, xdp] = file.slice(at + 1).split('-') as [DevicePin['hook'], DevicePin['xdp']];
        return at < 0 ? [] : [{ device: file.slice(0, at).replaceAll(':', '.'), hook, ...(xdp && { xdp }) }];
      }),
  };
}

/** Behind a device's name, which has no colon: that stands for a dot, which bpffs takes in no name. */
const DEVICE_MARK = ',';

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
