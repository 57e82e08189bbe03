/** The images every cluster has: made once per machine from static programs, and kept beside the stock programs. */
import { createHash } from 'node:crypto';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { command } from '../kit/command.ts';
import { stockFolder, stockProgram } from '../kit/stock.ts';
import { type ImageContent, writeImage } from './archive.ts';
import { PAUSE_IMAGE } from './containerd.ts';

/** Has a shell and busybox's programs. */
export const BUSYBOX_IMAGE = 'weir.test/busybox:1';
/** Kubernetes' own test program, `agnhost netexec` and others; has a shell too. */
export const AGNHOST_IMAGE = 'weir.test/agnhost:1';
export const COREDNS_IMAGE = 'weir.test/coredns:1';

const PAUSE_SOURCE = fileURLToPath(new URL('pause.c', import.meta.url));

interface Recipe {
  readonly name: string;
  readonly entrypoint: readonly string[];
  /** What it is made from: when one changes, so does the image. */
  readonly from: readonly string[];
  readonly fill: (root: string) => Promise<void>;
}

/** Paths of the archives, made where they are missing. */
export async function baseImages(): Promise<string[]> {
  const busybox = (await command(['sh', '-c', 'command -v busybox'])).trim();
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
      from: [stockProgram('agnhost'), busybox],
      fill: async (root) => {
        await addBusybox(root, busybox);
        copyProgram(stockProgram('agnhost'), join(root, 'agnhost'));
      },
    },
    {
      name: COREDNS_IMAGE,
      entrypoint: ['/coredns'],
      from: [stockProgram('coredns')],
      fill: async (root) => copyProgram(stockProgram('coredns'), join(root, 'coredns')),
    },
  ];
  const folder = join(dirname(stockFolder()), 'images');
  mkdirSync(folder, { recursive: true });
  return Promise.all(recipes.map((recipe) => archiveOf(recipe, folder)));
}

async function archiveOf(recipe: Recipe, folder: string): Promise<string> {
  const short = recipe.name.replace(/^.*\//, '').replace(':', '-');
  const archive = join(folder, `${short}-${fingerprint(recipe)}.tar`);
  if (existsSync(archive)) return archive;
  const work = mkdtempSync(join(folder, '.new-'));
  try {
    const root = join(work, 'root');
    mkdirSync(root);
    await recipe.fill(root);
    const image: ImageContent = { name: recipe.name, entrypoint: recipe.entrypoint, root };
    await writeImage(image, join(work, 'staging'), join(work, 'image.tar'));
    renameSync(join(work, 'image.tar'), archive);
  } finally {
    rmSync(work, { recursive: true });
  }
  return archive;
}

/** Programs are told apart by path, size and time: a hash of 100 MB at every start would be felt. */
function fingerprint({ name, entrypoint, from }: Recipe): string {
  const sources = from.map((file) => {
    const path = realpathSync(file);
    const { size, mtimeMs } = statSync(path);
    return [path, size, mtimeMs];
  });
  return createHash('sha256')
    .update(JSON.stringify([name, entrypoint, sources]))
    .digest('hex')
    .slice(0, 16);
}

async function addBusybox(root: string, busybox: string): Promise<void> {
  for (const folder of ['bin', 'etc', 'tmp', 'root']) mkdirSync(join(root, folder));
  chmodSync(join(root, 'tmp'), 0o1777);
  writeFileSync(join(root, 'etc/passwd'), 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n');
  writeFileSync(join(root, 'etc/group'), 'root:x:0:\nnogroup:x:65534:\n');
  copyProgram(busybox, join(root, 'bin/busybox'));
  for (const applet of (await command([busybox, '--list'])).split('\n'))
    if (applet !== '' && applet !== 'busybox') symlinkSync('busybox', join(root, 'bin', applet));
}

function copyProgram(from: string, to: string): void {
  copyFileSync(realpathSync(from), to);
  chmodSync(to, 0o755);
}
