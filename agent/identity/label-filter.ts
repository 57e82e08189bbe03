/**
 * Which labels make an identity, where the administrator narrows it down: fewer relevant labels, fewer identities.
 * Pattern language: Cilium's option "labels" (Documentation/operations/performance/scalability/identity-relevant-labels.rst).
 */
import type { Labels } from '../model/labels.ts';

/** What the cluster says about a pod stays in its identity, whatever the patterns: namespaces and clusters never mix. */
const ALWAYS = /^(reserved:|k8s:io\.kubernetes\.pod\.namespace$|k8s:io\.cilium\.k8s\.)/;

interface Pattern {
  readonly excludes: boolean;
  /** "k8s", or undefined: any source. */
  readonly source: string | undefined;
  readonly key: RegExp;
}

/**
 * A filter from patterns "[!][SOURCE:]KEY", where KEY is a regular expression matched at the start of the label's key.
 * A label stays if some pattern without "!" matches (or there is none) and no pattern
 * with "!" does. Throws SyntaxError on a pattern that is no regular expression.
 */
export function labelFilter(patterns: readonly string[]): (labels: Labels) => Labels {
  const read = patterns.map(readPattern);
  const included = read.filter((pattern) => !pattern.excludes);
  const excluded = read.filter((pattern) => pattern.excludes);
  const stays = (key: string): boolean =>
    ALWAYS.test(key) ||
    ((included.length === 0 || included.some((pattern) => matches(pattern, key))) &&
      !excluded.some((pattern) => matches(pattern, key)));
  return (labels) => (read.length === 0 ? labels : new Map([...labels].filter(([key]) => stays(key))));
}

function readPattern(written: string): Pattern {
  const excludes = written.startsWith('!');
  const rest = excludes ? written.slice(1) : written;
  const colon = rest.indexOf(':');
  const source = colon < 0 ? undefined : rest.slice(0, colon);
  return { excludes, source: source === 'any' ? undefined : source, key: new RegExp(`^(?:${rest.slice(colon + 1)})`) };
}

function matches(pattern: Pattern, label: string): boolean {
  const colon = label.indexOf(':');
  if (pattern.source !== undefined && pattern.source !== label.slice(0, colon)) return false;
  return pattern.key.test(label.slice(colon + 1));
}
