/** Weir by Helm on a cluster that has no CNI: nodes get Ready, and every pod reaches every other in both families. */
import { setTimeout as sleep } from 'node:timers/promises';
import * as assert from 'uvu/assert';
import { privileged } from '../kit/privileged.ts';
import { suite } from '../kit/suite.ts';
import { Peer } from '../kit/traffic.ts';
import { until } from '../kit/until.ts';
import { WORLD } from './addresses.ts';
import { type CniAnswer, HandWiredPod } from './by-hand.ts';
import { type Cluster, clusterName } from './cluster.ts';
import { connect, podPeer, runPods } from './pods.ts';
import { cilium } from './policy-documents.ts';
import { type RoutingMode, startWeirCluster } from './weir.ts';

const PORT = 7000;
/** Room for one pod, whose IPv4 address the next one must get, and for two IPv6 addresses. */
const ONE_POD = ['10.244.200.0/30', 'fd00:10:244:c8::/126'];
/** Shorter than by default: the test waits for it twice. */
const REST_SECONDS = 3;
/** For how long other nodes hear nothing after an address was freed; TCP's next try then takes as long again. */
const DEAF_MS = 700;
/** For how long after it was wired a pod must not be taken for the last one that had its address. */
const WATCHED_MS = 1500;

/** Only former may speak to a, and c only to former. */
const FORMER_ONLY = [
  cilium('former-in', {
    endpointSelector: { matchLabels: { app: 'a' } },
    ingress: [{ fromEndpoints: [{ matchLabels: { role: 'former' } }] }],
  }),
  cilium('former-out', {
    endpointSelector: { matchLabels: { app: 'c' } },
    egress: [{ toEndpoints: [{ matchLabels: { role: 'former' } }] }],
  }),
].join('\n---\n');

/** As a runtime does: again until there is an address. */
async function wired(pod: HandWiredPod): Promise<CniAnswer> {
  let last: CniAnswer | undefined;
  return until(
    async () => {
      last = await pod.add();
      return last.code === 0 && last;
    },
    { what: `${pod.name} to be wired`, timeoutMs: 30_000, everyMs: 50, detail: () => JSON.stringify(last) },
  );
}

/** These nodes hear nothing of the API server until they listen again; their connections to it stay. */
async function deafen(cluster: Cluster, names: readonly string[]): Promise<void> {
  const nodes = cluster.nodes.filter(({ name }) => names.includes(name)).map(({ addresses }) => addresses.v4);
  const { netns } = cluster.controlPlane;
  await netns.run(['nft', 'add table ip deaf; add chain ip deaf out { type filter hook output priority 0; }']);
  await netns.run(['nft', `add rule ip deaf out ip daddr { ${nodes} } tcp sport 6443 ip length > 80 drop`]);
}

const listen = (cluster: Cluster) => cluster.controlPlane.netns.run(['nft', 'delete table ip deaf']);

const ipsOf = ({ ips = [] }: CniAnswer['answer']): string[] => ips.map(({ address }) => address.replace(/\/\d+$/, ''));

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
    cluster = await startWeirCluster({
      ...{ name: clusterName(routingMode), nodes: 2, routingMode },
      values: [`extraConfig.addressRestSeconds=${REST_SECONDS}`],
    });
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
    const { name: node } = await up().addNode(ONE_POD);
    await up().ready();
    await startPods(up(), { name: 'd', node });
    // The other nodes have heard of it long before one of its pods runs.
    assert.equal(await failures(), []);
  });

  test('an address that another pod gets carries nothing of the one before, in either direction', async () => {
    const node = up().nodes.find(({ name }) => name === 'node3');
    assert.ok(node);
    await peers.get('d')?.close();
    await up().kubectl('delete', 'pod', 'd', '--timeout=60s');
    // Without a grace period the API server forgets a pod before its node has taken it down.
    await until(async () => !/"weir[0-9a-f]{10}"/.test(await node.netns.ip('-json link show type veth')), {
      what: 'the interface of d to be gone',
      timeoutMs: 30_000,
    });
    await node.stop('kubelet'); // Pods of its node are wired by this test.
    await up().apply(FORMER_ONLY);
    const [former, next] = [
      await HandWiredPod.create(up(), node, 'former', { role: 'former' }),
      await HandWiredPod.create(up(), node, 'next', { role: 'next' }),
    ];
    for (const pod of [former, next]) {
      peers.set(pod.name, pod.peer);
      await pod.peer.serveTcp(PORT);
      await pod.peer.serveUdp(PORT);
    }
    const server = addresses.get('a') ?? [];
    /** From the pod to a, and from c to the pod: a lets only former in, c speaks only to former. */
    const tries = (pod: HandWiredPod, own: readonly string[], timeoutMs: number) =>
      Promise.all([
        ...server.map((address) => pod.peer.tcp({ address, port: PORT, timeoutMs })),
        ...(['tcp', 'udp'] as const).flatMap((protocol) =>
          own.map((address) => (peers.get('c') as Peer)[protocol]({ address, port: PORT, timeoutMs })),
        ),
      ]);
    const isHeard = async (own: readonly string[]) =>
      until(async () => (await tries(former, own, 900)).every((outcome) => outcome === 'ok'), {
        what: 'former to be heard, and to hear',
        timeoutMs: 20_000,
      });

    const first = ipsOf((await wired(former)).answer);
    await isHeard(first);
    await deafen(up(), ['node1', 'node2']);
    await former.del();
    const started = performance.now();
    const listening = sleep(DEAF_MS).then(() => listen(up()));
    const refused = await next.add();
    assert.match(refused.answer.msg ?? '', /no free IPv4 address .* of pods that went within/);
    const second = ipsOf((await wired(next)).answer);
    console.log(`  ${second[0]} is another pod's after ${((performance.now() - started) / 1000).toFixed(1)} s`);
    assert.is(second[0], first[0]);
    const seen: Promise<string[]>[] = [];
    const end = performance.now() + WATCHED_MS;
    while (performance.now() < end) {
      seen.push(tries(next, second, 400));
      await sleep(10);
    }
    const outcomes = (await Promise.all(seen)).flat();
    await listening;
    assert.equal([...new Set(outcomes)], ['timeout'], `${outcomes.length} connections, all to be denied`);
    // Nor did a packet pass whose answer was lost.
    assert.equal(await next.peer.served(), { connections: 0, datagrams: 0, bytes: 0 });
    await next.del();
    await isHeard(ipsOf((await wired(former)).answer));
  });

  test.run();
}
