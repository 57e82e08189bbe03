/**
 * Label selectors over identities. A requirement's key carries a source ("k8s:app"); the source "any" matches a label of
 * any source. Restrictions to a namespace are further requirements of the same conjunction, never merged into the user's
 * own: no key a user writes can replace one (CVE-2023-41333).
 */
import type { Labels } from '../../model/labels.ts';

export type Requirement =
  | { readonly operator: 'In' | 'NotIn'; readonly key: string; readonly values: readonly string[] }
  | { readonly operator: 'Exists' | 'DoesNotExist'; readonly key: string };

/** Matches identities that satisfy one of the alternatives; an alternative is a conjunction. No alternative: nobody. */
export interface Selector {
  readonly alternatives: readonly (readonly Requirement[])[];
  /** Equal for selectors with the same requirements; used to share work and to show them. */
  readonly key: string;
}

/** Makes a selector from conjunctions; requirement order does not matter. */
export function selector(...alternatives: (readonly Requirement[])[]): Selector {
  const texts = alternatives.map((all) => [...new Set(all.map(requirementText))].sort().join(',') || 'everybody');
  return { alternatives, key: [...new Set(texts)].sort().join(' or ') || 'nobody' };
}

/** "k8s:app in (frontend)", "k8s:env", "!k8s:env": values quoted, so that two different requirements never read the same. */
export function requirementText(requirement: Requirement): string {
  switch (requirement.operator) {
    case 'Exists':
      return requirement.key;
    case 'DoesNotExist':
      return `!${requirement.key}`;
    default: {
      const values = [...new Set(requirement.values)].sort().map((value) => JSON.stringify(value));
      const [only] = values;
      if (values.length === 1) return `${requirement.key}${requirement.operator === 'In' ? '=' : '!='}${only}`;
      return `${requirement.key} ${requirement.operator === 'In' ? 'in' : 'notin'} (${values.join(' ')})`;
    }
  }
}

export function selectorMatches(selector: Selector, labels: Labels): boolean {
  return selector.alternatives.some((all) => all.every((requirement) => requirementMatches(requirement, labels)));
}

/** NotIn holds where the key is absent, as in Kubernetes. With several labels of one "any" key, one In is enough and one NotIn violation too many. */
export function requirementMatches(requirement: Requirement, labels: Labels): boolean {
  switch (requirement.operator) {
    case 'Exists':
      return hasKey(labels, requirement.key);
    case 'DoesNotExist':
      return !hasKey(labels, requirement.key);
    case 'In':
      return hasValue(labels, requirement.key, requirement.values);
    case 'NotIn':
      return !hasValue(labels, requirement.key, requirement.values);
  }
}

function hasKey(labels: Labels, key: string): boolean {
  if (!key.startsWith('any:')) return labels.has(key);
  const plain = key.slice(4);
  for (const label of labels.keys()) if (isPlainKey(label, plain)) return true;
  return false;
}

function hasValue(labels: Labels, key: string, values: readonly string[]): boolean {
  if (!key.startsWith('any:')) {
    const value = labels.get(key);
    return value !== undefined && values.includes(value);
  }
  const plain = key.slice(4);
  for (const [label, value] of labels) if (isPlainKey(label, plain) && values.includes(value)) return true;
  return false;
}

/** True if the label is SOURCE:plain for any source. */
function isPlainKey(label: string, plain: string): boolean {
  return label.length > plain.length && label.endsWith(plain) && label.indexOf(':') === label.length - plain.length - 1;
}
