/** What all kinds say about themselves in the same form. */
import { integer, list, object, type Schema, text } from './schema.ts';

/** metav1.Condition, as clients of every language read it. */
const CONDITION = object(
  'One thing that is so or not.',
  {
    type: text('What it is about.', { minLength: 1, maxLength: 316 }),
    status: text('Whether it is so.', { enum: ['True', 'False', 'Unknown'] }),
    reason: text('One word for programs.'),
    message: text('A sentence for people.'),
    lastTransitionTime: text('When status last changed.', { format: 'date-time' }),
    observedGeneration: integer('metadata.generation this was said of.', 0, Number.MAX_SAFE_INTEGER),
  },
  { required: ['type', 'status'] },
);

export function conditions(description: string): Schema {
  return list(description, CONDITION, {
    'x-kubernetes-list-type': 'map',
    'x-kubernetes-list-map-keys': ['type'],
  });
}
