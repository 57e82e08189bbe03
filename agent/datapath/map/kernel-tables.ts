/** {@link Tables} over the kernel's maps: operations become map writes, neighbours of one kind go together. */
import { KernelError } from '../../../native/index.ts';
import type { Address } from '../../model/address.ts';
import { POLICY_LOCKDOWN, type PolicyRow } from '../../model/verdict.ts';
import type { NodeRow } from '../datapath.ts';
import * as abi from '../layout.gen.ts';
import type { Op } from '../plan/plan.ts';
import { type Tables, WriteFailure } from '../plan/tables.ts';
import { addressOf } from './addresses.ts';
import { decodeEndpoint, encodeEndpoint } from './endpoint-rows.ts';
import type { PolicyMaps } from './maps.ts';
import {
  decodePeer,
  decodeRange,
  decodeTunnelNode,
  encodePeer,
  encodePeerKey,
  encodeRange,
  encodeRangeKey,
  encodeTunnelNode,
} from './peer-rows.ts';
import {
  decodeAddressClass,
  decodeIdentityClass,
  decodePolicy,
  decodeVerdict,
  encodeAddressClasses,
  encodeAddressClassKey,
  encodeIdentityClassKey,
  encodePolicy,
  encodeVerdict,
  encodeVerdictKey,
} from './policy-rows.ts';
import { serviceTables, whole } from './service-tables.ts';

const FREE_SLOT: abi.Endpoint = abi.endpoint.decode(new Uint8Array(abi.endpoint.size));
/** A budget that was never refilled is full. */
const FRESH_BUDGET: abi.ConnectionBudget = { refilled: 0n, tokens: 0n };
/** A number no node has. */
const NO_NODE: abi.TunnelNode = abi.tunnelNode.decode(new Uint8Array(abi.tunnelNode.size));
/** The one slot of `epoch`. */
const ONLY = 0;

const CLOSED = {
  isolated: true,
  auditIsolated: true,
  hasDeny: false,
  hasAudit: false,
  hasAny: false,
  keepsEstablished: false,
  selectorSet: 0,
  addressSet: 0,
};
/** Denies everything both ways: what endpoints point to whose own policy does not fit. */
const LOCKDOWN: PolicyRow = { id: POLICY_LOCKDOWN, revision: 0, ingress: CLOSED, egress: CLOSED };

type OpOf<Kind extends Op['kind']> = Extract<Op, { readonly kind: Kind }>;
type Writers = { readonly [Kind in Op['kind']]: (ops: readonly OpOf<Kind>[]) => void };

export interface KernelTables extends Tables {
  /** Rows seen in the maps that mean nothing to this version; they are left alone. */
  readonly unreadable: number;
  /** Makes the slot and the connection budget of a pod that is gone as if they had never been used. */
  clearEndpoint(id: number): void;
}

