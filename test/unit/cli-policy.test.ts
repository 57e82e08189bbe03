/** `weir policy matrix | explain | lint | test | diff` as they are typed: files in, text or JSON out, exit codes. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import * as assert from 'uvu/assert';
import { type Command, type Io, runCli } from '../../agent/cli/command.ts';
import { POLICY_DIFF } from '../../agent/cli/policy/diff.ts';
import { POLICY_EXPLAIN } from '../../agent/cli/policy/explain.ts';
import { POLICY_FROM_FLOWS } from '../../agent/cli/policy/from-flows.ts';
import { POLICY_LINT } from '../../agent/cli/policy/lint.ts';
import { POLICY_MATRIX } from '../../agent/cli/policy/matrix.ts';
import { POLICY_TEST } from '../../agent/cli/policy/test.ts';
import { suite } from '../kit/suite.ts';
import { BACKEND_POLICY, CLUSTER } from './questions-cluster.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const COMMANDS: readonly Command[] = [
  POLICY_MATRIX,
  POLICY_EXPLAIN,
  POLICY_LINT,
  POLICY_TEST,
  POLICY_DIFF,
  POLICY_FROM_FLOWS,
];
const folder = mkdtempSync(join(tmpdir(), 'wt-cli-policy-'));

function write(name: string, text: string): string {
  const path = join(folder, name);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
  return path;
}
const good = dirname(write('good/cluster.yaml', CLUSTER));
write('good/policy.yaml', BACKEND_POLICY);
const refused = dirname(write('refused/cluster.yaml', CLUSTER));
write('refused/policy.yaml', BACKEND_POLICY.replace('ports: [{port: "8080", protocol: TCP}]', 'port: "8080"'));
const broken = dirname(write('broken/cluster.yaml', CLUSTER));
write('broken/policy.yaml', 'apiVersion: v1\nkind: Pod\nmetadata: {name: [}\n');
const changed = dirname(write('changed/cluster.yaml', CLUSTER));
write('changed/policy.yaml', BACKEND_POLICY.replace('"8080"', '"9090"'));

const test = suite('cli: policy questions');
test.after(() => rmSync(folder, { recursive: true, force: true }));

async function weir(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  const run = { out: '', err: '' };
  const io: Io = {
    out: (text) => {
      run.out += text;
    },
    err: (text) => {
      run.err += text;
    },
    environment: { WEIR_SERVER: `unix://${folder}/nobody.sock` },
    signal: new AbortController().signal,
    colors: false,
    stdio: { input: Readable.from([]), output: new PassThrough() },
  };
  const code = await runCli(['policy', ...args], COMMANDS, io);
  return { code, ...run };
}

test('matrix: JSON on stdout and nothing else', async () => {
  const { code, out, err } = await weir('matrix', '--manifests', good, '--port', '8080', '--port=http', '-o', 'json');
  assert.equal([code, err], [0, '']);
  const entries = JSON.parse(out) as { port: unknown }[];
  assert.equal([...new Set(entries.map(({ port }) => port))], [8080, 'http']);
});

test('matrix: a file, JSON and a List work as well as a directory', async () => {
  const pods = ['a', 'b'].map((name) => ({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name },
    spec: { containers: [] },
  }));
  const path = write('list.json', JSON.stringify({ apiVersion: 'v1', kind: 'List', items: pods }));
  const { code, out } = await weir('matrix', '--manifests', path, '-o', 'json');
  assert.equal([code, JSON.parse(out).length], [0, 2 * 2 * 2]);
});

test('matrix: a refused document isolates, and stderr says so; stdout stays clean', async () => {
  const { code, out, err } = await weir('matrix', '--manifests', refused, '--port', '8080', '-o', 'json');
  assert.is(code, 0);
  const entry = (JSON.parse(out) as { from: string; to: string; ingress: string }[]).find(
    ({ from, to }) => from === 'default/frontend' && to === 'default/backend',
  );
  assert.is(entry?.ingress, 'denied');
  assert.match(
    err,
    /policy\.yaml:\d+ {2}spec\.ingress\[0\]\.toPorts\[0\]\.port: did you mean toPorts\[0\]\.ports\[\]\.port\?/,
  );
  assert.match(err, /CiliumNetworkPolicy default\/backend-policy is refused: what it selects is isolated/);
});

test('what cannot be read answers nothing: half a cluster gives wrong answers', async () => {
  const { code, out, err } = await weir('matrix', '--manifests', broken);
  assert.equal([code, out], [1, '']);
  assert.match(err, /policy\.yaml:3 .*cannot be used: \d+ of what is written there is wrong/s);
  const missing = await weir('matrix', '--manifests', join(folder, 'nowhere'));
  assert.is(missing.code, 1);
  assert.match(missing.err, /cannot read .*nowhere: ENOENT/);
});

test('without manifests the agent is asked', async () => {
  for (const args of [['matrix'], ['explain', '--from', 'a/b', '--to', 'c/d', '--port', '1']]) {
    const { code, err } = await weir(...args);
    assert.is(code, 1);
    assert.match(err, /cannot reach the agent at unix:/);
  }
});

test('explain: text, JSON, and what is missing', async () => {
  const question = ['explain', '--manifests', good, '--from', 'default/frontend', '--to', 'default/backend'];
  const text = await weir(...question, '--port', '9090');
  assert.equal([text.code, text.err], [0, '']);
  assert.match(text.out, /IPv4 and IPv6: denied\n/);
  assert.match(text.out, /to allow it \(tried\): add the port to ingress\[0\]/);
  const all = JSON.parse((await weir(...question, '--port', '9090', '-o', 'json')).out);
  assert.equal(
    all.map(({ family, verdict }: Record<string, string>) => [family, verdict]),
    [
      ['IPv4', 'denied'],
      ['IPv6', 'denied'],
    ],
  );
  const missing = await weir(...question);
  assert.equal([missing.code, missing.err.split('\n')[0]], [2, 'weir: --port is needed']);
  const unknown = await weir(...question, '--port', 'htttp');
  assert.equal([unknown.code, unknown.err.split('\n')[0]], [2, 'weir: default/backend has no port named htttp']);
});

test('the settings of the agent count offline too', async () => {
  const question = ['explain', '--manifests', good, '--from', 'entity:host', '--to', 'default/backend', '--port', '1'];
  assert.match((await weir(...question)).out, /IPv4 and IPv6: allowed/);
  assert.match((await weir(...question, '--allow-local-host=false')).out, /IPv4 and IPv6: denied/);
  const stranger = ['explain', '--manifests', good, '--from', 'ip:1.2.3.4', '--to', 'default/frontend', '--port', '1'];
  assert.match(
    (await weir(...stranger, '--policy-enforcement', 'always')).out,
    /denied by default: Agent policyEnforcementMode-always/,
  );
});

test('lint: exit codes, formats', async () => {
  const fixed = write('fixed.yaml', BACKEND_POLICY);
  const text = await weir('lint', fixed);
  assert.is(text.code, 0);
  assert.match(
    text.out,
    /^warning {2}.*fixed\.yaml:10 {2}spec\.egress: .* \[no-dns-egress\]\n0 errors, 1 warning in 1 file\n$/,
  );
  assert.is((await weir('lint', '--strict', fixed)).code, 1);
  assert.is((await weir('lint', join(refused, 'policy.yaml'))).code, 1);
  assert.is((await weir('lint', '--strict', join(good, 'cluster.yaml'))).code, 0);
  const asJson = JSON.parse((await weir('lint', fixed, '-o', 'json')).out);
  assert.equal(
    asJson.map(({ code, line }: Record<string, unknown>) => [code, line]),
    [['no-dns-egress', 10]],
  );
  assert.is(JSON.parse((await weir('lint', fixed, '-o', 'sarif')).out).runs[0].results.length, 1);
  const both = await weir('lint', fixed, join(refused, 'policy.yaml'));
  assert.match(both.out, /2 files\n$/);
  assert.is((await weir('lint')).code, 2);
});

test('test: passes, failures with their explanation, and suites that are none', async () => {
  const header = 'manifests: [good]\ntests:\n';
  const pass = write(
    'pass.yaml',
    `${header}  - {from: default/frontend, to: default/backend, port: 8080, expect: allow}\n`,
  );
  assert.equal(await weir('test', pass), {
    code: 0,
    out: 'ok     default/frontend -> default/backend 8080: allow\n1 passed, 0 failed\n',
    err: '',
  });
  const fail = write(
    'fail.yaml',
    `${header}  - {name: db, from: database/postgres, to: default/backend, port: 1, expect: allow}\n`,
  );
  const failed = await weir('test', fail);
  assert.is(failed.code, 1);
  assert.match(failed.out, /^FAILED db \(.*fail\.yaml:3\)\n {4}IPv4: expected allow, but it is denied\n/);
  assert.match(failed.out, /to allow it \(tried\)/);
  assert.match(failed.out, /0 passed, 1 failed\n$/);
  const other = await weir('test', fail, '--manifests', join(good, 'cluster.yaml'), '-o', 'json');
  assert.equal([other.code, JSON.parse(other.out)[0].passed], [0, true]);
  const none = await weir('test', write('none.yaml', 'tests: [{from: a, to: b, port: 1}]\n'));
  assert.is(none.code, 1);
  assert.match(none.err, /none\.yaml:1 {2}tests\[0\]: expect is missing\nweir: .* is no suite of policy tests\n$/);
  const lost = await weir('test', write('lost.yaml', 'tests: [{from: a/b, to: c/d, port: 1, expect: deny}]\n'));
  assert.match(lost.err, /names no manifests/);
});

test('diff: pairs, recorded flows in every form the API has, exit code on demand', async () => {
  const one = (from: string, port: number) => ({
    verdict: 'FORWARDED',
    is_reply: false,
    IP: { source: '10.0.0.1', destination: '10.0.0.2', ipVersion: 'IPv4' },
    l4: { TCP: { source_port: 1, destination_port: port, flags: {} } },
    source: { identity: 1, namespace: 'default', pod_name: from, labels: [] },
    destination: { identity: 2, namespace: 'default', pod_name: 'backend', labels: [] },
  });
  const lines = [
    one('frontend', 8080),
    { flow: one('frontend', 8080), node_name: '', time: '' },
    { flows: [one('frontend', 8080), { ...one('frontend', 9090), is_reply: true }], lost: [] },
    { lost_events: { source: 'HUBBLE_RING_BUFFER', num_events_lost: '1' } },
  ];
  const flows = write('flows.jsonl', `${lines.map((line) => JSON.stringify(line)).join('\n')}\n\n`);
  const { code, out } = await weir('diff', good, changed, '--port', '8080', '--flows', flows);
  assert.is(code, 0);
  assert.match(out, /^2 pairs change verdict\n/);
  assert.match(
    out,
    /1 recorded flow changes verdict\n.*RECORDED\ndefault\/frontend +default\/backend +8080\/TCP +IPv4 +allowed +denied +3 FORWARDED\n$/s,
  );
  assert.is((await weir('diff', good, changed, '--exit-code')).code, 1);
  assert.equal(await weir('diff', good, good, '--exit-code'), { code: 0, out: '0 pairs change verdict\n', err: '' });
  const asJson = JSON.parse((await weir('diff', good, changed, '-o', 'json')).out);
  assert.equal([asJson.pairs.length, asJson.flows, asJson.onlyOld], [4, undefined, []]);
  const bad = await weir('diff', good, changed, '--flows', write('bad.jsonl', '{"flow":{}}\n{\n'));
  assert.is(bad.code, 1);
});

test('the example in docs/policy.md is what is printed', async () => {
  const lines = readFileSync(join(ROOT, 'docs/policy.md'), 'utf8').split('\n');
  const at = lines.findIndex((line) => line.startsWith('    $ weir policy explain'));
  const end = lines.findIndex((line, i) => i > at && line !== '' && !line.startsWith('    '));
  const [command = '', ...shown] = lines.slice(at, end).map((line) => line.slice(4));
  const words = command.split(' ').slice(3);
  const { out } = await weir(...words.map((word) => word.replace(/^demo\//, join(ROOT, 'demo/'))));
  assert.is(out.replaceAll(`${ROOT}`, '').trim(), shown.join('\n').trim());
});

/** Flows between two pods and from two nodes, as /v1/flows has them. */
function recordedFlows(): string {
  const pod = (name: string) => ({
    identity: 1,
    namespace: 'default',
    pod_name: name,
    labels: [`k8s:app=${name}`, 'k8s:io.kubernetes.pod.namespace=default'],
  });
  const node = (label: string) => ({ identity: 2, labels: [`reserved:${label}`] });
  const one = (source: object, address: string, l4: object, verdict = 'FORWARDED') => ({
    ...{ time: '2026-01-01T00:00:00.000000Z', verdict, is_reply: false, l4, source, destination: pod('backend') },
    IP: { source: address, destination: '10.0.0.2', ipVersion: 'IPv4' },
    weir: { event: verdict === 'DROPPED' ? 'drop' : 'new' },
  });
  const tcp = { TCP: { source_port: 1, destination_port: 8080, flags: {} } };
  const lines = [
    one(pod('frontend'), '10.0.0.1', tcp),
    one(pod('frontend'), '10.0.0.1', { ICMPv4: { type: 8, code: 0 } }),
    one(node('host'), '192.0.2.1', tcp),
    one(node('remote-node'), '192.0.2.2', tcp),
    one(pod('stranger'), '10.0.0.3', tcp, 'DROPPED'),
  ];
  return write('seen.jsonl', lines.map((line) => JSON.stringify(line)).join('\n'));
}

