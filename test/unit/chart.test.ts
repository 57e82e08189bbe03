/** charts/weir as files: its schema and its values name the same things, and its CRDs are those of crds/. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as assert from 'uvu/assert';
import { parse } from 'yaml';
import { SETTING_NAMES } from '../../agent/config/settings.ts';
import { METRIC_NAMES, SILENT_METRICS } from '../../agent/flow/metrics/specification.ts';
import packageJson from '../../package.json' with { type: 'json' };
import { suite } from '../kit/suite.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const CHART = join(ROOT, 'charts/weir');

interface Schema {
  readonly description?: string;
  readonly type?: string | readonly string[];
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly additionalProperties?: unknown;
  readonly patternProperties?: Readonly<Record<string, Schema>>;
  readonly items?: Schema;
  readonly pattern?: string;
  readonly not?: Schema;
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

/** A value of the schema by its path; an item of a list by `[]`. */
function valueSchema(path: string): Schema {
  return path.split('.').reduce((at, name) => {
    const inner = at.properties?.[name.replace('[]', '')];
    return (name.endsWith('[]') ? inner?.items : inner) as Schema;
  }, schema);
}

test('names that are settings, or metrics, are those the agent knows', () => {
  const names = (pattern: string | undefined) =>
    /^\^\(([^)]+)\)/
      .exec(pattern ?? '')?.[1]
      ?.split('|')
      .sort();
  const [settings] = Object.keys(valueSchema('extraConfig').patternProperties ?? {});
  assert.equal(names(settings), [...SETTING_NAMES].sort());
  const { pattern } = valueSchema('hubble.metrics.enabled[]');
  assert.equal(names(pattern), [...METRIC_NAMES, ...SILENT_METRICS].sort());
});

/** What people write, and whether the schema lets it through to the agent. */
const WRITTEN: readonly [path: string, accepted: readonly string[], refused: readonly string[]][] = [
  [
    'k8sServiceHost',
    ['', '192.0.2.1', 'api.example.org', 'master_1', 'fd00::1', '::ffff:192.0.2.1'],
    ['https://192.0.2.1:6443', '192.0.2.1:6443', 'api:6443', '[fd00::1]', 'a b'],
  ],
  ['ipv4NativeRoutingCIDR', ['', '10.0.0.0/8', '255.255.255.255/32'], ['256.0.0.0/8', '10.0.0.0/33', '10.0.0.0']],
  ['ipv6NativeRoutingCIDR', ['', 'fd00::/8', '::/0', 'fd00::/128'], ['10.0.0.0/8', 'fd00::/129', 'fd00::']],
  ['nonMasqueradeCIDRs[]', ['10.0.0.0/8', 'fd00::/8'], ['10.0.0.1', '300.0.0.0/8', 'a:b/200', 'all']],
  ['clusterPodCIDRs[]', ['10.0.0.0/8', 'fd00::/8'], ['10.0.0.1', '300.0.0.0/8']],
  ['devices[]', ['eth0', 'bond0.100', 'enp0s31f6'], ['eth+', 'eth0,eth1', '', 'a-name-too-long1']],
  [
    'hubble.metrics.enabled[]',
    ['drop', 'drop:sourceContext=pod|ip;destinationContext=pod', 'dns:query;ignoreAAAA', 'http'],
    ['drops', 'drop flow', 'tcp-flags', ''],
  ],
  ['hubble.export.allowList[]', ['{"verdict":["DROPPED"]}'], ['verdict=DROPPED', '']],
  ['hubble.export.denyList[]', ['{"verdict":["DROPPED"]}'], ['FORWARDED']],
  [
    'hubble.export.static.filePath',
    ['', '/run/weir/hubble/events.log', '/run/weir/a..b'],
    ['events.log', '/run/weir/../x', '/run/weir/..'],
  ],
  ['securityContext.capabilities[]', ['NET_ADMIN'], ['CAP_NET_ADMIN', 'net_admin']],
];
for (const [path, accepted, refused] of WRITTEN)
  test(`${path}: what agents would refuse is refused before`, () => {
    const { pattern = '', not } = valueSchema(path);
    const takes = (text: string) =>
      new RegExp(pattern).test(text) && !(not?.pattern !== undefined && new RegExp(not.pattern).test(text));
    assert.equal(accepted.filter(takes), accepted);
    assert.equal(refused.filter(takes), []);
  });

test('a removal that takes too long says so before Helm gives up on it', () => {
  const helmWaitsSeconds = 300; // `helm uninstall --timeout`, for each hook
  const startsWithinSeconds = 30;
  assert.ok(Number(valueAt('cleanup.timeoutSeconds')) + startsWithinSeconds <= helmWaitsSeconds);
});

test('Helm deletes what cleans the nodes only before it makes it anew, also when some node is not clean', () => {
  // Of hooks that succeeded it deletes those with hook-succeeded when a later one fails (Helm 3, execHook).
  const policies = [...text('templates/cleanup/nodes.yaml').matchAll(/hook-delete-policy: ([a-z,-]+)/g)];
  assert.equal(
    policies.map(([, policy]) => policy),
    ['before-hook-creation'],
  );
});

test('its version is that of the package, and so is the image', () => {
  const { version, appVersion } = parse(text('Chart.yaml'));
  assert.is(version, packageJson.version);
  assert.is(String(appVersion), packageJson.version);
});

test.run();
