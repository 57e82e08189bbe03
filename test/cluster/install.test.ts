/** The chart on two nodes that have no network: what it brings, with which rights, and that an upgrade is not noticed. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { parse as parseYaml } from 'yaml';
import { privileged } from '../kit/privileged.ts';
import { suite } from '../kit/suite.ts';
import { until } from '../kit/until.ts';
import { type Cluster, clusterName, startCluster } from './cluster.ts';
import type { Node } from './node.ts';
import { connect, podManifest, podPeer, runPods } from './pods.ts';
import { CHART, installWeir, NAMESPACE } from './weir.ts';

const TAINT = 'node.weir.dev/agent-not-ready';
/** linux/capability.h */
const BITS: Readonly<Record<string, bigint>> = { NET_ADMIN: 12n, SYS_ADMIN: 21n, PERFMON: 38n, BPF: 39n };

const test = privileged(suite('install'), 'root', 'kubernetes', 'etcd', 'containerd', 'image');
let cluster: Cluster;
let addresses: Map<string, string[]>;

interface NodeObject {
  readonly metadata: { readonly name: string };
  readonly spec: { readonly taints?: readonly { readonly key: string }[] };
  readonly status: { readonly conditions: readonly { readonly type: string; readonly status: string }[] };
}

const nodes = async (): Promise<NodeObject[]> => (await cluster.get<{ items: NodeObject[] }>('nodes')).items;
const condition = (node: NodeObject, type: string): string | undefined =>
  node.status.conditions.find((one) => one.type === type)?.status;
const lines = async (node: Node, script: string): Promise<string[]> =>
  (await node.run(['sh', '-c', script])).trim().split('\n');
const agentPod = async (node: Node): Promise<string> =>
  (
    await cluster.kubectl(
      '-n',
      NAMESPACE,
      'get',
      'pods',
      '-l',
      'k8s-app=weir',
      '-o',
      'name',
      `--field-selector=spec.nodeName=${node.name}`,
    )
  ).trim();

function node1(): Node {
  const [first] = cluster.nodes;
  if (first === undefined) throw new Error('there is no node');
  return first;
}

test.before(async () => {
  cluster = await startCluster({
    name: clusterName('install'),
    nodes: 2,
    cni: 'none',
    taints: [`${TAINT}=:NoSchedule`],
  });
});
test.after(() => cluster?.down());

test('before it nodes are not Ready and keep their taint', async () => {
  for (const node of await nodes()) {
    assert.is(condition(node, 'Ready'), 'False');
    assert.ok(node.spec.taints?.some(({ key }) => key === TAINT));
  }
});

test('brings every node to Ready, and takes the taint away', async () => {
  await node1().run(['mkdir', '-p', '/etc/cni/net.d']);
  writeFileSync(join(node1().disk, 'etc/cni/net.d/10-other.conflist'), '{}');
  const started = performance.now();
  await installWeir(cluster, { routingMode: 'tunnel', values: ['prometheus.enabled=true'] });
  await cluster.ready(60_000);
  console.log(
    `helm install to all nodes Ready: ${((performance.now() - started) / 1000).toFixed(1)} s, with the image`,
  );
  await until(async () => (await nodes()).every(({ spec }) => !spec.taints?.some(({ key }) => key === TAINT)), {
    what: 'the taint to go',
  });
  for (const node of await nodes()) assert.is(condition(node, 'NetworkUnavailable') ?? 'False', 'False');
});

test('the configuration is the only one, and hostPort is chained', async () => {
  assert.equal(await lines(node1(), 'ls /etc/cni/net.d'), ['05-weir.conflist', '10-other.conflist.weir_bak']);
  const { plugins } = JSON.parse(await node1().run(['cat', '/etc/cni/net.d/05-weir.conflist']));
  assert.equal(
    plugins.map(({ type }: { type: string }) => type),
    ['weir-cni', 'portmap'],
  );
});

test('what somebody does to the configuration is put right', async () => {
  await node1().run(['rm', '/etc/cni/net.d/05-weir.conflist']);
  await until(async () => (await lines(node1(), 'ls /etc/cni/net.d')).includes('05-weir.conflist'), {
    what: 'the configuration to be back',
    timeoutMs: 30_000,
  });
});

