/** The agent's settings: where they come from, who wins, and every mistake at once. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import * as assert from 'uvu/assert';
import { type Config, readConfig } from '../../agent/config/config.ts';
import { describeSettings, settingsReference } from '../../agent/config/reference.ts';
import type { ConfigSources } from '../../agent/config/written.ts';
import { WeirError } from '../../agent/errors.ts';
import packageJson from '../../package.json' with { type: 'json' };
import { suite } from '../kit/suite.ts';

const test = suite('config');

const config = (args: string[], environment: Record<string, string> = {}, file?: string): Config => {
  const sources: ConfigSources = { args, environment };
  return readConfig(file === undefined ? sources : { ...sources, readFile: () => file });
};
function errorsOf(args: string[], environment: Record<string, string> = {}, file?: string): string[] {
  try {
    config(args, environment, file);
  } catch (error) {
    assert.ok(error instanceof WeirError && error.code === 'CONFIG_INVALID', String(error));
    return error.message.split('\n');
  }
  return [];
}

test('nothing set: the defaults, complete and frozen', () => {
  const all = config([]);
  assert.is(all.nodeName, hostname().toLowerCase());
  assert.is(all.cniSocket, '/run/weir/cni.sock');
  assert.is(all.apiSocket, '/run/weir/api.sock');
  assert.is(all.podCidrV4, '10.244.0.0/24');
  assert.is(all.podCidrV6, 'fd00:10:244::/64');
  assert.is(all.listen, undefined);
  assert.is(all.flowMemoryMiB, 32);
  assert.ok(Object.isFrozen(all));
  assert.ok(Object.isFrozen(all.identityLabels));
});

test('flags win over variables, variables over the file, the file over defaults', () => {
  const file =
    'logLevel: debug\nmtuBytes: 1400\nclusterName: from-file\nlistenUnsafe: true\nidentityLabels: [app, "k8s:team"]\n';
  const all = config(
    ['--config', '/etc/weir.yaml', '--cluster-name=from-flag'],
    { WEIR_CLUSTER_NAME: 'from-variable', WEIR_MTU_BYTES: '1300' },
    file,
  );
  assert.is(all.clusterName, 'from-flag');
  assert.is(all.mtuBytes, 1300);
  assert.is(all.logLevel, 'debug');
  assert.is(all.listenUnsafe, true);
  assert.equal(all.identityLabels, ['app', 'k8s:team']);
  assert.is(all.addDeadlineMs, 10_000);
});

test('a file may be JSON and named by a variable', () => {
  assert.is(config([], { WEIR_CONFIG: '/x' }, '{"podWaitMs": 7}').podWaitMs, 7);
});

test('what follows from other settings', () => {
  const all = config(['--run-directory', '/tmp/r', '--api-socket', '/tmp/a.sock', '--node-name', 'n1']);
  assert.is(all.cniSocket, '/tmp/r/cni.sock');
  assert.is(all.apiSocket, '/tmp/a.sock');
  assert.is(all.nodeName, 'n1');
});

test('one family may be switched off', () => {
  assert.is(config(['--pod-cidr-v6', 'none']).podCidrV6, undefined);
});

const listens: [string, Config['listen']][] = [
  ['127.0.0.1:4240', { host: '127.0.0.1', port: 4240 }],
  ['[::1]:80', { host: '::1', port: 80 }],
  ['localhost:0', { host: 'localhost', port: 0 }],
];
for (const [address, listen] of listens) {
  test(`listens on ${address}`, () => assert.equal(config([`--listen-address=${address}`]).listen, listen));
}
test('listens elsewhere only when told twice', () => {
  const all = config(['--listen-address=0.0.0.0:4240', '--listen-unsafe']);
  assert.equal(all.listen, { host: '0.0.0.0', port: 4240 });
});

const faults: readonly [string, string[], Record<string, string>, string | undefined, string[]][] = [
  [
    'an unknown flag',
    ['--flow-memory-mb=3'],
    {},
    undefined,
    ['unknown flag --flow-memory-mb; did you mean --flow-memory-mib?'],
  ],
  [
    'Hubble over TCP without all of its files',
    ['--hubble-listen-address=0.0.0.0:4244', '--hubble-tls-cert-file=/tls.crt'],
    {},
    undefined,
    [
      '--hubble-listen-address: TLS with client certificates needs --hubble-tls-key-file, --hubble-tls-client-ca-file too',
    ],
  ],
  [
    'Hubble at no address',
    ['--hubble-listen-address=4244'],
    {},
    undefined,
    ['--hubble-listen-address: expected ADDRESS:PORT such as 0.0.0.0:4244 or [::]:4244, got "4244"'],
  ],
  ['a word', ['run'], {}, undefined, ['unexpected "run": every setting is a flag']],
  ['a flag twice', ['--mtu-bytes=1', '--mtu-bytes=2'], {}, undefined, ['--mtu-bytes was given more than once']],
  ['a flag without value', ['--node-name'], {}, undefined, ['--node-name needs a value: --node-name NAME']],
  [
    'a near miss of a variable',
    [],
    { WEIR_POD_CIDR_V: 'x', WEIR_TEST_ANYTHING: '1' },
    undefined,
    ['unknown variable WEIR_POD_CIDR_V; did you mean WEIR_POD_CIDR_V4?'],
  ],
  [
    'a number out of range',
    [],
    { WEIR_MTU_BYTES: '-1' },
    undefined,
    ['WEIR_MTU_BYTES: expected a whole number from 0 to 65535, got "-1"'],
  ],
  [
    'a number with a unit',
    ['--add-deadline-ms=10s'],
    {},
    undefined,
    ['--add-deadline-ms: expected a whole number from 100 to 600000, got "10s"'],
  ],
  [
    'no power of two',
    ['--ring-buffer-mib=3'],
    {},
    undefined,
    ['--ring-buffer-mib: expected a power of two from 1 to 1024, got "3"'],
  ],
  [
    'a relative path',
    ['--state-directory=state'],
    {},
    undefined,
    ['--state-directory: expected an absolute path, got "state"'],
  ],
  [
    'a collector without its scheme',
    ['--export-otlp-url=collector:4318'],
    {},
    undefined,
    ['--export-otlp-url: expected an http:// or https:// URL, got "collector:4318"'],
  ],
  [
    'an unknown choice',
    ['--attach-mode=tc'],
    {},
    undefined,
    ['--attach-mode: expected one of auto, tcx, clsact, got "tc"'],
  ],
  [
    'a switch with a value',
    ['--listen-unsafe=yes'],
    {},
    undefined,
    ['--listen-unsafe takes true or false, not "yes"', '--listen-unsafe: expected true or false, got "yes"'],
  ],
  [
    'host bits',
    ['--pod-cidr-v4=10.0.0.1/8'],
    {},
    undefined,
    ['--pod-cidr-v4: expected a prefix without host bits: 10.0.0.0/8, got "10.0.0.1/8"'],
  ],
  [
    'the other family',
    ['--pod-cidr-v6=10.0.0.0/8'],
    {},
    undefined,
    ['--pod-cidr-v6: expected an IPv6 prefix such as fd00:10:244::/64, or none, got "10.0.0.0/8"'],
  ],
  [
    'no family at all',
    ['--pod-cidr-v4=none', '--pod-cidr-v6=none'],
    {},
    undefined,
    ['--pod-cidr-v4 and --pod-cidr-v6 are both none: pods need addresses of at least one family'],
  ],
  [
    'a bad name',
    ['--cluster-name=My_Cluster'],
    {},
    undefined,
    ['--cluster-name: expected lower-case letters, digits, "-" and ".", got "My_Cluster"'],
  ],
  [
    'no port',
    ['--listen-address=127.0.0.1'],
    {},
    undefined,
    ['--listen-address: expected ADDRESS:PORT such as 127.0.0.1:4240 or [::1]:4240, got "127.0.0.1"'],
  ],
  [
    'not loopback',
    ['--listen-address=[::]:80'],
    {},
    undefined,
    ['--listen-address: :: is not loopback and the API has no authentication; add --listen-unsafe to allow it'],
  ],
  [
    'a bad pattern',
    ['--identity-labels=app(', '--mtu-bytes=9'],
    {},
    undefined,
    ['--identity-labels: expected regular expressions, [!][SOURCE:]KEY each, got "app("'],
  ],
  [
    'an unknown setting in the file',
    ['--config=/f'],
    {},
    'logLevle: info',
    ['/f: unknown setting logLevle; did you mean logLevel?'],
  ],
  ['a mapping in the file', ['--config=/f'], {}, 'nodeName: {a: 1}', ['/f: nodeName: expected a single value']],
  [
    'a wrong value in the file',
    ['--config=/f'],
    {},
    'mtuBytes: big',
    ['/f: mtuBytes: expected a whole number from 0 to 65535, got "big"'],
  ],
  ['broken YAML', ['--config=/f'], {}, 'a: 1\na: 2', ['/f:2: Map keys must be unique']],
  ['a file that is no mapping', ['--config=/f'], {}, '- a', ['/f: expected settings as "name: value"']],
];
for (const [name, args, environment, file, errors] of faults) {
  test(`refuses ${name}`, () => assert.equal(errorsOf(args, environment, file), errors));
}

test('every mistake is told at once', () => {
  const errors = errorsOf(['--mtu-bytes=x', '--nope', '--listen-address=8.8.8.8:1'], { WEIR_LOG_LEVEL: 'loud' });
  assert.is(errors.length, 4, errors.join('\n'));
});

test('a file that cannot be read', () => {
  const [error] = errorsOf(['--config=/nowhere/weir.yaml']);
  assert.match(error ?? '', /^--config: cannot read \/nowhere\/weir.yaml: ENOENT/);
});

test('--help has every setting with its sentence', () => {
  assert.match(
    describeSettings(),
    / {6}--pod-cidr-v4 PREFIX\|none +IPv4 addresses for this node's pods. \[10.244.0.0\/24\]\n/,
  );
});

test('docs/reference/settings.md is what `node docs/generate.ts` writes', () => {
  const file = new URL('../../docs/reference/settings.md', import.meta.url);
  assert.is(readFileSync(file, 'utf8'), settingsReference());
});

test('the agent tells its version, without any setting', () => {
  const agent = new URL('../../agent/main.ts', import.meta.url).pathname;
  assert.is(
    execFileSync(process.execPath, [agent, '--version'], { encoding: 'utf8' }),
    `weir-agent ${packageJson.version}\n`,
  );
});

test.run();
