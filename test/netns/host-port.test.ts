/**
 * hostPort, as the portmap plugin makes it, and node ports, as kube-proxy does: NAT in the node's stack, with the rules of
 * agent/network beside it.
 */
import * as assert from 'uvu/assert';
import { PacketMark } from '../../agent/datapath/layout.gen.ts';
import { rulesText } from '../../agent/network/rules.ts';
import { privileged } from '../kit/privileged.ts';
import { suite } from '../kit/suite.ts';
import { ADMITTING, Cluster, type NodePod } from './nodes-rig.ts';

for (const mode of ['native', 'tunnel'] as const) {
  const test = privileged(suite(`hostPort, ${mode}`), 'root', 'btf', 'bpffs');
  let cluster: Cluster;
  let server: NodePod;
  let neighbour: NodePod;
  let far: NodePod;
  test.before(async () => {
    cluster = await Cluster.start(`hp${mode}`, 2, { mode, masquerade: true });
    const { node1, node2 } = cluster;
    server = await cluster.pod(node1, 11);
    neighbour = await cluster.pod(node1, 12);
    far = await cluster.pod(node2, 13);
    await cluster.settle();
    await server.peer.serveTcp(80);
    const podCidrs = cluster.nodes.flatMap((node) => node.podCidrs);
    for (const node of cluster.nodes) {
      const { ipv4, ipv6, routers: routerAddresses } = node;
      const self = { name: `node${node.number}`, addresses: [ipv4, ipv6], podCidrs: node.podCidrs, routerAddresses };
      const input = rulesText({
        self,
        uplinks: ['eth0'],
        masquerade: true,
        podCidrs,
        tunnelPort: undefined,
        mark: { masquerade: PacketMark.MARK_MASQUERADE, tracked: PacketMark.MARK_TRACKED },
      });
      await node.netns.run(['nft', '-f', '-'], { input });
    }
    const dnat = [
      'table inet wtport {',
      'chain pre {',
      'type nat hook prerouting priority dstnat; policy accept;',
      `fib daddr type local tcp dport 8080 dnat ip to ${server.ipv4}:80`,
      `fib daddr type local tcp dport 8080 dnat ip6 to [${server.ipv6}]:80`,
      `fib daddr type local tcp dport 30080 ct mark set 0x4000 dnat ip to ${server.ipv4}:80`,
      `fib daddr type local tcp dport 30080 ct mark set 0x4000 dnat ip6 to [${server.ipv6}]:80`,
      '}',
      // As portmap does for the pod itself, or it would see a packet from its own address come in.
      'chain post {',
      'type nat hook postrouting priority srcnat; policy accept;',
      `ct status dnat ip saddr ${server.ipv4} ip daddr ${server.ipv4} masquerade`,
      `ct status dnat ip6 saddr ${server.ipv6} ip6 daddr ${server.ipv6} masquerade`,
      // As kube-proxy does with everybody who asks for a node port.
      'ct mark 0x4000 masquerade',
      '}',
      '}',
    ];
    await node1.netns.run(['nft', '-f', '-'], { input: dnat.join('\n') });
  });
  test.after(() => cluster?.close());

  for (const family of [4, 6] as const) {
    test(`IPv${family}: from a pod of the same node, of another node, and from outside`, async () => {
      const { node1 } = cluster;
      const address = family === 4 ? node1.ipv4 : node1.ipv6;
      const outsider = await cluster.bed.peer(cluster.outsider);
      const found: Record<string, string> = {};
      for (const [who, peer] of Object.entries({ outsider, neighbour: neighbour.peer, far: far.peer })) {
        found[who] = await peer.tcp({ address, port: 8080, timeoutMs: 1500 });
      }
      assert.equal(found, { outsider: 'ok', neighbour: 'ok', far: 'ok' });
    });
  }

  for (const family of [4, 6] as const) {
    test(`IPv${family}: from the pod itself, whatever its policy says of others`, async () => {
      const { node1 } = cluster;
      const target = { address: family === 4 ? node1.ipv4 : node1.ipv6, port: 8080, timeoutMs: 1500 };
      assert.is(await server.peer.tcp(target), 'ok');
      const connection = await server.peer.open(target);
      const before = node1.policy;
      node1.policy = ADMITTING;
      node1.admitted = [];
      try {
        await cluster.settle();
        assert.is(await server.peer.say(connection, 'judged again'), 'ok');
        assert.is(await server.peer.tcp(target), 'ok');
        assert.is(await neighbour.peer.tcp({ ...target, timeoutMs: 300 }), 'timeout');
      } finally {
        await server.peer.hangUp(connection);
        node1.policy = before;
        await cluster.settle();
      }
    });
  }

  test('the pod behind it lets in whom its policy names, not everybody who may speak to the node', async () => {
    const { node1 } = cluster;
    node1.policy = ADMITTING;
    const found: string[] = [];
    for (const admitted of [[], [neighbour.identity]]) {
      node1.admitted = admitted;
      await cluster.settle();
      for (const address of [node1.ipv4, node1.ipv6]) {
        found.push(await neighbour.peer.tcp({ address, port: 8080, timeoutMs: admitted.length > 0 ? 1500 : 300 }));
      }
    }
    assert.equal(found, ['timeout', 'timeout', 'ok', 'ok']);
  });

  test('who asks for a node port is masqueraded: a pod of the node is still itself, everybody else is the world', async () => {
    const { node1 } = cluster;
    const outsider = await cluster.bed.peer(cluster.outsider);
    const ask = async (peer: typeof outsider, address: string) => peer.tcp({ address, port: 30080, timeoutMs: 600 });
    for (const [address, world] of [
      [node1.ipv4, 9],
      [node1.ipv6, 10],
    ] as const) {
      const found: Record<string, string[]> = {};
      for (const [name, admitted] of Object.entries({ nobody: [], neighbour: [neighbour.identity], world: [world] })) {
        node1.admitted = admitted;
        await cluster.settle();
        found[name] = await Promise.all([outsider, neighbour.peer, far.peer].map((peer) => ask(peer, address)));
      }
      assert.equal(found, {
        nobody: ['timeout', 'timeout', 'timeout'],
        neighbour: ['timeout', 'ok', 'timeout'],
        world: ['ok', 'timeout', 'ok'],
      });
    }
  });

  test.run();
}
