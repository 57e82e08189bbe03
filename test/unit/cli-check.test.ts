/** weir check: what is made of facts, and how it is shown. */
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as assert from 'uvu/assert';
import type { ClusterFacts, NodeInCluster } from '../../agent/cli/check/cluster-facts.ts';
import { type Category, type Finding, type Known, known } from '../../agent/cli/check/finding.ts';
import { TO_INSTALL } from '../../agent/cli/check/gather-cluster.ts';
import { judgeOwnAgent } from '../../agent/cli/check/judge-agents.ts';
import { DEFINITIONS, judgeBefore, judgeCluster } from '../../agent/cli/check/judge-cluster.ts';
import { judgeNode } from '../../agent/cli/check/judge-node.ts';
import { type NodeFacts, readDefaultDevices, readKubeProxy, readMounts } from '../../agent/cli/check/node-facts.ts';
import { reportJson, reportText, worst } from '../../agent/cli/check/report.ts';
import { CHECK } from '../../agent/cli/verbs/check.ts';
import { definitionsOf } from '../../agent/install/definitions.ts';
import { suite } from '../kit/suite.ts';
import { FakeCluster, healthyStatus, list } from './cli-cluster.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const is = <T>(value: T): Known<T> => ({ value });
const all = (categories: readonly Category[]): Finding[] => categories.flatMap(({ checks }) => checks);
/** Findings that are no success, as "result description: error". */
const wrong = (categories: readonly Category[]): string[] =>
  all(categories)
    .filter(({ result }) => result !== 'success')
    .map(({ result, description, error }) => `${result} ${description}: ${error}`);

const node = suite('cli check: this machine');
const goodNode: NodeFacts = {
  isRoot: true,
  kernel: '6.18.0',
  missing: is(''),
  tcx: is(true),
  mounts: is([
    { folder: '/sys/fs/bpf', type: 'bpf' },
    { folder: '/sys/fs/cgroup', type: 'cgroup2' },
  ]),
  obstacles: is([]),
  cniConfigurations: is(['05-weir.conflist', '10-old.conflist.weir_bak', 'README']),
  kubeProxy: is([]),
  paths: is({ kubelet: true, runtime: true, cniBin: true }),
};
node('a good one has nothing to say', () => assert.equal(wrong(judgeNode(goodNode)), []));
const problem = (severity: 'error' | 'warning', code: string) => ({
  ...{ severity, code, message: `${code} it is`, path: [], place: 'network', line: undefined },
});
for (const [name, facts, expected] of [
  [
    'an old kernel',
    { missing: is('it lacks ring buffers') },
    [/^error kernel 6\.18\.0 has .*: it lacks ring buffers$/],
  ],
  ['no tcx', { tcx: is(false) }, [/^warning kernel has tcx links: .*clsact/]],
  ['nothing mounted', { mounts: is([]) }, [/^warning BPF file system/, /^error control groups v2 are mounted/]],
  ['no root', { isRoot: false }, [/^warning kernel .*: only root may try/]],
  [
    'Docker`s FORWARD DROP',
    { obstacles: is([problem('error', 'forward-drop')]) },
    [/^error nobody drops forwarded packets .*: forward-drop it is$/],
  ],
  ['strict rp_filter', { obstacles: is([problem('warning', 'reverse-path-filter')]) }, [/^warning rp_filter/]],
  [
    'another plugin`s devices',
    { obstacles: is([problem('warning', 'other-plugin')]) },
    [/^warning no other network plugin/],
  ],
  ['kube-proxy`s rules', { kubeProxy: is(['iptables']) }, [/^warning no kube-proxy .*\(iptables\)/]],
  [
    'a leftover configuration',
    { cniConfigurations: is(['10-calico.conflist', '05-weir.conflist']) },
    [/^warning no other CNI configuration: .*10-calico\.conflist/],
  ],
  ['no kubelet', { paths: is({ kubelet: false, runtime: true, cniBin: true }) }, [/^warning kubelet/]],
  [
    'rules that cannot be read',
    { obstacles: { unknown: 'nft is not there' }, kubeProxy: { unknown: 'nft is not there' } },
    Array(5).fill(/^warning .*could not be found out: nft is not there$/),
  ],
] as [string, Partial<NodeFacts>, RegExp[]][])
  node(name, () => {
    const found = wrong(judgeNode({ ...goodNode, ...facts }));
    assert.is(found.length, expected.length, found.join('\n'));
    for (const [i, pattern] of expected.entries()) assert.match(found[i] ?? '', pattern);
  });
