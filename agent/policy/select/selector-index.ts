/**
 * Which selectors match an identity, without trying them all: each alternative of a selector is filed under one label
 * that an identity must carry to satisfy it. Alternatives that require no label are tried for every identity.
 */
import { type Labels, NAMESPACE_LABEL } from '../../model/labels.ts';
import { type Requirement, type Selector, selectorMatches } from './selector.ts';

export interface SelectorIndex {
  add(selector: Selector): void;
  remove(selector: Selector): void;
  /** Selectors, as they were added, that match the labels. */
  matching(labels: Labels): Selector[];
}

/** Bucket of selectors that no label leads to. */
const ALWAYS = '';

export function createSelectorIndex(): SelectorIndex {
  const buckets = new Map<string, Set<Selector>>();
  const bucketsOf = (selector: Selector): Set<string> => new Set(selector.alternatives.flatMap(anchor));
  return {
    add(selector) {
      for (const name of bucketsOf(selector)) {
        const bucket = buckets.get(name);
        if (bucket) bucket.add(selector);
        else buckets.set(name, new Set([selector]));
      }
    },
    remove(selector) {
      for (const name of bucketsOf(selector)) {
        const bucket = buckets.get(name);
        bucket?.delete(selector);
        if (bucket?.size === 0) buckets.delete(name);
      }
    },
    matching(labels) {
      const candidates = new Set(buckets.get(ALWAYS));
      for (const [key, value] of labels) {
        const plain = withoutSource(key);
        for (const name of [plain, pair(plain, value)]) for (const one of buckets.get(name) ?? []) candidates.add(one);
      }
      return [...candidates].filter((selector) => selectorMatches(selector, labels));
    },
  };
}

/** The buckets of one alternative: its most telling requirement, which is a value of something other than the namespace. */
function anchor(all: readonly Requirement[]): string[] {
  const [best] = all.filter(isValue).sort((a, b) => weight(a) - weight(b));
  if (best) return best.values.map((value) => pair(withoutSource(best.key), value));
  const present = all.filter(({ operator }) => operator === 'Exists');
  const telling = present.find(({ key }) => key !== NAMESPACE_LABEL) ?? present[0];
  return [telling ? withoutSource(telling.key) : ALWAYS];
}

type Value = Extract<Requirement, { values: readonly string[] }>;

function isValue(requirement: Requirement): requirement is Value {
  return requirement.operator === 'In';
}

function weight(requirement: Value): number {
  return requirement.values.length + (requirement.key === NAMESPACE_LABEL ? 1000 : 0);
}

/** Sources are not told apart here, because a selector's "any" means each of them; the match itself does. */
function withoutSource(key: string): string {
  return key.slice(key.indexOf(':') + 1);
}

/** Label values contain no "=", so a pair never reads like a key. */
function pair(key: string, value: string): string {
  return `${key}=${value}`;
}
