/**
 * Removes identities nobody uses. Run by the holder of the Lease.
 *
 * Why none in use is ever removed, whatever is late: an agent first claims a number (own-record.ts) and then reads the
 * identity; the collector first marks the identity and then reads all claims, and removes only the very version it marked.
 * Whichever came second sees the other: the collector sees the claim, or the agent sees the mark and takes it away, which
 * makes another version. Two holders at a time do no harm either.
 *
 * The grace is only for numbers to stay with their labels a while. It is counted from when this holder first saw the mark,
 * on its own monotonic clock.
 */
import type { KubernetesClient } from '../kubernetes/client.ts';
import { collectionPath, objectPath } from '../kubernetes/path.ts';
import type { IdentityNumber } from '../model/identity.ts';
import type { Clock } from '../run/clock.ts';
import { isCode } from './api-codes.ts';
import { IDENTITIES, type IdentityObject, RECORDS, type RecordObject, UNUSED_ANNOTATION } from './objects.ts';

export interface CollectorOptions {
  readonly client: Pick<KubernetesClient, 'list' | 'patch' | 'remove'>;
  readonly nodeName: string;
  readonly clock: Clock;
  readonly graceMs: number;
  /** All identities as the watch has them; they may be old. */
  readonly identities: () => Iterable<IdentityObject>;
  readonly signal: AbortSignal;
}

export interface Collected {
  readonly marked: number;
  readonly spared: number;
  readonly removed: number;
}

/** Writes in one run: what is left comes with the next one. */
const MOST = 200;

export function createIdentityCollector(options: CollectorOptions): { run(): Promise<Collected> } {
  const { client, nodeName, clock, graceMs, signal } = options;
  /** Marked identities by name: which version, and since when we know. */
  const marks = new Map<string, { readonly uid: string; readonly sinceMs: number }>();

  /** True if it went through; false when somebody changed or removed the object meanwhile, which is theirs to do. */
  async function attempt(work: Promise<unknown>): Promise<boolean> {
    try {
      await work;
      return true;
    } catch (cause) {
      if (isCode(cause, 'NOT_FOUND', 'API_CONFLICT')) return false;
      throw cause;
    }
  }

  function mark({ metadata }: IdentityObject, value: string | null): Promise<boolean> {
    const { name, uid, resourceVersion } = metadata;
    const body = { metadata: { uid, resourceVersion, annotations: { [UNUSED_ANNOTATION]: value } } };
    return attempt(client.patch(objectPath(IDENTITIES, '', name), { type: 'merge', body }, { signal }));
  }

  function remove({ metadata }: IdentityObject): Promise<boolean> {
    const { name, uid = '', resourceVersion = '' } = metadata;
    return attempt(client.remove(objectPath(IDENTITIES, '', name), { uid, resourceVersion }, { signal }));
  }

  return {
    async run() {
      const identities = [...options.identities()];
      // Behind the marks seen above: what was marked then and has no claim now has none.
      const records = await client.list<RecordObject>(collectionPath(RECORDS), { signal });
      const claimed = new Set<IdentityNumber>(records.items.flatMap(({ spec }) => spec.identities ?? []));
      const done = { marked: 0, spared: 0, removed: 0 };
      const present = new Set<string>();
      for (const identity of identities) {
        if (signal.aborted || done.marked + done.spared + done.removed >= MOST) break;
        const { name, uid = '', annotations } = identity.metadata;
        const isMarked = annotations?.[UNUSED_ANNOTATION] !== undefined;
        const isClaimed = claimed.has(identity.spec.number);
        const since = marks.get(name);
        present.add(name);
        if (isClaimed || !isMarked) marks.delete(name);
        if (isClaimed && isMarked) {
          if (await mark(identity, null)) done.spared++;
        } else if (!isClaimed && !isMarked) {
          if (await mark(identity, nodeName)) done.marked++;
        } else if (!isClaimed && since?.uid !== uid) {
          marks.set(name, { uid, sinceMs: clock.nowMs() });
        } else if (!isClaimed && since && clock.nowMs() - since.sinceMs >= graceMs) {
          if (await remove(identity)) done.removed++;
        }
      }
      for (const name of marks.keys()) if (!present.has(name) && present.size === identities.length) marks.delete(name);
      return done;
    },
  };
}
