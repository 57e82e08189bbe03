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

/** A place of the index: a label's key without its source, and its value or undefined for any value. */
interface Place {
  readonly key: string;
  readonly value: string | undefined;
}
/** Where selectors are that no label leads to: no label has an empty key. */
const ALWAYS: Place = { key: '', value: undefined };

export function createSelectorIndex(): SelectorIndex {
  const byKey = new Map<string, Map<string | undefined, Set<Selector>>>();
  const placesOf = (selector: Selector): Place[] => selector.alternatives.flatMap(places);
  return {
    add(selector) {
      for (const { key, value } of placesOf(selector)) {
        const byValue = byKey.get(key) ?? new Map<string | undefined, Set<Selector>>();
        byKey.set(key, byValue);
        byValue.set(value, (byValue.get(value) ?? new Set()).add(selector));
      }
    },
    remove(selector) {
      for (const { key, value } of placesOf(selector)) {
        const byValue = byKey.get(key);
        const here = byValue?.get(value);
        here?.delete(selector);
        if (here?.size === 0) byValue?.delete(value);
        if (byValue?.size === 0) byKey.delete(key);
      }
    },
    matching(labels) {
      const found = new Set<Selector>();
      const look = (candidates: ReadonlySet<Selector> | undefined): void => {
        for (const one of candidates ?? []) if (!found.has(one) && selectorMatches(one, labels)) found.add(one);
      };
      look(byKey.get(ALWAYS.key)?.get(ALWAYS.value));
      for (const [key, value] of labels) {
        const byValue = byKey.get(withoutSource(key));
        if (!byValue) continue;
        look(byValue.get(value));
        look(byValue.get(undefined));
      }
      return [...found];
    },
  };
}

/** The places of one alternative: its most telling requirement, which is a value of something other than the namespace. */
function places(all: readonly Requirement[]): Place[] {
  const [best] = all.filter(isValue).sort((a, b) => weight(a) - weight(b));
  if (best) return best.values.map((value) => ({ key: withoutSource(best.key), value }));
  const present = all.filter(({ operator }) => operator === 'Exists');
  const telling = present.find(({ key }) => key !== NAMESPACE_LABEL) ?? present[0];
  return [telling ? { key: withoutSource(telling.key), value: undefined } : ALWAYS];
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
