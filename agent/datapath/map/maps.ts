/**
 * The programs' maps as typed Maps: keys and values are the structs of layout.gen.ts, never bytes. Each call is one or a
 * few system calls on the JS thread. Errors are native's KernelError: E2BIG or ENOSPC full, ENOMEM, EBUSY.
 */
import * as native from '../../../native/index.ts';
import * as abi from '../layout.gen.ts';

/** What a map needs of a layout.gen.ts codec. */
interface Layout<T> {
  readonly size: number;
  encode(value: T, out: Uint8Array, offset: number): void;
  decode(bytes: Uint8Array, offset?: number): T;
}

const LITTLE_ENDIAN = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1;

/** A plain __u32, in the machine's order, as a key or a value. */
const u32: Layout<number> = {
  size: 4,
  encode: (value, out, offset) => viewOf(out).setUint32(offset, value, LITTLE_ENDIAN),
  decode: (bytes, offset = 0) => viewOf(bytes).getUint32(offset, LITTLE_ENDIAN),
};

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

export class KernelMap<Key, Value> {
  readonly handle: native.MapHandle;
  private readonly key: Layout<Key>;
  private readonly value: Layout<Value>;

  constructor(handle: native.MapHandle, key: Layout<Key>, value: Layout<Value>) {
    this.handle = handle;
    this.key = key;
    this.value = value;
  }

  get(key: Key): Value | undefined {
    const found = native.mapLookup(this.handle, pack(this.key, [key]));
    return found && this.value.decode(found);
  }

  set(key: Key, value: Value): void {
    native.mapUpdate(this.handle, pack(this.key, [key]), pack(this.value, [value]));
  }

  /** Writes all, in order. On failure KernelError.done says how many were written. */
  setAll(entries: readonly (readonly [Key, Value])[]): void {
    const keys = entries.map(([key]) => key);
    const values = entries.map(([, value]) => value);
    native.mapUpdateBatch(this.handle, pack(this.key, keys), pack(this.value, values), entries.length);
  }

  /** Deletes all that are there; returns how many were. */
  deleteAll(keys: readonly Key[]): number {
    return native.mapDeleteBatch(this.handle, pack(this.key, keys), keys.length);
  }

  /** Everything in the map, read at once and decoded one by one. */
  *entries(): Generator<[Key, Value]> {
    const { keys, values, count } = native.mapEntries(this.handle);
    for (let i = 0; i < count; i++) {
      yield [this.key.decode(keys, i * this.key.size), this.value.decode(values, i * this.value.size)];
    }
  }
}

function pack<T>(layout: Layout<T>, values: readonly T[]): Uint8Array {
  const bytes = new Uint8Array(values.length * layout.size);
  for (const [i, value] of values.entries()) layout.encode(value, bytes, i * layout.size);
  return bytes;
}

/** The maps the agent writes or reads by key; counters, connections and the ring have their own files. */
export interface PolicyMaps {
  readonly endpoints: KernelMap<number, abi.Endpoint>;
  readonly policies: KernelMap<number, abi.Policy>;
  readonly verdicts: KernelMap<abi.VerdictKey, abi.Verdict>;
  readonly identityClass: KernelMap<abi.IdentityClassKey, number>;
  readonly addressClass: KernelMap<abi.AddressClassKey, abi.AddressClasses>;
  readonly identities: KernelMap<number, number>;
  readonly epoch: KernelMap<number, number>;
  readonly peers: KernelMap<abi.PeerKey, abi.Peer>;
  readonly ranges: KernelMap<abi.RangeKey, abi.Peer>;
  readonly budgets: KernelMap<number, abi.ConnectionBudget>;
  readonly services: KernelMap<abi.ServiceKey, abi.Service>;
  readonly serviceSlots: KernelMap<abi.ServiceSlotKey, abi.Backend>;
  /** The value is not read. */
  readonly serviceMembers: KernelMap<abi.ServiceMemberKey, number>;
  readonly tunnelNodes: KernelMap<number, abi.TunnelNode>;
  readonly tunnelSources: KernelMap<abi.PeerKey, number>;
}

/** What is written when the node's own devices are attached, and the sources they refuse. */
export interface NodeMaps {
  readonly nodeState: KernelMap<number, abi.NodeState>;
  /** Value: enum drop_reason. */
  readonly refusedSources: KernelMap<abi.RangeKey, number>;
  readonly masqueradeExcluded: KernelMap<abi.RangeKey, number>;
}

export function nodeMaps(handles: MapHandles): NodeMaps {
  return {
    nodeState: new KernelMap(handles.node_state, u32, abi.nodeState),
    refusedSources: new KernelMap(handles.refused_sources, abi.rangeKey, u32),
    masqueradeExcluded: new KernelMap(handles.masquerade_excluded, abi.rangeKey, u32),
  };
}

export type MapHandles = Readonly<Record<abi.MapName, native.MapHandle>>;

export function policyMaps(handles: MapHandles): PolicyMaps {
  return {
    endpoints: new KernelMap(handles.endpoints, u32, abi.endpoint),
    policies: new KernelMap(handles.policies, u32, abi.policy),
    verdicts: new KernelMap(handles.verdicts, abi.verdictKey, abi.verdict),
    identityClass: new KernelMap(handles.identity_class, abi.identityClassKey, u32),
    addressClass: new KernelMap(handles.address_class, abi.addressClassKey, abi.addressClasses),
    identities: new KernelMap(handles.identities, u32, u32),
    epoch: new KernelMap(handles.epoch, u32, u32),
    peers: new KernelMap(handles.peers, abi.peerKey, abi.peer),
    ranges: new KernelMap(handles.ranges, abi.rangeKey, abi.peer),
    budgets: new KernelMap(handles.budgets, u32, abi.connectionBudget),
    services: new KernelMap(handles.services, abi.serviceKey, abi.service),
    serviceSlots: new KernelMap(handles.service_slots, abi.serviceSlotKey, abi.backend),
    serviceMembers: new KernelMap(handles.service_members, abi.serviceMemberKey, u32),
    tunnelNodes: new KernelMap(handles.tunnel_nodes, u32, abi.tunnelNode),
    tunnelSources: new KernelMap(handles.tunnel_sources, abi.peerKey, u32),
  };
}
