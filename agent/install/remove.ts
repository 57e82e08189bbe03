/**
 * Takes Weir off a node: what an agent put there and what outlives it. Each step is done although another failed, and doing
 * it twice is fine. Pods that are still there lose their network.
 *
 * What stays: switches of the kernel that others may need by now (forwarding), and the empty folders themselves, which may
 * be mount points.
 */
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { linkDelete, linkList } from '../../native/index.ts';
import type { Config } from '../config/config.ts';
import { createDevicePrograms } from '../datapath/program/device-programs.ts';
import { openPins } from '../datapath/program/pins.ts';
import { HOST_INTERFACE_PREFIX } from '../datapath/wiring/wiring.ts';
import { asWeirError, WeirError } from '../errors.ts';
import { removeNetwork } from '../network/remove.ts';
import { type Lock, takeLock } from '../run/lock.ts';
import { removeCniConfiguration, removeCniPlugin } from './cni.ts';
import { cniFilesOf } from './cni-files.ts';

export interface RemovalOptions {
  readonly config: Config;
  /** Hears what was done, a sentence each. */
  readonly tell: (change: string) => void;
  /** How long an agent that still runs may take to end, milliseconds. */
  readonly agentEndsMs: number;
}

interface Step {
  readonly what: string;
  readonly does: () => Promise<readonly string[]>;
}

/**
 * Waits for the agent to end, then removes all of it. Rejects with INSTALL_FAILED naming each step that failed, or
 * ALREADY_RUNNING when the agent does not end.
 */
export async function removeFromNode({ config, tell, agentEndsMs }: RemovalOptions): Promise<void> {
  // First of all: no new pods.
  const failures = await failuresOf(
    [{ what: 'CNI configuration', does: () => removeCniConfiguration(cniFilesOf(config)) }],
    tell,
  );
  const lock = await lockWhenFree(config.stateDirectory, agentEndsMs);
  failures.push(...(await failuresOf(stepsOf(config), tell)));
  await lock?.release();
  failures.push(...(await failuresOf([{ what: 'state', does: () => emptyFolder(config.stateDirectory) }], tell)));
  if (failures.length === 0) return;
  throw new WeirError('INSTALL_FAILED', 'remove', failures.join('\n'));
}

/** From the outside in: devices before the programs on them, so that no packet passes a hook that has lost its program. */
function stepsOf(config: Config): Step[] {
  return [
    { what: 'CNI plugin', does: () => removeCniPlugin(cniFilesOf(config)) },
    { what: "pods' interfaces", does: removePodInterfaces },
    { what: 'routes, tunnel and rules', does: () => removeNetwork() },
    { what: "programs on the node's own devices", does: () => removeDevicePrograms(config.pinDirectory) },
    { what: 'programs and maps', does: () => removeFolder(config.pinDirectory) },
    { what: 'sockets', does: () => emptyFolder(config.runDirectory) },
  ];
}

async function failuresOf(steps: readonly Step[], tell: (change: string) => void): Promise<string[]> {
  const failures: string[] = [];
  for (const { what, does } of steps) {
    try {
      for (const change of await does()) tell(change);
    } catch (error) {
      failures.push(`${what}: ${asWeirError(error, 'remove').message}`);
    }
  }
  return failures;
}

/** The node's ends of pods' veths; the other ends, their addresses and routes go with them. */
async function removePodInterfaces(): Promise<string[]> {
  const ours = (await linkList({})).filter(
    ({ name, kind }) => kind === 'veth' && name.startsWith(HOST_INTERFACE_PREFIX),
  );
  for (const { name } of ours) await linkDelete({ name });
  return ours.map(({ name }) => `removed interface ${name}`);
}

/** Links by their pins, at once and not when the kernel gets round to it; and filters, which have none, whatever this kernel's way is. */
async function removeDevicePrograms(pinDirectory: string): Promise<readonly string[]> {
  if (!(await isThere(pinDirectory))) return [];
  const programs = createDevicePrograms(openPins(pinDirectory), 'clsact');
  try {
    return await programs.attach([]);
  } finally {
    programs.close();
  }
}

/** Pins are files: links detach their programs, and programs and maps end with the last that holds them. */
async function removeFolder(folder: string): Promise<string[]> {
  if (!(await isThere(folder))) return [];
  await rm(folder, { recursive: true, force: true });
  return [`removed ${folder}`];
}

async function emptyFolder(folder: string): Promise<string[]> {
  const names = (await isThere(folder)) ? await readdir(folder) : [];
  for (const name of names) await rm(join(folder, name), { recursive: true, force: true });
  return names.length === 0 ? [] : [`emptied ${folder}`];
}

async function isThere(folder: string): Promise<boolean> {
  try {
    await readdir(folder);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw error;
  }
}

/** The agent's lock, once nobody has it; none where no agent ever ran. */
async function lockWhenFree(stateDirectory: string, patienceMs: number): Promise<Lock | undefined> {
  const untilMs = performance.now() + patienceMs;
  for (;;) {
    try {
      return (await isThere(stateDirectory)) ? await takeLock(stateDirectory) : undefined;
    } catch (error) {
      const isHeld = error instanceof WeirError && error.code === 'ALREADY_RUNNING';
      if (!isHeld || performance.now() >= untilMs) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, LOOK_AGAIN_MS));
  }
}

const LOOK_AGAIN_MS = 200;
