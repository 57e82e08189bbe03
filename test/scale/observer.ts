/**
 * A process that only looks: when an entry of a slice came by a bare watch, and when the kernel's map had it. A process of its
 * own, because whoever writes thousands of objects sees everything late.
 *
 *     node observer.ts URL CA_FILE PIN_DIRECTORY        the bearer token is in TOKEN
 *
 * Says "ready", then one line of JSON (Observed) for each entry that it had not seen before.
 */
import { SLICES, type SliceObject } from '../../agent/cluster/objects.ts';
import { collectionPath } from '../../agent/kubernetes/path.ts';
import type { Address } from '../../agent/model/address.ts';
import { BareWatch } from './bare-watch.ts';
import { PeerMap } from './peer-map.ts';

/** Milliseconds of the machine's monotonic clock: {@link nowMs}. */
export interface Observed {
  readonly uid: string;
  readonly seenMs: number;
  readonly writtenMs: number;
}

/** The same in every process. */
export function nowMs(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}

/** How often the map is looked at while something is awaited: what a time can be too long by. */
const LOOK_MS = 1;

interface Awaited {
  readonly uid: string;
  readonly addresses: readonly Address[];
  readonly identity: number;
  readonly seenMs: number;
}

async function observe([url = '', caFile = '', pinDirectory = '']: readonly string[]): Promise<void> {
  const map = new PeerMap(pinDirectory);
  const known = new Set<string>();
  const awaited = new Set<Awaited>();
  await BareWatch.start({ url, caFile, token: process.env.TOKEN ?? '' }, collectionPath(SLICES), (line) => {
    const seenMs = nowMs();
    const { object } = JSON.parse(line) as { object: SliceObject };
    for (const { uid, identity, addresses } of object.spec.endpoints) {
      if (known.has(uid)) continue;
      known.add(uid);
      awaited.add({ uid, identity, addresses: addresses as Address[], seenMs });
    }
  });
  setInterval(() => {
    for (const one of awaited) {
      if (!one.addresses.every((address) => map.identityAt(address) === one.identity)) continue;
      awaited.delete(one);
      const observed: Observed = { uid: one.uid, seenMs: one.seenMs, writtenMs: nowMs() };
      console.log(JSON.stringify(observed));
    }
  }, LOOK_MS);
  console.log('ready');
}

if (import.meta.main) await observe(process.argv.slice(2));
