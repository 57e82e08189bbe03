/** Label selectors, as Cilium writes them: keys may carry the source of the label ("k8s:app", "reserved:host"). */
import {
  ADDRESS_SOURCES,
  LABEL_KEY,
  LABEL_SOURCES,
  LABEL_VALUE,
  OPERATORS,
} from '../../agent/policy/parse/label-selector.ts';
import { list, map, object, type Schema, text } from '../schema.ts';

const VALUE = { pattern: LABEL_VALUE.source, maxLength: 63 };
const KEY = {
  pattern: [
    `^((${LABEL_SOURCES.join('|')}):)?(io\\.cilium\\.k8s\\.namespace\\.labels\\.)?${bare(LABEL_KEY)}$`,
    `^(${ADDRESS_SOURCES.join('|')}):.+$`,
  ].join('|'),
};

const EXPRESSION = object(
  'One condition on the label of this key.',
  {
    key: text('Key of the label. Without a source ("k8s:", "reserved:", ...) any source will do.', KEY),
    operator: text(
      'In: the label is there with one of the values. NotIn: it is not. Exists, DoesNotExist: with whatever value.',
      { enum: OPERATORS },
    ),
    values: list('For In and NotIn, at least one; for the others none.', { type: 'string', ...VALUE }),
  },
  {
    required: ['key', 'operator'],
    anyOf: [
      { properties: { operator: { enum: ['In', 'NotIn'] }, values: { minItems: 1 } }, required: ['values'] },
      { properties: { operator: { enum: ['Exists', 'DoesNotExist'] }, values: { maxItems: 0 } } },
    ],
  },
);

/** All conditions have to hold; without any it selects all. */
export function selector(description: string): Schema {
  const fields = {
    matchLabels: map('Labels that have to be there with exactly these values.', VALUE),
    matchExpressions: list('More conditions; all of them have to hold.', EXPRESSION),
  };
  return object(description, fields, { 'x-kubernetes-map-type': 'atomic' });
}

/** The pattern without its anchors, its slashes as RE2 and people read them. */
function bare(pattern: RegExp): string {
  return pattern.source.replace(/^\^|\$$/g, '').replaceAll('\\/', '/');
}
