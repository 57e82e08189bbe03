/**
 * The setting `hubbleMetrics`, written as Hubble's own: "drop:sourceContext=pod|ip;destinationContext=pod tcp flow".
 * Metrics are separated by spaces, options by ";", alternatives of a context by "|", names of labelsContext by ",".
 */
import { didYouMean } from '../../model/did-you-mean.ts';
import { CONTEXT_NAMES, type ContextName, LABEL_NAMES, type LabelName } from './context.ts';

/** Metrics that Weir counts. */
export const METRIC_NAMES = ['drop', 'flow', 'flows-to-world', 'icmp', 'policy', 'port-distribution', 'tcp'] as const;
export type MetricName = (typeof METRIC_NAMES)[number];
/** Hubble's metrics of layer 7, of which Weir has no events: taken, so that a setting made for Hubble works, and told. */
export const SILENT_METRICS = ['dns', 'http', 'httpV2', 'kafka'] as const;

/** Which end, and where it was decided: sourceEgressContext is asked for flows judged at egress, else sourceContext. */
export const CONTEXT_OPTIONS = [
  'sourceContext',
  'sourceEgressContext',
  'sourceIngressContext',
  'destinationContext',
  'destinationEgressContext',
  'destinationIngressContext',
] as const;
export type ContextOption = (typeof CONTEXT_OPTIONS)[number];

/** Switches of single metrics, as Hubble has them. */
const SWITCHES: { readonly [metric in MetricName]?: readonly string[] } = {
  'flows-to-world': ['any-drop', 'port', 'syn-only'],
};
/** Taken and without effect, as they are about layer 7 or about how Hubble hands a metric over. */
const WITHOUT_EFFECT = ['exemplars'];

export interface MetricSpecification {
  readonly metric: MetricName;
  /** The first of a list that has a value is taken. */
  readonly contexts: { readonly [option in ContextOption]?: readonly ContextName[] };
  readonly labels: readonly LabelName[];
  readonly switches: ReadonlySet<string>;
}

export interface MetricSpecifications {
  readonly metrics: readonly MetricSpecification[];
  /** Metrics asked for that will never count anything. */
  readonly silent: readonly string[];
  /** What could not be read, each with what was expected. */
  readonly errors: readonly string[];
}

export function readMetricSpecifications(text: string): MetricSpecifications {
  const errors: string[] = [];
  const silent: string[] = [];
  const metrics = new Map<MetricName, MetricSpecification>();
  for (const word of text.split(/\s+/).filter((one) => one !== '')) {
    const colon = word.indexOf(':');
    const name = colon < 0 ? word : word.slice(0, colon);
    const options = colon < 0 ? '' : word.slice(colon + 1);
    if ((SILENT_METRICS as readonly string[]).includes(name)) silent.push(name);
    else if (!isOneOf(METRIC_NAMES, name)) errors.push(unknown('metric', name, [...METRIC_NAMES, ...SILENT_METRICS]));
    else if (metrics.has(name)) errors.push(`${name}: expected once, it is there twice`);
    else metrics.set(name, readOptions(name, options, errors));
  }
  return { metrics: [...metrics.values()], silent, errors };
}

function readOptions(metric: MetricName, text: string, errors: string[]): MetricSpecification {
  const contexts: { [option in ContextOption]?: readonly ContextName[] } = {};
  let labels: readonly LabelName[] = [];
  const switches = new Set<string>();
  const fail = (message: string) => errors.push(`${metric}: ${message}`);
  for (const option of text.split(';').filter((one) => one !== '')) {
    const equals = option.indexOf('=');
    const name = equals < 0 ? option : option.slice(0, equals);
    const value = equals < 0 ? '' : option.slice(equals + 1);
    if (isOneOf(CONTEXT_OPTIONS, name)) contexts[name] = readNames(value.split('|'), CONTEXT_NAMES, name, fail);
    else if (name === 'labelsContext') labels = readNames(value.split(','), LABEL_NAMES, name, fail);
    else if (SWITCHES[metric]?.includes(name)) {
      if (value !== 'false') switches.add(name);
    } else if (!WITHOUT_EFFECT.includes(name)) {
      fail(unknown('option', name, [...CONTEXT_OPTIONS, 'labelsContext', ...(SWITCHES[metric] ?? [])]));
    }
  }
  return { metric, contexts, labels, switches };
}

function readNames<T extends string>(
  names: readonly string[],
  known: readonly T[],
  option: string,
  fail: (message: string) => void,
): T[] {
  return names.filter((name): name is T => {
    if (isOneOf(known, name)) return true;
    fail(`${option}: ${unknown('name', name, known)}`);
    return false;
  });
}

function unknown(what: string, name: string, known: readonly string[]): string {
  return `unknown ${what} ${JSON.stringify(name)}${didYouMean(name, known)} (known: ${known.join(', ')})`;
}

function isOneOf<T extends string>(all: readonly T[], one: string): one is T {
  return (all as readonly string[]).includes(one);
}
