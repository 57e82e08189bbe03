/**
 * Interned selector sets. Policies whose direction names the same selectors share a set; in it every identity that
 * matches at least one selector has a class: identities that match the same selectors are in the same class. What a
 * class may do is each policy's own affair; so a new identity is one row per set it is in, however many ports there are.
 *
 * A set may also carry port names (egress rules by name): then identities whose pods give these names to different
 * ports are in different classes. An identity whose pods disagree about a name has all the ports they give it.
 */
import type { IdentityNumber } from '../../model/identity.ts';
import { type Labels, NAMESPACE_LABEL } from '../../model/labels.ts';
import type { NamedPort } from '../../model/object.ts';
import type { ClassId, IdentityClassRow, SetId } from '../../model/verdict.ts';
import type { Steps } from '../steps.ts';
import type { Table } from '../table.ts';
import type { Selector } from './selector.ts';
import { createSelectorIndex } from './selector-index.ts';

export interface PeerClass {
  readonly id: ClassId;
  /** Indexes into the set's selectors, ascending; never empty. */
  readonly matches: readonly number[];
  /** Ports of its identities that have one of the set's names. */
  readonly named: readonly NamedPort[];
}

export interface SelectorSet {
  readonly id: SetId;
  readonly selectors: readonly Selector[];
  readonly names: readonly string[];
  readonly classes: ReadonlyMap<ClassId, PeerClass>;
}

/** Told when a class appears in or disappears from a set it uses. */
export interface SetUser {
  classAdded(peers: PeerClass): void;
  classRemoved(peers: PeerClass): void;
}

export interface SelectorSets {
  /** The set of these selectors and names, sorted and distinct; made if it is new. Existing classes are not announced. */
  acquire(selectors: readonly Selector[], names: readonly string[], user: SetUser): Steps<SelectorSet>;
  release(set: SelectorSet, user: SetUser): Steps;
  get(id: SetId): SelectorSet | undefined;
  upsertIdentity(number: IdentityNumber, labels: Labels): void;
  removeIdentity(number: IdentityNumber): void;
  setNamedPorts(number: IdentityNumber, ports: readonly NamedPort[]): void;
  labelsOf(number: IdentityNumber): Labels | undefined;
}

/** A class with its identities counted. */
interface Membership {
  readonly class: PeerClass;
  /** Equal for identities of one class: what they match, and their ports by name. */
  readonly signature: string;
  size: number;
}
interface OwnSet extends SelectorSet {
  readonly key: string;
  readonly classes: Map<ClassId, PeerClass>;
  readonly bySignature: Map<string, Membership>;
  readonly members: Map<IdentityNumber, Membership>;
  readonly users: Set<SetUser>;
  nextClass: ClassId;
}
interface Interned {
  readonly selector: Selector;
  /** Index of the selector in each set that has it. */
  readonly sets: Map<OwnSet, number>;
}

/** Identities that are looked at in one step. */
const STRIDE = 32;

/** Identities are 24 bits plus a scope; sets stay far below what is left of an exact number. */
const IDENTITY_SPAN = 2 ** 26;

/** Key of a row of the identity class table. */
export function identityClassKey({ set, identity }: { set: SetId; identity: IdentityNumber }): number {
  return set * IDENTITY_SPAN + identity;
}

