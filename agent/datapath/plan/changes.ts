/**
 * A change to the datapath's tables, table by table, and the arithmetic of such changes: what turns one set of rows into
 * another, and what two changes in a row come to. Pure.
 */
import { isDeepStrictEqual } from 'node:util';
import { type Address, familyOf, type Prefix } from '../../model/address.ts';
import type { IdentityNumber } from '../../model/identity.ts';
import type {
  AddressClassRow,
  IdentityClassRow,
  PolicyDelta,
  PolicyId,
  PolicyRow,
  PolicyRows,
  VerdictKey,
  VerdictRow,
} from '../../model/verdict.ts';
import type {
  DatapathDelta,
  DatapathRows,
  EndpointRow,
  NodeRow,
  PeerRow,
  RangeRow,
  ServiceFrontend,
  ServiceRow,
} from '../datapath.ts';

/** Rows to write (replacing those of the same key) and keys to delete in one table. No key is in both. */
export interface Change<Row, Key> {
  readonly set: readonly Row[];
  readonly remove: readonly Key[];
}

export type IdentityClassKey = Pick<IdentityClassRow, 'set' | 'identity'>;
export type AddressClassKey = Pick<AddressClassRow, 'set' | 'prefix'>;

export interface Changes {
  readonly policies: Change<PolicyRow, { readonly id: PolicyId }>;
  readonly verdicts: Change<VerdictRow, VerdictKey>;
  readonly identityClasses: Change<IdentityClassRow, IdentityClassKey>;
  readonly addressClasses: Change<AddressClassRow, AddressClassKey>;
  readonly identities: Change<IdentityNumber, IdentityNumber>;
  readonly endpoints: Change<EndpointRow, { readonly id: number }>;
  readonly peers: Change<PeerRow, { readonly address: Address }>;
  readonly ranges: Change<RangeRow, { readonly prefix: Prefix }>;
  readonly nodes: Change<NodeRow, { readonly number: number }>;
  readonly services: Change<ServiceRow, { readonly frontend: ServiceFrontend }>;
}

/** A row's key as text: the same text, the same slot of the table. */
export const keyText = {
  policies: (row: { readonly id: PolicyId }) => `${row.id}`,
  verdicts: (row: VerdictKey) =>
    `${row.policy}/${row.classId}/${row.direction}/${row.protocol ?? 'any'}/${row.port}/${row.portBits}`,
  identityClasses: (row: IdentityClassKey) => `${row.set}/${row.identity}`,
  addressClasses: (row: AddressClassKey) => `${row.set}/${row.prefix}`,
  identities: (identity: IdentityNumber) => `${identity}`,
  endpoints: (row: { readonly id: number }) => `${row.id}`,
  peers: (row: { readonly address: Address }) => row.address as string,
  ranges: (row: { readonly prefix: Prefix }) => row.prefix as string,
  nodes: (row: { readonly number: number }) => `${row.number}`,
  services: ({ frontend: { protocol, address, port } }: { readonly frontend: ServiceFrontend }) =>
    `${protocol} ${address} ${port}`,
} as const;

export const NO_POLICY_ROWS: PolicyRows = {
  policies: [],
  verdicts: [],
  identityClasses: [],
  addressClasses: [],
  identities: [],
  subjects: [],
};

export const NO_ROWS: DatapathRows = { policy: NO_POLICY_ROWS, endpoints: [], peers: [], ranges: [] };

/** The delta of the interface, table by table. A key that is both set and removed is set. */
export function changesOf(delta: DatapathDelta): Changes {
  const { set, remove }: PolicyDelta = delta.policy;
  const id = (removed: number): { id: number } => ({ id: removed });
  return {
    policies: change(set.policies, remove.policies, keyText.policies),
    verdicts: change(set.verdicts, remove.verdicts, keyText.verdicts),
    identityClasses: change(set.identityClasses, remove.identityClasses, keyText.identityClasses),
    addressClasses: change(set.addressClasses, remove.addressClasses, keyText.addressClasses),
    identities: change(set.identities, remove.identities, keyText.identities),
    endpoints: change(delta.setEndpoints.map(asHeld), delta.removeEndpoints.map(id), keyText.endpoints),
    peers: change(
      delta.setPeers.map(asReached),
      delta.removePeers.map((address) => ({ address })),
      keyText.peers,
    ),
    ranges: change(
      delta.setRanges.map(asReached),
      delta.removeRanges.map((prefix) => ({ prefix })),
      keyText.ranges,
    ),
    services: change(
      delta.setServices ?? [],
      (delta.removeServices ?? []).map((frontend) => ({ frontend })),
      keyText.services,
    ),
    nodes: change(
      (delta.setNodes ?? []).map(asSorted),
      (delta.removeNodes ?? []).map((number) => ({ number })),
      keyText.nodes,
    ),
  };
}

