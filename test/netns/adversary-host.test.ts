/** Everything that is the node itself is `host`, also where no interface list shows it. */
import * as assert from 'uvu/assert';
import { NODE, NodeUnderTest, type PodUnderTest, WORLD } from '../kit/node.ts';
import { suite } from '../kit/suite.ts';
import type { Peer } from '../kit/traffic.ts';
import { until } from '../kit/until.ts';

const test = suite('adversary: the node by other addresses');
let node: NodeUnderTest;
let pod: PodUnderTest;
const peers: Peer[] = [];

/** On a bridge without a port or a veth without its other end, as docker0 is most of the time; and as a prefix. */
const DARK = ['203.0.113.1', '2001:db8:77::1', '203.0.113.255', '10.55.3.4'];
const PORT = 8080;

test.before(async () => {
  const manifests = {
    'pod.yaml': 'apiVersion: v1\nkind: Pod\nmetadata: { name: web, namespace: default, labels: { app: web } }\n',
    'policy.yaml': `
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: { name: web, namespace: default }
spec: { endpointSelector: { matchLabels: { app: web } }, egress: [{ toEntities: [world] }] }
`,
  };
  node = await NodeUnderTest.start('advhost', { manifests });
  await node.netns.ip('link add dark0 type veth peer name dark1');
  await node.netns.ip('addr add 203.0.113.1/24 broadcast 203.0.113.255 dev dark0');
  await node.netns.ip('addr add 2001:db8:77::1/64 dev dark0 nodad');
  await node.netns.ip('link set dark0 up');
  await node.netns.ip('route add local 10.55.0.0/16 dev lo');
  pod = await node.addPod('default', 'web');
  for (const netns of [node.netns, node.world]) {
    const peer = await node.bed.peer(netns);
    peers.push(peer);
    await Promise.all([peer.serveTcp(PORT), peer.serveUdp(PORT)]);
  }
});
test.after(() => node?.close());

test('a pod that may reach the world reaches none of them', async () => {
  for (const address of [WORLD.ipv4, WORLD.ipv6])
    assert.is(await pod.peer.tcp({ address, port: PORT, timeoutMs: 3000 }), 'ok');
  for (const address of [NODE.ipv4, NODE.ipv6]) {
    assert.is(await pod.peer.tcp({ address, port: PORT, timeoutMs: 300 }), 'timeout', address);
  }
  for (const address of DARK) {
    const reaches = () => pod.peer.tcp({ address, port: PORT, timeoutMs: 300 });
    await until(async () => (await reaches()) !== 'ok', { what: `${address} to be the node`, timeoutMs: 8000 });
    assert.is(await reaches(), 'timeout', address);
  }
  const { flows } = await node.getJson<{ flows: { destination: { labels: string[] } }[] }>(
    '/v1/flows?verdict=DROPPED&to_ip=10.55.3.4&last=1',
  );
  assert.ok(flows[0]?.destination.labels.includes('reserved:host'), JSON.stringify(flows[0]));
});

test('an address that goes is not the node any more', async () => {
  await node.netns.ip('route del local 10.55.0.0/16 dev lo');
  await node.netns.ip(`route add 10.55.0.0/16 via ${WORLD.ipv4}`);
  await node.world.ip('addr add 10.55.3.4/32 dev lo');
  const reaches = () => pod.peer.tcp({ address: '10.55.3.4', port: PORT, timeoutMs: 300 });
  await until(async () => (await reaches()) === 'ok', { what: '10.55.3.4 to be in the world', timeoutMs: 8000 });
});

test.run();
