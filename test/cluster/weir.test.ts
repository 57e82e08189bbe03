/** Weir by Helm on a cluster that has no CNI: nodes get Ready, and every pod reaches every other in both families. */
import * as assert from 'uvu/assert';
import { privileged } from '../kit/privileged.ts';
import { suite } from '../kit/suite.ts';
import { Peer } from '../kit/traffic.ts';
import { WORLD } from './addresses.ts';
import { type Cluster, clusterName } from './cluster.ts';
import { connect, podPeer, runPods } from './pods.ts';
import { type RoutingMode, startWeirCluster } from './weir.ts';

const PORT = 7000;

for (const routingMode of ['tunnel', 'native'] as const satisfies readonly RoutingMode[]) {
  const test = privileged(suite(`weir, ${routingMode}`), 'root', 'kubernetes', 'etcd', 'containerd', 'image');
  let cluster: Cluster | undefined;
  const up = (): Cluster => {
    if (cluster === undefined) throw new Error('the cluster did not get up');
    return cluster;
  };
  const peers = new Map<string, Peer>();
  const addresses = new Map<string, string[]>();

  const startPods = async (cluster: Cluster, ...wishes: { name: string; node: string }[]) => {
    for (const [name, own] of await runPods(cluster, wishes)) addresses.set(name, own);
    for (const { name } of wishes) {
      const peer = await podPeer(cluster, name);
      await peer.serveTcp(PORT);
      await peer.serveUdp(PORT);
      peers.set(name, peer);
    }
  };
  /** "a -> b fd00::2 tcp: timeout", for each that is not ok. */
  const failures = async () => {
    const found: string[] = [];
    for (const [from, peer] of peers)
      for (const [to, own] of addresses)
        for (const address of own)
          for (const protocol of ['tcp', 'udp'] as const) {
            const outcome = await peer[protocol]({ address, port: PORT });
            if (outcome !== 'ok') found.push(`${from} -> ${to} ${address} ${protocol}: ${outcome}`);
          }
    return found;
  };

  test.before(async () => {
    const started = performance.now();
    cluster = await startWeirCluster({ name: clusterName(routingMode), nodes: 2, routingMode });
    console.log(`nodes Ready by Weir after ${((performance.now() - started) / 1000).toFixed(1)} s`);
  });
  test.after(async () => {
    await Promise.all([...peers.values()].map((peer) => peer.close()));
    await cluster?.down();
  });

  test('pods of both nodes reach each other at once', async () => {
    await startPods(up(), { name: 'a', node: 'node1' }, { name: 'b', node: 'node1' }, { name: 'c', node: 'node2' });
    assert.equal(await failures(), []);
  });

  test('a pod reaches the world with the address of its node', async () => {
    await using world = await Peer.start(up().world.enter([]));
    await world.serveTcp(PORT);
    for (const address of Object.values(WORLD))
      for (const [from, peer] of peers)
        assert.is(await peer.tcp({ address, port: PORT }), 'ok', `${from} -> ${address}`);
  });

  test('names resolve, and Services are reached by them', async () => {
    await up().kubectl('-n', 'kube-system', 'rollout', 'status', 'deployment/coredns', '--timeout=60s');
    assert.is(await connect(up(), 'a', 'kubernetes.default', 443), 'ok');
    assert.is(await connect(up(), 'a', 'nobody.default', 443), 'DNS');
  });

  test('pods of a node that joins reach all others, and are reached', async () => {
    const { name: node } = await up().addNode();
    await up().ready();
    await startPods(up(), { name: 'd', node });
    // The other nodes have heard of it long before one of its pods runs.
    assert.equal(await failures(), []);
  });

  test.run();
}