/** What has to change for `actual` to become `desired`. */
export function difference(actual: DatapathRows, desired: DatapathRows): Changes {
  const had = actual.policy;
  const wants = desired.policy;
  return {
    policies: differ(had.policies, wants.policies, keyText.policies),
    verdicts: differ(had.verdicts, wants.verdicts, keyText.verdicts),
    identityClasses: differ(had.identityClasses, wants.identityClasses, keyText.identityClasses),
    addressClasses: differ(had.addressClasses, wants.addressClasses, keyText.addressClasses),
    identities: differ(had.identities, wants.identities, keyText.identities),
    endpoints: differ(actual.endpoints, desired.endpoints.map(asHeld), keyText.endpoints),
    peers: differ(actual.peers, desired.peers.map(asReached), keyText.peers),
    ranges: differ(actual.ranges, desired.ranges.map(asReached), keyText.ranges),
    services: differ(actual.services ?? [], desired.services ?? [], keyText.services),
    nodes: differ(actual.nodes ?? [], (desired.nodes ?? []).map(asSorted), keyText.nodes),
  };
}

/** One change that does what `first` and then `second` would have done. */
export function merge(first: Changes, second: Changes): Changes {
  return {
    policies: follow(first.policies, second.policies, keyText.policies),
    verdicts: follow(first.verdicts, second.verdicts, keyText.verdicts),
    identityClasses: follow(first.identityClasses, second.identityClasses, keyText.identityClasses),
    addressClasses: follow(first.addressClasses, second.addressClasses, keyText.addressClasses),
    identities: follow(first.identities, second.identities, keyText.identities),
    endpoints: follow(first.endpoints, second.endpoints, keyText.endpoints),
    peers: follow(first.peers, second.peers, keyText.peers),
    ranges: follow(first.ranges, second.ranges, keyText.ranges),
    services: follow(first.services, second.services, keyText.services),
    nodes: follow(first.nodes, second.nodes, keyText.nodes),
  };
}

export const NO_CHANGES: Changes = difference(NO_ROWS, NO_ROWS);

/** The row as the kernel would give it back, so that a row that says the same is seen to be the same. */
function asHeld(row: EndpointRow): EndpointRow {
  const order = (a: Address, b: Address): number => familyOf(a) - familyOf(b);
  return { ...row, mac: row.mac.toLowerCase(), addresses: [...row.addresses].sort(order) };
}

/** Likewise: without a tunnel there is no number. */
function asReached<Row extends { readonly node?: number }>(row: Row): Row {
  if (row.node !== 0) return row;
  const { node: _none, ...rest } = row;
  return rest as Row;
}

/** Likewise: the kernel keeps no order of a node's addresses. */
function asSorted({ number, address, sources }: NodeRow): NodeRow {
  return { number, address, sources: [...new Set(sources)].sort() };
}

function change<Row extends Key, Key>(
  set: readonly Row[],
  remove: readonly Key[],
  text: (key: Key) => string,
): Change<Row, Key> {
  if (remove.length === 0 || set.length === 0) return { set, remove };
  const kept = new Set(set.map(text));
  return { set, remove: remove.filter((key) => !kept.has(text(key))) };
}

function differ<Row extends Key, Key>(
  actual: readonly Row[],
  desired: readonly Row[],
  text: (key: Key) => string,
): Change<Row, Key> {
  const had = new Map(actual.map((row) => [text(row), row]));
  const wanted = new Set(desired.map(text));
  return {
    set: desired.filter((row) => !isDeepStrictEqual(had.get(text(row)), row)),
    remove: actual.filter((row) => !wanted.has(text(row))),
  };
}

function follow<Row extends Key, Key>(
  first: Change<Row, Key>,
  second: Change<Row, Key>,
  text: (key: Key) => string,
): Change<Row, Key> {
  if (first.set.length === 0 && first.remove.length === 0) return second;
  const settled = new Set([...second.set.map(text), ...second.remove.map(text)]);
  const open = (key: Key): boolean => !settled.has(text(key));
  return { set: [...first.set.filter(open), ...second.set], remove: [...first.remove.filter(open), ...second.remove] };
}
