/**
 * Gives each record its names, as they are when it arrives: references into the store's name tables. Makes no garbage
 * for what was asked before: endpoints, identities, rules and policies are found by number, remote addresses by their
 * bytes in a small cache.
 */
import { EventType, Family } from '../datapath/layout.gen.ts';
import { RESERVED_IDENTITIES } from '../model/identity.ts';
import type { Labels } from '../model/labels.ts';
import { DESTINATION, type PacketSide, SOURCE, type StoredFlow } from './decode.ts';
import type { NameEntry } from './name-table.ts';
import type { Names, PartyName } from './names.ts';
import { REFS, REFS_PER_RECORD, type RecordStore } from './store.ts';

/** Addresses remembered; a power of two. */
const CACHE_SLOTS = 8192;
const WORDS_PER_ADDRESS = 4;

export class Enricher {
  readonly #store: RecordStore;
  readonly #names: Names;
  readonly #cacheWords = new Uint32Array(CACHE_SLOTS * WORDS_PER_ADDRESS);
  readonly #cacheFamily = new Uint8Array(CACHE_SLOTS);
  readonly #cacheEntry: (NameEntry<PartyName> | undefined)[] = new Array(CACHE_SLOTS).fill(undefined);
  #cacheRevision = Number.NaN;

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
    const { family, sequence } = flow;
    if (family !== Family.FAMILY_IPV4 && family !== Family.FAMILY_IPV6) return 0;
    if (this.#cacheRevision !== this.#names.revision) {
      this.#cacheRevision = this.#names.revision;
      this.#cacheFamily.fill(0);
    }
    const slot = addressHash(flow, side) & (CACHE_SLOTS - 1);
    if (this.#cacheFamily[slot] === family && this.#isCached(slot, flow, side)) {
      const entry = this.#cacheEntry[slot];
      if (entry === undefined) return 0;
      if (entry.live) {
        entry.lastSequence = sequence;
        return entry.ref;
      }
    }
    const address = flow.address(side);
    const name = address && this.#names.nameOfAddress(address);
    const entry = name && this.#store.tables.parties.intern(address, name, sequence, this.#store.oldest);
    // a name refused by a full table is asked for again, so that it is counted and can come back
    if (name !== undefined && entry === undefined) return 0;
    this.#cacheFamily[slot] = family;
    this.#cacheEntry[slot] = entry;
    for (let word = 0; word < WORDS_PER_ADDRESS; word++) {
      this.#cacheWords[slot * WORDS_PER_ADDRESS + word] = flow.addressWord(side, word);
    }
    return entry?.ref ?? 0;
  }

  #isCached(slot: number, flow: StoredFlow, side: PacketSide): boolean {
    for (let word = 0; word < WORDS_PER_ADDRESS; word++) {
      if (this.#cacheWords[slot * WORDS_PER_ADDRESS + word] !== flow.addressWord(side, word)) return false;
    }
    return true;
  }
}

function isWorld(identity: number): boolean {
  return (
    identity === RESERVED_IDENTITIES['world-ipv4'] ||
    identity === RESERVED_IDENTITIES['world-ipv6'] ||
    identity === RESERVED_IDENTITIES.world
  );
}

/** Spreads neighbouring addresses; MurmurHash3's finaliser over the four words. */
function addressHash(flow: StoredFlow, side: PacketSide): number {
  let hash = 0;
  for (let word = 0; word < WORDS_PER_ADDRESS; word++) {
    hash = Math.imul(hash ^ flow.addressWord(side, word), 0x85ebca6b);
    hash ^= hash >>> 13;
  }
  hash = Math.imul(hash, 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}
