/** Pods and neighbours that try to pass for somebody else between nodes. */
import * as assert from 'uvu/assert';
import { udp } from '../kit/packet.ts';
import { privileged } from '../kit/privileged.ts';
import { suite } from '../kit/suite.ts';
import { until } from '../kit/until.ts';
import { vxlan } from '../kit/vxlan.ts';
import { ADMITTING, Cluster, type NodePod } from './nodes-rig.ts';

const GATEWAY = '0a:77:65:69:72:01';
/** Admitted by node 2, and nobody has it. */
const TRUSTED = 2222;
/** Addresses of node 2 that its Node object does not name. */
const UNNAMED = { 4: '198.51.100.2', 6: '2001:db8:2::2' } as const;

const test = privileged(suite('between nodes, attacked'), 'root', 'btf', 'bpffs');
let cluster: Cluster;
let one: NodePod;
let two: NodePod;
test.before(async () => {
  cluster = await Cluster.start('advn', 2, { mode: 'tunnel', masquerade: true });
  const { node1, node2 } = cluster;
  one = await cluster.pod(node1, 11);
  two = await cluster.pod(node2, 12);
  node2.policy = ADMITTING;
  node2.admitted = [TRUSTED];
  await cluster.settle();
  for (const [family, address] of [
    [4, `${UNNAMED[4]}/32`],
    [6, `${UNNAMED[6]}/128`],
  ] as const) {
    await node2.netns.ip(`address add ${address} dev lo`);
    await node1.netns.ip(`route add ${UNNAMED[family]} via ${family === 4 ? node2.ipv4 : node2.ipv6}`);
  }
  const masquerade = [
    'table inet wt {',
    'chain post { type nat hook postrouting priority srcnat; policy accept;',
    'meta mark & 0x1000000 == 0x1000000 masquerade',
    '}',
    '}',
  ];
  await node1.netns.run(['nft', '-f', '-'], { input: masquerade.join('\n') });
});
test.after(() => cluster?.close());

for (const family of [4, 6] as const) {
  test(`IPv${family}: a pod that is masqueraded does not speak for its node in the tunnel`, async () => {
    const [from, to] = family === 4 ? [one.ipv4, two.ipv4] : [one.ipv6, two.ipv6];
    const inner = udp({ from: from.replace(/b$|11$/, '77'), to, sport: 9, dport: 53 });
    const packet = vxlan({ from, to: UNNAMED[family] }, TRUSTED, inner);
    await cluster.node1.events();
    await cluster.node2.events();
    await one.netns.sendFrame('eth0', packet.between(one.wiring.mac, GATEWAY).bytes());
    const said: string[] = [];
    await until(
      async () => {
        for (const node of cluster.nodes) {
          for (const event of await node.events()) {
            if (event.port === 8472 || event.port === 53)
              said.push(`node ${node.number}: ${event.reason || event.type} port ${event.port}`);
          }
        }
        return said.some((line) => /node 2|TUNNEL/.test(line));
      },
      { what: 'the packet to arrive, or to be dropped' },
    );
    assert.equal(said, ['node 1: TUNNEL_FORBIDDEN port 8472']);
  });
}

test("a pod does not reach the node's loopback, although portmap has opened it for a hostPort", async () => {
  const { node1 } = cluster;
  await node1.netns.run(['sysctl', '-qw', `net.ipv4.conf.${one.wiring.hostInterface}.route_localnet=1`]);
  const counter = ['table inet wtlo {', 'chain in { type filter hook input priority 0;', 'ip daddr 127.0.0.1 counter'];
  await node1.netns.run(['nft', '-f', '-'], { input: [...counter, '}', '}'].join('\n') });
  const before = (await node1.drops())['malformed/egress'] ?? 0;
  const packet = udp({ from: one.ipv4, to: '127.0.0.1', dport: 10248 });
  await one.netns.sendFrame('eth0', packet.between(one.wiring.mac, GATEWAY).bytes());
  let listed = '';
  let dropped = 0;
  const isOver = async (): Promise<boolean> => {
    listed = await node1.netns.run(['nft', 'list', 'table', 'inet', 'wtlo']);
    dropped = ((await node1.drops())['malformed/egress'] ?? 0) - before;
    return dropped > 0 || !/packets 0/.test(listed);
  };
  await until(isOver, { what: 'the packet to arrive, or to be dropped' });
  assert.match(listed, /packets 0/);
  assert.is(dropped, 1);
});

test('a node that has registered under another name, and is put right again, keeps its tunnel', async () => {
  const { node1, node2 } = cluster;
  node2.admitted = [one.identity];
  const rows = cluster.rows(node2);
  await two.peer.serveUdp(53);
  const twin = { number: 9, address: node1.ipv4, sources: [node1.ipv4, node1.ipv6] };
  await node2.replace({ ...rows, nodes: [...(rows.nodes ?? []), twin] });
  await node2.replace(rows);
  for (const address of [two.ipv4, two.ipv6]) assert.is(await one.peer.udp({ address, port: 53 }), 'ok', address);
});

test.run();
