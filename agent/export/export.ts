/**
 * One reader of the history that hands what happens, in batches, to one place. What the place could not take is lost for
 * that place alone: counted, told in its log, and written into the place itself as soon as it takes something again.
 */
import { type HubbleTeller, nodeName } from '../api/hubble/flow-message.ts';
import { asWeirError } from '../errors.ts';
import type { FlowHistory } from '../flow/history.ts';
import { LOST_SOURCE } from '../flow/lines.ts';
import type { Logger } from '../run/log.ts';
import { type ExportEvent, flowEvent, LOST_BY_EXPORT, lossEvent } from './lines.ts';
import type { Selected } from './select.ts';

/** Where events go. */
export interface Place {
  readonly kind: 'file' | 'otlp';
  /** For people: "/var/log/weir/flows.log". */
  readonly name: string;
  /** Takes all of the events or, when it rejects, none. */
  write(events: readonly ExportEvent[]): Promise<void>;
  close(): Promise<void>;
}

export interface ExportStats {
  /** Flows that arrived. */
  readonly exported: number;
  /** Flows that did not: the place refused them, or was so slow that they were overwritten before. */
  readonly lost: { readonly refused: number; readonly slow: number };
  /** Age of the first flow of the batch that is under way, seconds; 0: none is. */
  readonly behindSeconds: number;
  /** Why the last batch did not arrive; undefined: it did. */
  readonly failure: string | undefined;
}

export interface Exporter {
  readonly kind: Place['kind'];
  readonly name: string;
  stats(): ExportStats;
  /** Ends after the batch that is under way. */
  close(): Promise<void>;
}

export interface ExportOptions {
  readonly history: FlowHistory;
  readonly teller: HubbleTeller;
  readonly selected: Selected;
  readonly place: Place;
  readonly log: Logger;
}

/** Begins with what happens from now on. */
export function startExport({ history, teller, selected, place, log }: ExportOptions): Exporter {
  const ending = new AbortController();
  const node = nodeName(teller);
  let exported = 0;
  let refused = 0;
  let slow = 0;
  /** Time of the first event of the batch under way, ms since 1970. */
  let underWaySince: number | undefined;
  let failure: string | undefined;
  /** Lost since the place last took something. */
  let unreported = 0;

  async function write(events: readonly ExportEvent[]): Promise<void> {
    const flows = events.filter(({ flow }) => flow !== undefined).length;
    const told = unreported > 0 ? [lossEvent(LOST_BY_EXPORT, unreported, node), ...events] : events;
    underWaySince = Date.parse(events[0]?.time ?? '');
    try {
      await place.write(told);
      failure = undefined;
      if (unreported > 0) log.info('flows are exported again', { to: place.name, lost: unreported });
      unreported = 0;
      exported += flows;
    } catch (cause) {
      const error = asWeirError(cause, 'export flows');
      failure = error.message;
      if (unreported === 0) {
        log.warn('flows cannot be exported; those that come until then are lost for this place', {
          to: place.name,
          cause: error,
        });
      }
      // Losses that were to be told with it, and not only flows.
      unreported += events.reduce((sum, { lost_events }) => sum + Number(lost_events?.num_events_lost ?? 1), 0);
      refused += flows;
    } finally {
      underWaySince = undefined;
    }
  }

  async function run(): Promise<void> {
    const query = { wanted: selected.wanted, order: 'newest', count: 0, cursor: undefined } as const;
    const telling = {
      flow: (flow: Parameters<typeof flowEvent>[0]) => flowEvent(flow, teller, selected.mask),
      lost(stage: keyof typeof LOST_SOURCE, count: number) {
        if (stage === 'subscriber') slow += count;
        return lossEvent(LOST_SOURCE[stage], count, node);
      },
    };
    for await (const events of history.stream(query, telling, 'never', ending.signal)) await write(events);
    await place.close();
  }

  const ended = run().catch((cause: unknown) => {
    log.error('the export of flows has ended', { to: place.name, cause });
  });
  return {
    kind: place.kind,
    name: place.name,
    stats: () => ({
      exported,
      lost: { refused, slow },
      behindSeconds: underWaySince === undefined ? 0 : Math.max(0, Date.now() - underWaySince) / 1000,
      failure,
    }),
    async close() {
      ending.abort();
      await ended;
    },
  };
}