test('the agent has the rights it was given, and no others', async () => {
  const pid = await node1().processOf('weir-agent');
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const given: string[] = parseYaml(readFileSync(join(CHART, 'values.yaml'), 'utf8')).securityContext.capabilities;
  const expected = given.reduce((mask, name) => mask | (1n << (BITS[name] ?? 0n)), 0n);
  for (const set of ['CapPrm', 'CapEff', 'CapBnd'])
    assert.is(BigInt(`0x${new RegExp(`^${set}:\\s*(.*)$`, 'm').exec(status)?.[1]}`), expected, set);
  assert.is(/^Seccomp:\s*(.*)$/m.exec(status)?.[1], '2', 'the seccomp profile of the runtime');
});

test('nothing it asks the API server for is forbidden', async () => {
  for (const node of cluster.nodes) {
    const log = await cluster.kubectl('-n', NAMESPACE, 'logs', await agentPod(node));
    assert.not.match(log, /forbidden|API_FORBIDDEN/i, node.name);
    assert.not.match(log, /"level":"error"/, node.name);
  }
});

test('probes and Prometheus have doors of their own', async () => {
  const [address] = [node1().addresses.v4];
  const get = (url: string) => node1().tryRun(['curl', '-s', '-o', '/dev/null', '-w', '%{http_code}', url]);
  assert.is((await get('http://127.0.0.1:9879/healthz')).stdout, '200');
  assert.is((await get('http://127.0.0.1:9879/v1/flows')).stdout, '404');
  assert.is((await get(`http://${address}:9962/metrics`)).stdout, '200');
  assert.is((await get(`http://${address}:9962/v1/flows`)).stdout, '404');
  assert.is.not((await get(`http://${address}:9879/healthz`)).code, 0, 'the probes are for the node itself');
});

test('pods of both nodes reach each other in both families', async () => {
  addresses = await runPods(cluster, [
    { name: 'a', node: 'node1' },
    { name: 'b', node: 'node2' },
  ]);
  for (const address of addresses.get('b') ?? []) assert.is(await connect(cluster, 'a', address), 'ok', address);
  for (const address of addresses.get('a') ?? []) assert.is(await connect(cluster, 'b', address), 'ok', address);
});

test('hostPort is reached from the outside, by pods of its node and of others, and by the pod itself', async () => {
  const manifest = podManifest({ name: 'hostport', node: 'node1' });
  const [container] = manifest.spec.containers;
  if (container === undefined) throw new Error('a pod without a container');
  Object.assign(container.ports[0] ?? {}, { hostPort: 8444 });
  await cluster.apply(JSON.stringify(manifest));
  await cluster.kubectl('wait', '--for=condition=Ready', 'pod/hostport', '--timeout=60s');
  const url = `http://${node1().addresses.v4}:8444/hostname`;
  assert.is(await cluster.world.run(['curl', '-s', '--max-time', '5', url]), 'hostport');
  for (const pod of ['a', 'b', 'hostport'])
    assert.is(await connect(cluster, pod, node1().addresses.v4, 8444), 'ok', pod);
});

test('an upgrade brings CRDs up to date and leaves those of others alone', async () => {
  const ours = 'crd/weirnodes.weir.dev';
  const theirs = 'crd/ciliumcidrgroups.cilium.io';
  const description =
    '{"spec":{"versions":[{"name":"v1alpha1","served":true,"storage":true,"schema":{"openAPIV3Schema":{"type":"object"}}}]}}';
  await cluster.kubectl('patch', ours, '--type=merge', '-p', description);
  await cluster.kubectl('label', theirs, 'app.kubernetes.io/part-of-');
  await cluster.kubectl('patch', theirs, '--type=merge', '-p', '{"spec":{"names":{"shortNames":["theirs"]}}}');
  const version = async (crd: string) =>
    (await cluster.get<{ metadata: { generation: number } }>(crd)).metadata.generation;
  const [before, untouched] = [await version(ours), await version(theirs)];
  await cluster.helm('upgrade', 'weir', CHART, '--namespace', NAMESPACE, '--reuse-values', '--wait');
  assert.ok((await version(ours)) > before);
  assert.is(await version(theirs), untouched);
  const { spec } = await cluster.get<{
    spec: { versions: { schema: { openAPIV3Schema: { properties?: object } } }[] };
  }>(ours);
  assert.ok(spec.versions[0]?.schema.openAPIV3Schema.properties);
});

