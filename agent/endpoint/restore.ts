/**
 * What a restart finds. Records whose pod is still there are taken up as they are (their programs and policy never
 * stopped); everything else is taken down and freed. No damaged record and no failing step is fatal.
 */
import { asWeirError } from '../errors.ts';
import type { Problem } from '../model/object.ts';
import { findGone } from './gone.ts';
import type { EndpointsOptions } from './options.ts';
import { type RecordedEndpoint, recordFileName } from './record.ts';
import { attachmentKey, type Registry } from './registry.ts';

export interface Restored {
  /** Taken up: to be admitted again with the first revision. */
  readonly endpoints: readonly RecordedEndpoint[];
  /** Taken down, with the reason. */
  readonly dropped: readonly { readonly id: number; readonly why: string }[];
  /** Damaged files and conflicts, for status. */
  readonly problems: readonly Problem[];
}

export async function restoreEndpoints(registry: Registry, options: EndpointsOptions): Promise<Restored> {
  const { datapath, pool, store, log } = options;
  const stored = await store.load();
  const endpoints: RecordedEndpoint[] = [];
  const dropped: { id: number; why: string }[] = [];
  const problems: Problem[] = [...stored.problems];

  // First everything that goes, so that no stale record claims an address that somebody else has now.
  for (const file of stored.broken) await drop(file, 'its record is unreadable', () => store.setAside(file));
  for (const record of stored.unanswered) await dropRecord(record, 'its ADD was never answered');
  const gone = await findGone(stored.records, options);
  for (const record of stored.records) {
    const why = gone.get(record.id);
    if (why !== undefined) await dropRecord(record, why);
  }
  for (const record of stored.records) if (!gone.has(record.id)) await takeUp(record);
  return { endpoints, dropped, problems };

  async function takeUp(record: RecordedEndpoint): Promise<void> {
    const owner = attachmentKey(record);
    const claims = record.addresses.map((address) => ({ address, outcome: pool.restore(address, owner) }));
    const taken = claims.find(({ outcome }) => outcome === 'taken');
    if (taken) {
      const others = claims.filter(({ outcome }) => outcome === 'restored').map(({ address }) => address);
      pool.release(others, owner);
      const why = `its address ${taken.address} belongs to ${pool.ownerOf(taken.address)}`;
      report('error', 'address-conflict', record, why);
      await drop(record, why, () => store.remove(record));
      return;
    }
    for (const { address, outcome } of claims) {
      if (outcome === 'outside')
        report('warning', 'address-outside', record, `${address} is not in the pod CIDRs any more`);
    }
    registry.add({ record, phase: 'ready', isAdmitted: true });
    endpoints.push(record);
  }

  /** As {@link drop}; one that cannot be taken down now keeps its addresses until collect() has done it. */
  async function dropRecord(record: RecordedEndpoint, why: string): Promise<void> {
    if (await drop(record, why, () => store.remove(record))) return;
    for (const address of record.addresses) pool.restore(address, attachmentKey(record));
    registry.add({ record, phase: 'removing', isAdmitted: true });
  }

  async function drop(what: Dropped, why: string, forget: () => void): Promise<boolean> {
    try {
      await datapath.unwire({ id: what.id, hostInterface: what.hostInterface });
      forget();
      dropped.push({ id: what.id, why });
      log.warn('an endpoint of before the restart was dropped', { endpoint: what.id, why });
      return true;
    } catch (cause) {
      const message = `(${why}) cannot be removed: ${asWeirError(cause, 'restore').message}`;
      report('error', 'not-removed', what, message);
      log.error('an endpoint of before the restart cannot be removed', { endpoint: what.id, why, cause });
      return false;
    }
  }

  function report(severity: Problem['severity'], code: string, what: Dropped, message: string): void {
    const place = recordFileName(what, 'json');
    problems.push({ severity, code, message: `endpoint ${what.id}: ${message}`, place, path: [], line: undefined });
  }
}

type Dropped = Pick<RecordedEndpoint, 'id' | 'hostInterface'>;
