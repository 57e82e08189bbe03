/**
 * The programs by which the node's own processes reach Services, on a cgroup: put there, kept there, and replaced by those
 * of the next agent without a moment in between. By pinned links. Until they are there such a process finds nobody at a
 * virtual address; pods do not need them.
 */
import { existsSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import {
  attachCgroup,
  features,
  KernelError,
  type LoadedObject,
  linkDetach,
  linkInfo,
  linkUpdate,
  netnsCookie,
  pin,
  programInfo,
} from '../../../native/index.ts';
import { HeldLinks } from './held-links.ts';
import type { Loaded } from './loader.ts';
import type { Pins } from './pins.ts';

/** enum bpf_attach_type of each program of bpf/socket.bpf.c. */
const ATTACH_TYPES = {
  connect4: 10,
  connect6: 11,
  sendmsg4: 14,
  sendmsg6: 15,
  recvmsg4: 19,
  recvmsg6: 20,
  getpeername4: 29,
  getpeername6: 30,
} as const;
type Name = keyof typeof ATTACH_TYPES;
const NAMES = Object.keys(ATTACH_TYPES) as Name[];

export interface SocketPrograms {
  /**
   * Makes the cgroup have the programs, and no other; undefined: none has. Told what was put right, one sentence each; what
   * could not be is in {@link faults}.
   */
  attach(cgroup: string | undefined): Promise<readonly string[]>;
  faults(): readonly string[];
  /** Lets go; what is attached and pinned stays. */
  close(): void;
}

export function createSocketPrograms(pins: Pins, openSockets: Loaded['openSockets']): SocketPrograms {
  const held = new HeldLinks();
  let object: LoadedObject | undefined;
  let faults: readonly string[] = [];

  function remove(name: Name): boolean {
    const path = pins.socket(name);
    const link = held.at(path);
    if (link && linkInfo(link).cgroupId !== 0) linkDetach(link);
    held.drop(path);
    return link !== undefined;
  }

  /** Undefined: it was as it should be. */
  function attachOne(name: Name, cgroup: string, cgroupId: number, loaded: LoadedObject): string | undefined {
    const program = loaded.programs[name];
    if (program === undefined) throw new Error(`bpf/socket has no program ${name}: it was built from another version`);
    const path = pins.socket(name);
    const link = held.at(path);
    const info = link && linkInfo(link);
    // A group that is gone leaves 0, and one of the same name is another.
    if (link === undefined || info?.cgroupId !== cgroupId) {
      const fresh = attachCgroup(program, cgroup, ATTACH_TYPES[name]);
      remove(name);
      held.keep(path, fresh);
      return 'attached';
    }
    const isOurs = info.programId === programInfo(program).id;
    if (!isOurs) linkUpdate(link, program);
    if (existsSync(path)) return isOurs ? undefined : 'replaced';
    pin(link, path);
    return 'pinned again';
  }

  return {
    async attach(cgroup) {
      faults = [];
      if (cgroup === undefined) return NAMES.filter(remove).map((name) => `sockets: ${name} detached`);
      object ??= openSockets({
        config_node_netns: netnsCookie() ?? 0,
        config_refuses_by_name: features().setRetval ? 1 : 0,
      });
      const done: string[] = [];
      const failed: string[] = [];
      const directory = await stat(cgroup).catch(() => undefined);
      for (const name of NAMES) {
        try {
          const put = attachOne(name, cgroup, directory?.ino ?? -1, object);
          if (put) done.push(`sockets of ${cgroup}: ${name} ${put}`);
        } catch (error) {
          if (!(error instanceof KernelError)) throw error;
          failed.push(`${name} is not on the cgroup ${cgroup}: ${error.message}`);
        }
      }
      faults = failed;
      return done;
    },
    faults: () => faults,
    close() {
      held.close();
      object?.close();
      object = undefined;
    },
  };
}
