/**
 * Programs on the node's own devices, uplinks and tunnel: put there, kept there, replaced by those of the next agent
 * without a moment in between, and taken off what is none of ours any more. By pinned links; tc programs as clsact filters
 * where the kernel has no tcx. While one is missing nothing passes unjudged: to_pod refuses what comes from other nodes'
 * pods by any way but the tunnel, and the tunnel device sends nothing without a key.
 */
import { existsSync } from 'node:fs';
import {
  attachClsact,
  attachTcx,
  attachXdp,
  detachClsact,
  KernelError,
  type Link,
  type LinkHandle,
  linkDetach,
  linkInfo,
  linkList,
  linkUpdate,
  type ProgramHandle,
  pin,
  programInfo,
  queryClsact,
  queryTcx,
} from '../../../native/index.ts';
import type { DeviceHook, DeviceProgram } from '../datapath.ts';
import { FILTER, once } from './attach.ts';
import { HeldLinks } from './held-links.ts';
import type { DevicePin, Pins } from './pins.ts';
import type { AttachMode } from './requirements.ts';

/** What should be on a device. */
export interface Wanted {
  readonly device: string;
  readonly hook: DeviceHook;
  readonly program: ProgramHandle;
  /** Of XDP: what does the same at tc ingress, and also what else is wanted there. */
  readonly onIngress?: ProgramHandle;
}

export interface DevicePrograms {
  /**
   * Makes the devices have these programs and no others of ours. Told what was put right, one sentence each; what could
   * not be is in {@link status}.
   */
  attach(wanted: readonly Wanted[]): Promise<readonly string[]>;
  status(): readonly DeviceProgram[];
  /** Lets go; what is attached and pinned stays. */
  close(): void;
}

