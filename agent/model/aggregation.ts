/**
 * How much is told of connections that are allowed; drops are told always, one by one. The names are those of Cilium's
 * monitor aggregation. What each tells: enum aggregation in bpf/abi/event.h.
 */
export const AGGREGATION_LEVELS = ['none', 'low', 'medium', 'maximum'] as const;
export type AggregationLevel = (typeof AGGREGATION_LEVELS)[number];

/** On a pod: the level of its connections, whatever the node's setting is. */
export const AGGREGATION_ANNOTATION = 'weir.dev/flow-aggregation';

/** What a pod asks for; undefined: nothing, or what is no level. */
export function askedAggregation(annotations: Readonly<Record<string, string>>): AggregationLevel | undefined {
  const written = annotations[AGGREGATION_ANNOTATION];
  return AGGREGATION_LEVELS.find((level) => level === written);
}

/** What is wrong with what a pod asks for; undefined: nothing is. */
export function aggregationMistake(annotations: Readonly<Record<string, string>>): string | undefined {
  const written = annotations[AGGREGATION_ANNOTATION];
  if (written === undefined || askedAggregation(annotations) !== undefined) return undefined;
  return `expected one of ${AGGREGATION_LEVELS.join(', ')}, found ${JSON.stringify(written)}; the node's setting counts`;
}
