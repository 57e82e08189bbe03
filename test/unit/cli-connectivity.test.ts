/** weir connectivity test: the table of what is tried, what comes back, and the whole of it on a cluster in memory. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { type Probe, readResults, scriptOf } from '../../agent/cli/connectivity/probe.ts';
import { allProbes } from '../../agent/cli/connectivity/probes.ts';
import { hasPassed, junit, type TestReport, testText } from '../../agent/cli/connectivity/report.ts';
import { chosen, SCENARIOS, type Scenario } from '../../agent/cli/connectivity/scenarios.ts';
import { manifestsOf, podsOf } from '../../agent/cli/connectivity/world.ts';
import { CONNECTIVITY_TEST } from '../../agent/cli/verbs/connectivity.ts';
import { suite } from '../kit/suite.ts';
import { until } from '../kit/until.ts';
import { FakeCluster, type FakeProgram, healthyStatus, list } from './cli-cluster.ts';

const nodes = ['a', 'b'];
const pods = podsOf({ nodes });
const numbered = (prefix: string, names: readonly string[]) =>
  new Map(names.map((name, i) => [name, [`${prefix}.${i + 1}`, `fd00::${i + 1}`]]));
const addresses = {
  pods: numbered(
    '10.0.0',
    pods.map(({ name }) => name),
  ),
  services: numbered('10.96.0', ['echo-same-node', 'echo-other-node']),
};
const probes = allProbes(pods, addresses, 'one.one.one.one:80');

const table = suite('cli connectivity: what is tried');
table('every action, both families, TCP and UDP, on one node and across', () => {
  const seen = new Set(
    probes.map(({ action, family, protocol, sameNode }) => `${action} ${family} ${protocol} ${sameNode}`),
  );
  for (const action of ['pod-to-pod', 'pod-to-service', 'pod-to-host', 'host-to-pod'])
    for (const family of ['IPv4', 'IPv6'])
      for (const protocol of ['tcp', 'udp'])
        for (const sameNode of [true, false])
          assert.ok(
            seen.has(`${action} ${family} ${protocol} ${sameNode}`),
            `${action} ${family} ${protocol} ${sameNode}`,
          );
  assert.ok(seen.has('dns any tcp false'));
  assert.ok(seen.has('pod-to-world any tcp false'));
  assert.is(new Set(probes.map((probe) => JSON.stringify(probe))).size, probes.length);
});
table('one node: nothing is across', () => {
  const here = podsOf({ nodes: ['a'] });
  assert.ok(allProbes(here, addresses).every(({ sameNode }) => sameNode));
  assert.equal([...new Set(here.map(({ node }) => node))], ['a']);
});
const verdicts = (name: string, probe: Partial<Probe>): boolean => {
  const scenario = SCENARIOS.find((one) => one.name === name) as Scenario;
  return scenario.allows({
    action: 'pod-to-pod',
    from: 'client',
    to: 'echo-same-node',
    protocol: 'tcp',
    sameNode: true,
    ...probe,
  } as Probe);
};
for (const [name, probe, expected] of [
  ['all-ingress-deny', {}, false],
  ['all-ingress-deny', { action: 'host-to-pod', from: 'host-same-node' }, true],
  ['all-ingress-deny', { action: 'host-to-pod', from: 'host-other-node', sameNode: false }, false],
  ['all-egress-deny', { action: 'dns' }, false],
  ['client-ingress', {}, true],
  ['client-ingress', { from: 'client2' }, false],
  ['client-ingress', { from: 'client2', to: 'client' }, true],
  ['client-egress', { protocol: 'udp' }, false],
  ['client-egress', { action: 'dns' }, true],
  ['client-egress', { to: 'client2' }, false],
  ['client-egress-deny', { from: 'client2', action: 'pod-to-service' }, false],
  ['to-entities-host', { action: 'pod-to-host', to: 'host-other-node', sameNode: false }, false],
  ['to-entities-cluster', { action: 'pod-to-world' }, false],
] as const)
  table(`${name}: ${JSON.stringify(probe)} is ${expected ? 'allowed' : 'denied'}`, () =>
    assert.is(verdicts(name, probe), expected),
  );
table('every scenario with policies denies something and allows something it tries', () => {
  for (const { name, policies, actions, allows } of SCENARIOS.filter((one) => one.policies.length > 0)) {
    const tried = probes.filter(({ action }) => actions?.includes(action) ?? true);
    assert.ok(
      tried.some((probe) => !allows(probe)),
      `${name} denies nothing`,
    );
    assert.ok(tried.some(allows), `${name} allows nothing`);
    assert.ok(policies.length > 0);
  }
});
for (const [patterns, name, action, expected] of [
  [[], 'client-egress', 'dns', true],
  [['client-.*'], 'client-egress', 'dns', true],
  [['client-.*'], 'no-policies', 'dns', false],
  [['client-.*', '!deny'], 'client-egress-deny', 'dns', false],
  [['!no-policies'], 'client-egress', 'dns', true],
  [['no-policies/pod-to-pod'], 'no-policies', 'pod-to-pod', true],
  [['no-policies/pod-to-pod'], 'no-policies', 'dns', false],
] as const)
  table(`--test ${patterns.join(' ')}: ${name}/${action}`, () => assert.is(chosen(patterns, name, action), expected));
table('manifests: what is denied must have somebody who listens', () => {
  const objects = manifestsOf({ namespace: 'n', nodes, image: 'i', pullPolicy: 'Never' }).map(({ object }) => object);
  const made = objects as { kind: string; spec?: { nodeName?: string; containers?: { imagePullPolicy: string }[] } }[];
  assert.equal(Map.groupBy(made, ({ kind }) => kind).get('Service')?.length, 4);
  const kinds = made.filter(({ kind }) => kind === 'Pod');
  assert.equal(
    kinds.map(({ spec }) => spec?.nodeName),
    pods.map(({ node }) => node),
  );
  assert.ok(kinds.every(({ spec }) => spec?.containers?.[0]?.imagePullPolicy === 'Never'));
});
table.run();

const script = suite('cli connectivity: a pod`s probes');
script('the script tries each as asked and tells of each, whatever agnhost says', () => {
  const folder = mkdtempSync(join(tmpdir(), 'wt-cli-connectivity-'));
  try {
    // Stands for agnhost: fails where the target says so, with several lines of words.
    mkdirSync(join(folder, 'bin'));
    writeFileSync(
      join(folder, 'bin/agnhost'),
      '#!/bin/sh\n[ "$4" = --timeout=50ms ] || exit 9\ncase $2 in *:1) echo "TIMEOUT\nmore" >&2; exit 1;; *:2) echo REFUSED >&2; exit 1;; *:3) echo "DNS: no such host"; exit 1;; *:4) echo "OTHER: $3"; exit 1;; esac\n',
      { mode: 0o755 },
    );
    const asked = ['h:1', 'h:2', 'h:3', 'h:4', '[fd00::1]:80'].map((target) => ({ ...(probes[0] as Probe), target }));
    const [shell = '', ...words] = scriptOf(asked, 50).map((word) =>
      word.replaceAll('/agnhost', `${folder}/bin/agnhost`),
    );
    const { stdout, status } = spawnSync(shell, words, { encoding: 'utf8' });
    assert.is(status, 0);
    assert.equal(
      readResults(asked, stdout).map(({ outcome, said }) => `${outcome} ${said}`),
      [
        'denied TIMEOUT more',
        'refused REFUSED',
        'denied DNS: no such host',
        'failed OTHER: --protocol=tcp',
        'allowed ',
      ],
    );
  } finally {
    rmSync(folder, { recursive: true });
  }
});
script('a probe nobody tells of is no success', () =>
  assert.throws(() => readResults(probes.slice(0, 2), '0 0 \n'), /did not tell of probe 1/),
);
script.run();

const reports = suite('cli connectivity: reports');
const report: TestReport = {
  name: 'x',
  sentence: 'nobody <reaches> anybody',
  seconds: 1.25,
  results: [
    { probe: probes[0] as Probe, outcome: 'denied', said: 'TIMEOUT', expected: 'denied' },
    { probe: probes[0] as Probe, outcome: 'allowed', said: '', expected: 'denied' },
  ],
};
reports('what is not as expected is told with how to ask why', () => {
  assert.is(hasPassed(report), false);
  assert.is(
    testText(report, 'ns', false),
    `× x: nobody <reaches> anybody (2 connections, 1.3 s)
    pod-to-pod: client -> echo-same-node (10.0.0.3:8080 tcp): expected denied, was allowed
      weir policy explain --from ns/client --to ns/echo-same-node --port 8080/TCP
`,
  );
});
reports('JUnit', () => {
  const xml = junit({
    namespace: 'n',
    nodes,
    tests: [
      { ...report, results: [] },
      { ...report, error: '<no> & "never"' },
    ],
  });
  assert.match(xml, '<testsuite name="weir connectivity" tests="2" failures="1" time="2.500">');
  assert.match(xml, '<testcase classname="weir connectivity" name="x" time="1.250"/>');
  assert.match(xml, '&lt;no&gt; &amp; &quot;never&quot;');
});
reports.run();

interface Context {
  fake: FakeCluster;
  /** Namespaces that are there. */
  there: Set<string>;
  policies: Map<string, object>;
}
const run = suite<Context>('cli connectivity: the command');
run.before.each(async (context) => {
  const fake = new FakeCluster();
  const there = new Set<string>();
  const policies = new Map<string, object>();
  Object.assign(context, { fake, there, policies });
  await fake.start(nodes);
  const ready = { conditions: [{ type: 'Ready', status: 'True' }] };
  fake.objects['/api/v1/nodes'] = () => list(nodes.map((name) => ({ metadata: { name }, spec: {}, status: ready })));
  fake.objects['/api/v1/namespaces'] = ({ searchParams }, _, method) => {
    const name = searchParams.get('fieldSelector')?.split('=')[1];
    if (method === 'POST') there.add('wt');
    return list(there.has(name ?? '') ? [{ metadata: { name } }] : []);
  };
  fake.objects['/api/v1/namespaces/wt'] = (_, response, method) => {
    if (method === 'DELETE') there.delete('wt');
    if (there.has('wt') || method === 'DELETE') return {};
    response.statusCode = 404;
    return { kind: 'Status', code: 404, reason: 'NotFound' };
  };
  fake.objects['/api/v1/namespaces/wt/pods'] = () =>
    list(
      pods.map(({ name }) => ({
        metadata: { name },
        status: { ...ready, podIPs: (addresses.pods.get(name) ?? []).map((ip) => ({ ip })) },
      })),
    );
  fake.objects['/api/v1/namespaces/wt/services'] = () =>
    list([...addresses.services].map(([name, clusterIPs]) => ({ metadata: { name }, spec: { clusterIPs } })));
  const ingressDeny = '/apis/networking.k8s.io/v1/namespaces/wt/networkpolicies';
  fake.objects[ingressDeny] = () => {
    policies.set('all-ingress-deny', {});
    return { metadata: { name: 'all-ingress-deny', generation: 1 } };
  };
  fake.objects[`${ingressDeny}/all-ingress-deny`] = () => {
    policies.clear();
    return {};
  };
  const policy = {
    kind: 'NetworkPolicy',
    namespace: 'wt',
    name: 'all-ingress-deny',
    status: 'valid',
    problems: [],
    realized: true,
  };
  const document = { metadata: { generation: 1 } };
  for (const [name, answers] of Object.entries(fake.agents)) {
    answers['/v1/status'] = () => healthyStatus(name);
    answers['/v1/policies'] = () => ({ policies: policies.size > 0 ? [policy] : [] });
    answers['/v1/policies/wt/all-ingress-deny'] = () => ({
      policies: policies.size > 0 ? [{ ...policy, document }] : [],
    });
  }
});
run.after.each(({ fake }) => fake.stop());

