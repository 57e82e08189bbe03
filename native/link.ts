import { addon } from './addon.ts';
import { checked, checkedStatus } from './error.ts';
import type { LinkHandle, ProgramHandle } from './handle.ts';

export type Direction = 'ingress' | 'egress';

const LINK_TYPES: Readonly<Record<number, string>> = { 3: 'cgroup', 6: 'xdp', 11: 'tcx' };

export interface LinkInfo {
  /** 'tcx', 'xdp', 'cgroup'; others by number, "link type 8". */
  readonly type: string;
  readonly id: number;
  readonly programId: number;
  /** Device of a tcx or xdp link, in the namespace of this process; 0: the device is gone, and updates give ENOLINK. */
  readonly ifindex: number;
  /** enum bpf_attach_type. */
  readonly attachType: number;
  /** Of a cgroup link; 0: the group is gone. */
  readonly cgroupId: number;
}

/**
 * Attaches a sched_cls program to a device by a tcx link, which goes when its last descriptor or pin goes.
 * `head`: ahead of whatever is attached already. EINVAL before Linux 6.6: see features().tcx.
 */
export function attachTcx(
  program: ProgramHandle,
  ifindex: number,
  direction: Direction,
  options: { head?: boolean } = {},
): LinkHandle {
  const status = addon.attachTcx(program.fd, ifindex, direction === 'egress', options.head ?? false);
  return { kind: 'link', fd: checkedStatus(`attach tcx ${direction} ${program.name} to ifindex ${ifindex}`, status) };
}

/** Programs on a device's tcx hook, in the order they run. A program attached without a link has linkId 0. */
export function queryTcx(ifindex: number, direction: Direction): { programId: number; linkId: number }[] {
  const pairs = checked(
    `query tcx ${direction} of ifindex ${ifindex}`,
    addon.queryTcx(ifindex, direction === 'egress'),
  );
  return Array.from({ length: pairs.length / 2 }, (_, i) => ({
    programId: pairs[2 * i] ?? 0,
    linkId: pairs[2 * i + 1] ?? 0,
  }));
}

/** Attaches an XDP program. 'generic' runs on any device after the skb is made, 'native' in the driver (EOPNOTSUPP where it has none). */
export function attachXdp(program: ProgramHandle, ifindex: number, mode: 'generic' | 'native'): LinkHandle {
  const status = addon.attachXdp(program.fd, ifindex, mode === 'generic');
  return { kind: 'link', fd: checkedStatus(`attach xdp ${mode} ${program.name} to ifindex ${ifindex}`, status) };
}

/** Attaches a program to a cgroup2 directory. `attachType`: enum bpf_attach_type, such as 10 for BPF_CGROUP_INET4_CONNECT. */
export function attachCgroup(program: ProgramHandle, cgroupPath: string, attachType: number): LinkHandle {
  const status = addon.attachCgroup(program.fd, cgroupPath, attachType);
  return { kind: 'link', fd: checkedStatus(`attach cgroup ${program.name} to ${cgroupPath}`, status) };
}

/** Puts another program behind a link; no packet passes without one. ENOLINK: the device or group is gone. */
export function linkUpdate(link: LinkHandle, program: ProgramHandle): void {
  checkedStatus(`link update to ${program.name}`, addon.linkUpdate(link.fd, program.fd));
}

/** What a link is attached to, and whether that is still there. */
export function linkInfo(link: LinkHandle): LinkInfo {
  const info = checked('link info', addon.linkInfo(link.fd));
  return { ...info, type: LINK_TYPES[info.type] ?? `link type ${info.type}` };
}

/** Takes a link off its hook although descriptors and pins remain. */
export function linkDetach(link: LinkHandle): void {
  checkedStatus('link detach', addon.linkDetach(link.fd));
}
