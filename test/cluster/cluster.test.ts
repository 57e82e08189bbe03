/** The harness itself, with the distribution's ptp plugin as network: what tests of Weir on a cluster stand on. */
import { existsSync, readdirSync } from 'node:fs';
import * as assert from 'uvu/assert';
import { command } from '../kit/command.ts';
import { privileged } from '../kit/privileged.ts';
import { suite } from '../kit/suite.ts';
import { until } from '../kit/until.ts';
import { WORLD } from './addresses.ts';
import { hierarchies, processesIn } from './cgroups.ts';
import { type Cluster, clusterName, openCluster, startCluster } from './cluster.ts';
import type { Node } from './node.ts';
import { connect, podPeer, runPods } from './pods.ts';

const test = privileged(suite('cluster'), 'root', 'kubernetes', 'etcd', 'containerd');
let cluster: Cluster;
let addresses: Map<string, string[]>;

function node(number: number): Node {
  const found = cluster.nodes[number - 1];
  if (found === undefined) throw new Error(`there is no node ${number}`);
  return found;
}

function addressesOf(pod: string): string[] {
  const found = addresses.get(pod);
  if (found === undefined) throw new Error(`pod ${pod} has no addresses`);
  return found;
}

test.before(async () => {
  const started = performance.now();
  cluster = await startCluster({ name: clusterName('cluster'), nodes: 2, cni: 'ptp' });
  console.log(`two Ready nodes after ${((performance.now() - started) / 1000).toFixed(1)} s`);
});
test.after(() => cluster.down());

test('nodes are Ready, of the version that go.mod names, and have both families', async () => {
  const { items } = await cluster.get<{
    items: {
      metadata: { name: string };
      status: { nodeInfo: { kubeletVersion: string }; addresses: { type: string; address: string }[] };
      spec: { podCIDRs: string[] };
    }[];
  }>('nodes');
  assert.equal(
    items.map(({ metadata }) => metadata.name),
    ['node1', 'node2'],
  );
  for (const { status, spec } of items) {
    assert.match(status.nodeInfo.kubeletVersion, /^v1\.34\./);
    assert.is(status.addresses.filter(({ type }) => type === 'InternalIP').length, 2);
    assert.is(spec.podCIDRs.length, 2);
  }
});

test('pods run on both nodes and reach each other over IPv4 and IPv6', async () => {
  addresses = await runPods(cluster, [
    { name: 'a', node: 'node1' },
    { name: 'b', node: 'node2' },
    { name: 'host', node: 'node2', hostNetwork: true, port: 8090 },
  ]);
  // Until: behind ptp the first neighbour solicitation of a pod's IPv6 address may go unanswered.
  const reaches = (pod: string, address: string) =>
    until(async () => (await connect(cluster, pod, address)) === 'ok', { what: `${pod} -> ${address}` });
  for (const address of addressesOf('b')) await reaches('a', address);
  for (const address of addressesOf('a')) await reaches('b', address);
  assert.is(await connect(cluster, 'a', addressesOf('b')[0] ?? '', 81), 'REFUSED');
});

test('exec, logs and port-forward go through the API server to the kubelet', async () => {
  assert.is((await cluster.kubectl('exec', 'a', '--', 'hostname')).trim(), 'a');
  assert.match(await cluster.kubectl('logs', 'a'), /Started HTTP server on port 8080/);
});

test('a pod of the host network is in the namespaces of its node', async () => {
  assert.is((await cluster.kubectl('exec', 'host', '--', 'hostname')).trim(), 'node2');
  assert.equal(addressesOf('host'), Object.values(node(2).addresses));
});

test('traffic of a pod without kubectl exec', async () => {
  await using client = await podPeer(cluster, 'a');
  await using server = await podPeer(cluster, 'b');
  await server.serveTcp(7000);
  for (const address of addressesOf('b')) assert.is(await client.tcp({ address, port: 7000 }), 'ok', address);
  assert.is(await client.tcp({ address: addressesOf('b')[0] ?? '', port: 81 }), 'refused');
});

test('a node whose plug is pulled is reached by nobody', async () => {
  await node(2).plug(false);
  assert.not(await node(1).netns.ping(node(2).addresses.v4, 300));
  await node(2).plug(true);
  await until(() => node(1).netns.ping(node(2).addresses.v4, 300), { what: 'node2 to be reached again' });
});

test('a paused API server lets its watches stall', async () => {
  cluster.controlPlane.pause('kube-apiserver');
  try {
    assert.is((await cluster.tryKubectl('get', 'nodes', '--request-timeout=1s')).code, 1);
  } finally {
    cluster.controlPlane.resume('kube-apiserver');
  }
  await cluster.kubectl('get', 'nodes');
});

