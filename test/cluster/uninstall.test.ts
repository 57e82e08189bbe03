/** `helm uninstall` with pods still there: every node is what it was before, and the API server has only what people wrote. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { privileged } from '../kit/privileged.ts';
import { suite } from '../kit/suite.ts';
import { type Cluster, clusterName, startCluster } from './cluster.ts';
import { type NodeState, nodeState } from './node-state.ts';
import { runPods } from './pods.ts';
import { installWeir, NAMESPACE } from './weir.ts';

const TAINT = 'node.weir.dev/agent-not-ready';
const POLICY = {
  apiVersion: 'cilium.io/v2',
  kind: 'CiliumNetworkPolicy',
  metadata: { name: 'stays', namespace: 'default' },
  spec: { endpointSelector: { matchLabels: { app: 'a' } }, ingress: [{ fromEndpoints: [{}] }] },
};

const test = privileged(suite('uninstall'), 'root', 'kubernetes', 'etcd', 'containerd', 'image');
let cluster: Cluster;
let before: NodeState[];

const states = (): Promise<NodeState[]> => Promise.all(cluster.nodes.map(nodeState));
const names = async (...what: string[]): Promise<string[]> =>
  (await cluster.kubectl('get', ...what, '-o', 'name')).trim().split('\n').filter(Boolean);

test.before(async () => {
  cluster = await startCluster({
    name: clusterName('uninstall'),
    nodes: 2,
    cni: 'none',
    taints: [`${TAINT}=:NoSchedule`],
  });
  // Another network's configuration, which is to come back.
  for (const node of cluster.nodes) {
    await node.run(['mkdir', '-p', '/etc/cni/net.d']);
    writeFileSync(join(node.disk, 'etc/cni/net.d/90-other.conflist'), '{}');
  }
  before = await states();
  await installWeir(cluster, { routingMode: 'tunnel' });
  await cluster.ready(60_000);
  await cluster.apply(JSON.stringify(POLICY));
  await runPods(cluster, [
    { name: 'a', node: 'node1' },
    { name: 'b', node: 'node2' },
  ]);
});
test.after(() => cluster?.down());

test('what is looked at is what Weir leaves', async () => {
  // Rules and neighbours are not Weir's in this mode; they are looked at all the same. Control groups: with Services.
  for (const [i, state] of (await states()).entries())
    for (const part of Object.keys(state))
      if (!['rules', 'programs on control groups'].includes(part))
        assert.is.not(state[part], before[i]?.[part], `${part} of node${i + 1}`);
});

test('ends well, with pods on every node', async () => {
  const started = performance.now();
  await cluster.helm('uninstall', 'weir', '--namespace', NAMESPACE, '--timeout=2m', '--wait');
  console.log(`helm uninstall took ${((performance.now() - started) / 1000).toFixed(1)} s`);
});

test('every node is what it was before', async () => {
  for (const [i, state] of (await states()).entries())
    for (const part of Object.keys(state)) assert.is(state[part], before[i]?.[part], `${part} of node${i + 1}`);
});

test('agents left nothing in the API server', async () => {
  for (const kind of ['weirnodes', 'weirendpointslices', 'weiridentities', 'weiridentityranges'])
    assert.equal(await names(kind), [], kind);
  const everything = 'daemonsets,jobs,services,configmaps,secrets,serviceaccounts,roles,rolebindings';
  const left = [...(await names('-n', NAMESPACE, everything)), ...(await names('clusterroles,clusterrolebindings'))];
  assert.equal(
    left.filter((name) => /weir|hubble/.test(name)),
    [],
  );
  const { items } = await cluster.get<{ items: { spec: { taints?: { key: string }[] } }[] }>('nodes');
  assert.equal(
    items.flatMap(({ spec }) => spec.taints ?? []).filter(({ key }) => key === TAINT),
    [],
  );
});

test('what people wrote is there', async () => {
  assert.equal(await names('ciliumnetworkpolicies', '-A'), ['ciliumnetworkpolicy.cilium.io/stays']);
});

test('it can be installed again, and pods get networks again', async () => {
  await installWeir(cluster, { routingMode: 'tunnel' });
  await cluster.ready(60_000);
  await runPods(cluster, [{ name: 'c', node: 'node1' }]);
});

test.run();