/** Pods in which everything is as `outcome` says: by default as policy says. */
function answering({ fake, policies }: Context, outcome: (target: string, pod: string) => boolean): void {
  fake.program = (program: FakeProgram) => {
    const targets = program.words.slice(4).filter((_, i) => i % 2 === 0);
    const denies = policies.size > 0;
    for (const [i, target] of targets.entries()) {
      const toHost = target.endsWith(':29480');
      const ownNode = program.pod.startsWith('host-') && isSameNode(program.pod, target);
      const allowed = (!denies || toHost || ownNode) === outcome(target, program.pod);
      program.stdout(`${i} ${allowed ? '0 ' : '1 TIMEOUT'}\n`);
    }
    program.end(0);
  };
}
function isSameNode(pod: string, target: string): boolean {
  const host = /^\[?(.*?)\]?:\d+$/.exec(target)?.[1] ?? '';
  const name = [...addresses.pods].find(([, own]) => own.includes(host))?.[0];
  const nodeOf = (of: string | undefined) => pods.find((one) => one.name === of)?.node;
  return nodeOf(pod) === nodeOf(name);
}
const LINE = 'connectivity test --test-namespace wt --test no-policies --test all-ingress-deny';

run('all as it should be: passed, and nothing is left', async (context) => {
  answering(context, () => true);
  const { code, out, err } = await context.fake.weir([CONNECTIVITY_TEST], LINE);
  assert.is(code, 0, out + err);
  assert.match(out, /^√ no-policies: .*\n√ all-ingress-deny: .*\n2 of 2 tests passed, \d+ connections tried\n$/);
  assert.equal([context.there.size, context.policies.size], [0, 0]);
});
run('something that is open fails the test, is named, and nothing is left', async (context) => {
  const file = join(context.fake.folder, 'junit.xml');
  answering(context, (target, pod) => !(context.policies.size > 0 && pod === 'client' && target === '10.0.0.3:8080'));
  const { code, out } = await context.fake.weir([CONNECTIVITY_TEST], `${LINE} --junit-file ${file}`);
  assert.is(code, 1);
  assert.match(
    out,
    /^× all-ingress-deny: .*\n {4}pod-to-pod: client -> echo-same-node \(10\.0\.0\.3:8080 tcp\): expected denied, was allowed$/m,
  );
  assert.match(out, /^1 of 2 tests passed/m);
  assert.match(readFileSync(file, 'utf8'), 'failures="1"');
  assert.is(context.there.size, 0);
});
run('a report that cannot be written is told before anything is made', async (context) => {
  answering(context, () => true);
  const file = join(context.fake.folder, 'not-there', 'junit.xml');
  const { code, out, err } = await context.fake.weir([CONNECTIVITY_TEST], `${LINE} --junit-file ${file}`);
  assert.equal([code, out], [1, '']);
  assert.match(err, /^weir: ENOENT: no such file or directory, open '.*junit.xml'\n$/);
});
run('Ctrl-C in the middle: the namespace goes', async (context) => {
  const stop = new AbortController();
  context.fake.program = () => stop.abort();
  const { code, err } = await context.fake.weir([CONNECTIVITY_TEST], LINE, { signal: stop.signal });
  assert.is(code, 1);
  assert.match(err, /interrupted\ndeleting namespace wt/);
  await until(() => context.there.size === 0, { what: 'the namespace to go' });
});
run('a namespace of others is not touched', async (context) => {
  context.there.add('wt');
  const { code, err } = await context.fake.weir([CONNECTIVITY_TEST], LINE);
  assert.is(code, 1);
  assert.match(err, /namespace wt is there already/);
  assert.is(context.there.size, 1);
});
run('a wrong pattern, and one that matches nothing', async ({ fake }) => {
  assert.match(
    (await fake.weir([CONNECTIVITY_TEST], 'connectivity test --test (')).err,
    /--test: Invalid regular expression/,
  );
  assert.match((await fake.weir([CONNECTIVITY_TEST], 'connectivity test --test nothing')).err, /no test matches/);
});
run.run();
