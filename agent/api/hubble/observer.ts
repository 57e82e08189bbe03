/** The Observer service of one agent, as Hubble's own agent answers it. */
import type { StoredFlow } from '../../flow/decode.ts';
import { DESTINATION, SOURCE } from '../../flow/decode.ts';
import { bySince } from '../../flow/filter.ts';
import type { FlowHistory } from '../../flow/history.ts';
import type { HubbleTeller } from './flow-message.ts';

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;

export interface ObserverState {
  readonly history: FlowHistory;
  readonly teller: HubbleTeller;
  /** ms since 1970. */
  readonly startedAt: number;
}

/** Observer.ServerStatus. */
export async function serverStatus({ history, teller, startedAt }: ObserverState): Promise<object> {
  const { records, capacity, seen } = history.stats();
  const now = Date.now();
  const lastMinute = await countSince(history, now - MINUTE_MS);
  const seconds = Math.min(MINUTE_MS, Math.max(1, now - startedAt)) / 1000;
  return {
    num_flows: records,
    max_flows: capacity,
    seen_flows: seen,
    uptime_ns: Math.max(0, now - startedAt) * 1e6,
    version: `weir v${teller.version}`,
    flows_rate: lastMinute / seconds,
  };
}

/** Observer.GetNamespaces: those seen in flows of the last hour, as far as the history reaches back. */
export async function getNamespaces({ history, teller }: ObserverState): Promise<object> {
  const seen = new Set<string>();
  await readSince(history, Date.now() - HOUR_MS, (flow) => {
    for (const side of [SOURCE, DESTINATION] as const) {
      const namespace = flow.name(side)?.namespace;
      if (namespace) seen.add(namespace);
    }
  });
  return { namespaces: [...seen].sort().map((namespace) => ({ cluster: teller.cluster, namespace })) };
}

async function countSince(history: FlowHistory, ms: number): Promise<number> {
  let count = 0;
  await readSince(history, ms, () => count++);
  return count;
}

async function readSince(history: FlowHistory, ms: number, see: (flow: StoredFlow) => void): Promise<void> {
  const query = { wanted: bySince(ms), order: 'oldest', count: 0, cursor: undefined } as const;
  const never = new AbortController().signal;
  for await (const _ of history.stream(query, { flow: see, lost() {} }, 'now', never)) {
    // seen already
  }
}
