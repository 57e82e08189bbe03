/**
 * The selector strings of kubectl and hubble over labels with a source: "app=frontend,tier in (a, b),!debug,rank>5".
 * Meaning as of labels.Parse in k8s.io/apimachinery: '' selects everything.
 * A key without a source ("app", or "any:app") finds the label of any source; "k8s:app" only Kubernetes's.
 */
import type { Labels } from '../model/labels.ts';

export type LabelMatcher = (labels: Labels) => boolean;

const KEY = '(?:[a-zA-Z0-9_.-]+:)?[a-zA-Z0-9](?:[a-zA-Z0-9_./-]*[a-zA-Z0-9])?';
const EXISTS = new RegExp(`^(!?)\\s*(${KEY})$`);
const EQUALS = new RegExp(`^(${KEY})\\s*(=|==|!=)\\s*([^\\s,()=!<>]*)$`);
const COMPARES = new RegExp(`^(${KEY})\\s*([<>])\\s*([0-9]+)$`);
const SET = new RegExp(`^(${KEY})\\s+(in|notin)\\s*\\(([^()=!<>]*)\\)$`);

/** Reads a selector; undefined when it is none. All requirements must hold. */
export function parseLabelSelector(text: string): LabelMatcher | undefined {
  if (text === '') return () => true;
  const matchers = splitOutsideParentheses(text).map((part) => requirement(part.trim()));
  if (matchers.some((matcher) => matcher === undefined)) return undefined;
  return (labels) => matchers.every((matches) => matches?.(labels));
}

function requirement(text: string): LabelMatcher | undefined {
  const exists = EXISTS.exec(text);
  if (exists) {
    const wanted = exists[1] !== '!';
    return (labels) => valuesOf(labels, exists[2] as string).length > 0 === wanted;
  }
  const equals = EQUALS.exec(text);
  if (equals) return oneOf(equals[1] as string, [equals[3] as string], equals[2] !== '!=');
  const compares = COMPARES.exec(text);
  if (compares) return beyond(compares[1] as string, compares[2] === '>', compares[3] as string);
  const set = SET.exec(text);
  if (!set) return undefined;
  const values = (set[3] as string).split(',').map((value) => value.trim());
  if (values.some((value) => /\s/.test(value))) return undefined;
  return oneOf(set[1] as string, values, set[2] === 'in');
}

/** As in Kubernetes, "not" also holds where the key is absent. */
function oneOf(key: string, values: readonly string[], wanted: boolean): LabelMatcher {
  return (labels) => valuesOf(labels, key).some((value) => values.includes(value)) === wanted;
}

const INT64_MAX = 2n ** 63n - 1n;
const INT64_MIN = -(2n ** 63n);

/** Greater or less than the limit, which is not included. A label that is absent or no number is neither. */
function beyond(key: string, above: boolean, written: string): LabelMatcher | undefined {
  const limit = int64(written);
  if (limit === undefined) return undefined;
  return (labels) =>
    valuesOf(labels, key).some((value) => {
      const number = int64(value);
      return number !== undefined && (above ? number > limit : number < limit);
    });
}

/** As Go's ParseInt reads it; undefined for what is no number or does not fit. */
function int64(text: string): bigint | undefined {
  if (!/^[+-]?[0-9]{1,64}$/.test(text)) return undefined;
  const number = BigInt(text.replace(/^\+/, ''));
  return number >= INT64_MIN && number <= INT64_MAX ? number : undefined;
}

function valuesOf(labels: Labels, key: string): string[] {
  const bare = key.startsWith('any:') ? key.slice('any:'.length) : key;
  if (bare.includes(':')) {
    const value = labels.get(bare);
    return value === undefined ? [] : [value];
  }
  return [...labels].filter(([label]) => label.slice(label.indexOf(':') + 1) === bare).map(([, value]) => value);
}

/** By hand: a regular expression that looks ahead takes the square of a text of commas. */
function splitOutsideParentheses(text: string): string[] {
  const parts: string[] = [];
  let from = 0;
  let isInside = false;
  for (let at = 0; at < text.length; at++) {
    const letter = text[at];
    if (letter === '(') isInside = true;
    else if (letter === ')') isInside = false;
    else if (letter === ',' && !isInside) {
      parts.push(text.slice(from, at));
      from = at + 1;
    }
  }
  return [...parts, text.slice(from)];
}
