/**
 * The stubs on a pod's host-side veth: by pinned tcx links at the head of the hook, or as clsact filters where the kernel
 * has no tcx. Ingress of the veth is what the pod sends (from-pod), egress what is sent to it (to-pod).
 */
import { setTimeout as sleep } from 'node:timers/promises';
import {
  attachClsact,
  attachTcx,
  closeFd,
  KernelError,
  type LinkHandle,
  linkDetach,
  linkInfo,
  openPinned,
  type ProgramHandle,
  pin,
  queryClsact,
  queryTcx,
  unpin,
} from '../../native/index.ts';
import type { Direction, Pins } from './pins.ts';
import type { AttachMode } from './requirements.ts';
import { ifindexOf } from './rows.ts';

export const DIRECTIONS = ['ingress', 'egress'] as const satisfies readonly Direction[];

/** First of all filters, and the only one of that priority. */
const FILTER = { priority: 1, handle: 1 };
/** A link whose last pin went is detached by a kernel worker, a moment later. */
const DETACHING = { tries: 100, waitMs: 10 };

/** Programs for one hook of each direction. */
export type HookPrograms = Readonly<Record<Direction, ProgramHandle>>;

/** How programs get onto a device, and what has become of them. The device must be there for all but `forget`. */
export interface Attachment {
  /** For a device that nothing is attached to. */
  attach(endpoint: number, direction: Direction): void;
  /** Undefined: attached, ahead of everything else. */
  fault(endpoint: number, direction: Direction): 'program detached' | 'pin missing' | undefined;
  /** Puts right what {@link Attachment.fault} found. No packet passes unjudged from the call on. */
  restore(endpoint: number, direction: Direction): Promise<void>;
  /** Removes what outlives the device. */
  forget(endpoint: number): void;
}

/** `programs` are what the stubs call: they stand in while a stub is put back. */
export function createAttachment(
  mode: AttachMode,
  stubs: HookPrograms,
  programs: HookPrograms,
  pins: Pins,
): Attachment {
  const forget = (endpoint: number): void => {
    for (const direction of DIRECTIONS) unpin(pins.link(endpoint, direction));
  };
  return { ...(mode === 'tcx' ? tcx(stubs, programs, pins) : clsact(stubs)), forget };
}

function tcx(stubs: HookPrograms, programs: HookPrograms, pins: Pins): Omit<Attachment, 'forget'> {
  function attach(endpoint: number, direction: Direction): void {
    const path = pins.link(endpoint, direction);
    const link = attachTcx(stubs[direction], ifindexOf(endpoint), direction, { head: true });
    try {
      unpin(path); // Of an earlier device.
      pin(link, path);
    } finally {
      closeFd(link);
    }
  }

  /** Calls `look` with the pinned link, or with undefined. */
  function withLink<T>(endpoint: number, direction: Direction, look: (link: LinkHandle | undefined) => T): T {
    const found = openPinned(pins.link(endpoint, direction));
    try {
      return look(found?.kind === 'link' ? found : undefined);
    } finally {
      if (found) closeFd(found);
    }
  }

  return {
    attach,
    fault: (endpoint, direction) =>
      withLink(endpoint, direction, (link) => {
        if (link === undefined) return 'pin missing';
        const { ifindex, programId } = linkInfo(link); // A link that was wiped has ifindex 0.
        const [first] = queryTcx(ifindexOf(endpoint), direction); // Behind another program it may never see a packet.
        return ifindex === ifindexOf(endpoint) && first?.programId === programId ? undefined : 'program detached';
      }),
    async restore(endpoint, direction) {
      // A hook takes a program once: the stub can come back only when its old link is gone. Its program judges meanwhile.
      const standIn = attachTcx(programs[direction], ifindexOf(endpoint), direction, { head: true });
      try {
        withLink(endpoint, direction, (link) => link && linkInfo(link).ifindex !== 0 && linkDetach(link));
        await once(() => attach(endpoint, direction));
      } finally {
        closeFd(standIn);
      }
    },
  };
}

/** Does it as soon as the stub's old link is gone from the hook. */
async function once(attach: () => void): Promise<void> {
  for (let left = DETACHING.tries; ; left--) {
    try {
      attach();
      return;
    } catch (error) {
      if (!(error instanceof KernelError && error.code === 'EEXIST') || left === 0) throw error;
    }
    await sleep(DETACHING.waitMs);
  }
}

function clsact(stubs: HookPrograms): Omit<Attachment, 'forget'> {
  const attach = (endpoint: number, direction: Direction): void => {
    attachClsact(stubs[direction], ifindexOf(endpoint), direction, FILTER);
  };
  return {
    attach,
    fault(endpoint, direction) {
      const [first] = queryClsact(ifindexOf(endpoint), direction);
      const inForce = first?.priority === FILTER.priority && first.name === stubs[direction].name;
      return inForce ? undefined : 'program detached';
    },
    restore: async (endpoint, direction) => attach(endpoint, direction),
  };
}