/** `xdpMode` native: where the driver has no XDP, {@link Wanted.onIngress} instead; so in both where another has the place. */
export function createDevicePrograms(
  pins: Pins,
  mode: AttachMode,
  xdpMode: 'auto' | 'native' = 'auto',
): DevicePrograms {
  const held = new HeldLinks();
  let status: readonly DeviceProgram[] = [];
  let filtersOfOthersSought = false;

  function remove(path: string): void {
    const link = held.at(path);
    if (link && linkInfo(link).ifindex !== 0) linkDetach(link);
    held.drop(path);
  }

  /** Undefined: the link was as it should be. */
  async function byLink(
    path: string,
    ifindex: number,
    program: ProgramHandle,
    isFirst: () => boolean,
    attach: () => LinkHandle,
  ): Promise<string | undefined> {
    const link = held.at(path);
    const info = link && linkInfo(link);
    if (!link || info?.ifindex !== ifindex) {
      if (link && info?.ifindex !== 0) linkDetach(link);
      await once(() => held.keep(path, attach()));
      return 'attached';
    }
    const isOurs = info.programId === programInfo(program).id;
    if (!isOurs) linkUpdate(link, program);
    if (!isFirst()) {
      linkDetach(link);
      await once(() => held.keep(path, attach()));
      return 'put ahead of other programs again';
    }
    if (!existsSync(path)) {
      pin(link, path);
      return 'pinned again';
    }
    return isOurs ? undefined : 'replaced';
  }

  async function onTc({ device, hook, program }: Wanted & { hook: 'ingress' | 'egress' }, ifindex: number) {
    const { id } = programInfo(program);
    if (mode === 'clsact') {
      const [first] = queryClsact(ifindex, hook);
      if (first?.priority === FILTER.priority && first.programId === id) return undefined;
      attachClsact(program, ifindex, hook, FILTER);
      return 'attached';
    }
    const isFirst = (): boolean => queryTcx(ifindex, hook)[0]?.programId === id;
    const attach = (): LinkHandle => attachTcx(program, ifindex, hook, { head: true });
    return byLink(pins.device({ device, hook }), ifindex, program, isFirst, attach);
  }

  /**
   * Native where the driver can, else generic: then the kernel runs it on every packet before all else, and makes one
   * piece of each for it. A veth could do native, but then its other end may not send in large pieces any more: measured,
   * 1.3 Gbit/s instead of 11. At tc ingress where generic is not wanted, or the device's one place for XDP is taken.
   */
  async function putGuard({ device, program, onIngress }: Wanted, { index, kind }: Link) {
    const pathOf = (xdp: 'native' | 'generic'): string => pins.device({ device, hook: 'xdp', xdp });
    const put = (xdp: 'native' | 'generic'): Promise<string | undefined> =>
      byLink(
        pathOf(xdp),
        index,
        program,
        () => true, // A device has one XDP program.
        () => attachXdp(program, index, xdp),
      );
    try {
      if (kind !== 'veth' && held.at(pathOf('generic')) === undefined) {
        try {
          return { hook: 'xdp', program: program.name, mode: 'native', put: await put('native') } as const;
        } catch (error) {
          // That is how drivers say that they cannot, or not with this MTU.
          if (!(error instanceof KernelError) || isTaken(error)) throw error;
        }
      }
      if (xdpMode === 'auto' || !onIngress) {
        if (held.at(pathOf('native'))) remove(pathOf('native'));
        return { hook: 'xdp', program: program.name, mode: 'generic', put: await put('generic') } as const;
      }
    } catch (error) {
      if (!isTaken(error) || !onIngress) throw error;
    }
    const done = await onTc({ device, hook: 'ingress', program: onIngress }, index);
    return { hook: 'ingress', program: onIngress.name, mode: 'tc', put: done } as const;
  }

  async function attachOne(wanted: Wanted, link: Link | undefined): Promise<[DeviceProgram, string | undefined]> {
    const { device, hook, program } = wanted;
    const of = { device, hook, program: program.name };
    try {
      if (link === undefined) return [{ ...of, fault: 'there is no such device' }, undefined];
      if (hook !== 'xdp') return [of, await onTc({ ...wanted, hook }, link.index)];
      const { put, ...guard } = await putGuard(wanted, link);
      return [{ device, ...guard }, put && `${put} (${guard.mode})`];
    } catch (error) {
      if (!(error instanceof KernelError)) throw error;
      return [{ ...of, fault: error.message }, undefined];
    }
  }

  /** Takes off what an earlier state of affairs, or an earlier agent, has left. */
  function removeOthers(wanted: readonly DeviceProgram[], links: Iterable<Link>): string[] {
    // Where something could not be attached nothing is taken off: the guard may be about to change its place.
    const isWanted = (one: Omit<DevicePin, 'xdp'>): boolean =>
      wanted.some((other) => isSameHook(one, other) || (one.device === other.device && other.fault !== undefined));
    const removed: string[] = [];
    for (const found of pins.devices().filter((one) => !isWanted(one))) {
      remove(pins.device(found));
      removed.push(`${found.hook} of ${found.device}: detached`);
    }
    if (mode !== 'clsact' || filtersOfOthersSought) return removed;
    for (const { name: device, index: ifindex } of links) {
      for (const hook of ['ingress', 'egress'] as const) {
        const isOurs = OUR_NAMES.includes(queryClsact(ifindex, hook)[0]?.name ?? '');
        if (!isOurs || isWanted({ device, hook })) continue;
        detachClsact(ifindex, hook, FILTER);
        removed.push(`${hook} of ${device}: detached`);
      }
    }
    return removed;
  }

  return {
    async attach(wanted) {
      const links = new Map((await linkList({})).map((link) => [link.name, link]));
      const done: string[] = [];
      const found: DeviceProgram[] = [];
      for (const one of wanted) {
        // The guard is there already, and does this too.
        if (found.some((other) => isSameHook(one, other))) continue;
        const [state, put] = await attachOne(one, links.get(one.device));
        found.push(state);
        if (put) done.push(`${state.hook} of ${state.device}: ${state.program} ${put}`);
      }
      if (status.some((one) => !found.some((other) => isSameHook(one, other)))) filtersOfOthersSought = false;
      // Last, so that there is no moment without a guard when it changes its place.
      done.push(...removeOthers(found, links.values()));
      filtersOfOthersSought = true;
      status = found;
      return done;
    },
    status: () => status,
    close() {
      held.close();
    },
  };
}

/** Somebody else's XDP program is there, in the same mode or in the other one (net/core/dev.c, dev_xdp_attach). */
function isTaken(error: unknown): boolean {
  return error instanceof KernelError && (error.code === 'EBUSY' || error.code === 'EEXIST');
}

type OnHook = Pick<DeviceProgram, 'device' | 'hook'>;
function isSameHook(one: OnHook, other: OnHook): boolean {
  return one.device === other.device && one.hook === other.hook;
}

/** Filters are known by the names of their programs. */
const OUR_NAMES = ['from_tunnel', 'to_tunnel', 'from_uplink', 'guarded_uplink'];
