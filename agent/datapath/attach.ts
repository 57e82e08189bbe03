/**
 * The stubs on a pod's host-side veth: by pinned tcx links at the head of the hook, or as clsact filters where the kernel
 * has no tcx. Ingress of the veth is what the pod sends (from-pod), egress what is sent to it (to-pod).
 */
import {
  attachClsact,
  attachTcx,
  closeFd,
  type LinkHandle,
  linkInfo,
  openPinned,
  type ProgramHandle,
  pin,
  queryClsact,
  queryTcx,
  unpin,
} from '../../native/index.ts';
import type { Pins } from './pins.ts';
import type { AttachMode } from './requirements.ts';
import { ifindexOf } from './rows.ts';

export const DIRECTIONS = ['ingress', 'egress'] as const;
export type Direction = (typeof DIRECTIONS)[number];

/** First of all filters, and the only one of that priority. */
const FILTER = { priority: 1, handle: 1 };

export interface Stubs {
  readonly ingress: ProgramHandle;
  readonly egress: ProgramHandle;
}

/** How programs get onto a device, and what has become of them. The device must be there for all but `forget`. */
export interface Attachment {
  /** Puts the stub on the hook, in the place of one that may be there. */
  attach(endpoint: number, direction: Direction): void;
  /** Undefined: attached, ahead of everything else. */
  fault(endpoint: number, direction: Direction): 'program detached' | 'pin missing' | undefined;
  /** Removes what outlives the device. */
  forget(endpoint: number): void;
}

export function createAttachment(mode: AttachMode, stubs: Stubs, pins: Pins): Attachment {
  return mode === 'tcx' ? tcxAttachment(stubs, pins) : clsactAttachment(stubs, pins);
}

function tcxAttachment(stubs: Stubs, pins: Pins): Attachment {
  return {
    attach(endpoint, direction) {
      const path = pins.link(endpoint, direction);
      const link = attachTcx(stubs[direction], ifindexOf(endpoint), direction, { head: true });
      try {
        unpin(path); // The link it held goes; until here both were attached, and packets met the stub twice or once, never not.
        pin(link, path);
      } finally {
        closeFd(link);
      }
    },
    fault(endpoint, direction) {
      const link = openPinned(pins.link(endpoint, direction));
      if (link === undefined) return 'pin missing';
      try {
        const info = link.kind === 'link' ? linkInfo(link as LinkHandle) : undefined;
        const [first] = queryTcx(ifindexOf(endpoint), direction);
        // A link that is wiped has ifindex 0; one behind another program may never see a packet.
        const inForce = info?.ifindex === ifindexOf(endpoint) && first?.programId === info.programId;
        return inForce ? undefined : 'program detached';
      } finally {
        closeFd(link);
      }
    },
    forget(endpoint) {
      for (const direction of DIRECTIONS) unpin(pins.link(endpoint, direction));
    },
  };
}

function clsactAttachment(stubs: Stubs, pins: Pins): Attachment {
  return {
    attach(endpoint, direction) {
      attachClsact(stubs[direction], ifindexOf(endpoint), direction, FILTER);
    },
    fault(endpoint, direction) {
      const [first] = queryClsact(ifindexOf(endpoint), direction);
      const inForce = first?.priority === FILTER.priority && first.name === stubs[direction].name;
      return inForce ? undefined : 'program detached';
    },
    forget(endpoint) {
      // Links of an earlier agent that attached by tcx; the filters go with the device.
      for (const direction of DIRECTIONS) unpin(pins.link(endpoint, direction));
    },
  };
}
