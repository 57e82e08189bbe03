/**
 * Which endpoint stands in which slice. Pure. An endpoint stays where it is, so that a change is sent once; new ones fill
 * the slices that change anyway, then others with room, then new ones. What is right already is not written.
 */
import type { EndpointEntry } from './objects.ts';

export interface PackedSlice {
  readonly name: string;
  readonly endpoints: readonly EndpointEntry[];
}

export type SliceWrite =
  | ({ readonly kind: 'create' | 'update' } & PackedSlice)
  | { readonly kind: 'remove'; readonly name: string };

/** What an entry is found by: one pod may have more than one interface. */
export function entryKey({ uid, addresses }: Pick<EndpointEntry, 'uid' | 'addresses'>): string {
  return `${uid} ${addresses[0] ?? ''}`;
}

export function sameEntry(a: EndpointEntry, b: EndpointEntry): boolean {
  return JSON.stringify(canonical(a)) === JSON.stringify(canonical(b));
}

/** The API server keeps fields in no order. */
function canonical({ addresses, identity, namespace, pod, uid, since, namedPorts, workload }: EndpointEntry) {
  const ports = (namedPorts ?? []).map(({ name, protocol, port }) => [name, protocol, port]);
  return [addresses, identity, namespace, pod, uid, since, ports, workload?.kind, workload?.name];
}

/**
 * @param present the slices of this node as they are
 * @param wanted what shall stand in them, by entryKey()
 * @param size most endpoints in one slice
 */
export function pack(
  node: string,
  present: readonly PackedSlice[],
  wanted: ReadonlyMap<string, EndpointEntry>,
  size: number,
): SliceWrite[] {
  const placed = new Set<string>();
  const slices = present.map(({ name, endpoints }) => {
    const kept: EndpointEntry[] = [];
    let changed = false;
    for (const entry of endpoints) {
      const key = entryKey(entry);
      const now = wanted.get(key);
      const stays = now !== undefined && !placed.has(key) && kept.length < size;
      if (!stays || !sameEntry(entry, now)) changed = true;
      if (!stays) continue;
      placed.add(key);
      kept.push(now);
    }
    return { name, endpoints: kept, changed, isNew: false };
  });

  const homeless = [...wanted].filter(([key]) => !placed.has(key)).map(([, entry]) => entry);
  // Slices that change anyway first, then the fullest, so that few are written and the emptiest can become empty.
  const byUse = slices
    .filter(({ endpoints }) => endpoints.length > 0)
    .sort((a, b) => Number(b.changed) - Number(a.changed) || b.endpoints.length - a.endpoints.length);
  const empty = slices.filter(({ endpoints }) => endpoints.length === 0);
  for (const slice of [...byUse, ...empty]) {
    const fill = homeless.splice(0, size - slice.endpoints.length);
    slice.endpoints.push(...fill);
    slice.changed ||= fill.length > 0;
  }
  const names = new Set(slices.map(({ name }) => name));
  for (let n = 0; homeless.length > 0; n++) {
    const name = `${node}-${n}`;
    if (!names.has(name)) slices.push({ name, endpoints: homeless.splice(0, size), changed: true, isNew: true });
  }
  return slices.flatMap(({ name, endpoints, changed, isNew }): SliceWrite[] => {
    if (endpoints.length === 0) return [{ kind: 'remove', name }];
    return changed ? [{ kind: isNew ? 'create' : 'update', name, endpoints }] : [];
  });
}
