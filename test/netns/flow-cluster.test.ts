/** Two real agents: any of them tells the flows of both, names the one that is away, and has its history after a restart. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import type { FlowsAnswer } from '../../agent/api/flows.ts';
import type { StatsAnswer } from '../../agent/api/traffic.ts';
import { CertificateAuthority } from '../kit/certificates.ts';
import { Testbed } from '../kit/netns.ts';
import { NodeUnderTest, type PodUnderTest } from '../kit/node.ts';
import { NodeNetwork } from '../kit/node-network.ts';
import { privileged } from '../kit/privileged.ts';
import { suite } from '../kit/suite.ts';
import { until } from '../kit/until.ts';

const PORT = 4243;
const test = privileged(suite('flows of several nodes'), 'root', 'btf', 'bpffs', 'nft');
const closing = new AsyncDisposableStack();
let nodes: [NodeUnderTest, NodeUnderTest];
let pods: [PodUnderTest, PodUnderTest];

const document = (value: object): string => `${JSON.stringify(value)}\n---\n`;

test.before(async () => {
  const folder = await mkdtemp(join(tmpdir(), 'wt-flow-cluster-'));
  closing.defer(() => rm(folder, { recursive: true, force: true }));
  const ca = await CertificateAuthority.make(folder, 'ca');
  const pair = await ca.issue('server', '*.default.hubble-grpc.cilium.io');
  const bed = closing.use(await Testbed.open('flowcluster'));
  const lan = await NodeNetwork.open(bed, 2);
  const manifests = (addresses: Readonly<Record<string, readonly string[]>>): string =>
    [
      document({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'default' } }),
      ...lan.nodes.flatMap(({ name, record }) => [
        document({
          apiVersion: 'v1',
          kind: 'Node',
          metadata: { name },
          spec: { podCIDRs: record.podCidrs },
          status: { addresses: record.addresses.map((address) => ({ type: 'InternalIP', address })) },
        }),
        document({
          apiVersion: 'v1',
          kind: 'Pod',
          metadata: { name: `pod-${name}`, namespace: 'default', labels: { app: name } },
          spec: { nodeName: name, containers: [{ name: 'c' }] },
          status: { podIPs: (addresses[name] ?? []).map((ip) => ({ ip })) },
        }),
      ]),
    ].join('');
  const started: NodeUnderTest[] = [];
  for (const { name, netns, podCidrs } of lan.nodes) {
    const flags = [
      '--routing-mode=native',
      `--pod-cidr-v4=${podCidrs[0]}`,
      `--pod-cidr-v6=${podCidrs[1]}`,
      `--api-tls-listen-address=[::]:${PORT}`,
      `--hubble-tls-cert-file=${pair.certificate}`,
      `--hubble-tls-key-file=${pair.key}`,
      `--hubble-tls-client-ca-file=${ca.certificate}`,
      `--flow-history-directory=${join(folder, name)}`,
    ];
    const place = { bed, netns, world: lan.world, nodeName: name };
    started.push(
      closing.use(
        await NodeUnderTest.start('flowcluster', { manifests: { 'cluster.yaml': manifests({}) }, flags, place }),
      ),
    );
  }
  nodes = started as typeof nodes;
  pods = [await nodes[0].addPod('default', 'pod-node1'), await nodes[1].addPod('default', 'pod-node2')];
  const [one, two] = pods;
  const known = manifests({ node1: [one.ipv4, one.ipv6], node2: [two.ipv4, two.ipv6] });
  for (const node of nodes) await node.writeManifest('cluster.yaml', known);
  await two.peer.serveTcp(80);
  // what each node calls the other's pod is known when a flow says so; then comes the one that counts
  await two.peer.serveTcp(8080);
  for (const node of nodes) {
    await until(
      async () => {
        // The way back is there a little later than the way: each node writes its own routes.
        if ((await one.peer.tcp({ address: two.ipv4, port: 8080, timeoutMs: 500 })) !== 'ok') return false;
        const { flows } = await page(node, 'to_port=8080&type=new&last=1');
        return flows.some(
          ({ source, destination }) => source.pod_name !== undefined && destination.pod_name !== undefined,
        );
      },
      { what: 'both pods to be known on both nodes', timeoutMs: 20_000 },
    );
  }
  assert.is(await one.peer.tcp({ address: two.ipv4, port: 80 }), 'ok');
});
test.after(() => closing.disposeAsync());

function page(node: NodeUnderTest, query: string): Promise<FlowsAnswer> {
  return node.getJson<FlowsAnswer>(`/v1/flows?${query}`);
}

test('any agent tells the flows of all, in order', async () => {
  for (const node of nodes) {
    const { flows, unreachable } = await until(
      async () => {
        const answer = await page(node, 'scope=cluster&to_port=80&type=new');
        return new Set(answer.flows.map(({ node_name }) => node_name)).size === 2 ? answer : undefined;
      },
      { what: 'flows of both nodes' },
    );
    assert.equal(unreachable, []);
    const times = flows.map(({ time }) => time);
    assert.equal(times, times.toSorted());
    assert.ok(
      flows.every(({ source, destination }) => source.pod_name === 'pod-node1' && destination.pod_name === 'pod-node2'),
    );
  }
});

test('a connection that both saw is summed once', async () => {
  const of = async (scope: string) => {
    const { pairs } = await nodes[1].getJson<StatsAnswer>(`/v1/flows/stats?to_port=80&scope=${scope}`);
    return pairs.reduce((sum, { connections }) => sum + connections, 0);
  };
  assert.equal([await of('node'), await of('cluster')], [1, 1]);
});

test('nobody without a certificate is answered from the network', async () => {
  const answer = await nodes[0].netns.run(['curl', '-sk', `https://127.0.0.1:${PORT}/v1/flows`]);
  assert.match(answer, /"code":"UNAUTHENTICATED"/);
});

test('the node that is away is named; its history is there when it is back, and memory goes on behind it', async () => {
  const before = (await page(nodes[1], 'to_port=80&type=new&first=1000')).flows;
  await nodes[1].stopAgent();
  const { unreachable, flows } = await page(nodes[0], 'scope=cluster&to_port=80');
  assert.equal(
    unreachable?.map(({ node }) => node),
    ['node2'],
  );
  assert.ok(flows.length > 0);
  await nodes[1].startAgent();
  await until(async () => (await pods[0].peer.tcp({ address: pods[1].ipv6, port: 80 })) === 'ok', {
    what: 'a connection',
  });
  const after = await until(
    async () => {
      const all = (await page(nodes[1], 'to_port=80&type=new&first=1000')).flows;
      return all.length > before.length ? all : undefined;
    },
    { what: 'the new connection' },
  );
  assert.equal(after.slice(0, before.length), before);
  const back = await page(nodes[0], 'scope=cluster&to_port=80&type=new&first=1000');
  assert.equal(back.unreachable, []);
});

test.run();