test('from-flows: as CiliumNetworkPolicy unless asked otherwise, which can say all of it', async () => {
  const { code, out, err } = await weir('from-flows', '--flows', recordedFlows());
  assert.is(code, 0, err);
  assert.match(out, /^kind: CiliumNetworkPolicy$/m);
  assert.match(out, /^ +- host$/m);
  assert.match(out, /^# DROPPED while this was recorded, and not allowed here:\n# {3}1 event, .*stranger -> /m);
  assert.not.match(out, 'NOT ALLOWED');
});

test('from-flows --kind NetworkPolicy: what cannot be said is told with its reason, and the exit code says so', async () => {
  const { code, out, err } = await weir('from-flows', '--kind', 'NetworkPolicy', '--flows', recordedFlows());
  assert.is(code, 1);
  assert.match(err, '2 kinds of flows cannot be allowed');
  const [heading = '', ...documents] = out.split('---\n');
  assert.match(heading, /NOT ALLOWED, because no rule can say it:\n.*8\/ICMPv4: a NetworkPolicy knows no ICMP types\n/);
  assert.match(heading, /192\.0\.2\.2 -> \S+ 8080\/TCP: a NetworkPolicy has no name for remote-node\n/);
  assert.match(heading, /ALLOWED WITHOUT A RULE: .*allow-local-host\):\n.*192\.0\.2\.1 -> .* no name for host\n/);
  assert.match(heading, /DROPPED .*\n.*stranger -> /);
  const backend = documents.find((text) => text.includes('name: seen-backend')) ?? '';
  assert.match(backend, /^kind: NetworkPolicy$/m);
  assert.match(backend, /# 1 event, last 2026-01-01T00:00:00Z: default\/frontend -> default\/backend 8080\/TCP/);
  assert.not.match(backend, 'stranger');
  const { code: unknown } = await weir('from-flows', '--kind', 'Other', '--flows', recordedFlows());
  assert.is(unknown, 2);
});

test.run();
