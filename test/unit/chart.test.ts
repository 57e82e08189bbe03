/** charts/weir as files: its schema and its values name the same things, and its CRDs are those of crds/. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as assert from 'uvu/assert';
import { parse } from 'yaml';
import packageJson from '../../package.json' with { type: 'json' };
import { suite } from '../kit/suite.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const CHART = join(ROOT, 'charts/weir');

interface Schema {
  readonly description?: string;
  readonly type?: string | readonly string[];
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly additionalProperties?: unknown;
}

const text = (name: string): string => readFileSync(join(CHART, name), 'utf8');
const schema: Schema = JSON.parse(text('values.schema.json'));
const values: unknown = parse(text('values.yaml'));

/** Paths of everything that is no group of further names. */
function described(node: Schema, path = ''): [string, Schema][] {
  if (node.properties === undefined) return [[path, node]];
  return Object.entries(node.properties).flatMap(([name, inner]) =>
    described(inner, path === '' ? name : `${path}.${name}`),
  );
}

function valueAt(path: string): unknown {
  return path.split('.').reduce<unknown>((at, name) => (at as Record<string, unknown> | undefined)?.[name], values);
}

/** Paths of values, as deep as the schema knows names. */
function valuePaths(node: unknown, known: Schema | undefined, path = ''): string[] {
  if (known?.properties === undefined || typeof node !== 'object' || node === null) return [path];
  return Object.entries(node).flatMap(([name, inner]) =>
    valuePaths(inner, known.properties?.[name], path === '' ? name : `${path}.${name}`),
  );
}

const test = suite('chart: files');

test('every value is described, and nothing is described that is not there', () => {
  const names = described(schema).map(([path]) => path);
  assert.equal(valuePaths(values, schema).sort(), names.filter((path) => path !== 'global').sort());
  for (const [path, { description }] of described(schema)) assert.match(description ?? '', /^[A-Z`/].*[.`]$/s, path);
});

test('no group of values takes names that it does not know', () => {
  const open = (node: Schema, path: string): string[] =>
    node.properties === undefined
      ? []
      : [
          ...(node.additionalProperties === false ? [] : [path]),
          ...Object.entries(node.properties).flatMap(([name, inner]) => open(inner, `${path}.${name}`)),
        ];
  assert.equal(open(schema, ''), []);
});

test('no value is null: what it may be could not be told from it', () => {
  for (const [path] of described(schema)) if (path !== 'global') assert.is.not(valueAt(path) ?? null, null, path);
});

test('the CRDs are those of crds/', () => {
  const ours = readdirSync(join(CHART, 'crds')).sort();
  const theirs = readdirSync(join(ROOT, 'crds')).filter((name) => name.endsWith('.yaml'));
  assert.equal(ours, theirs.sort());
  for (const name of ours)
    assert.is(
      text(`crds/${name}`),
      readFileSync(join(ROOT, 'crds', name), 'utf8'),
      `${name}: run node crds/generate.ts`,
    );
});

test('its version is that of the package, and so is the image', () => {
  const { version, appVersion } = parse(text('Chart.yaml'));
  assert.is(version, packageJson.version);
  assert.is(String(appVersion), packageJson.version);
});

test.run();
