/** What the life of an endpoint needs from the rest of the agent; handed in by main.ts, faked by tests. */
import type { Datapath } from '../datapath/datapath.ts';
import type { ErrorCode } from '../errors.ts';
import type { Pool } from '../ipam/pool.ts';
import type { EndpointRecord } from '../model/endpoint.ts';
import type { Pod } from '../model/object.ts';
import type { Clock } from '../run/clock.ts';
import type { Logger } from '../run/log.ts';
import type { RecordStore } from './record-store.ts';

/** The down river, as far as an endpoint needs it (realize/realizer.ts). */
export interface Realize {
  /** The pod as the source knows it, waiting up to `waitMs` for the one of that uid ('': of any) to appear. */
  podOf(namespace: string, name: string, uid: string, waitMs: number): Promise<Pod | undefined>;
  /** Resolves when the endpoint's identity and policy are in force. `pod` undefined: identity init, default deny. */
  admit(record: EndpointRecord, pod: Pod | undefined): Promise<void>;
  /** Resolves when nothing in the kernel names the endpoint any more; an id that was never admitted is fine. */
  withdraw(id: number): Promise<void>;
  /** Resolves when other nodes can know of all endpoints that were withdrawn before. Absent: there are none. */
  told?(): Promise<void>;
}

/** Points between two effects, in order. A test stops or fails the work at each. */
export const ADD_STEPS = ['reserved', 'staged', 'wired', 'committed', 'attached', 'pod known', 'admitted'] as const;
export const REMOVE_STEPS = ['withdrawn', 'unwired', 'record removed', 'freed'] as const;
export type Step = (typeof ADD_STEPS)[number] | (typeof REMOVE_STEPS)[number];

export interface EndpointsOptions {
  readonly datapath: Pick<Datapath, 'wire' | 'unwire' | 'check' | 'repair'>;
  readonly pool: Pool;
  readonly store: RecordStore;
  readonly realize: Realize;
  readonly log: Logger;
  /** ADD answers within this time, with the name of what it was waiting for. Below the shim's 30 s. */
  readonly addDeadlineMs: number;
  /** MTU of a pod that asks for none, bytes; 0: that of the default route's device. */
  readonly podMtu?: () => number;
  /** How long ADD waits for the pod to appear in the source. */
  readonly podDeadlineMs: number;
  /** DEL answers within this time; what it could not finish goes on, and the runtime asks again. */
  readonly deleteDeadlineMs: number;
  /** True while the path is a network namespace (netns.ts). Rejects when that cannot be told. */
  readonly netnsExists: (path: string) => Promise<boolean>;
  readonly clock?: Clock;
  /** Called after each ADD, for metrics; `outcome` is 'ok' or the error's code. */
  readonly onAdded?: (seconds: number, outcome: 'ok' | ErrorCode) => void;
  /** For tests: called at each step. A rejection is a failure there, a promise that never resolves a crash there. */
  readonly at?: (step: Step) => void | Promise<void>;
}
