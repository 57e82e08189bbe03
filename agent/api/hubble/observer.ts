/** The Observer service of one agent, as Hubble's own agent answers it. */
import type { StoredFlow } from '../../flow/decode.ts';
import { DESTINATION, SOURCE } from '../../flow/decode.ts';
import { bySince } from '../../flow/filter.ts';
import type { FlowHistory } from '../../flow/history.ts';
import type { HubbleTeller } from './flow-message.ts';

const SECOND_MS = 1000;
const MINUTE_MS = 60 * SECOND_MS;
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
  return {
    num_flows: records,
    max_flows: capacity,
    seen_flows: seen,
    uptime_ns: Math.max(0, now - startedAt) * 1e6,
    version: `weir v${teller.version}`,
    flows_rate: await flowsPerSecond(history, startedAt, now),
  };
}

/** Observer.GetNamespaces: those seen in flows of the last hour, as far as the history reaches back. */
export async function getNamespaces({ history, teller }: ObserverState): Promise<object> {
  const seen = new Set<string>();
  const since = Date.now() - HOUR_MS;
  const see = (flow: StoredFlow) => {
    for (const side of [SOURCE, DESTINATION] as const) {
      const namespace = flow.name(side)?.namespace;
      if (namespace) seen.add(namespace);
    }
  };
  await history.each(bySince(since), see, since);
  return { namespaces: [...seen].sort().map((namespace) => ({ cluster: teller.cluster, namespace })) };
}

/** In the last minute, or since the start. Where memory does not reach back that far: in the time that it holds. */
async function flowsPerSecond(history: FlowHistory, startedAt: number, now: number): Promise<number> {
  let count = 0;
  let oldest: number | undefined;
  await history.each(
    () => true,
    ({ timeMs }) => {
      oldest ??= timeMs;
      if (timeMs >= now - MINUTE_MS) count++;
    },
  );
  const from = history.stats().overwritten > 0 ? (oldest ?? now) : startedAt;
  return (1000 * count) / Math.min(MINUTE_MS, Math.max(SECOND_MS, now - from));
}
