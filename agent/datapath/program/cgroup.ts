/** The cgroup2 directory whose processes' sockets are translated. */
import { readFile } from 'node:fs/promises';
import { WeirError } from '../../errors.ts';

/** The directory that was set, else where cgroup2 is mounted. @throws CONFIG_INVALID when it is mounted nowhere. */
export async function cgroupDirectory(set: string): Promise<string> {
  return set !== '' ? set : cgroup2Mount(await readFile('/proc/self/mounts', 'utf8'));
}

/** The best cgroup2 mount of those in proc(5)'s mounts, also beside v1's (hybrid). @throws CONFIG_INVALID: there is none. */
export function cgroup2Mount(mounts: string): string {
  const places = mounts
    .split('\n')
    .map((line) => line.split(' '))
    .flatMap(([, place, type]) => (type === 'cgroup2' && place !== undefined ? [place] : []));
  // A container sees its own group as the root; charts/weir mounts the host's below /host.
  const place = places.find((each) => each.startsWith('/host/')) ?? places[0];
  if (place !== undefined) return place;
  throw new WeirError(
    'CONFIG_INVALID',
    'find the cgroup2 mount',
    'cgroup2 is not mounted: mount it, or name a directory of it with --cgroup-directory, or switch --services off',
  );
}
