/**
 * What the rest of the agent may ask of the kernel. Implemented by datapath/kernel.ts over native/; only apply, loader
 * and wiring there touch anything. All methods are serialised inside; each resolves when the kernel has it.
 */
import type { Address, Prefix } from '../model/address.ts';
import type { IdentityNumber } from '../model/identity.ts';
import type { PolicyDelta, PolicyId, PolicyRows } from '../model/verdict.ts';

/** One slot of the endpoint array. `policy` POLICY_NONE drops everything. */
export interface EndpointRow {
  readonly id: number;
  readonly identity: IdentityNumber;
  readonly policy: PolicyId;
  readonly mac: string;
  readonly addresses: readonly Address[];
}

export type PeerKind = 'outside' | 'node' | 'pod';

/** Who lives at an address. */
export interface PeerRow {
  readonly address: Address;
  readonly identity: IdentityNumber;
  /** Endpoint id when the pod is on this node, else 0. */
  readonly endpoint: number;
  readonly kind: PeerKind;
}

/** What an address is when no peer has it exactly: pod CIDRs are unmanaged pods. */
export interface RangeRow {
  readonly prefix: Prefix;
  readonly identity: IdentityNumber;
  readonly kind: PeerKind;
}

export interface DatapathRows {
  readonly policy: PolicyRows;
  readonly endpoints: readonly EndpointRow[];
  readonly peers: readonly PeerRow[];
  readonly ranges: readonly RangeRow[];
}

export interface DatapathDelta {
  readonly policy: PolicyDelta;
  readonly setEndpoints: readonly EndpointRow[];
  readonly removeEndpoints: readonly number[];
  readonly setPeers: readonly PeerRow[];
  readonly removePeers: readonly Address[];
  readonly setRanges: readonly RangeRow[];
  readonly removeRanges: readonly Prefix[];
}

export interface ApplyResult {
  /** The epoch was bumped: established connections are judged again. */
  readonly epochBumped: boolean;
  readonly operations: number;
  /** Policies that did not fit: their endpoints point to POLICY_LOCKDOWN until an apply succeeds. */
  readonly lockedDown: readonly { readonly policy: PolicyId; readonly cause: Error }[];
}

/** A pod to be wired: veth with both ends configured, programs attached, routes and neighbours on both sides. */
export interface PodWiring {
  readonly id: number;
  /** Path of the pod's namespace. */
  readonly netns: string;
  /** Name inside the pod, e.g. "eth0". */
  readonly interfaceName: string;
  /** Name on the node, e.g. "weir0a1b2c3d4e". */
  readonly hostInterface: string;
  readonly mac: string;
  readonly addresses: readonly Address[];
  /** Bytes; 0: that of the node's default route device. */
  readonly mtu: number;
}

export interface WiredPod {
  readonly hostIfindex: number;
  readonly hostMac: string;
  readonly mtu: number;
}

/** One thing that was not as it should be, and was put right (or not). */
export interface Repair {
  readonly endpoint: number;
  readonly what: 'program detached' | 'device gone' | 'pin missing';
  readonly repaired: boolean;
}

export interface TrafficCount {
  readonly packets: number;
  readonly bytes: number;
}

export interface DatapathCounters {
  readonly forwarded: { readonly ingress: number; readonly egress: number };
  readonly drops: readonly {
    readonly reason: string;
    readonly direction: 'ingress' | 'egress';
    readonly count: TrafficCount;
  }[];
  readonly eventsLost: number;
  readonly consumed: number;
  readonly answered: number;
  readonly connectionsOpened: number;
  readonly connectionsClosed: number;
  readonly judgedAgain: number;
}

export interface MapFill {
  readonly name: string;
  readonly entries: number;
  readonly capacity: number;
}

/**
 * Raw flow_event records, `count` of bpf/abi/event.h each; `lost` were lost before this batch because the agent's queue was
 * full. What the ring lost is counted in {@link DatapathCounters.eventsLost} alone.
 */
export type EventListener = (records: Uint8Array, count: number, lost: number) => void;

export interface Datapath {
  /** What the kernel holds, read once at start; empty after a reboot. Rows that cannot be read are left out and counted. */
  read(): Promise<DatapathRows>;
  /** Makes the kernel hold exactly `desired` (restart): writes what is missing, switches pointers, then deletes the rest. */
  replace(desired: DatapathRows): Promise<ApplyResult>;
  apply(delta: DatapathDelta): Promise<ApplyResult>;

  /** Every step is undone if a later one fails. */
  wire(pod: PodWiring): Promise<WiredPod>;
  /** Removes device, pins and kernel state of the endpoint; what is already gone is no error. */
  unwire(pod: { readonly id: number; readonly hostInterface: string }): Promise<void>;
  /** What is wrong with the wiring, as text for CNI CHECK; [] when all is there. */
  check(pod: PodWiring): Promise<string[]>;
  /** Looks at every attachment of the given endpoints and puts back what is missing. */
  repair(endpoints: readonly { readonly id: number; readonly hostInterface: string }[]): Promise<Repair[]>;

  onEvents(listener: EventListener): void;
  counters(): DatapathCounters;
  maps(): MapFill[];
  /** Deletes expired connections and reports each as an EVENT_END record to the listener. Returns how many. */
  collectConnections(): Promise<number>;
  /** Stops the event thread and closes fds; pins stay, so enforcement goes on. */
  close(): Promise<void>;
}
