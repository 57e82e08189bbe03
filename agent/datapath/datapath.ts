/**
 * What the rest of the agent may ask of the kernel. Implemented by datapath/kernel.ts over native/; only apply, loader
 * and wiring there touch anything. All methods are serialised inside; each resolves when the kernel has it.
 */
import type { Address, Prefix } from '../model/address.ts';
import type { AggregationLevel } from '../model/aggregation.ts';
import type { IdentityNumber } from '../model/identity.ts';
import type { PolicyDelta, PolicyId, PolicyRows } from '../model/verdict.ts';

/** One slot of the endpoint array. `policy` POLICY_NONE drops everything. */
export interface EndpointRow {
  readonly id: number;
  readonly identity: IdentityNumber;
  readonly policy: PolicyId;
  readonly mac: string;
  readonly addresses: readonly Address[];
  /** How much is told of its connections; absent: as the node's setting says. */
  readonly aggregation?: AggregationLevel;
}

export type PeerKind = 'outside' | 'node' | 'pod';

/** Who lives at an address. */
export interface PeerRow {
  readonly address: Address;
  readonly identity: IdentityNumber;
  /** Endpoint id when the pod is on this node, else 0. */
  readonly endpoint: number;
  readonly kind: PeerKind;
  /** Number of the node whose tunnel leads there ({@link NodeRow}); 0 or absent: the stack's routes do. */
  readonly node?: number;
}

/** What an address is when no peer has it exactly: pod CIDRs are unmanaged pods. */
export interface RangeRow {
  readonly prefix: Prefix;
  readonly identity: IdentityNumber;
  readonly kind: PeerKind;
  /** As in {@link PeerRow}. */
  readonly node?: number;
}

/** Another node of the cluster, at the far end of the tunnel. */
export interface NodeRow {
  /** 1 to 4095, chosen by the agent: not used again while anything names it. */
  readonly number: number;
  /** Address of the underlay tunnel packets go to. */
  readonly address: Address;
  /** All its addresses of the underlay: tunnel packets are taken from these and no others. */
  readonly sources: readonly Address[];
}

export interface ServiceFrontend {
  readonly address: Address;
  readonly protocol: 'TCP' | 'UDP';
  readonly port: number;
}

export interface ServiceBackend {
  readonly address: Address;
  readonly port: number;
}

/** A virtual address and the places it stands for. */
export interface ServiceRow {
  readonly frontend: ServiceFrontend;
  /** In the order of their slots; none: connections are refused at once. */
  readonly backends: readonly ServiceBackend[];
  /** A client keeps its backend for so long after its last connection; 0: no affinity. */
  readonly affinitySeconds: number;
}

export interface DatapathRows {
  readonly policy: PolicyRows;
  readonly endpoints: readonly EndpointRow[];
  readonly peers: readonly PeerRow[];
  readonly ranges: readonly RangeRow[];
  readonly nodes?: readonly NodeRow[];
  readonly services?: readonly ServiceRow[];
}

export interface DatapathDelta {
  readonly policy: PolicyDelta;
  readonly setEndpoints: readonly EndpointRow[];
  readonly removeEndpoints: readonly number[];
  readonly setPeers: readonly PeerRow[];
  readonly removePeers: readonly Address[];
  readonly setRanges: readonly RangeRow[];
  readonly removeRanges: readonly Prefix[];
  readonly setNodes?: readonly NodeRow[];
  /** By number. */
  readonly removeNodes?: readonly number[];
  readonly setServices?: readonly ServiceRow[];
  readonly removeServices?: readonly ServiceFrontend[];
}

/** What is the node's own, not any pod's: where the programs of uplink, tunnel and sockets are attached. */
export interface NodeAttachment {
  /** Devices by which the node reaches others; XDP and tc. */
  readonly uplinks: readonly string[];
  /** The VXLAN device; undefined in native routing. */
  readonly tunnel: string | undefined;
  readonly tunnelPort: number;
  /** The cgroup whose processes reach Services at connect time; undefined: none do. */
  readonly cgroup: string | undefined;
  /** The node's own prefixes of pods: never a source from outside. */
  readonly podCidrs: readonly Prefix[];
  /** Bytes that fit through the tunnel or uplink to another node; from-pod answers what is larger. */
  readonly pathMtu: number;
  /** Packets of pods that leave the cluster get the masquerade mark. */
  readonly masquerade: boolean;
  /** Destinations that count as inside although no pod or node is there. */
  readonly masqueradeExcluded: readonly Prefix[];
}

export type DeviceHook = 'ingress' | 'egress' | 'xdp';

/** A program on one of the node's own devices. */
export interface DeviceProgram {
  readonly device: string;
  readonly hook: DeviceHook;
  /** As in bpf/: 'guard_uplink', 'from_uplink', 'guarded_uplink', 'from_tunnel', 'to_tunnel'. */
  readonly program: string;
  /** Of the uplink's guard: XDP run by the driver, XDP run by the kernel in its place, or at the head of tc ingress. */
  readonly mode?: 'native' | 'generic' | 'tc';
  /** Why it is not there. */
  readonly fault?: string;
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

/** One side of a connection, and what it has sent so far. */
export interface ConnectionSide extends TrafficCount {
  readonly address: Address;
  /** 0 for what has none. */
  readonly port: number;
  readonly identity: IdentityNumber;
}

/** A connection that the kernel keeps. */
export interface ConnectionRow {
  /** IP protocol number. */
  readonly protocol: number;
  readonly initiator: ConnectionSide;
  readonly responder: ConnectionSide;
  readonly ageSeconds: number;
  /** When it was judged last, in epochs. */
  readonly epoch: number;
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

  /** Attaches the programs of the node's own devices, and again whenever something is missing; told what was put right. */
  attachNode?(attachment: NodeAttachment): Promise<readonly string[]>;
  /** Sources the XDP program drops: replaces the list. */
  setDenyCidrs?(prefixes: readonly Prefix[]): Promise<void>;
  /** What the last {@link attachNode} found or made on the node's devices. */
  devicePrograms?(): readonly DeviceProgram[];
  /** Takes all programs off the node's devices: for uninstall, or when the node is no longer one of several. */
  detachNode?(): Promise<void>;

  onEvents(listener: EventListener): void;
  counters(): DatapathCounters;
  maps(): MapFill[];
  /** The connections the kernel keeps now, at most `limit` of `total`, expired ones not yet collected among them. */
  connections?(limit: number): { readonly total: number; readonly rows: readonly ConnectionRow[] };
  /** Deletes expired connections and reports each as an EVENT_END record to the listener. Returns how many. */
  collectConnections(): Promise<number>;
  /** Stops the event thread and closes fds; pins stay, so enforcement goes on. */
  close(): Promise<void>;
}
