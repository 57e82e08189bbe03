/**
 * Interned address sets: what selector sets are for identities, for addresses. The class of an address is the set of
 * CIDR rules that match it; the longest prefix that contains the address holds it, once per kind of peer, because a rule
 * may speak of some kinds only. Sets never change: another list of CIDRs is another set.
 */
import { addressBytes, familyOf, type Prefix, prefixAddress, prefixLength } from '../../model/address.ts';
import { ADDRESS_CLASS_BIT, type AddressClassRow, CLASS_ANY, type ClassId, type SetId } from '../../model/verdict.ts';
import type { Cidr, PeerKind } from '../rule.ts';
import type { Steps } from '../steps.ts';
import type { Table } from '../table.ts';

export interface AddressSet {
  readonly id: SetId;
  readonly cidrs: readonly Cidr[];
  /** By class: indexes into `cidrs` of the rules that match, ascending; never empty. */
  readonly classes: ReadonlyMap<ClassId, readonly number[]>;
}

export interface AddressSets {
  /** The set of these CIDR rules, sorted and distinct by {@link cidrKey}; made if it is new. */
  acquire(cidrs: readonly Cidr[]): Steps<AddressSet>;
  release(set: AddressSet): void;
  get(id: SetId): AddressSet | undefined;
}

/** "10.0.0.0/8 except 10.1.0.0/16 (outside node)". */
export function cidrKey({ prefix, except, kinds }: Cidr): string {
  const but = except.length === 0 ? '' : ` except ${[...new Set(except)].sort().join(' ')}`;
  return `${prefix}${but} (${[...new Set(kinds)].sort().join(' ')})`;
}

/** Key of a row of the address class table. */
export function addressClassKey({ set, prefix }: { set: SetId; prefix: Prefix }): string {
  return `${set} ${prefix}`;
}

interface OwnSet extends AddressSet {
  readonly key: string;
  readonly prefixes: readonly Prefix[];
  users: number;
}

export function createAddressSets(nextSet: () => SetId, rows: Table<AddressClassRow>): AddressSets {
  const sets = new Map<string, OwnSet>();
  const setsById = new Map<SetId, OwnSet>();
  return {
    *acquire(cidrs) {
      const key = JSON.stringify(cidrs.map(cidrKey));
      let set = sets.get(key);
      if (!set) {
        const id = nextSet();
        const { classes, rows: made } = yield* addressRows(id, cidrs);
        set = { id, key, cidrs, classes, prefixes: made.map((row) => row.prefix), users: 0 };
        for (const row of made) rows.set(row);
        sets.set(key, set);
        setsById.set(id, set);
      }
      set.users++;
      return set;
    },
    release(released) {
      const set = released as OwnSet;
      if (--set.users > 0) return;
      for (const prefix of set.prefixes) rows.remove(addressClassKey({ set: set.id, prefix }));
      sets.delete(set.key);
      setsById.delete(set.id);
    },
    get: (id) => setsById.get(id),
  };
}

/** One stretch of addresses between a prefix and the longer ones inside it. */
interface Stretch {
  readonly bits: string;
  /** Indexes of the CIDR rules that contain it and do not except it. */
  readonly matches: readonly number[];
  readonly row: Omit<AddressClassRow, 'set' | 'prefix'>;
}

/** What is matched where no prefix is around. */
const NOTHING: Stretch = {
  bits: '',
  matches: [],
  row: { outside: CLASS_ANY, node: CLASS_ANY, pod: CLASS_ANY },
};

/**
 * The rows of a set. Prefixes either contain each other or are apart; in the order of their bits an outer one comes right
 * before those inside it. So each prefix's matches are those of the one around it, plus the rules that begin here, minus
 * those that except it.
 */
function* addressRows(
  set: SetId,
  cidrs: readonly Cidr[],
): Steps<{ classes: Map<ClassId, readonly number[]>; rows: AddressClassRow[] }> {
  const begins = positions(cidrs, (cidr) => [cidr.prefix]);
  const ends = positions(cidrs, (cidr) => cidr.except);
  const ids = new Map<string, ClassId>();
  const classes = new Map<ClassId, readonly number[]>();
  const classOf = (matches: readonly number[], kind: PeerKind): ClassId => {
    const ofKind = matches.filter((i) => cidrs[i]?.kinds.includes(kind));
    if (ofKind.length === 0) return CLASS_ANY;
    const key = ofKind.join(',');
    const known = ids.get(key);
    if (known !== undefined) return known;
    const id = ADDRESS_CLASS_BIT + ids.size + 1;
    ids.set(key, id);
    classes.set(id, ofKind);
    return id;
  };

  const rows: AddressClassRow[] = [];
  const prefixes = [...new Set([...begins.keys(), ...ends.keys()])].map((prefix) => ({
    prefix,
    bits: bitText(prefix),
  }));
  const around: Stretch[] = [NOTHING];
  for (const { prefix, bits } of prefixes.sort((a, b) => (a.bits < b.bits ? -1 : 1))) {
    while (!bits.startsWith(around.at(-1)?.bits ?? '')) around.pop();
    const outer = around.at(-1) ?? NOTHING;
    const gone = ends.get(prefix) ?? [];
    const inside = [...outer.matches, ...(begins.get(prefix) ?? [])];
    const matches = inside.filter((i) => !gone.includes(i)).sort((a, b) => a - b);
    const row = { outside: classOf(matches, 'outside'), node: classOf(matches, 'node'), pod: classOf(matches, 'pod') };
    around.push({ bits, matches, row });
    const same = row.outside === outer.row.outside && row.node === outer.row.node && row.pod === outer.row.pod;
    if (!same) rows.push({ set, prefix, ...row });
    yield;
  }
  return { classes, rows };
}

function positions(cidrs: readonly Cidr[], prefixesOf: (cidr: Cidr) => readonly Prefix[]): Map<Prefix, number[]> {
  const out = new Map<Prefix, number[]>();
  for (const [i, cidr] of cidrs.entries()) {
    for (const prefix of new Set(prefixesOf(cidr))) {
      const list = out.get(prefix);
      if (list) list.push(i);
      else out.set(prefix, [i]);
    }
  }
  return out;
}

/** "4" or "6" and the prefix's own bits as 0 and 1: a prefix lies inside another if its text begins with the other's. */
function bitText(prefix: Prefix): string {
  const bytes = [...addressBytes(prefixAddress(prefix))].map((byte) => byte.toString(2).padStart(8, '0'));
  return familyOf(prefix) + bytes.join('').slice(0, prefixLength(prefix));
}