test('etcd forgets old versions: they are Gone', async () => {
  const path = '/api/v1/namespaces/default/configmaps';
  const { metadata } = JSON.parse(await cluster.kubectl('get', '--raw', path));
  await cluster.kubectl('create', 'configmap', 'newer');
  await cluster.controlPlane.compact();
  await cluster.controlPlane.stop('kube-apiserver');
  await cluster.controlPlane.start();
  const said = await cluster.tryKubectl(
    'get',
    '--raw',
    `${path}?watch=1&timeoutSeconds=1&resourceVersion=${metadata.resourceVersion}`,
  );
  assert.match(said.stdout + said.stderr, /too old resource version|Expired/);
});

test('the world is reached from a node and not from the address of a pod', async () => {
  for (const address of Object.values(WORLD)) {
    assert.ok(await node(1).netns.ping(address), `node1 -> ${address}`);
    assert.is(await connect(cluster, 'a', address, 80, { timeoutMs: 500 }), 'TIMEOUT', `a -> ${address}`);
  }
});

test('a node has its own /run, bpffs, disk and root of the control groups', async () => {
  await node(1).run(['mkdir', '/sys/fs/bpf/mine', '/run/mine', '/var/lib/mine']);
  for (const folder of ['/sys/fs/bpf/mine', '/run/mine', '/var/lib/mine']) {
    assert.is(existsSync(folder), false, `${folder} on the machine`);
    assert.is((await node(2).tryRun(['ls', folder])).code, 2, `${folder} on node2`);
    assert.ok(existsSync(node(1).path(folder)), `${folder} by Node.path`);
  }
  assert.match(await node(1).run(['cat', '/proc/self/cgroup']), /^0::\/system$/m);
  assert.match(await node(1).run(['sh', '-c', 'ls /sys/fs/cgroup/unified || ls /sys/fs/cgroup']), /^kubepods$/m);
});

test('a third node joins, runs a pod, and leaves without a trace', async () => {
  const third = await cluster.addNode();
  const [address = ''] = (await runPods(cluster, [{ name: 'c', node: third.name }])).get('c') ?? [];
  assert.is(await connect(cluster, 'a', address), 'ok');
  await cluster.removeNode(third);
  assert.is((await cluster.tryKubectl('get', 'node', third.name)).code, 1);
  assert.equal(tracesOf(`${cluster.name}-${third.name}`), []);
  assert.is(existsSync(third.disk), false);
});

test('pods run on while the control plane is away, and it knows them when it is back', async () => {
  const target = addressesOf('b')[0] ?? '';
  await cluster.controlPlane.stop();
  assert.ok(await node(1).netns.ping(target), 'a pod without a control plane');
  await cluster.controlPlane.start();
  assert.is(await connect(cluster, 'a', target), 'ok');
});

test('pods run on while containerd is away', async () => {
  await node(1).stop('containerd');
  assert.is((await node(1).tryRun(['ctr', '--timeout=1s', '--connect-timeout=1s', 'version'])).code, 1);
  assert.ok(await node(1).netns.ping(addressesOf('a')[0] ?? ''));
  await node(1).startContainerd();
  await until(async () => (await cluster.tryKubectl('exec', 'a', '--', 'true')).code === 0, {
    what: 'exec to work again',
    timeoutMs: 30_000,
  });
});

test('a reboot leaves a node only its disk', async () => {
  const before = await restarts('a');
  await node(1).reboot();
  assert.is(existsSync(node(1).path('/run/mine')), false);
  assert.is(existsSync(node(1).path('/sys/fs/bpf/mine')), false);
  assert.ok(existsSync(node(1).path('/var/lib/mine')));
  await until(async () => (await restarts('a')) > before, {
    what: 'pod a to be started again',
    timeoutMs: 60_000,
    everyMs: 250,
  });
});

async function restarts(pod: string): Promise<number> {
  const { status } = await cluster.get<{ status: { containerStatuses: { restartCount: number }[] } }>('pod', pod);
  return status.containerStatuses[0]?.restartCount ?? 0;
}

test('another process may take it over and down, and nothing is left', async () => {
  const folder = cluster.paths.folder;
  await openCluster(cluster.name).down();
  assert.equal(tracesOf(cluster.name), []);
  assert.is(existsSync(folder), false);
  assert.not.match(await command(['cat', '/proc/self/mountinfo']), new RegExp(cluster.name));
  assert.equal(processesIn(`/${cluster.name}`), []);
});

/** Of what carries a cluster's name: namespaces, links, control groups. */
function tracesOf(name: string): string[] {
  const folders = ['/run/netns', '/sys/class/net', '/sys/fs/bpf', ...hierarchies().map(({ mount }) => mount)];
  return folders.flatMap((folder) =>
    readdirSync(folder)
      .filter((each) => each.startsWith(name))
      .map((each) => `${folder}/${each}`),
  );
}

test.run();
