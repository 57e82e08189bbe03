/**
 * The stubs on a pod's host-side veth: by pinned tcx links at the head of the hook, or as clsact filters where the kernel
 * has no tcx. Ingress of the veth is what the pod sends (from-pod), egress what is sent to it (to-pod).
 */
import { existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  attachClsact,
  attachTcx,
  closeFd,
  KernelError,
  type LinkHandle,
  linkDetach,
  linkInfo,
  type ProgramHandle,
  pin,
  queryClsact,
  queryTcx,
} from '../../../native/index.ts';
import { ifindexOf } from '../map/addresses.ts';
import { HeldLinks } from './held-links.ts';
import type { Direction, Pins } from './pins.ts';
import type { AttachMode } from './requirements.ts';

export const DIRECTIONS = ['ingress', 'egress'] as const satisfies readonly Direction[];

/** First of all filters, and the only one of that priority. */
export const FILTER = { priority: 1, handle: 1 };
/** A link whose last pin went is detached by a kernel worker, a moment later. */
const DETACHING = { tries: 100, waitMs: 10 };

/** Programs for one hook of each direction. */
export type HookPrograms = Readonly<Record<Direction, ProgramHandle>>;

export interface AttachmentOptions {
  readonly mode: AttachMode;
  readonly stubs: HookPrograms;
  /** What the stubs call: they stand in while a stub is put back. */
  readonly programs: HookPrograms;
  readonly pins: Pins;
  /** Stubs of earlier agents are of no use: see Loaded.slotsAreNew. */
  readonly earlierAreStale: boolean;
}

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
  /** Lets go; what is attached and pinned stays. */
  close(): void;
}

export function createAttachment(options: AttachmentOptions): Attachment {
  return options.mode === 'tcx' ? tcx(options) : clsact(options);
}

function tcx({ stubs, programs, pins, earlierAreStale }: AttachmentOptions): Attachment {
  const held = new HeldLinks(earlierAreStale);

  function attach(endpoint: number, direction: Direction): void {
    const link = attachTcx(stubs[direction], ifindexOf(endpoint), direction, { head: true });
    held.keep(pins.link(endpoint, direction), link);
  }

  /** A link that was wiped has ifindex 0; behind another program it may never see a packet. */
  function isFirst(link: LinkHandle, endpoint: number, direction: Direction): boolean {
    const { ifindex, programId } = linkInfo(link);
    return ifindex === ifindexOf(endpoint) && queryTcx(ifindex, direction)[0]?.programId === programId;
  }

  return {
    attach,
    fault(endpoint, direction) {
      const path = pins.link(endpoint, direction);
      const link = held.at(path);
      if (link && !isFirst(link, endpoint, direction)) return 'program detached';
      return link && existsSync(path) ? undefined : 'pin missing';
    },
    async restore(endpoint, direction) {
      const path = pins.link(endpoint, direction);
      const link = held.at(path);
      if (link && isFirst(link, endpoint, direction)) {
        pin(link, path);
        return;
      }
      // A hook takes a program once: the stub can come back only when its old link is gone. Its program judges meanwhile.
      const standIn = attachTcx(programs[direction], ifindexOf(endpoint), direction, { head: true });
      try {
        if (link && linkInfo(link).ifindex !== 0) linkDetach(link);
        await once(() => attach(endpoint, direction));
      } finally {
        closeFd(standIn);
      }
    },
    forget(endpoint) {
      for (const direction of DIRECTIONS) held.drop(pins.link(endpoint, direction));
    },
    close: () => held.close(),
  };
}

/** Does it as soon as the program's old link is gone from the hook. */
export async function once(attach: () => void): Promise<void> {
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

function clsact({ stubs, earlierAreStale }: AttachmentOptions): Attachment {
  const ours = new Set<string>();
  const keyOf = (endpoint: number, direction: Direction): string => `${endpoint}-${direction}`;
  const attach = (endpoint: number, direction: Direction): void => {
    attachClsact(stubs[direction], ifindexOf(endpoint), direction, FILTER);
    ours.add(keyOf(endpoint, direction));
  };
  return {
    attach,
    fault(endpoint, direction) {
      if (earlierAreStale && !ours.has(keyOf(endpoint, direction))) return 'program detached';
      const [first] = queryClsact(ifindexOf(endpoint), direction);
      const inForce = first?.priority === FILTER.priority && first.name === stubs[direction].name;
      return inForce ? undefined : 'program detached';
    },
    restore: async (endpoint, direction) => attach(endpoint, direction),
    forget(endpoint) {
      for (const direction of DIRECTIONS) ours.delete(keyOf(endpoint, direction));
    },
    close() {},
  };
}
