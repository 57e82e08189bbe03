/**
 * Importing 300 MB of images takes a node seconds of CPU. So it is done once per set of images, into a containerd root that is
 * kept beside the archives, and nodes begin with hard links to it: containerd never writes into a blob or a layer's file, its
 * databases are copied. A set begins with the next smaller one, so a new image of Weir costs the import of that alone.
 */
import { spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import {
  existsSync,
  globSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { command, tryCommand } from '../kit/command.ts';
import { until } from '../kit/until.ts';
import { containerdSettings } from './containerd.ts';
import { importImage } from './import-image.ts';

/** Sets that were used last; a node that runs keeps what it has, for a link needs no other. */
const KEPT = 6;

/** Fills `root`, a node's /var/lib/containerd, with the images of `archives`. */
export async function provideImages(archives: readonly string[], root: string): Promise<void> {
  const store = await storeOf(archives);
  mkdirSync(dirname(root), { recursive: true });
  await linkTree(store, root);
}

const making = new Map<string, Promise<string>>();

function storeOf(archives: readonly string[]): Promise<string> {
  const key = fingerprint(archives);
  const known = making.get(key) ?? makeStore(archives, key);
  making.set(key, known);
  return known;
}

async function makeStore(archives: readonly string[], key: string): Promise<string> {
  const archive = archives.at(-1);
  if (archive === undefined) throw new TypeError('a set of images has at least one');
  const folder = join(dirname(archives[0] ?? archive), 'stores');
  const store = join(folder, key);
  if (existsSync(store)) {
    utimesSync(store, new Date(), new Date());
    return store;
  }
  const smaller = archives.length > 1 ? await storeOf(archives.slice(0, -1)) : undefined;
  // Sockets are in it, and their paths have at most 107 bytes.
  const work = join(folder, `.new-${process.pid}-${randomBytes(4).toString('hex')}`);
  mkdirSync(work, { recursive: true });
  try {
    const root = join(work, 'root');
    if (smaller !== undefined) await linkTree(smaller, root);
    await importInto(root, archive, work);
    moveUnlessThere(root, store);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
  prune(folder);
  return store;
}

/** By a containerd that runs for this alone, in a mount namespace that takes its mounts along. */
async function importInto(root: string, archive: string, work: string): Promise<void> {
  const socket = join(work, 'c.sock');
  const configuration = join(work, 'config.toml');
  writeFileSync(configuration, containerdSettings(root, { root, state: join(work, 'state'), socket }));
  const child = spawn('unshare', ['--mount', 'containerd', '--config', configuration, '--log-level', 'warn'], {
    stdio: 'ignore',
  });
  const ended = new Promise((resolve) => child.once('close', resolve));
  try {
    await until(async () => (await tryCommand(['ctr', '--address', socket, 'version'])).code === 0, {
      what: 'a containerd to import images',
      timeoutMs: 30_000,
    });
    await importImage(['ctr', '--address', socket], archive);
  } finally {
    child.kill('SIGTERM');
    await ended;
  }
}

async function linkTree(from: string, to: string): Promise<void> {
  const linked = await tryCommand(['cp', '-al', from, to]);
  if (linked.code !== 0) {
    // Another file system.
    rmSync(to, { recursive: true, force: true });
    await command(['cp', '-a', from, to], { timeoutMs: 120_000 });
    return;
  }
  for (const database of globSync(`${to}/*/*.db`)) {
    await command(['cp', database, `${database}.own`]);
    renameSync(`${database}.own`, database);
  }
}

function moveUnlessThere(from: string, to: string): void {
  try {
    renameSync(from, to);
  } catch (error) {
    // Somebody else has made the same meanwhile.
    if (!['EEXIST', 'ENOTEMPTY'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
  }
}

function prune(folder: string): void {
  const stores = readdirSync(folder)
    .filter((name) => !name.startsWith('.'))
    .map((name) => ({ path: join(folder, name), used: statSync(join(folder, name)).mtimeMs }))
    .sort((a, b) => b.used - a.used);
  for (const { path } of stores.slice(KEPT)) rmSync(path, { recursive: true, force: true });
}

function fingerprint(archives: readonly string[]): string {
  const sources = archives.map((file) => {
    const { size, mtimeMs } = statSync(file);
    return [file, size, mtimeMs];
  });
  return createHash('sha256').update(JSON.stringify(sources)).digest('hex').slice(0, 16);
}
