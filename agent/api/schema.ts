/** JSON Schema in the dialect of OpenAPI 3.0, and the pieces that several resources share. */

export type Schema = { readonly [keyword: string]: unknown };

export const text = (description: string): Schema => ({ type: 'string', description });
export const number = (description: string): Schema => ({ type: 'number', description });
export const integer = (description: string): Schema => ({ type: 'integer', description });
export const flag = (description: string): Schema => ({ type: 'boolean', description });
export const oneOf = (values: readonly string[], description: string): Schema => ({
  type: 'string',
  enum: [...values],
  description,
});
export const list = (items: Schema, description = ''): Schema => ({
  type: 'array',
  items,
  ...(description && { description }),
});
/** A schema registered with the server under its name. */
export const named = (name: string): Schema => ({ $ref: `${name}#` });

/** An object with exactly these fields; all are there but the optional ones. */
export function record(
  description: string,
  fields: Readonly<Record<string, Schema>>,
  optional: readonly string[] = [],
): Schema {
  const required = Object.keys(fields).filter((field) => !optional.includes(field));
  return {
    type: 'object',
    description,
    additionalProperties: false,
    properties: fields,
    ...(required.length > 0 && { required }), // OpenAPI 3.0 takes no empty list.
  };
}

export const ERROR_SCHEMA: Schema = {
  $id: 'Error',
  ...record('Every error answer.', {
    error: record('', {
      code: text('Stable name, see agent/errors.ts'),
      message: text('One sentence for a person: what was wrong and what was expected'),
      operation: text('What was being done'),
      retryable: flag('The same request may succeed later'),
    }),
  }),
};

/** Of answers about several nodes. */
export const UNREACHABLE: Schema = list(
  record('', { node: text(''), why: text('') }),
  'With scope=cluster: nodes whose agents did not answer; what they saw is missing',
);

export const OBJECT_SCHEMA: Schema = {
  $id: 'Object',
  ...record('Names an object of the cluster.', {
    kind: text(''),
    namespace: text("'' for cluster-wide kinds"),
    name: text(''),
  }),
};

export const PROBLEM_SCHEMA: Schema = {
  $id: 'Problem',
  ...record(
    'Something wrong, or suspicious, in a document.',
    {
      severity: oneOf(['error', 'warning'], ''),
      code: text('Stable short name, e.g. "unknown-field"'),
      message: text(''),
      path: text('Field: "spec.ingress[0].toPorts"'),
      place: text('File, or other origin'),
      line: integer('From 1; absent when there is no text'),
    },
    ['line'],
  ),
};
