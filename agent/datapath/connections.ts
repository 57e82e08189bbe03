/** Expired connections: swept out of the tables by a worker thread, and reported as the programs would report an end. */
import { type MapHandle, mapEntries, mapSweep, type ProgramHandle } from '../../native/index.ts';
import { formatAddress } from '../model/address.ts';
import type { ConnectionRow, ConnectionSide, EventListener } from './datapath.ts';
import * as abi from './layout.gen.ts';
import { sampleClock } from './program/jiffies.ts';

/** Offset of `expires` in struct conntrack_entry: its first field. */
const EXPIRES_OFFSET = 0;
/** Entries taken per hop to the worker: 4096 are half a megabyte. */
const SWEEP_LIMIT = 4096;

export interface ConnectionTables {
  readonly conntrack4: MapHandle;
  readonly conntrack6: MapHandle;
}

export interface Connections {
  /** Deletes what has expired; one EVENT_END | EVENT_EXPIRED record each. Returns how many. */
  collect(listener: EventListener): Promise<number>;
  /** Those there are, read at once. */
  list(limit: number): { readonly total: number; readonly rows: readonly ConnectionRow[] };
  /** Entries at the last collection. */
  readonly counts: { readonly conntrack4: number; readonly conntrack6: number };
}

export function createConnections(tables: ConnectionTables, clock: ProgramHandle): Connections {
  const counts = { conntrack4: 0, conntrack6: 0 };

  async function collectTable(name: 'conntrack4' | 'conntrack6', listener: EventListener): Promise<number> {
    const decode = name === 'conntrack4' ? tuple4 : tuple6;
    let collected = 0;
    for (;;) {
      const { jiffies, ns } = sampleClock(clock);
      const { keys, values, count, scanned } = await mapSweep(tables[name], EXPIRES_OFFSET, jiffies, SWEEP_LIMIT);
      const [records, ended] = endRecords(count, keys, values, decode, tables[name].keySize, ns);
      if (ended > 0) listener(records, ended, 0);
      collected += count;
      if (count < SWEEP_LIMIT) {
        counts[name] = scanned - count;
        return collected;
      }
    }
  }

  function* held(): Generator<ConnectionRow> {
    const { ns } = sampleClock(clock);
    for (const name of ['conntrack4', 'conntrack6'] as const) {
      const decode = name === 'conntrack4' ? tuple4 : tuple6;
      const { keys, values, count } = mapEntries(tables[name]);
      for (let i = 0; i < count; i++) {
        const entry = abi.conntrackEntry.decode(values, i * abi.conntrackEntry.size);
        if ((entry.flags & abi.ConntrackFlags.CONNTRACK_LEAD) !== 0) continue; // Its connection is an entry of its own.
        yield rowOf(decode(keys, i * tables[name].keySize), entry, ns);
      }
    }
  }

  return {
    counts,
    list(limit) {
      const rows: ConnectionRow[] = [];
      let total = 0;
      for (const row of held()) if (total++ < limit) rows.push(row);
      return { total, rows };
    },
    collect: async (listener) =>
      (await collectTable('conntrack4', listener)) + (await collectTable('conntrack6', listener)),
  };
}

/** The two ends of a connection in the order of its key. */
interface Tuple {
  readonly family: number;
  readonly protocol: number;
  readonly low: { readonly address: Uint8Array; readonly port: number };
  readonly high: { readonly address: Uint8Array; readonly port: number };
}

function endRecords(
  count: number,
  keys: Uint8Array,
  values: Uint8Array,
  decode: (bytes: Uint8Array, offset: number) => Tuple,
  keySize: number,
  nowNs: bigint,
): [records: Uint8Array, count: number] {
  const records = new Uint8Array(count * abi.flowEvent.size);
  let ended = 0;
  for (let i = 0; i < count; i++) {
    const entry = abi.conntrackEntry.decode(values, i * abi.conntrackEntry.size);
    if ((entry.flags & abi.ConntrackFlags.CONNTRACK_LEAD) !== 0) continue; // Its connection is an entry of its own.
    abi.flowEvent.encode(endOf(decode(keys, i * keySize), entry, nowNs), records, ended * abi.flowEvent.size);
    ended += 1;
  }
  return [records.subarray(0, ended * abi.flowEvent.size), ended];
}

