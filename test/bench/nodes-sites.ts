/** Two pods on two nodes: under real agents that talk to a real API server, and over what the kernel has by itself. */
import { createClient, type KubernetesClient } from '../../agent/kubernetes/client.ts';
import { connect } from '../../agent/kubernetes/connection.ts';
import { BareNodes } from '../cluster/bare-nodes.ts';
import type { Testbed } from '../kit/netns.ts';
import type { NodeUnderTest, PodUnderTest } from '../kit/node.ts';
import { NodeNetwork, type TestNode } from '../kit/node-network.ts';
import { until } from '../kit/until.ts';
import type { Site } from './site.ts';

export type RoutingMode = 'native' | 'tunnel';

export const NAMESPACE = 'bench';
/** What the policies allow, and something they do not. */
const PORTS = { first: 5000, last: 8000, denied: 9000 };

export interface WeirNodes {
  readonly site: Site;
  readonly client: KubernetesClient;
  /** The agent of the client's node. */
  readonly clientNode: NodeUnderTest;
  readonly serverPod: PodUnderTest;
}

/** A client pod on node1 and a server pod on node2, a policy on each, all as an installed Weir has it. `closing` closes it. */
export async function weirNodes(mode: RoutingMode, closing: AsyncDisposableStack): Promise<WeirNodes> {
  const nodes = closing.use(await BareNodes.open('nodes', 2));
  const connection = await connect({ kubeconfig: nodes.api.kubeconfig });
  const client = closing.adopt(createClient({ connection, rate: { perSecond: 1e5, burst: 1e5 } }), (one) =>
    one.close(),
  );
  await nodes.api.apply([{ apiVersion: 'v1', kind: 'Namespace', metadata: { name: NAMESPACE } }]);
  await nodes.api.apply([podObject('client', 'node1'), podObject('server', 'node2'), ...POLICIES]);
  const agents: NodeUnderTest[] = [];
  for (const node of nodes.network.nodes) {
    agents.push(await nodes.startAgent(node, [`--routing-mode=${mode}`, '--masquerade']));
  }
  const [clientNode, serverNode] = agents as [NodeUnderTest, NodeUnderTest];
  const [from, to] = [await clientNode.addPod(NAMESPACE, 'client'), await serverNode.addPod(NAMESPACE, 'server')];
  await proveThePolicy(from, to);
  const { ipv4, ipv6 } = to;
  const site = { name: `Weir, ${mode}`, client: from.netns, server: to.netns, ipv4, ipv6 };
  return { site, client, clientNode, serverPod: to };
}

/** An allowed port answers, one that is not does not. */
async function proveThePolicy(from: PodUnderTest, to: PodUnderTest): Promise<void> {
  await to.peer.serveTcp(PORTS.denied);
  await to.peer.serveTcp(PORTS.last);
  const ask = (port: number) => from.peer.tcp({ address: to.ipv4, port });
  await until(async () => (await ask(PORTS.last)) === 'ok', {
    what: 'the pods to reach each other',
    timeoutMs: 30_000,
  });
  const denied = await ask(PORTS.denied);
  if (denied !== 'timeout') throw new Error(`port ${PORTS.denied} of the server pod: timeout expected, got ${denied}`);
  await to.peer.close();
}

/** The same wiring and the same network, nothing attached, no connection tracking: the kernel's own routes, or its own VXLAN. */
export async function plainNodes(bed: Testbed, mode: RoutingMode): Promise<Site> {
  const network = await NodeNetwork.open(bed, 2);
  const [one, two] = network.nodes as [TestNode, TestNode];
  for (const { netns } of [one, two]) {
    await netns.run(['sysctl', '-qw', 'net.ipv4.ip_forward=1', 'net.ipv6.conf.all.forwarding=1']);
  }
  const [from, to] = [await network.addPod(one, 10), await network.addPod(two, 20)];
  for (const [self, other] of [
    [one, two],
    [two, one],
  ] as const) {
    if (mode === 'native') await routeTo(self, other);
    else await tunnelTo(self, other);
  }
  if (mode === 'tunnel') {
    for (const [node, pod] of [
      [one, from],
      [two, to],
    ] as const) {
      await pod.netns.ip('link set eth0 mtu 1450');
      await node.netns.ip(`link set ${pod.hostInterface} mtu 1450`);
    }
  }
  await until(() => from.netns.ping(to.ipv4), { what: 'plain pods to reach each other' });
  const name = mode === 'native' ? 'plain routing' : 'plain VXLAN';
  return { name, client: from.netns, server: to.netns, ipv4: to.ipv4, ipv6: to.ipv6 };
}

async function routeTo(self: TestNode, other: TestNode): Promise<void> {
  await self.netns.ip(`route add ${other.podCidrs[0]} via ${other.ipv4}`);
  await self.netns.ip(`-6 route add ${other.podCidrs[1]} via ${other.ipv6}`);
}

async function tunnelTo(self: TestNode, other: TestNode): Promise<void> {
  const ends = `local ${self.ipv4} remote ${other.ipv4} dev eth0 dstport 8472`;
  await self.netns.ip(`link add vxlan0 mtu 1450 type vxlan id 1 ${ends}`);
  for (const address of self.routerAddresses) {
    const whole = address.includes(':') ? `${address}/128 dev vxlan0 nodad` : `${address}/32 dev vxlan0`;
    await self.netns.ip(`address add ${whole}`);
  }
  await self.netns.ip('link set vxlan0 up');
  await self.netns.ip(`route add ${other.podCidrs[0]} via ${other.routerAddresses[0]} dev vxlan0 onlink`);
  await self.netns.ip(`-6 route add ${other.podCidrs[1]} via ${other.routerAddresses[1]} dev vxlan0 onlink`);
}

function podObject(name: string, nodeName: string): object {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace: NAMESPACE, labels: { app: name } },
    spec: { nodeName, containers: [{ name: 'app', image: 'app' }] },
  };
}

const PORT_RULE = [{ ports: [{ port: `${PORTS.first}`, endPort: PORTS.last, protocol: 'TCP' }] }];
const POLICIES = [
  policyOf('server', { ingress: [{ fromEndpoints: [{ matchLabels: { app: 'client' } }], toPorts: PORT_RULE }] }),
  policyOf('client', { egress: [{ toEndpoints: [{ matchLabels: { app: 'server' } }], toPorts: PORT_RULE }] }),
];

function policyOf(name: string, rules: object): object {
  return {
    apiVersion: 'cilium.io/v2',
    kind: 'CiliumNetworkPolicy',
    metadata: { name, namespace: NAMESPACE },
    spec: { endpointSelector: { matchLabels: { app: name } }, ...rules },
  };
}