node('mounts, routes and rules as the kernel and nft print them', () => {
  assert.equal(readMounts('none /sys/fs/bpf bpf rw 0 0\ncgroup2 /a\\040b cgroup2 ro 0 0\n\n'), [
    { folder: '/sys/fs/bpf', type: 'bpf' },
    { folder: '/a b', type: 'cgroup2' },
  ]);
  const header = 'Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n';
  const routes = `${header}eth1\t00000000\t0100000A\t0003\t0\t0\t0\t00000000\t0\t0\t0\neth2\t0000A8C0\t0\t1\t0\t0\t0\t0000FFFF\t0\t0\t0\n`;
  const zero = '0'.repeat(32);
  const routes6 = `${zero} 00 ${zero} 00 ${zero} 00000400 00000001 00000000 00000001 eth3\n${zero} 00 ${zero} 00 ${zero} ffffffff 00000001 00000000 00200200 lo\nfd00${'0'.repeat(28)} 40 ${zero} 00 ${zero} 00000100 00000001 00000000 00000001 eth4\n`;
  assert.equal(readDefaultDevices(routes, routes6), ['eth1', 'eth3']);
  assert.equal(readDefaultDevices('', ''), []);
  const chain = (table: string, name: string) => ({ chain: { family: 'ip', table, name } });
  const chains = { nftables: [{ metainfo: {} }, chain('nat', 'KUBE-SERVICES'), chain('kube-proxy', 'services')] };
  assert.equal(readKubeProxy(chains, 'IP Virtual Server\nTCP  0A600001:01BB rr\n'), ['iptables', 'nftables', 'IPVS']);
  assert.equal(readKubeProxy({ nftables: [chain('weir', 'forward')] }, 'IP Virtual Server\nProt LocalAddress\n'), []);
});
node.run();

const cluster = suite('cli check: a cluster');
const nodeObject = (name: string, more: object = {}): NodeInCluster => ({
  metadata: { name },
  spec: { podCIDRs: ['10.0.0.0/24'] },
  status: { conditions: [{ type: 'Ready', status: 'True' }], nodeInfo: { kernelVersion: '6.1.0-18-amd64' } },
  ...more,
});
const established = (name: string) => ({
  metadata: { name },
  status: { conditions: [{ type: 'Established', status: 'True' }] },
});
const runningPod = (name: string, more: object = {}, nodeName = 'a') => ({
  metadata: { namespace: 'shop', name },
  spec: { nodeName, ...more },
  status: { phase: 'Running' },
});
const weirDaemonSet = (ready: number) => ({
  metadata: { namespace: 'kube-system', name: 'weir' },
  status: { desiredNumberScheduled: 2, numberReady: ready },
});
const good: ClusterFacts = {
  server: 'https://k8s',
  version: is('v1.34.1'),
  permissions: is([{ what: 'list nodes', allowed: true }]),
  nodes: is([nodeObject('a'), nodeObject('b')]),
  daemonSets: is([weirDaemonSet(2)]),
  definitions: is(DEFINITIONS.map(established)),
  pods: is([runningPod('host', { hostNetwork: true })]),
  namespace: 'kube-system',
};
const before = { ...good, daemonSets: is([]) };
const agents = {
  status: { answers: ['a', 'b'].map((name) => ({ node: name, value: healthyStatus(name) })), silent: [] },
  endpoints: { answers: [{ node: 'a', value: { endpoints: [] } }], silent: [] },
};
cluster('a good one has nothing to say', () => {
  assert.equal(wrong(judgeBefore(before)), []);
  assert.equal(wrong(judgeCluster(good, agents, '0.1.0')), []);
});
for (const [name, facts, expected] of [
  [
    'the API server is away',
    { version: { unknown: 'ECONNREFUSED' } },
    [/^error API server https:\/\/k8s answers: ECONNREFUSED/],
  ],
  ['an old Kubernetes', { version: is('v1.29.3+k3s1') }, [/^error Kubernetes is at least 1\.30: it is v1\.29\.3/]],
  [
    'rights are missing',
    { permissions: is([{ what: 'create daemonsets in x', allowed: false }]) },
    [/^error you may do what is needed .*: you may not: create daemonsets in x$/],
  ],
  ['no pod CIDRs', { nodes: is([nodeObject('a', { spec: {} })]) }, [/^error every node has pod CIDRs: without: a$/]],
  [
    'an old kernel somewhere',
    { nodes: is([nodeObject('a', { status: { nodeInfo: { kernelVersion: '5.4.0-100-generic' } } })]) },
    [/^error every node has Linux 5\.10 or later: a \(5\.4\.0-100-generic\)$/],
  ],
  [
    'other plugins and kube-proxy',
    {
      daemonSets: is([
        { metadata: { namespace: 'x', name: 'calico-node' } },
        { metadata: { namespace: 'x', name: 'kube-proxy' } },
      ]),
    },
    [/^error no other network plugin is installed: DaemonSets: x\/calico-node$/, /^warning no kube-proxy is installed/],
  ],
  [
    'an uninstallation that did not end',
    { daemonSets: is([{ metadata: { namespace: 'old', name: 'weir-cleanup' } }]) },
    [/^error no removal of Weir goes on: DaemonSet old\/weir-cleanup takes Weir off every node it reaches$/],
  ],
  [
    'pods that run already',
    { pods: is([runningPod('web'), runningPod('host', { hostNetwork: true }), { metadata: { name: 'done' } }]) },
    [/^warning no pod is older than Weir: 1 pods run already: shop\/web$/],
  ],
] as [string, Partial<ClusterFacts>, RegExp[]][])
  cluster(`before: ${name}`, () => {
    const found = wrong(judgeBefore({ ...before, ...facts }));
    assert.is(found.length, expected.length, found.join('\n'));
    for (const [i, pattern] of expected.entries()) assert.match(found[i] ?? '', pattern);
  });
