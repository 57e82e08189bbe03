/** Pods of one family only: the other one is nowhere, and nothing waits for it. And a node that has IPv6 off by default. */
import { mkdirSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { cgroupDirectory } from '../../agent/datapath/program/cgroup.ts';
import { command } from '../kit/command.ts';
import { NodeUnderTest, WORLD } from '../kit/node.ts';
import { privileged } from '../kit/privileged.ts';
import { suite } from '../kit/suite.ts';
import { until } from '../kit/until.ts';

const test = privileged(suite('families of pods'), 'root', 'btf', 'bpffs');

/** A cgroup with nobody in it: what the agent attaches for Services concerns no process of this machine. */
let cgroup: string;
test.before(async () => {
  cgroup = join(await cgroupDirectory(''), `wt-one-family-${process.pid}`);
  mkdirSync(cgroup);
});
test.after(() => rmdirSync(cgroup));

const POD = (name: string): string =>
  `---\napiVersion: v1\nkind: Pod\nmetadata: {name: ${name}, namespace: default, labels: {app: ${name}}}\n`;
const POLICY = `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: closed, namespace: default}
spec:
  podSelector: {matchLabels: {app: closed}}
  policyTypes: [Ingress]
`;
const SERVICE = (address: string, family: string, backend: string): string => `apiVersion: v1
kind: Service
metadata: {name: open, namespace: default}
spec: {selector: {app: open}, clusterIPs: ["${address}"], ports: [{port: 81, targetPort: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: open-1, namespace: default, labels: {kubernetes.io/service-name: open}}
addressType: ${family}
ports: [{port: 80, protocol: TCP}]
endpoints: [{addresses: ["${backend}"]}]
`;

const ROWS = [
  { family: 'ipv4', other: 'v6', addressType: 'IPv4', virtual: '10.96.0.81' },
  { family: 'ipv6', other: 'v4', addressType: 'IPv6', virtual: 'fd00:96::81' },
] as const;

for (const { family, other, addressType, virtual } of ROWS) {
  test(`${family}: pods, policy, Services, the world, and CHECK`, async () => {
    const manifests = { 'pods.yaml': ['open', 'closed', 'client'].map(POD).join(''), 'policy.yaml': POLICY };
    const flags = [`--pod-cidr-${other}=none`, '--services', `--cgroup-directory=${cgroup}`, '--masquerade'];
    await using node = await NodeUnderTest.start(`one-${family}`, { manifests, flags });
    const [open, closed, client] = [
      await node.addPod('default', 'open'),
      await node.addPod('default', 'closed'),
      await node.addPod('default', 'client'),
    ];
    assert.is(client[family === 'ipv4' ? 'ipv6' : 'ipv4'], '', 'no address of the other family');
    for (const { peer } of [open, closed]) await peer.serveTcp(80);
    const reach = (address: string, port: number, timeoutMs = 10_000) => client.peer.tcp({ address, port, timeoutMs });
    assert.is(await reach(open[family], 80), 'ok');
    assert.is(await reach(closed[family], 80, 500), 'timeout');
    await node.writeManifest('service.yaml', SERVICE(virtual, addressType, open[family]));
    await until(async () => (await reach(virtual, 81, 1000)) === 'ok', { what: 'the Service' });
    const world = await node.bed.peer(node.world);
    await world.serveTcp(8080);
    assert.is(await reach(WORLD[family], 8080), 'ok');
    const { problems } = await node.getJson<{ problems: { severity: string; message: string }[] }>('/v1/status');
    assert.equal(
      problems.filter(({ severity }) => severity === 'error'),
      [],
    );
  });
}

test('a node whose settings switch IPv6 off on new devices: pods have it all the same', async () => {
  await using node = await NodeUnderTest.start('one-off', { manifests: { 'pods.yaml': ['a', 'b'].map(POD).join('') } });
  await command(node.netns.enter(['sysctl', '-qw', 'net.ipv6.conf.default.disable_ipv6=1']));
  const [a, b] = [await node.addPod('default', 'a'), await node.addPod('default', 'b')];
  await b.peer.serveTcp(80);
  assert.is(await a.peer.tcp({ address: b.ipv6, port: 80, timeoutMs: 10_000 }), 'ok');
  const host = await node.bed.peer(node.netns);
  assert.is(await host.tcp({ address: b.ipv6, port: 80, timeoutMs: 10_000 }), 'ok');
});

test.run();
