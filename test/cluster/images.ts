/** The images every cluster has: made once per machine from static programs, and kept beside the stock programs. */
import { createHash } from 'node:crypto';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { command } from '../kit/command.ts';
import { type StockProgram, stockFolder, stockProgram } from '../kit/stock.ts';
import { type ImageContent, writeImage } from './archive.ts';
import { PAUSE_IMAGE } from './containerd.ts';

/** Has a shell and busybox's programs. (Debian 12's wget of it crashes: a static getaddrinfo.) */
export const BUSYBOX_IMAGE = 'weir.test/busybox:1';
/** Kubernetes' own test program, `agnhost netexec` and others, with busybox's programs and curl. */
export const AGNHOST_IMAGE = 'weir.test/agnhost:1';
export const COREDNS_IMAGE = 'weir.test/coredns:1';

const PAUSE_SOURCE = fileURLToPath(new URL('pause.c', import.meta.url));

export interface Recipe {
  readonly name: string;
  readonly entrypoint: readonly string[];
  readonly arguments?: readonly string[];
  /** What it is made from: when one changes, so does the image. */
  readonly from: readonly string[];
  readonly fill: (root: string) => Promise<void>;
}

let made: Promise<string[]> | undefined;

/** Paths of the archives that every node gets, made where they are missing. */
export function baseImages(): Promise<string[]> {
  made ??= makeBaseImages();
  return made;
}

/** For charts/weir with hubble.relay.enabled and this repository: the chart's own tag. No node has it without being told. */
export const RELAY_IMAGE = 'weir.test/hubble-relay:v1.19.4';
export function relayImage(): Promise<string> {
  return archiveOf(programImage(RELAY_IMAGE, 'hubble-relay'));
}

async function makeBaseImages(): Promise<string[]> {
  const busybox = await pathOf('busybox');
  const curl = await pathOf('curl');
  const recipes: Recipe[] = [
    {
      name: PAUSE_IMAGE,
      entrypoint: ['/pause'],
      from: [PAUSE_SOURCE],
      fill: async (root) => {
        await command(['gcc', '-O2', '-static', '-s', '-o', join(root, 'pause'), PAUSE_SOURCE]);
      },
    },
    { name: BUSYBOX_IMAGE, entrypoint: [], from: [busybox], fill: (root) => addBusybox(root, busybox) },
    {
      name: AGNHOST_IMAGE,
      entrypoint: ['/agnhost'],
      from: [stockProgram('agnhost'), busybox, curl],
      fill: async (root) => {
        await addBusybox(root, busybox);
        await addWithLibraries(root, curl);
        copyProgram(stockProgram('agnhost'), join(root, 'agnhost'));
      },
    },
    programImage(COREDNS_IMAGE, 'coredns'),
  ];
  return Promise.all(recipes.map(archiveOf));
}

/** Nothing but one static program. */
function programImage(name: string, program: StockProgram): Recipe {
  const file = stockProgram(program);
  return {
    name,
    entrypoint: [`/${program}`],
    from: [file],
    fill: async (root) => copyProgram(file, join(root, program)),
  };
}

/** The archive's path; made only if there is none yet. */
export async function archiveOf(recipe: Recipe): Promise<string> {
  const folder = join(dirname(stockFolder()), 'images');
  mkdirSync(folder, { recursive: true });
  const short = recipe.name.replace(/^.*\//, '').replace(':', '-');
  const archive = join(folder, `${short}-${fingerprint(recipe)}.tar`);
  if (existsSync(archive)) return archive;
  const work = mkdtempSync(join(folder, '.new-'));
  try {
    const root = join(work, 'root');
    mkdirSync(root);
    await recipe.fill(root);
    const image: ImageContent = { ...recipe, root };
    await writeImage(image, join(work, 'staging'), join(work, 'image.tar'));
    renameSync(join(work, 'image.tar'), archive);
  } finally {
    rmSync(work, { recursive: true });
  }
  return archive;
}

/** Our own source by its text, programs by path, size and time: a hash of 100 MB at every start would be felt. */
function fingerprint({ name, entrypoint, arguments: words = [], from }: Recipe): string {
  const sources = from.map((file) => {
    if (file === PAUSE_SOURCE) return readFileSync(file, 'utf8');
    const path = realpathSync(file);
    const { size, mtimeMs } = statSync(path);
    return [path, size, mtimeMs];
  });
  return createHash('sha256')
    .update(JSON.stringify([name, [...entrypoint, ...words], sources]))
    .digest('hex')
    .slice(0, 16);
}

export async function addBusybox(root: string, busybox: string): Promise<void> {
  for (const folder of ['bin', 'etc', 'tmp', 'root']) mkdirSync(join(root, folder));
  chmodSync(join(root, 'tmp'), 0o1777);
  writeFileSync(join(root, 'etc/passwd'), 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n');
  writeFileSync(join(root, 'etc/group'), 'root:x:0:\nnogroup:x:65534:\n');
  copyProgram(busybox, join(root, 'bin/busybox'));
  for (const applet of (await command([busybox, '--list'])).split('\n'))
    if (applet !== '' && applet !== 'busybox') symlinkSync('busybox', join(root, 'bin', applet));
}

/** A program of the machine with the libraries it is linked to, at the places it looks for them; `name`: in /bin. */
export async function addWithLibraries(root: string, program: string, name = basename(program)): Promise<void> {
  const listed = await command(['ldd', program]);
  // "libz.so.1 => /lib/x86_64-linux-gnu/libz.so.1 (0x...)", and the loader as a path alone.
  const libraries = [...listed.matchAll(/(\/\S+) \(0x/g)].map((match) => match[1] ?? '');
  for (const file of libraries) {
    mkdirSync(dirname(join(root, file)), { recursive: true });
    copyProgram(file, join(root, file));
  }
  rmSync(join(root, 'bin', name), { force: true }); // busybox's own: a link to busybox
  copyProgram(program, join(root, 'bin', name));
  writeFileSync(join(root, 'etc/nsswitch.conf'), 'hosts: files dns\n');
}

export async function pathOf(program: string): Promise<string> {
  return (await command(['sh', '-c', 'command -v "$1"', 'sh', program])).trim();
}

export function copyProgram(from: string, to: string): void {
  copyFileSync(realpathSync(from), to);
  chmodSync(to, 0o755);
}
