/**
 * Gives each record its names, as they are when it arrives: references into the store's name tables. Makes no garbage
 * for what was asked before: endpoints, identities, rules and policies are found by number, remote addresses by their
 * bytes in a small cache.
 */
import { DropReason, EventType, Family } from '../datapath/layout.gen.ts';
import type { Address } from '../model/address.ts';
import { RESERVED_IDENTITIES } from '../model/identity.ts';
import type { Labels } from '../model/labels.ts';
import { AddressCache } from './address-cache.ts';
import { type AddressPlace, DESTINATION, type PacketSide, SERVICE, SOURCE, type StoredFlow } from './decode.ts';
import type { NameEntry, NameTable } from './name-table.ts';
import type { Names, PartyName, ServiceName } from './names.ts';
import { REFS, REFS_PER_RECORD, type RecordStore } from './store.ts';

/** Drops of what was sent to a virtual address and not translated. */
const SERVICE_REASONS: readonly number[] = [
  DropReason.DROP_SERVICE_NO_BACKEND,
  DropReason.DROP_SERVICE_NO_PORT,
  DropReason.DROP_SERVICE_CLASH,
];

export class Enricher {
  readonly #store: RecordStore;
  readonly #names: Names;
  readonly #parties = new AddressCache<NameEntry<PartyName>>();
  readonly #services = new AddressCache<NameEntry<ServiceName>>();

  constructor(store: RecordStore, names: Names) {
    this.#store = store;
    this.#names = names;
  }

  /** Fills in the references of the record the view stands on. */
  name(flow: StoredFlow): void {
    const { refs, capacity, oldest, tables } = this.#store;
    const { sequence } = flow;
    const at = (sequence % capacity) * REFS_PER_RECORD;
    refs[at + REFS.source] = this.#party(flow, SOURCE);
    refs[at + REFS.destination] = this.#party(flow, DESTINATION);
    refs[at + REFS.sourceLabels] = this.#labels(flow, SOURCE);
    refs[at + REFS.destinationLabels] = this.#labels(flow, DESTINATION);
    refs[at + REFS.service] = this.#service(flow);
    for (const direction of [0, 1] as const) {
      const rule = flow.ruleId(direction);
      const ruleInfo = rule === 0 ? undefined : this.#names.rule(rule);
      if (ruleInfo) refs[at + REFS.rules + direction] = tables.rules.intern(rule, ruleInfo, sequence, oldest)?.ref ?? 0;
      const policy = flow.policyId(direction);
      const info = policy === 0 ? undefined : this.#names.policy(policy);
      if (info) refs[at + REFS.policies + direction] = tables.policies.intern(policy, info, sequence, oldest)?.ref ?? 0;
    }
  }

  #labels(flow: StoredFlow, side: PacketSide): number {
    const identity = flow.identity(side);
    const labels: Labels | undefined = this.#names.identityLabels(identity);
    if (labels === undefined) return 0;
    return this.#store.tables.labels.intern(identity, labels, flow.sequence, this.#store.oldest)?.ref ?? 0;
  }

  #party(flow: StoredFlow, side: PacketSide): number {
    const endpoint = flow.endpoint(side);
    if (endpoint !== 0) {
      const name = this.#names.endpointName(endpoint);
      if (name !== undefined && !this.#isOfAnEarlierPod(flow, side, name)) {
        return this.#store.tables.parties.intern(endpoint, name, flow.sequence, this.#store.oldest)?.ref ?? 0;
      }
    }
    return isWorld(flow.identity(side)) ? 0 : this.#partyByAddress(flow, side);
  }

  /** An end may come long after the pod went and its index was given away: then the address is not the new pod's. */
  #isOfAnEarlierPod(flow: StoredFlow, side: PacketSide, name: PartyName): boolean {
    if (flow.type !== EventType.EVENT_END) return false;
    const address = flow.address(side);
    return address !== undefined && !name.addresses.includes(address);
  }

  #partyByAddress(flow: StoredFlow, side: PacketSide): number {
    const { family } = flow;
    if (family !== Family.FAMILY_IPV4 && family !== Family.FAMILY_IPV6) return 0;
    const { parties } = this.#store.tables;
    this.#parties.asOf(this.#names.revision);
    return this.#byAddress(this.#parties, parties, flow, side, family, this.#findParty);
  }
  readonly #findParty = (_: StoredFlow, address: Address) => this.#names.nameOfAddress(address);

  /** What was asked for; of a packet that no Service took, that is where it went. */
  #service(flow: StoredFlow): number {
    const isRefused = flow.isDrop && SERVICE_REASONS.includes(flow.reason);
    if (!flow.isThroughService && !isRefused) return 0;
    const place = flow.isThroughService ? SERVICE : DESTINATION;
    const about = (askedPort(flow) * 256 + flow.protocol) * 16 + flow.family;
    const { services } = this.#store.tables;
    this.#services.asOf(this.#names.serviceRevision);
    return this.#byAddress(this.#services, services, flow, place, about, this.#findService);
  }
  readonly #findService = (flow: StoredFlow, address: Address) =>
    this.#names.serviceAt(address, askedPort(flow), flow.protocol);

  /** Number of the name, 0 for none. `about`: see {@link AddressCache}. */
  #byAddress<Name extends object>(
    cache: AddressCache<NameEntry<Name>>,
    table: NameTable<Name>,
    flow: StoredFlow,
    place: AddressPlace,
    about: number,
    find: (flow: StoredFlow, address: Address) => Name | undefined,
  ): number {
    const { sequence } = flow;
    const slot = cache.slot(flow, place, about);
    if (cache.has(slot, flow, place, about)) {
      const entry = cache.get(slot);
      if (entry === undefined) return 0;
      if (entry.live) {
        entry.lastSequence = sequence;
        return entry.ref;
      }
    }
    const address = flow.address(place);
    const name = address && find(flow, address);
    const entry = name && table.intern(`${about} ${address}`, name, sequence, this.#store.oldest);
    // a name refused by a full table is asked for again, so that it is counted and can come back
    if (name !== undefined && entry === undefined) return 0;
    cache.put(slot, flow, place, about, entry);
    return entry?.ref ?? 0;
  }
}

function askedPort(flow: StoredFlow): number {
  return flow.isThroughService ? flow.servicePort : flow.port(DESTINATION);
}

function isWorld(identity: number): boolean {
  return (
    identity === RESERVED_IDENTITIES['world-ipv4'] ||
    identity === RESERVED_IDENTITIES['world-ipv6'] ||
    identity === RESERVED_IDENTITIES.world
  );
}
