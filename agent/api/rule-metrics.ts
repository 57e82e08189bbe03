/** How often each rule of the policies decided, and when last. */
import { formatPath } from '../model/object.ts';
import type { AddMetric, Labels } from './metrics.ts';
import type { State } from './state.ts';

/** Adds them; returns how many rules were left out of the last scrape because there are more than `most`. */
export function ruleMetrics(state: State, most: number, counter: AddMetric, gauge: AddMetric): () => number {
  let refused = 0;
  counter(
    'weir_rule_hits_total',
    'Connections allowed, and packets dropped or audited, by rule; goes on over a restart of the agent',
    ['kind', 'namespace', 'policy', 'direction', 'action', 'rule'],
    function* () {
      let rows = 0;
      for (const { labels, hits } of rules(state)) {
        if (++rows <= most) yield [labels, hits] as const;
        else refused++;
      }
    },
  );
  gauge(
    'weir_rule_last_hit_timestamp_seconds',
    'When a rule decided last, or an old connection it allowed gave a sign of life; rules never hit have none',
    ['kind', 'namespace', 'policy', 'direction', 'action', 'rule'],
    function* () {
      let rows = 0;
      for (const { labels, lastHit } of rules(state)) {
        if (++rows > most) return;
        if (lastHit !== undefined) yield [labels, lastHit / 1000] as const;
      }
    },
  );
  return () => refused;
}

function* rules(state: State): Generator<{ labels: Labels; hits: number; lastHit: number | undefined }, void, void> {
  const told = new Set<string>();
  for (const { ref, rules } of state.policies()) {
    for (const { id, direction, action, path } of rules) {
      const rule = formatPath(path);
      const labels = { kind: ref.kind, namespace: ref.namespace, policy: ref.name, direction, action, rule };
      const key = Object.values(labels).join('\u0000');
      if (told.has(key)) continue;
      told.add(key);
      const hit = state.flows.rules.of(id);
      yield { labels, hits: hit?.hits ?? 0, lastHit: hit?.lastHit };
    }
  }
}