function rowOf(tuple: Tuple, entry: abi.ConntrackEntry, nowNs: bigint): ConnectionRow {
  const initiatorIsLow = (entry.flags & abi.ConntrackFlags.CONNTRACK_INITIATOR_IS_LOW) !== 0;
  const [initiator, responder] = initiatorIsLow ? [tuple.low, tuple.high] : [tuple.high, tuple.low];
  const sideOf = ({ address, port }: Tuple['low'], side: number): ConnectionSide => ({
    address: formatAddress(tuple.family === abi.Family.FAMILY_IPV4 ? address.subarray(0, 4) : address),
    port,
    identity: entry.identity[side] ?? 0,
    packets: Number(entry.packets[side] ?? 0n),
    bytes: Number(entry.bytes[side] ?? 0n),
  });
  return {
    protocol: tuple.protocol,
    initiator: sideOf(initiator, abi.Side.SIDE_INITIATOR),
    responder: sideOf(responder, abi.Side.SIDE_RESPONDER),
    ageSeconds: Number(nowNs - entry.created) / 1e9,
    epoch: entry.epoch,
  };
}

/** The end of a connection as the programs would have reported it, seen from the initiator. */
export function endOf(tuple: Tuple, entry: abi.ConntrackEntry, nowNs: bigint): abi.FlowEvent {
  const initiatorIsLow = (entry.flags & abi.ConntrackFlags.CONNTRACK_INITIATOR_IS_LOW) !== 0;
  const [source, destination] = initiatorIsLow ? [tuple.low, tuple.high] : [tuple.high, tuple.low];
  const revoked = (entry.flags & abi.ConntrackFlags.CONNTRACK_REVOKED) !== 0 ? abi.EventFlags.EVENT_REVOKED : 0;
  const isThroughService = (entry.flags & abi.ConntrackFlags.CONNTRACK_THROUGH_SERVICE) !== 0;
  const { SIDE_INITIATOR, SIDE_RESPONDER } = abi.Side;
  const judged = (of: readonly number[]): number[] => [of[SIDE_RESPONDER] ?? 0, of[SIDE_INITIATOR] ?? 0]; // ingress, egress
  const startedHere = (entry.endpoint[SIDE_INITIATOR] ?? 0) !== 0;
  return {
    time: nowNs,
    created: entry.created,
    packets: entry.packets,
    bytes: entry.bytes,
    source: source.address,
    destination: destination.address,
    sourcePort: source.port,
    destinationPort: destination.port,
    family: tuple.family,
    protocol: tuple.protocol,
    type: abi.EventType.EVENT_END,
    reason: abi.DropReason.DROP_NONE,
    direction: startedHere ? abi.Direction.DIRECTION_EGRESS : abi.Direction.DIRECTION_INGRESS,
    tcpFlags: (entry.tcpFlags[0] ?? 0) | (entry.tcpFlags[1] ?? 0),
    icmpType: 0,
    icmpCode: 0,
    flags: abi.EventFlags.EVENT_EXPIRED | revoked,
    identity: entry.identity,
    endpoint: entry.endpoint,
    policy: judged(entry.policy),
    rule: judged(entry.rule),
    length: 0,
    ifindex: 0,
    service: isThroughService ? entry.service.address : new Uint8Array(16),
    servicePort: isThroughService ? entry.service.port : 0,
  };
}

function tuple4(bytes: Uint8Array, offset: number): Tuple {
  const key = abi.conntrackKey4.decode(bytes, offset);
  const end = (address: number, port: number) => {
    const padded = new Uint8Array(16);
    new DataView(padded.buffer).setUint32(0, address);
    return { address: padded, port };
  };
  return {
    family: abi.Family.FAMILY_IPV4,
    protocol: key.protocol,
    low: end(key.lowAddress, key.lowPort),
    high: end(key.highAddress, key.highPort),
  };
}

function tuple6(bytes: Uint8Array, offset: number): Tuple {
  const key = abi.conntrackKey6.decode(bytes, offset);
  return {
    family: abi.Family.FAMILY_IPV6,
    protocol: key.protocol,
    low: { address: key.lowAddress, port: key.lowPort },
    high: { address: key.highAddress, port: key.highPort },
  };
}
