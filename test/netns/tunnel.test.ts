/** Pods of different nodes through VXLAN, with the real loader: both underlays, both families inside. */
import * as assert from 'uvu/assert';
import { privileged } from '../kit/privileged.ts';
import { suite } from '../kit/suite.ts';
import { Cluster, type NodePod } from './nodes-rig.ts';

for (const underlay of [4, 6] as const) {
  const test = privileged(suite(`tunnel over IPv${underlay}`), 'root', 'btf', 'bpffs');
  let cluster: Cluster;
  let one: NodePod;
  let two: NodePod;
  test.before(async () => {
    cluster = await Cluster.start(`tun${underlay}`, 2, { mode: 'tunnel', underlay });
    one = await cluster.pod(cluster.node1, 11);
    two = await cluster.pod(cluster.node2, 12);
    await cluster.settle();
    for (const pod of [one, two]) {
      await pod.peer.serveTcp(80);
      await pod.peer.serveUdp(53);
    }
  });
  test.after(() => cluster.close());

  test('pods reach each other, small and large', async () => {
    for (const [from, to] of [
      [one, two],
      [two, one],
    ] as const) {
      for (const address of [to.ipv4, to.ipv6]) {
        assert.is(await from.peer.tcp({ address, port: 80 }), 'ok', `TCP to ${address}`);
        assert.is(await from.peer.udp({ address, port: 53 }), 'ok', `UDP to ${address}`);
        assert.ok(await from.netns.ping(address));
      }
    }
    assert.equal(await cluster.node1.drops(), {});
    assert.equal(await cluster.node2.drops(), {});
  });

  test('a node reaches the pods of another and is answered', async () => {
    for (const address of [two.ipv4, two.ipv6]) {
      assert.ok(await cluster.node1.netns.ping(address), `node 1 to ${address}`);
    }
    for (const address of cluster.node2.routers) {
      assert.ok(await one.netns.ping(address), `a pod of node 1 to the router address ${address} of node 2`);
      assert.ok(await cluster.node1.netns.ping(address), `node 1 to ${address}`);
    }
    assert.equal(await cluster.node1.drops(), {});
    assert.equal(await cluster.node2.drops(), {});
  });

  test.run();
}
