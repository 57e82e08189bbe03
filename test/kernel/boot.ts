/** Runs a probe script on this kernel, or on one of Debian's in a machine of its own (qemu, emulated: no /dev/kvm needed). */
import { readdirSync, readFileSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { command, tryCommand } from '../kit/command.ts';
import type { Netns } from '../kit/netns.ts';
import { initramfs } from './initramfs.ts';
import { type Answers, answersOf } from './script.ts';

const SOURCE = fileURLToPath(new URL('./probe.c', import.meta.url));
/** Emulated, a boot takes 7 to 30 s, and the verifier is slow too. */
const BOOT_TIMEOUT_MS = 300_000;
const MEMORY = '1G';

/** A compiled probe and a place for its files. */
export class Probe {
  private readonly folder: string;

  private constructor(folder: string) {
    this.folder = folder;
  }

  static async build(): Promise<Probe> {
    const folder = await mkdtemp(join(tmpdir(), `wt-kernel-${process.pid}-`));
    const libraries = ['-lbpf', '-lelf', '-lz'];
    await command(['gcc', '-O2', '-Wall', '-Wextra', '-static', '-o', join(folder, 'probe'), SOURCE, ...libraries]);
    return new Probe(folder);
  }

  /** On this machine's kernel, inside `netns`, where the script's links stay. */
  async here(netns: Netns, script: string): Promise<Answers> {
    const path = join(this.folder, 'script');
    await writeFile(path, script);
    return answersOf(await netns.run([join(this.folder, 'probe'), path]));
  }

  /**
   * In a machine that boots `kernel` (a folder of setup/fetch-kernel.sh). `objects` are put where the script of `here` names
   * them, so the same script can be given to both.
   */
  async in(kernel: string, script: string, objects: readonly string[]): Promise<Answers> {
    const modules = readdirSync(kernel).filter((name) => name.endsWith('.ko'));
    const folders = new Set(['proc', 'sys', 'dev', 'modules.d', ...objects.flatMap(parents)]);
    const archive = initramfs(
      [...folders],
      [
        { path: 'init', content: await readFile(join(this.folder, 'probe')), executable: true },
        { path: 'script', content: Buffer.from(script) },
        { path: 'modules', content: Buffer.from(modules.map((name) => `/modules.d/${name}\n`).join('')) },
        ...modules.map((name) => ({ path: `modules.d/${name}`, content: readFileSync(join(kernel, name)) })),
        ...objects.map((path) => ({ path: path.slice(1), content: readFileSync(path) })),
      ],
    );
    const { answers, screen } = await boot(kernel, archive, MEMORY);
    try {
      return answersOf(answers);
    } catch (error) {
      throw new Error(`${basename(kernel)}: ${error instanceof Error ? error.message : error}\n${screen}`);
    }
  }

  async remove(): Promise<void> {
    await rm(this.folder, { recursive: true });
  }
}

/**
 * Boots `kernel` with an initramfs until its init switches the machine off. `answers`: what came out of the second serial
 * port; `screen`: the end of the console, for errors.
 */
export async function boot(
  kernel: string,
  archive: Uint8Array,
  memory: string,
): Promise<{ answers: string; screen: string }> {
  const folder = await mkdtemp(join(tmpdir(), `wt-boot-${process.pid}-`));
  try {
    const files = { image: join(folder, 'cpio'), answers: join(folder, 'answers'), console: join(folder, 'console') };
    await writeFile(files.image, archive);
    const machine = ['-accel', 'tcg', '-cpu', 'max', '-m', memory, '-smp', '2'];
    const result = await tryCommand(
      ['qemu-system-x86_64', ...machine, '-display', 'none', '-nodefaults', '-no-reboot']
        .concat(['-kernel', join(kernel, 'vmlinuz'), '-initrd', files.image])
        .concat(['-append', 'console=ttyS0 panic=-1 quiet'])
        .concat(['-serial', `file:${files.console}`, '-serial', `file:${files.answers}`]),
      { timeoutMs: BOOT_TIMEOUT_MS },
    );
    const screen = `The console's end:\n${(await readFile(files.console, 'utf8').catch(() => 'nothing')).slice(-2000)}`;
    if (result.code !== 0)
      throw new Error(`${basename(kernel)}: qemu: exit code ${result.code}: ${result.stderr}\n${screen}`);
    return { answers: await readFile(files.answers, 'utf8'), screen };
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** "/a/b/c.o" -> ["a", "a/b"] */
export function parents(path: string): string[] {
  const names = path.split('/').slice(1, -1);
  return names.map((_, index) => names.slice(0, index + 1).join('/'));
}
