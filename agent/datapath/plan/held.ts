/** What the kernel holds now, as far as a plan needs to know: looked up by key, never as a whole. */
import type { Address, Prefix } from '../../model/address.ts';
import type { IdentityNumber } from '../../model/identity.ts';
import type { AddressClassRow, IdentityClassRow, PolicyRow, VerdictKey, VerdictRow } from '../../model/verdict.ts';
import type { DatapathRows, EndpointRow, PeerRow, RangeRow } from '../datapath.ts';
import { type AddressClassKey, type IdentityClassKey, keyText } from './changes.ts';
import type { HeldServices } from './service-plan.ts';

export interface Held extends HeldServices {
  /** Undefined: the slot is free. */
  endpoint(id: number): EndpointRow | undefined;
  peer(address: Address): PeerRow | undefined;
  /** Where the table matches by longest prefix (ranges, verdicts, address classes): what decides for the key, maybe a shorter one's. */
  range(prefix: Prefix): RangeRow | undefined;
  policies(): Iterable<PolicyRow>;
  verdict(key: VerdictKey): VerdictRow | undefined;
  identityClass(key: IdentityClassKey): IdentityClassRow | undefined;
  addressClass(key: AddressClassKey): AddressClassRow | undefined;
  knows(identity: IdentityNumber): boolean;
}

/** The same for rows that have been read as a whole. */
export function heldIn(rows: DatapathRows): Held {
  const index = <Row extends Key, Key>(of: readonly Row[], text: (key: Key) => string): Map<string, Row> =>
    new Map(of.map((row) => [text(row), row]));
  const endpoints = new Map(rows.endpoints.map((row) => [row.id, row]));
  const peers = new Map(rows.peers.map((row) => [row.address, row]));
  const ranges = new Map(rows.ranges.map((row) => [row.prefix, row]));
  const verdicts = index(rows.policy.verdicts, keyText.verdicts);
  const identityClasses = index(rows.policy.identityClasses, keyText.identityClasses);
  const addressClasses = index(rows.policy.addressClasses, keyText.addressClasses);
  const identities = new Set(rows.policy.identities);
  const services = rows.services ?? [];
  return {
    endpoint: (id) => endpoints.get(id),
    peer: (address) => peers.get(address),
    range: (prefix) => ranges.get(prefix),
    policies: () => rows.policy.policies,
    verdict: (key) => verdicts.get(keyText.verdicts(key)),
    identityClass: (key) => identityClasses.get(keyText.identityClasses(key)),
    addressClass: (key) => addressClasses.get(keyText.addressClasses(key)),
    knows: (identity) => identities.has(identity),
    // Rows do not say under which ids the kernel has their backends; each has one of its own here.
    service: (frontend) => {
      const at = services.findIndex((row) => keyText.services(row) === keyText.services({ frontend }));
      const row = services[at];
      return row && { row, slots: row.backends.length === 0 ? 0 : at + 1 };
    },
    frontendsAt: (address) => services.filter(({ frontend }) => frontend.address === address).length,
    nextSlots: services.length + 1,
  };
}