for (const [name, facts, expected] of [
  [
    'a CRD is missing',
    { definitions: is(DEFINITIONS.slice(1).map(established)) },
    /^error all CRDs are there: missing: ciliumcidrgroups/,
  ],
  [
    'agents are not ready',
    { daemonSets: is([weirDaemonSet(1)]) },
    /^error DaemonSet weir is ready on every node: 1 of 2 are/,
  ],
  [
    'an earlier uninstallation did not end',
    { daemonSets: is([weirDaemonSet(2), { metadata: { namespace: 'kube-system', name: 'weir-cleanup' } }]) },
    /^error no removal of Weir goes on: DaemonSet kube-system\/weir-cleanup takes Weir off every node it reaches$/,
  ],
  ['there is no DaemonSet', { daemonSets: is([]) }, /^error DaemonSet weir .*: there is none in kube-system/],
  [
    'a node waits for its agent',
    {
      nodes: is([
        nodeObject('a', {
          spec: { podCIDRs: ['x'], taints: [{ key: 'node.weir.dev/agent-not-ready', effect: 'NoSchedule' }] },
        }),
      ]),
    },
    /^error no node waits for its agent: .*: a$/,
  ],
  [
    'a pod that Weir did not wire',
    { pods: is([runningPod('web'), runningPod('elsewhere', {}, 'b')]) },
    /^warning every pod is wired by Weir: 1 are not, .*: shop\/web$/,
  ],
] as [string, Partial<ClusterFacts>, RegExp][])
  cluster(`with Weir: ${name}`, () => {
    const found = wrong(judgeCluster({ ...good, ...facts }, agents, '0.1.0'));
    assert.is(found.length, 1, found.join('\n'));
    assert.match(found[0] ?? '', expected);
  });
const agentOf = (more: object) => ({ answers: [{ node: 'a', value: { ...healthyStatus('a'), ...more } }], silent: [] });
for (const [name, more, expected] of [
  [
    'not ready',
    { ready: false, pending: ['the first lists'] },
    /^error agents are ready: a: waits for the first lists/,
  ],
  ['another version', { version: '0.2.0' }, /^warning agents are of this command.s version: a: 0\.2\.0/],
  ['policies behind', { revision: { desired: 5, realized: 4 } }, /^warning the last policies are in force: a: 4 of 5/],
  [
    'programs gone',
    { attachments: { expected: 3, missing: [7] } },
    /^error every pod has its programs: a: missing at endpoints 7/,
  ],
  [
    'a device without its program',
    { devices: [{ device: 'eth0', hook: 'xdp', program: 'guard_uplink', fault: 'busy' }] },
    /^error the node.s own devices have their programs: a: eth0 guard_uplink \(busy\)/,
  ],
  ['a refused document', { policies: { valid: 1, isolating: 2 } }, /^error no policy is refused: 2 isolating/],
  ['a full map', { maps: [{ name: 'ct', entries: 95, capacity: 100 }] }, /^warning kernel maps have room: a: ct/],
  [
    'lost flows',
    { flows: { ...healthyStatus('a').flows, lost: { ring: 3, overwritten: 9 } } },
    /^warning no flows are lost: a: 3 events/,
  ],
] as [string, object, RegExp][])
  cluster(`an agent: ${name}`, () => {
    const found = wrong(judgeOwnAgent(agentOf(more), '0.1.0'));
    assert.is(found.length, 1, found.join('\n'));
    assert.match(found[0] ?? '', expected);
  });
