/** Which fields of a flow a caller wants: google.protobuf.FieldMask over flow.Flow. */
import protobuf from 'protobufjs/light.js';
import { Refusal } from './refusal.ts';

/** A field's name -> what of it is wanted: all, or the mask of its fields. */
export type FieldMask = ReadonlyMap<string, 'all' | FieldMask>;

/** Paths such as "source.identity" of the message `type`; undefined when there is none, which means everything. */
export function readFieldMask(paths: readonly string[], type: protobuf.Type): FieldMask | undefined {
  if (paths.length === 0) return undefined;
  const mask: Mutable = new Map();
  for (const path of paths) add(mask, path.split('.'), type, path);
  return mask;
}

/** The wanted fields of a value: itself, or a copy with fewer fields. */
export function keepMasked(value: unknown, mask: 'all' | FieldMask): unknown {
  if (mask === 'all' || typeof value !== 'object' || value === null) return value;
  const kept: Record<string, unknown> = {};
  for (const [name, inner] of mask) {
    const field = (value as Record<string, unknown>)[name];
    if (field !== undefined) kept[name] = keepMasked(field, inner);
  }
  return kept;
}

type Mutable = Map<string, 'all' | FieldMask>;

function add(mask: Mutable, [name = '', ...rest]: readonly string[], type: protobuf.Type, path: string): void {
  const field = Object.hasOwn(type.fields, name) ? type.fields[name]?.resolve() : undefined;
  if (field === undefined) {
    const expected = Object.keys(type.fields).join(', ');
    throw new Refusal('INVALID_ARGUMENT', `field_mask: ${JSON.stringify(path)}: expected one of ${expected}`);
  }
  const inner = field.resolvedType;
  // What is never filled has no fields here, whatever it has in Hubble.
  const isUnfilled = inner instanceof protobuf.Type && inner.fieldsArray.length === 0;
  if (rest.length === 0 || isUnfilled) {
    mask.set(name, 'all');
    return;
  }
  if (!(inner instanceof protobuf.Type) || field.repeated) {
    throw new Refusal('INVALID_ARGUMENT', `field_mask: ${JSON.stringify(path)}: ${name} can only be asked for whole`);
  }
  const before = mask.get(name);
  if (before === 'all') return;
  const innerMask: Mutable = new Map(before);
  add(innerMask, rest, inner, path);
  mask.set(name, innerMask);
}