/** Writes the lockdown policy, and reads which policies there are. */
export function kernelTables(maps: PolicyMaps): KernelTables {
  maps.policies.set(LOCKDOWN.id, encodePolicy(LOCKDOWN));
  let unreadable = 0;
  /** Policy headers as they are in the kernel: few, and every plan asks for all of them. */
  const headers = new Map<number, PolicyRow>();

  function readable<Key, Value, Row>(
    entries: Iterable<[Key, Value]>,
    decode: (key: Key, value: Value) => Row | undefined,
  ): Row[] {
    const found: Row[] = [];
    for (const [key, value] of entries) {
      try {
        const row = decode(key, value);
        if (row !== undefined) found.push(row);
      } catch (error) {
        if (!(error instanceof RangeError)) throw error;
        unreadable += 1;
      }
    }
    return found;
  }

  const endpoints = () => readable(maps.endpoints.entries(), decodeEndpoint);
  const ownPolicy = (id: number, value: abi.Policy): PolicyRow | undefined =>
    id === LOCKDOWN.id ? undefined : decodePolicy(id, value);
  for (const row of readable(maps.policies.entries(), ownPolicy)) headers.set(row.id, row);

  function readSources(): Map<number, Address[]> {
    const found = new Map<number, Address[]>();
    for (const [key, number] of maps.tunnelSources.entries()) {
      for (const address of readable([[key, number]], () => addressOf(key.address, key.family))) {
        found.set(number, [...(found.get(number) ?? []), address]);
      }
    }
    return found;
  }
  /** Addresses that tunnel packets are taken from, by the number of their node. */
  const sources = readSources();

  /** An address may have gone to another node in the meantime, or be another's too: of a node under two names, say. */
  function refuse(number: number, addresses: readonly Address[]): void {
    for (const address of addresses) {
      const key = encodePeerKey(address);
      if (maps.tunnelSources.get(key) !== number) continue;
      const other = [...sources].find(([one, having]) => one !== number && having.includes(address));
      if (other) maps.tunnelSources.set(key, other[0]);
      else maps.tunnelSources.deleteAll([key]);
    }
  }

  function setNode(row: NodeRow): void {
    maps.tunnelNodes.set(row.number, encodeTunnelNode(row));
    const before = sources.get(row.number) ?? [];
    try {
      maps.tunnelSources.setAll(row.sources.map((address) => [encodePeerKey(address), row.number]));
    } catch (cause) {
      sources.set(row.number, readSources().get(row.number) ?? []); // Those of before, and as many as found room.
      throw cause;
    }
    refuse(
      row.number,
      before.filter((address) => !row.sources.includes(address)),
    );
    sources.set(row.number, [...row.sources]);
  }

  function deleteNode(number: number): void {
    maps.tunnelNodes.set(number, NO_NODE);
    refuse(number, sources.get(number) ?? []);
    sources.delete(number);
  }

  const services = serviceTables(maps);
  const nodes = (): NodeRow[] =>
    readable(maps.tunnelNodes.entries(), (number, value) => {
      const address = decodeTunnelNode(value);
      return address && { number, address, sources: (sources.get(number) ?? []).toSorted() };
    });

  function clearEndpoint(id: number): void {
    maps.endpoints.set(id, FREE_SLOT);
    maps.budgets.set(id, FRESH_BUDGET);
  }

  const writers: Writers = {
    'endpoint.clear': (ops) => {
      for (const { key } of ops) clearEndpoint(key.id);
    },
    'endpoint.point': (ops) => maps.endpoints.setAll(ops.map(({ row }) => [row.id, encodeEndpoint(row)])),
    'verdict.set': (ops) => maps.verdicts.setAll(ops.map(({ row }) => [encodeVerdictKey(row), encodeVerdict(row)])),
    'verdict.delete': (ops) => maps.verdicts.deleteAll(ops.map(({ key }) => encodeVerdictKey(key))),
    'identityClass.set': (ops) =>
      maps.identityClass.setAll(ops.map(({ row }) => [encodeIdentityClassKey(row), row.classId])),
    'identityClass.delete': (ops) => maps.identityClass.deleteAll(ops.map(({ key }) => encodeIdentityClassKey(key))),
    'addressClass.set': (ops) =>
      maps.addressClass.setAll(ops.map(({ row }) => [encodeAddressClassKey(row), encodeAddressClasses(row)])),
    'addressClass.delete': (ops) => maps.addressClass.deleteAll(ops.map(({ key }) => encodeAddressClassKey(key))),
    'identity.add': (ops) => maps.identities.setAll(ops.map(({ row }) => [row, 1])),
    'identity.delete': (ops) => maps.identities.deleteAll(ops.map(({ key }) => key)),
    'policy.set': (ops) => {
      for (const { row } of ops) headers.set(row.id, row); // Before it is certain: a plan that counts one too many is safe.
      maps.policies.setAll(ops.map(({ row }) => [row.id, encodePolicy(row)]));
    },
    'policy.delete': (ops) => {
      maps.policies.deleteAll(ops.map(({ key }) => key.id));
      for (const { key } of ops) headers.delete(key.id);
    },
    'peer.set': (ops) => maps.peers.setAll(ops.map(({ row }) => [encodePeerKey(row.address), encodePeer(row)])),
    'peer.delete': (ops) => maps.peers.deleteAll(ops.map(({ key }) => encodePeerKey(key.address))),
    'range.set': (ops) => maps.ranges.setAll(ops.map(({ row }) => [encodeRangeKey(row.prefix), encodeRange(row)])),
    'range.delete': (ops) => maps.ranges.deleteAll(ops.map(({ key }) => encodeRangeKey(key.prefix))),
    'node.set': (ops) => {
      for (const { row } of ops) whole(() => setNode(row));
    },
    'node.delete': (ops) => {
      for (const { key } of ops) whole(() => deleteNode(key.number));
    },
    'backends.set': (ops) => {
      for (const { set } of ops) services.setBackends(set);
    },
    'backends.delete': (ops) => {
      for (const { key } of ops) services.deleteBackends(key);
    },
    'service.set': (ops) => {
      for (const { row, slots } of ops) services.setService(row, slots);
    },
    'service.delete': (ops) => {
      for (const { key } of ops) services.deleteService(key);
    },
    'virtualAddress.set': (ops) => {
      for (const { address } of ops) services.setVirtual(address);
    },
    'virtualAddress.delete': (ops) => {
      for (const { address } of ops) services.deleteVirtual(address);
    },
    'epoch.bump': () => {
      // Wraps past 0, which is what a connection carries that was never judged.
      maps.epoch.set(ONLY, ((maps.epoch.get(ONLY) ?? 0) + 1) % 2 ** 32 || 1);
    },
  };

  return {
    get unreadable() {
      return unreadable;
    },
    clearEndpoint,
    endpoints,
    rows: () => {
      const found = nodes();
      const foundServices = services.rows();
      return {
        ...(found.length > 0 && { nodes: found }),
        ...(foundServices.length > 0 && { services: foundServices }),
        policy: {
          policies: [...headers.values()],
          verdicts: readable(maps.verdicts.entries(), decodeVerdict),
          identityClasses: readable(maps.identityClass.entries(), decodeIdentityClass),
          addressClasses: readable(maps.addressClass.entries(), decodeAddressClass),
          identities: readable(maps.identities.entries(), (identity) => identity),
          subjects: [],
        },
        endpoints: endpoints(),
        peers: readable(maps.peers.entries(), decodePeer),
        ranges: readable(maps.ranges.entries(), decodeRange),
      };
    },
    service: services.service,
    frontendsAt: services.frontendsAt,
    get nextSlots() {
      return services.nextSlots;
    },
    unusedBackends: services.unused,
    endpoint(id) {
      const value = maps.endpoints.get(id);
      return value && decodeEndpoint(id, value);
    },
    peer(address) {
      const key = encodePeerKey(address);
      const value = maps.peers.get(key);
      return value && decodePeer(key, value);
    },
    range: (prefix) => longest(maps.ranges, encodeRangeKey(prefix), decodeRange),
    policies: () => headers.values(),
    verdict: (key) => longest(maps.verdicts, encodeVerdictKey(key), decodeVerdict),
    identityClass(key) {
      const classId = maps.identityClass.get(encodeIdentityClassKey(key));
      return classId === undefined ? undefined : { set: key.set, identity: key.identity, classId };
    },
    addressClass: (key) => longest(maps.addressClass, encodeAddressClassKey(key), decodeAddressClass),
    knows: (identity) => maps.identities.get(identity) !== undefined,
    write(ops) {
      for (let at = 0; at < ops.length; ) {
        const kind = (ops[at] as Op).kind;
        let end = at;
        while (ops[end]?.kind === kind) end += 1;
        try {
          // The table has a writer per kind that takes that kind; TypeScript cannot follow the pairing.
          (writers[kind] as (run: readonly Op[]) => void)(ops.slice(at, end));
        } catch (cause) {
          const index = at + (cause instanceof KernelError ? (cause.done ?? 0) : 0);
          throw new WriteFailure(index, ops[index] as Op, cause);
        }
        at = end;
      }
    },
  };
}

/** The row that decides for the key now: its own, or that of a shorter prefix, which the new row would take it from. */
function longest<Key, Value, Row>(
  map: { get(key: Key): Value | undefined },
  key: Key,
  decode: (key: Key, value: Value) => Row,
): Row | undefined {
  const value = map.get(key);
  return value && decode(key, value);
}