cluster('agents that are silent are named', () => {
  const silent = { answers: [], silent: [{ node: 'b', why: 'no exec' }] };
  assert.match(wrong(judgeOwnAgent(silent, '0.1.0'))[0] ?? '', /^error every node.s agent answers: b: no exec/);
  // Of agents that say nothing, nothing is well.
  assert.is(all(judgeOwnAgent(silent, '0.1.0')).length, 1);
  assert.match(wrong(judgeCluster(good, 'no rights', '0.1.0'))[0] ?? '', /^error agents can be asked: no rights/);
});
cluster('asked for is the right to create all that the chart creates with its default values', () => {
  const templates = globSync('charts/weir/templates/**/*.{yaml,tpl}', { cwd: ROOT });
  const kinds = templates.flatMap((file) =>
    [...readFileSync(join(ROOT, file), 'utf8').matchAll(/^kind: (\w+)/gm)].map(([, kind = '']) => kind.toLowerCase()),
  );
  const byDefault = new Set([...kinds, 'customresourcedefinition']);
  for (const asked of ['servicemonitor', 'certificate', 'deployment']) assert.ok(byDefault.delete(asked), asked);
  const plurals = [...byDefault].map((kind) => `${kind.replace(/y$/, 'ie')}s`);
  assert.equal(plurals.sort(), TO_INSTALL.map(([, , resource]) => resource).sort());
});
cluster('the CRDs are those that are installed', async () => {
  const names = (await definitionsOf()).map(({ metadata }) => metadata.name ?? '');
  assert.equal([...names].sort(), [...DEFINITIONS].sort());
});
cluster.run();

const report = suite('cli check: the report');
const categories: Category[] = [
  { categoryName: 'one', checks: [{ description: 'it is', result: 'success' }] },
  {
    categoryName: 'second',
    checks: [
      { description: 'it is not', result: 'error', error: 'for\u001b a reason', hint: 'do this' },
      { description: 'it may be', result: 'warning', error: 'who knows' },
    ],
  },
];
report('is linkerd check`s', () => {
  assert.is(
    reportText(categories, false),
    `one
---
√ it is

second
------
× it is not
    for\\x1b a reason
    hint: do this
‼ it may be
    who knows

Status check results are ×
`,
  );
  assert.equal(reportJson(categories), { success: false, categories });
  assert.is(worst(categories.slice(0, 1)), 'success');
});
report('a fact that cannot be found out is not taken for well', async () => {
  assert.equal(await known(() => Promise.reject(new Error('no'))), { unknown: 'no' });
  assert.equal(await known(() => 5), { value: 5 });
});
report('the command: of a whole cluster, and its exit code', async () => {
  const fake = new FakeCluster();
  try {
    await fake.start(['node1', 'node2']);
    for (const [name, answers] of Object.entries(fake.agents)) {
      answers['/v1/status'] = () => healthyStatus(name);
      answers['/v1/endpoints'] = () => ({ endpoints: [] });
    }
    const items = (objects: readonly object[]) => () => list(objects);
    fake.objects['/version'] = () => ({ gitVersion: 'v1.34.0' });
    fake.objects['/api/v1/nodes'] = items([nodeObject('node1'), nodeObject('node2')]);
    fake.objects['/api/v1/pods'] = items([]);
    fake.objects['/apis/apps/v1/daemonsets'] = items([weirDaemonSet(2)]);
    fake.objects['/apis/apiextensions.k8s.io/v1/customresourcedefinitions'] = items(DEFINITIONS.map(established));
    const reviews = '/apis/authorization.k8s.io/v1/selfsubjectaccessreviews';
    fake.objects[reviews] = () => ({ status: { allowed: true } });
    const well = await fake.weir([CHECK], 'check --cluster-only -o json');
    assert.equal([well.code, wrong(JSON.parse(well.out).categories)], [0, []]);
    fake.refusedPods.set('weir-node2', 403);
    const ill = await fake.weir([CHECK], 'check --cluster-only');
    assert.is(ill.code, 1);
    assert.match(ill.out, /^× every node.s agent answers\n {4}node2: cannot reach the agent of node2: .*403/m);
    fake.objects[reviews] = () => ({ status: { allowed: false } });
    fake.objects['/apis/apps/v1/daemonsets'] = items([]);
    const before = await fake.weir([CHECK], 'check --pre --cluster-only');
    assert.is(before.code, 1);
    assert.match(
      before.out,
      /^× you may do what is needed to install the chart\n {4}you may not: create daemonsets in kube-system, /m,
    );
  } finally {
    await fake.stop();
  }
});
report.run();
