/** Faults 13, 14, 16 and 52: many pods come and go at once, with names used again, and nothing is left of them. */
import { readdir } from 'node:fs/promises';
import * as assert from 'uvu/assert';
import { NodeUnderTest } from '../kit/node.ts';
import { suite } from '../kit/suite.ts';
import { until } from '../kit/until.ts';

const test = suite('a storm of pods');
const PODS = 100;
const AT_ONCE = 8;

const manifests = Array.from({ length: PODS }, (_, i) => {
  const metadata = `{ name: storm-${i}, namespace: default, labels: { app: storm-${i % 5} } }`;
  return `apiVersion: v1\nkind: Pod\nmetadata: ${metadata}\n`;
}).join('---\n');
const policy = `apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: { name: storm, namespace: default }
spec:
  endpointSelector: { matchLabels: { app: storm-1 } }
  ingress: [{ fromEndpoints: [{ matchLabels: { app: storm-2 } }] }]
`;

let node: NodeUnderTest;
test.before(async () => {
  node = await NodeUnderTest.start('storm', { manifests: { 'pods.yaml': manifests, 'policy.yaml': policy } });
});
test.after(() => node?.close());

interface Left {
  readonly links: number;
  readonly routes: number;
  readonly pins: number;
  readonly records: number;
  readonly fds: number;
  readonly mapEntries: string;
}

/** What pods leave on the node. Other interfaces' routes are the kernel's own business (they come late, with DAD). */
async function left(): Promise<Left> {
  const count = (text: string): number => text.split('\n').filter((row) => /\bweir[0-9a-f]{10}\b/.test(row)).length;
  const { maps } = await node.getJson<{ maps: { name: string; entries: number }[] }>('/v1/status');
  const kept = maps.filter(({ name }) => !name.startsWith('conntrack') && name !== 'fragments');
  return {
    links: count(await node.netns.ip('-o link show')),
    routes:
      count(await node.netns.ip('-o route show table all')) + count(await node.netns.ip('-6 -o route show table all')),
    pins: (await readdir(node.pinFolder, { recursive: true })).length,
    records: (await readdir(`${node.folder}/state/endpoints`)).length,
    fds: (await readdir(`/proc/${node.agentPid}/fd`)).length,
    mapEntries: kept
      .map(({ name, entries }) => `${name} ${entries}`)
      .sort()
      .join(', '),
  };
}

/** Once the last policy of a pod is deleted, which happens a moment after DEL, only POLICY_LOCKDOWN is there. */
async function quiet(): Promise<Left> {
  return until(
    async () => {
      const now = await left();
      return now.mapEntries.includes('policies 1,') && now;
    },
    { what: 'the policies of the pods to be deleted' },
  );
}

async function storm(names: readonly number[]): Promise<string[]> {
  const queue = [...names];
  const addresses: string[] = [];
  const worker = async (): Promise<void> => {
    for (let i = queue.pop(); i !== undefined; i = queue.pop()) {
      const netns = await node.bed.netns(`storm${i}`);
      const call = {
        containerId: `storm-${i}`,
        netns: netns.path,
        interfaceName: 'eth0',
        args: `IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=storm-${i}`,
      };
      const added = await node.cni({ command: 'ADD', ...call });
      assert.is(added.code, 0, added.stdout);
      for (const { address } of (added.json?.ips ?? []) as { address: string }[]) addresses.push(address);
      if (i % 3 === 0)
        assert.is((await node.cni({ command: 'ADD', ...call })).json?.code, 100, 'a second ADD is refused');
      if (i % 2 === 0) await node.bed.removeNetns(netns);
      const deleted = await node.cni({ command: 'DEL', ...call, ...(i % 2 === 0 ? { netns: '' } : {}) });
      assert.is(deleted.code, 0, deleted.stdout);
      assert.is((await node.cni({ command: 'DEL', ...call })).code, 0, 'DEL twice');
      if (i % 2 !== 0) await node.bed.removeNetns(netns);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  return addresses;
}

test('100 pods, 8 at once, twice: no failed ADD, and interfaces, routes, pins, records, fds and map entries are as before', async () => {
  const all = Array.from({ length: PODS }, (_, i) => i);
  await storm(all.slice(0, 10)); // everything that is made once is made now
  const before = await quiet();
  assert.equal([before.links, before.routes, before.records], [0, 0, 0]);
  await storm(all);
  await storm(all);
  let now = await left();
  await until(
    async () => {
      now = await left();
      return JSON.stringify(now) === JSON.stringify(before);
    },
    {
      what: 'everything to be as before',
      detail: () => `before ${JSON.stringify(before)}\nnow    ${JSON.stringify(now)}`,
    },
  );
});

test('pods that are there together have different addresses', async () => {
  const added = await Promise.all(
    Array.from({ length: 24 }, async (_, i) => (await node.addPod('default', `storm-${i}`)).ipv4),
  );
  assert.is(new Set(added).size, 24);
  for (const pod of [...node.pods]) await node.removePod(pod);
});

test.run();
