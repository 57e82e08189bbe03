/**
 * Puts the CNI plugin and its configuration in place, and takes them away. Every file appears whole under its name or not
 * at all, also when the power fails: a runtime that looks in this moment starts the old plugin or the new one.
 *
 * The plugin comes when the agent starts: a runtime that knows it from before must find it, if only to hear "try again".
 * The configuration comes once the agent can serve, for with it the kubelet calls the node's network ready. It stays when
 * the agent ends: without it no pod could be deleted.
 */
import { existsSync } from 'node:fs';
import { type FileHandle, mkdir, open, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { WeirError } from '../errors.ts';
import { moveDurably } from '../run/durable-file.ts';
import {
  type CniFiles,
  conflist,
  PLUGIN,
  PORTMAP,
  type Rename,
  socketFile,
  toPutAside,
  toPutBack,
} from './cni-files.ts';

/** In a checkout where make puts it; the image has it at the same place. */
const PLUGIN_BINARY = fileURLToPath(new URL('../../cni/build/weir-cni', import.meta.url));

/**
 * Copies the plugin and tells it where its agent is; files that are as they should be are left alone. Resolves with what
 * was changed, a sentence each. @throws WeirError INSTALL_FAILED
 */
export function installCniPlugin(files: CniFiles, binary: string = PLUGIN_BINARY): Promise<string[]> {
  return failingAs(`install the CNI plugin in ${files.binDirectory}`, async () => {
    await mkdir(files.binDirectory, { recursive: true });
    // First the file that the plugin reads: a plugin without it would ask at the default place.
    const told = await replaceFile(join(files.binDirectory, `${PLUGIN}.socket`), Buffer.from(socketFile(files)), 0o644);
    const copied = await replaceFile(join(files.binDirectory, PLUGIN), await readFile(binary), 0o755);
    return told || copied ? [`installed ${join(files.binDirectory, PLUGIN)}`] : [];
  });
}

/**
 * Writes the configuration, once the agent can serve, and puts others aside. May be called again and again: what is as
 * it should be stays, what somebody removed or added is put right, but for what {@link removeCniConfiguration} did.
 * Resolves with what was changed, a sentence each. @throws WeirError INSTALL_FAILED
 */
export function writeCniConfiguration(files: CniFiles): Promise<string[]> {
  const { confDirectory, confName } = files;
  return failingAs(`write the CNI configuration in ${confDirectory}`, async () => {
    if (existsSync(files.withdrawn)) return [];
    await mkdir(confDirectory, { recursive: true });
    const installed = await readdir(files.binDirectory);
    const changes: string[] = [];
    if (await replaceFile(join(confDirectory, confName), Buffer.from(conflist(installed)), 0o644)) {
      const hostPorts = installed.includes(PORTMAP)
        ? ''
        : `; hostPort has no effect: ${files.binDirectory} has no ${PORTMAP}`;
      changes.push(`wrote ${join(confDirectory, confName)}${hostPorts}`);
    }
    // After ours: there is never a moment without any.
    const others = files.exclusive ? toPutAside(await readdir(confDirectory), confName) : [];
    changes.push(...(await renameAll(confDirectory, others)));
    // Taken away while this was under way.
    return existsSync(files.withdrawn) ? [...changes, ...(await takeAway(files))] : changes;
  });
}

/**
 * Removes the configuration and puts back what was put aside. An agent that still runs, and looks every now and then, does
 * not write it again: only one that is started afterwards. Resolves with what was changed. @throws WeirError INSTALL_FAILED
 */
export function removeCniConfiguration(files: CniFiles): Promise<string[]> {
  return failingAs(`remove the CNI configuration from ${files.confDirectory}`, async () => {
    await writeFile(files.withdrawn, '').catch(orAbsent); // Without the folder there is no agent either.
    return takeAway(files);
  });
}

/** For an agent that starts: the configuration may be written, whatever was done to it before. @throws WeirError INSTALL_FAILED */
export function allowCniConfiguration(files: CniFiles): Promise<void> {
  return failingAs(`remove ${files.withdrawn}`, () => rm(files.withdrawn, { force: true }));
}

/** The agent and a removal may do this at once. */
async function takeAway({ confDirectory, confName }: CniFiles): Promise<string[]> {
  const names = await namesIn(confDirectory);
  const back = await renameAll(confDirectory, toPutBack(names), orAbsent);
  if (!names.includes(confName)) return back;
  await rm(join(confDirectory, confName), { force: true });
  return [...back, `removed ${join(confDirectory, confName)}`];
}

/** Removes the plugin and its file. Resolves with what was changed. @throws WeirError INSTALL_FAILED */
export function removeCniPlugin(files: CniFiles): Promise<string[]> {
  const { binDirectory } = files;
  return failingAs(`remove the CNI plugin from ${binDirectory}`, async () => {
    const ours = (await namesIn(binDirectory)).filter((name) => [PLUGIN, `${PLUGIN}.socket`].includes(name));
    for (const name of ours) await rm(join(binDirectory, name), { force: true });
    return ours.map((name) => `removed ${join(binDirectory, name)}`);
  });
}

/** True when the file was not as it should be. Hidden until it is complete; one agent at a time writes (run/lock.ts). */
async function replaceFile(path: string, content: Buffer, mode: number): Promise<boolean> {
  if (await isAlready(path, content, mode)) return false;
  const slash = path.lastIndexOf('/') + 1;
  const hidden = `${path.slice(0, slash)}.${path.slice(slash)}.new`;
  await rm(hidden, { force: true });
  await withFile(await open(hidden, 'wx', mode), async (file) => {
    await file.writeFile(content);
    await file.chmod(mode); // Whatever the umask is.
    await file.sync();
  });
  await moveDurably(hidden, path);
  return true;
}

async function isAlready(path: string, content: Buffer, mode: number): Promise<boolean> {
  try {
    return await withFile(await open(path, 'r'), async (file) => {
      const { mode: present } = await file.stat();
      return (present & 0o777) === mode && content.equals(await file.readFile());
    });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw error;
  }
}

async function renameAll(folder: string, renames: readonly Rename[], failed = rethrow): Promise<string[]> {
  for (const { from, to } of renames) await rename(join(folder, from), join(folder, to)).catch(failed);
  return renames.map(({ from, to }) => `renamed ${join(folder, from)} to ${to}`);
}

async function namesIn(folder: string): Promise<string[]> {
  try {
    return await readdir(folder);
  } catch (error) {
    orAbsent(error);
    return [];
  }
}

function rethrow(error: unknown): void {
  throw error;
}

function orAbsent(error: unknown): void {
  if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
}

async function withFile<T>(file: FileHandle, work: (file: FileHandle) => Promise<T>): Promise<T> {
  try {
    return await work(file);
  } finally {
    await file.close();
  }
}

async function failingAs<T>(operation: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    throw new WeirError('INSTALL_FAILED', operation, `cannot ${operation}: ${(cause as Error).message}`, { cause });
  }
}