test('connections and new ones go on while the agents of all nodes are replaced', async () => {
  const [from, to] = await Promise.all([podPeer(cluster, 'a'), podPeer(cluster, 'b')]);
  try {
    const port = await to.serveTcp(9000);
    const [address = ''] = addresses.get('b') ?? [];
    const agents = async () =>
      (await cluster.kubectl('-n', NAMESPACE, 'get', 'pods', '-l', 'k8s-app=weir', '-o', 'name')).trim();
    const before = await agents();
    const ticker = await from.startTicker('tcp', { address, port });
    let done = false;
    const upgrade = cluster
      .helm('upgrade', 'weir', CHART, '--namespace', NAMESPACE, '--reuse-values', '--set', 'podAnnotations.again=yes')
      .then(() => cluster.kubectl('-n', NAMESPACE, 'rollout', 'status', 'daemonset/weir', '--timeout=90s'))
      .finally(() => {
        done = true;
      });
    const outcomes: string[] = [];
    while (!done) outcomes.push(await from.tcp({ address, port }));
    await upgrade;
    for (const pod of before.split('\n')) assert.not.match(await agents(), pod);
    console.log(`${outcomes.length} connections while agents were replaced`);
    const { sent, received, ended, longestGapMs } = await from.stopTicker(ticker);
    console.log(`the connection that was open: ${sent} messages, longest silence ${longestGapMs.toFixed(0)} ms`);
    assert.equal({ received, ended }, { received: sent, ended: undefined });
    assert.ok(outcomes.length > 20);
    assert.equal([...new Set(outcomes)], ['ok']);
  } finally {
    await Promise.all([from.close(), to.close()]);
  }
});

/** Granted, and not to be seen in so short a time. */
const NOT_HERE: Readonly<Record<string, string>> = {
  'weir.dev/weiridentities patch': 'an identity that nobody uses is marked after ten minutes',
  'weir.dev/weiridentities delete': 'and then collected',
  'weir.dev/weiridentities get': 'two agents made the same identity at once',
  'weir.dev/weiridentityranges update': 'its numbers are taken in blocks',
  'weir.dev/weirendpointslices get': 'the answer to a write was lost',
  'weir.dev/weirendpointslices delete': 'the last endpoint of a slice, or its node, is gone',
  'weir.dev/weirnodes delete': 'a node is gone',
};
/** Kinds whose CRDs the chart does not bring. */
const NO_CRD = /^policy\.networking\.k8s\.io\//;

interface Rule {
  readonly apiGroups: readonly string[];
  readonly resources: readonly string[];
  readonly verbs: readonly string[];
}

interface AuditEvent {
  readonly verb: string;
  readonly objectRef?: { readonly apiGroup?: string; readonly resource: string; readonly subresource?: string };
}

test('every right it has is used, and none is used that it has not', async () => {
  // What agents do when a document is refused and a pod goes.
  const refused = {
    endpointSelector: { matchLabels: { app: 'none' } },
    egress: [{ toFQDNs: [{ matchName: 'example.org' }] }],
  };
  const document = (kind: string) => ({
    apiVersion: 'cilium.io/v2',
    kind,
    metadata: { name: 'refused' },
    spec: refused,
  });
  for (const kind of ['CiliumNetworkPolicy', 'CiliumClusterwideNetworkPolicy'])
    await cluster.apply(JSON.stringify(document(kind)));
  await cluster.kubectl('delete', 'pod', 'a');
  const rules = [
    ...(await cluster.get<{ rules: Rule[] }>('clusterrole', 'weir')).rules,
    ...(await cluster.get<{ rules: Rule[] }>('-n', NAMESPACE, 'role', 'weir')).rules,
  ];
  const granted = rules.flatMap(({ apiGroups, resources, verbs }) =>
    apiGroups.flatMap((group) => resources.flatMap((resource) => verbs.map((verb) => `${group}/${resource} ${verb}`))),
  );
  const used = (): Set<string> => {
    const events = readFileSync(cluster.paths.log('audit'), 'utf8').split('\n').slice(0, -1);
    const asked = events
      .map((line): AuditEvent => JSON.parse(line))
      .flatMap(({ verb, objectRef }) => {
        if (objectRef === undefined) return [];
        const { apiGroup = '', resource, subresource } = objectRef;
        return [`${apiGroup}/${resource}${subresource === undefined ? '' : `/${subresource}`} ${verb}`];
      });
    return new Set(asked);
  };
  const idle = () => granted.filter((right) => !used().has(right) && !(right in NOT_HERE) && !NO_CRD.test(right));
  await until(() => idle().length === 0, {
    what: 'every right to be used',
    timeoutMs: 30_000,
    detail: () => idle().join('\n'),
  });
  assert.equal(
    [...used()].filter((right) => !granted.includes(right)),
    [],
  );
});

test.run();
