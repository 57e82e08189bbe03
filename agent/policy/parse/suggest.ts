/** "did you mean": where an unknown field probably belongs. */
import { editDistance } from '../../model/did-you-mean.ts';
import { formatPath, type Path } from '../../model/object.ts';
import type { ObjectSchema, Schema } from './schema.ts';

/** How deep below the misplaced field its right place is searched. */
const SEARCH_DEPTH = 3;

/**
 * The message for an unknown field `name` of the object at `path`. In this order: the same field one or more levels
 * deeper ("ports[].port"), a field here that is spelt almost so, the same field in an object further out, a label that
 * stands where matchLabels should.
 */
export function suggestField(name: string, schema: ObjectSchema, parents: readonly ObjectSchema[], path: Path): string {
  const here = formatPath(path.slice(lastName(path)));
  const deeper = findBelow(name, schema, SEARCH_DEPTH);
  if (deeper) return `did you mean ${join(here, deeper)}?`;
  const similar = nearest(name, Object.keys(schema.fields));
  if (similar) return `did you mean ${join(here, similar)}?`;
  if (parents.some((parent) => Object.hasOwn(parent.fields, name))) {
    return `did you mean ${name} further out, not inside ${here}?`;
  }
  const map = Object.entries(schema.fields).find(([, field]) => field.type === 'map');
  if (map) return `did you mean ${join(here, `${map[0]}.${name}`)}?`;
  return `unknown field, expected one of ${Object.keys(schema.fields).join(', ')}`;
}

/** Index of the last field name in the path, so that "spec.ingress[0].toPorts[0]" is shown as "toPorts[0]". */
function lastName(path: Path): number {
  return Math.max(
    0,
    path.findLastIndex((step) => typeof step === 'string'),
  );
}

function join(here: string, field: string): string {
  return here === '' ? field : `${here}.${field}`;
}

/** Breadth first, so that the nearest place is named. */
function findBelow(name: string, schema: ObjectSchema, depth: number): string | undefined {
  let level: [string, ObjectSchema][] = [['', schema]];
  for (let i = 0; i < depth; i++) {
    const next: [string, ObjectSchema][] = [];
    for (const [prefix, at] of level) {
      for (const [field, child] of Object.entries(at.fields)) {
        const inner = objectInside(child);
        if (!inner) continue;
        const place = `${prefix}${field}${child.type === 'list' ? '[]' : ''}.`;
        if (Object.hasOwn(inner.fields, name)) return place + name;
        next.push([place, inner]);
      }
    }
    level = next;
  }
  return undefined;
}

function objectInside(schema: Schema): ObjectSchema | undefined {
  if (schema.type === 'object') return schema;
  return schema.type === 'list' && schema.items.type === 'object' ? schema.items : undefined;
}

/** The candidate that differs least from the text, if it differs little; case does not count. */
export function nearest(text: string, candidates: readonly string[]): string | undefined {
  let best: string | undefined;
  let bestDistance = Math.min(2, Math.floor(text.length / 2)) + 1;
  for (const candidate of candidates) {
    const distance = editDistance(text.toLowerCase(), candidate.toLowerCase());
    if (distance < bestDistance) [best, bestDistance] = [candidate, distance];
  }
  return best;
}