export function createSelectorSets(nextSet: () => SetId, rows: Table<IdentityClassRow>): SelectorSets {
  const labels = new Map<IdentityNumber, Labels>();
  const byNamespace = new Map<string, Set<IdentityNumber>>();
  const namedPorts = new Map<IdentityNumber, readonly NamedPort[]>();
  const sets = new Map<string, OwnSet>();
  const setsById = new Map<SetId, OwnSet>();
  const interned = new Map<string, Interned>();
  const index = createSelectorIndex();

  /** Puts the identity into its class of the set: the matches are indexes into the set's selectors. */
  function classify(set: OwnSet, identity: IdentityNumber, matches: number[], announce: boolean): void {
    matches.sort((a, b) => a - b);
    const ports = set.names.length === 0 ? [] : (namedPorts.get(identity) ?? []);
    const named = ports.filter((port) => set.names.includes(port.name)).sort(byText);
    const signature = [matches.join(','), ...new Set(named.map(portText))].join(' ');
    const old = set.members.get(identity);
    if (old?.signature === signature) return;
    let member = set.bySignature.get(signature);
    if (!member) {
      member = { class: { id: set.nextClass++, matches, named }, signature, size: 0 };
      set.bySignature.set(signature, member);
      set.classes.set(member.class.id, member.class);
      if (announce) for (const user of set.users) user.classAdded(member.class);
    }
    member.size++;
    set.members.set(identity, member);
    rows.set({ set: set.id, identity, classId: member.class.id });
    if (old) leave(set, old);
  }

  function leave(set: OwnSet, member: Membership): void {
    if (--member.size > 0) return;
    set.bySignature.delete(member.signature);
    set.classes.delete(member.class.id);
    for (const user of set.users) user.classRemoved(member.class);
  }

  function expel(set: OwnSet, identity: IdentityNumber): void {
    const member = set.members.get(identity);
    if (!member) return;
    set.members.delete(identity);
    rows.remove(identityClassKey({ set: set.id, identity }));
    leave(set, member);
  }

  /** The identity's class in every set, from its labels. */
  function place(identity: IdentityNumber, own: Labels): void {
    const matches = new Map<OwnSet, number[]>();
    for (const selector of index.matching(own)) {
      for (const [set, position] of interned.get(selector.key)?.sets ?? []) {
        const list = matches.get(set);
        if (list) list.push(position);
        else matches.set(set, [position]);
      }
    }
    for (const set of sets.values()) {
      const list = matches.get(set);
      if (list) classify(set, identity, list, true);
      else expel(set, identity);
    }
  }

  function forgetLabels(identity: IdentityNumber): void {
    const namespace = labels.get(identity)?.get(NAMESPACE_LABEL) ?? '';
    const numbers = byNamespace.get(namespace);
    numbers?.delete(identity);
    if (numbers?.size === 0) byNamespace.delete(namespace);
    labels.delete(identity);
  }

  /** Identities some of the selectors may match, as far as their namespaces tell. */
  function candidates(selectors: readonly Selector[]): Iterable<IdentityNumber> {
    const namespaces = new Set<string>();
    for (const one of selectors.flatMap(({ alternatives }) => alternatives)) {
      const own = one.find(({ key, operator }) => key === NAMESPACE_LABEL && operator === 'In');
      if (own?.operator !== 'In') return labels.keys();
      for (const namespace of own.values) namespaces.add(namespace);
    }
    return [...namespaces].flatMap((namespace) => [...(byNamespace.get(namespace) ?? [])]);
  }

  /** Identities that come or change while this pauses are put into the set as into any other. */
  function* fill(set: OwnSet): Steps {
    const own = createSelectorIndex();
    const positions = new Map<Selector, number>();
    for (const [position, one] of set.selectors.entries()) {
      own.add(one);
      positions.set(one, position);
      yield;
    }
    let looked = 0;
    for (const identity of candidates(set.selectors)) {
      if (++looked % STRIDE === 0) yield;
      const known = labels.get(identity);
      const matching = known ? own.matching(known) : [];
      if (matching.length === 0) continue;
      const matches = matching.map((one) => positions.get(one) as number);
      classify(set, identity, matches, false);
    }
  }

  return {
    *acquire(selectors, names, user) {
      const key = JSON.stringify([selectors.map((selector) => selector.key), names]);
      let set = sets.get(key);
      if (!set) {
        set = {
          id: nextSet(),
          key,
          selectors,
          names,
          classes: new Map(),
          bySignature: new Map(),
          members: new Map(),
          users: new Set(),
          nextClass: 1,
        };
        sets.set(key, set);
        setsById.set(set.id, set);
        for (const [position, selector] of selectors.entries()) {
          let one = interned.get(selector.key);
          if (!one) {
            one = { selector, sets: new Map() };
            interned.set(selector.key, one);
            index.add(selector);
          }
          one.sets.set(set, position);
          yield; // Whoever comes now is placed by the selectors so far; filling the set corrects that.
        }
        yield* fill(set);
      }
      set.users.add(user);
      return set;
    },

    *release(released, user) {
      const set = released as OwnSet;
      set.users.delete(user);
      if (set.users.size > 0) return;
      sets.delete(set.key);
      setsById.delete(set.id);
      for (const { key } of set.selectors) {
        const one = interned.get(key);
        one?.sets.delete(set);
        if (!one || one.sets.size > 0) continue;
        interned.delete(key);
        index.remove(one.selector);
      }
      let looked = 0;
      for (const identity of set.members.keys()) {
        if (++looked % STRIDE === 0) yield;
        rows.remove(identityClassKey({ set: set.id, identity }));
      }
    },

    get: (id) => setsById.get(id),
    labelsOf: (number) => labels.get(number),

    upsertIdentity(number, own) {
      forgetLabels(number);
      labels.set(number, own);
      const namespace = own.get(NAMESPACE_LABEL) ?? '';
      const numbers = byNamespace.get(namespace);
      if (numbers) numbers.add(number);
      else byNamespace.set(namespace, new Set([number]));
      place(number, own);
    },

    removeIdentity(number) {
      forgetLabels(number); // Its ports are their pods' own, which say themselves when they go.
      for (const set of sets.values()) expel(set, number);
    },

    setNamedPorts(number, ports) {
      if (ports.length === 0) namedPorts.delete(number);
      else namedPorts.set(number, ports);
      const own = labels.get(number);
      if (own) place(number, own);
    },
  };
}

function portText({ name, protocol, port }: NamedPort): string {
  return `${name}/${protocol}=${port}`;
}

function byText(a: NamedPort, b: NamedPort): number {
  return portText(a) < portText(b) ? -1 : 1;
}
