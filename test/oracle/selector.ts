/** Label selectors, matched on plain lists of labels. */
import type { SourcedLabel } from './party.ts';

export interface RawSelector {
  readonly matchLabels?: Readonly<Record<string, string>>;
  readonly matchExpressions?: readonly {
    readonly key: string;
    readonly operator: string;
    readonly values?: readonly string[];
  }[];
}

/** Kubernetes' meaning: all conditions hold; NotIn and DoesNotExist hold where the key is absent. */
export function matchesKubernetes(selector: RawSelector, labels: Readonly<Record<string, string>>): boolean {
  const list = Object.entries(labels).map(([key, value]) => ({ source: 'k8s', key, value }));
  return matches(selector, list, (key) => ({ source: 'k8s', key }));
}

/** Cilium's: a key may say where its label comes from ("k8s:app"); without that any source will do. */
export function matchesCilium(selector: RawSelector, labels: readonly SourcedLabel[]): boolean {
  return matches(selector, labels, splitKey);
}

export function splitKey(key: string): { source: string; key: string } {
  const colon = key.indexOf(':');
  return colon < 0 ? { source: 'any', key } : { source: key.slice(0, colon), key: key.slice(colon + 1) };
}

function matches(
  selector: RawSelector,
  labels: readonly SourcedLabel[],
  split: (key: string) => { source: string; key: string },
): boolean {
  const valuesOf = (written: string): string[] => {
    const { source, key } = split(written);
    return labels
      .filter((label) => label.key === key && (source === 'any' || label.source === source))
      .map(({ value }) => value);
  };
  for (const [key, wanted] of Object.entries(selector.matchLabels ?? {})) {
    if (!valuesOf(key).includes(wanted)) return false;
  }
  for (const { key, operator, values = [] } of selector.matchExpressions ?? []) {
    const have = valuesOf(key);
    const hit = have.some((value) => values.includes(value));
    if (operator === 'In' && !hit) return false;
    if (operator === 'NotIn' && hit) return false;
    if (operator === 'Exists' && have.length === 0) return false;
    if (operator === 'DoesNotExist' && have.length > 0) return false;
  }
  return true;
}
