/** A node's disk: what a freshly installed machine has. Programs come from the machine's /usr, which nodes see read-only. */

import { randomBytes } from 'node:crypto';
import { cpSync, existsSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { command } from '../kit/command.ts';

/** Mount points, and folders that programs expect to be there. */
const FOLDERS = [
  'dev',
  'etc',
  'home',
  'mnt',
  'opt/cni/bin',
  'proc',
  'root',
  'run',
  'sys',
  'tmp',
  'usr',
  'var/cache',
  'var/lib',
  'var/log',
  'var/tmp',
];
/** Debian 12 is merged: these are links on the machine too. */
const MERGED = ['bin', 'sbin', 'lib', 'lib64'];
/** Of the machine's /etc: what names users, protocols and libraries. */
const SETTINGS = [
  'alternatives',
  'group',
  'iproute2',
  'ld.so.cache',
  'login.defs',
  'nsswitch.conf',
  'os-release',
  'passwd',
  'protocols',
  'services',
  'ssl',
];
/** Reference plugins that a container runtime brings along on any machine: containerd itself sets up lo by `loopback`. */
const PLUGINS = ['loopback', 'portmap'];

export async function makeDisk(disk: string, node: string): Promise<void> {
  for (const folder of FOLDERS) mkdirSync(join(disk, folder), { recursive: true });
  for (const name of MERGED) if (existsSync(`/${name}`)) symlinkSync(`usr/${name}`, join(disk, name));
  symlinkSync('../run', join(disk, 'var/run'));
  symlinkSync('../run/lock', join(disk, 'var/lock'));
  const settings = SETTINGS.map((name) => `/etc/${name}`).filter((path) => existsSync(path));
  await command(['cp', '-a', ...settings, join(disk, 'etc')]);
  writeFileSync(join(disk, 'etc/hostname'), `${node}\n`);
  writeFileSync(join(disk, 'etc/hosts'), `127.0.0.1 localhost\n::1 localhost\n127.0.1.1 ${node}\n`);
  writeFileSync(join(disk, 'etc/machine-id'), `${randomBytes(16).toString('hex')}\n`);
  // There is no resolver outside: names are the cluster's.
  writeFileSync(join(disk, 'etc/resolv.conf'), '');
  installPlugins(disk, PLUGINS);
}

/** Puts reference plugins into the node's /opt/cni/bin. */
export function installPlugins(disk: string, names: readonly string[]): void {
  for (const name of names) cpSync(join('/usr/lib/cni', name), join(disk, 'opt/cni/bin', name));
}
