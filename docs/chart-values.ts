/** docs/reference/values.md: the chart's values, from its schema and its defaults. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';

const CHART = fileURLToPath(new URL('../charts/weir', import.meta.url));

interface Schema {
  readonly description?: string;
  readonly enum?: readonly unknown[];
  readonly properties?: Readonly<Record<string, Schema>>;
}

/** Cells of the table: name, default, meaning. */
export function valueRows(): string[][] {
  const schema: Schema = JSON.parse(readFileSync(`${CHART}/values.schema.json`, 'utf8'));
  const defaults: unknown = parse(readFileSync(`${CHART}/values.yaml`, 'utf8'));
  return rowsOf(schema, defaults, '').filter(([name]) => name !== '`global`');
}

function rowsOf({ properties, description = '', enum: choices }: Schema, value: unknown, path: string): string[][] {
  if (properties === undefined) {
    const several =
      choices !== undefined && choices.length > 1 ? ` One of ${choices.map((one) => `\`${one}\``).join(', ')}.` : '';
    return [[`\`${path}\``, value === '' ? '' : `\`${JSON.stringify(value)}\``, description + several]];
  }
  return Object.entries(properties).flatMap(([name, inner]) =>
    rowsOf(inner, (value as Record<string, unknown> | undefined)?.[name], path === '' ? name : `${path}.${name}`),
  );
}
