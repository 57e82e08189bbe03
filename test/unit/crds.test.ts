/** crds/: the files are as generated, the schemas are structural, and they know the same fields as the parser. */
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import * as assert from 'uvu/assert';
import { parse as parseYaml } from 'yaml';
import { CILIUM_CLUSTERWIDE_POLICY, CILIUM_POLICY } from '../../agent/policy/parse/cilium-schema.ts';
import type { Schema as ParserSchema } from '../../agent/policy/parse/schema.ts';
import { CILIUM_CLUSTERWIDE_NETWORK_POLICY, CILIUM_NETWORK_POLICY } from '../../crds/cilium/policy.ts';
import { customResourceDefinition, definitionName } from '../../crds/definition.ts';
import { DEFINITIONS, definitionFiles } from '../../crds/generate.ts';
import type { Schema } from '../../crds/schema.ts';
import { suite } from '../kit/suite.ts';

const FOLDER = fileURLToPath(new URL('../../crds', import.meta.url));
const test = suite('crds');

test('the committed files are what crds/generate.ts writes', () => {
  const committed = readdirSync(FOLDER).filter((name) => name.endsWith('.yaml'));
  assert.equal(committed.sort(), [...definitionFiles().keys()].sort());
  for (const [name, text] of definitionFiles()) {
    assert.is(readFileSync(`${FOLDER}/${name}`, 'utf8'), text, `${name} is out of date: run node crds/generate.ts`);
    assert.is(parseYaml(text).kind, 'CustomResourceDefinition', name);
  }
});

test('names and short names are used once', () => {
  const names = DEFINITIONS.flatMap(({ plural, kind, shortNames }) => [plural, kind.toLowerCase(), ...shortNames]);
  assert.equal(names.length, new Set(names).size);
});

test('kubectl apply can keep what it applied in an annotation', () => {
  for (const definition of DEFINITIONS) {
    // kubernetes: TotalAnnotationSizeLimitB, 256 KiB for all annotations.
    assert.ok(JSON.stringify(customResourceDefinition(definition)).length < 250_000, definitionName(definition));
  }
});

test('every field has a type and a description, and nothing unknown is let through', () => {
  const wrong: string[] = [];
  const visit = (schema: Schema, path: string): void => {
    const typed = schema.type !== undefined || schema['x-kubernetes-int-or-string'];
    const item = path.endsWith('[]') || path.endsWith('.*');
    if (!typed) wrong.push(`${path} has no type`);
    if (!item && !schema.description?.endsWith('.')) wrong.push(`${path} is not described`);
    const open = schema['x-kubernetes-preserve-unknown-fields'] && !path.endsWith('.status.derivativePolicies');
    const fields = schema.properties ?? schema.additionalProperties ?? schema['x-kubernetes-preserve-unknown-fields'];
    if (open || (schema.type === 'object' && !fields)) wrong.push(`${path} takes any field`);
    for (const name of schema.required ?? []) if (!schema.properties?.[name]) wrong.push(`${path} lacks ${name}`);
    for (const [name, child] of Object.entries(schema.properties ?? {})) visit(child, `${path}.${name}`);
    if (schema.items) visit(schema.items, `${path}[]`);
    if (schema.additionalProperties) visit(schema.additionalProperties, `${path}.*`);
  };
  for (const { kind, schema } of DEFINITIONS) visit(schema, kind);
  assert.equal(wrong, []);
});

/** What differs between the two descriptions of a field. Below what is not supported yet the parser does not look. */
function differences(parser: ParserSchema, crd: Schema | undefined, path: string): string[] {
  if (crd === undefined) return [`${path} is not in the CRD`];
  const same = (what: string, ours: unknown, theirs: unknown): string[] =>
    JSON.stringify(ours) === JSON.stringify(theirs)
      ? []
      : [`${path} ${what}: parser ${JSON.stringify(ours)}, CRD ${JSON.stringify(theirs)}`];
  switch (parser.type) {
    case 'object': {
      const names = Object.keys(parser.fields).filter((name) => !OBJECT_META.includes(name));
      const union = parser.oneOf ? 1 : undefined;
      return [
        ...same('type', 'object', crd.type),
        ...same('fields', names.sort(), Object.keys(crd.properties ?? {}).sort()),
        ...same('required', parser.required ?? REQUIRED_BY_CHECK[path] ?? [], crd.required ?? []),
        ...same('union', [union, union], [crd.minProperties, crd.maxProperties]),
        ...names.flatMap((name) =>
          differences(parser.fields[name] as ParserSchema, crd.properties?.[name], `${path}.${name}`),
        ),
      ];
    }
    case 'list':
      return [
        ...same('type', 'array', crd.type),
        ...same('longest', parser.max, /specs$|gress(Deny)?$/.test(path) ? undefined : crd.maxItems),
        ...differences(parser.items, crd.items, `${path}[]`),
      ];
    case 'text':
      // Protocols are checked by a function in the parser, which also takes small letters.
      return [
        ...same('type', 'string', crd.type),
        ...same('values', parser.values, path.endsWith('.protocol') ? undefined : crd.enum),
      ];
    case 'integer':
      return same('range', [parser.min, parser.max], [crd.minimum, crd.maximum]);
    case 'map':
      return same('values', 'string', crd.additionalProperties?.type);
    case 'boolean':
      return same('type', 'boolean', crd.type);
    case 'number-or-text':
      return same('type', true, crd['x-kubernetes-int-or-string']);
    default:
      return [];
  }
}
const OBJECT_META = ['apiVersion', 'kind', 'metadata'];
/** Where a check function of the parser asks for a field. */
const REQUIRED_BY_CHECK: Readonly<Record<string, readonly string[]>> = {
  'CiliumNetworkPolicy.spec': ['endpointSelector'],
  'CiliumNetworkPolicy.specs[]': ['endpointSelector'],
};

for (const [parser, { kind, schema }] of [
  [CILIUM_POLICY, CILIUM_NETWORK_POLICY],
  [CILIUM_CLUSTERWIDE_POLICY, CILIUM_CLUSTERWIDE_NETWORK_POLICY],
] as const) {
  test(`${kind}: the parser and the CRD know the same fields`, () => {
    assert.equal(differences(parser, schema, kind), []);
  });
}

test.run();
