/**
 * The part of OpenAPI that a CustomResourceDefinition takes, as data, and short ways to write it. Every schema made here is
 * structural: each field has a type and a description, nothing unknown is let through, so that the API server names the
 * field that is wrong. https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/
 */

/** A condition on a value; also what may stand inside anyOf, oneOf, not, where types and descriptions are not allowed. */
export interface Condition {
  readonly required?: readonly string[];
  readonly properties?: { readonly [name: string]: Condition };
  readonly minProperties?: number;
  readonly maxProperties?: number;
  readonly minItems?: number;
  readonly maxItems?: number;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly minLength?: number;
  readonly maxLength?: number;
  /** RE2, found anywhere in the text: anchor it. */
  readonly pattern?: string;
  readonly format?: string;
  readonly enum?: readonly (string | number)[];
  readonly allOf?: readonly Condition[];
  readonly anyOf?: readonly Condition[];
  readonly oneOf?: readonly Condition[];
  readonly not?: Condition;
}

/** A CEL expression that holds for every valid value, and what to tell who wrote another. */
export interface Rule {
  readonly rule: string;
  readonly message: string;
}

export interface Schema extends Condition {
  readonly type?: 'object' | 'array' | 'string' | 'integer' | 'boolean';
  readonly description?: string;
  readonly properties?: { readonly [name: string]: Schema };
  readonly additionalProperties?: Schema;
  readonly items?: Schema;
  readonly nullable?: true;
  readonly 'x-kubernetes-int-or-string'?: true;
  readonly 'x-kubernetes-preserve-unknown-fields'?: true;
  readonly 'x-kubernetes-list-type'?: 'map' | 'set';
  /** Atomic: whoever applies it owns all of it, nothing is merged into it. */
  readonly 'x-kubernetes-map-type'?: 'atomic';
  readonly 'x-kubernetes-list-map-keys'?: readonly string[];
  readonly 'x-kubernetes-validations'?: readonly Rule[];
}

type More = Omit<Schema, 'type' | 'description' | 'properties' | 'items'>;

export function object(description: string, properties: { readonly [name: string]: Schema }, more: More = {}): Schema {
  return { type: 'object', description, ...more, properties };
}

/** Exactly one of the fields. */
export function union(description: string, properties: { readonly [name: string]: Schema }): Schema {
  return object(description, properties, { minProperties: 1, maxProperties: 1 });
}

export function list(description: string, items: Schema, more: More = {}): Schema {
  return { type: 'array', description, ...more, items };
}

/** Text to text. */
export function map(description: string, value: Condition = {}, more: More = {}): Schema {
  return { type: 'object', description, ...more, additionalProperties: { type: 'string', ...value } };
}

export function text(description: string, more: Condition = {}): Schema {
  return { type: 'string', description, ...more };
}

/** A whole number, both ends included. */
export function integer(description: string, minimum: number, maximum: number): Schema {
  return { type: 'integer', description, minimum, maximum };
}

export function boolean(description: string): Schema {
  return { type: 'boolean', description };
}

export function rules(...list: readonly Rule[]): { readonly 'x-kubernetes-validations': readonly Rule[] } {
  return { 'x-kubernetes-validations': list };
}

/**
 * The same schema, but the API server keeps what is written as null, as `fromEndpoints:` with nothing behind it. Without this it
 * drops the field before anybody sees it, and a field that is not there means more than an empty one: all peers, all ports.
 */
export function keepingNulls(schema: Schema): Schema {
  const { properties, additionalProperties, items, required = [] } = schema;
  const kept = ([name, child]: [string, Schema]) => {
    const inner = keepingNulls(child);
    return [name, required.includes(name) ? inner : { ...inner, nullable: true as const }] as const;
  };
  return {
    ...schema,
    ...(properties && { properties: Object.fromEntries(Object.entries(properties).map(kept)) }),
    ...(additionalProperties && { additionalProperties: { ...additionalProperties, nullable: true as const } }),
    ...(items && { items: keepingNulls(items) }),
  };
}
