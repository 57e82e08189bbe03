/**
 * Control groups of a cluster: /CLUSTER/control-plane and /CLUSTER/NODE, in the unified hierarchy and in every v1 hierarchy
 * that is mounted. A node is a control group namespace at /CLUSTER/NODE: to the programs in it that is the root, as on a
 * machine of their own. Being killed by group, nothing of a cluster is ever looked for by its name.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { until } from '../kit/until.ts';

export interface Hierarchy {
  readonly mount: string;
  readonly version: 1 | 2;
  readonly hasCpuset: boolean;
}

/** The hierarchies in /proc/self/mountinfo (proc_pid_mountinfo(5)), the unified one last. A later mount on the same folder hides the earlier. */
export function hierarchiesOf(mountinfo: string): Hierarchy[] {
  const found = new Map<string, Hierarchy>();
  for (const line of mountinfo.split('\n')) {
    const [left = '', right = ''] = line.split(' - ');
    const mount = left.split(' ')[4];
    const [type, , options = ''] = right.split(' ');
    if (mount === undefined || (type !== 'cgroup' && type !== 'cgroup2')) continue;
    found.set(mount, {
      mount,
      version: type === 'cgroup' ? 1 : 2,
      hasCpuset: type === 'cgroup' && options.split(',').includes('cpuset'),
    });
  }
  return [...found.values()].sort((a, b) => a.version - b.version);
}

export function hierarchies(): Hierarchy[] {
  const found = hierarchiesOf(readFileSync('/proc/self/mountinfo', 'utf8'));
  if (found.at(-1)?.version !== 2)
    throw new Error('no cgroup2 is mounted: `mount -t cgroup2 none /sys/fs/cgroup/unified` where v1 is in use');
  return found;
}

/**
 * Makes `group` ("/weir/node1/system") and its parents everywhere. In cgroup2 its parents hand down their controllers, except
 * to `group` itself: a group whose children have controllers lets no processes in, and its parent may be about to get some.
 */
export function createCgroup(group: string): void {
  const parts = group.split('/').filter((part) => part !== '');
  for (const hierarchy of hierarchies()) {
    let folder = hierarchy.mount;
    for (const [i, part] of parts.entries()) {
      if (hierarchy.version === 2 && i < parts.length - 1) handDown(folder);
      const child = join(folder, part);
      mkdirSync(child, { recursive: true });
      if (hierarchy.hasCpuset) inheritCpuset(folder, child);
      folder = child;
    }
  }
}

/** The files to write a process id to, one per hierarchy, to put it into `group`. */
export function procsFiles(group: string): string[] {
  return hierarchies().map(({ mount }) => join(mount, group, 'cgroup.procs'));
}

/** Ids of all processes in `group` and below it. */
export function processesIn(group: string): number[] {
  return unifiedFolders(group).flatMap((folder) =>
    readIfThere(join(folder, 'cgroup.procs')).split('\n').filter(Boolean).map(Number),
  );
}

/** Kills what is in `group` and below until nothing is. */
export async function killCgroup(group: string): Promise<void> {
  await until(
    () => {
      const left = processesIn(group);
      for (const pid of left) killQuietly(pid);
      return left.length === 0;
    },
    {
      what: `the processes in the control group ${group} to end`,
      timeoutMs: 20_000,
      detail: () => processesIn(group).join(' '),
    },
  );
}

/** Removes `group` and what is below it, everywhere. Nothing may run in it. */
export async function removeCgroup(group: string): Promise<void> {
  // A process that has just ended still keeps its group busy for a moment.
  for (const { mount } of hierarchies())
    for (const folder of foldersBelow(join(mount, group)).reverse())
      await until(() => removed(folder), { what: `the control group ${folder} to be empty`, timeoutMs: 10_000 });
}

function unifiedFolders(group: string): string[] {
  const unified = hierarchies().at(-1);
  return unified === undefined ? [] : foldersBelow(join(unified.mount, group));
}

/** `folder` and all below it, parents first. */
function foldersBelow(folder: string): string[] {
  if (!existsSync(folder)) return [];
  let children: string[];
  try {
    children = readdirSync(folder, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map(({ name }) => join(folder, name));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []; // Removed while we were looking.
    throw error;
  }
  return [folder, ...children.flatMap(foldersBelow)];
}

function removed(folder: string): boolean {
  try {
    rmdirSync(folder);
    return true;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return true;
    if (code === 'EBUSY') return false;
    throw error;
  }
}

function handDown(folder: string): void {
  const offered = readIfThere(join(folder, 'cgroup.controllers')).trim();
  if (offered !== '')
    writeFileSync(
      join(folder, 'cgroup.subtree_control'),
      offered
        .split(' ')
        .map((name) => `+${name}`)
        .join(' '),
    );
}

/** A new v1 cpuset group has no CPUs and lets nobody in. */
function inheritCpuset(parent: string, child: string): void {
  for (const file of ['cpuset.cpus', 'cpuset.mems'])
    if (readFileSync(join(child, file), 'utf8').trim() === '')
      writeFileSync(join(child, file), readFileSync(join(parent, file)));
}

function readIfThere(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    // ENODEV: the group was removed between opening and reading.
    if (['ENOENT', 'ENODEV'].includes((error as NodeJS.ErrnoException).code ?? '')) return '';
    throw error;
  }
}

function killQuietly(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}
