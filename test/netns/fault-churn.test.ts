/** Fault 52, in small: pods, labels and policies come and go, and the agent is as before: memory, descriptors, maps, pins, files. */
import { readdir, readFile } from 'node:fs/promises';
import * as assert from 'uvu/assert';
import { NodeUnderTest } from '../kit/node.ts';
import { suite } from '../kit/suite.ts';
import { until } from '../kit/until.ts';

const test = suite('churn');
const ROUNDS = 12;
const WARM_UP = 4;
const PODS = 24;
const AT_ONCE = 4;
/** Over the rounds after the first ones; a leak of 90 KiB a pod would be more. The history of names and rules fills up meanwhile. */
const SLACK_MIB = 16;

let node: NodeUnderTest;
test.before(async () => {
  // A signal makes the agent collect its garbage.
  const collect = encodeURIComponent('process.on("SIGUSR2", () => gc());');
  process.env.NODE_OPTIONS = `--expose-gc --import=data:text/javascript,${collect}`;
  node = await NodeUnderTest.start('faultch', { manifests: manifestsOf(0), flags: ['--identity-grace-seconds=0'] });
});
test.after(() => node?.close());

/** Every round has labels and policies that no round had before. */
function manifestsOf(round: number): Record<string, string> {
  const pods = Array.from({ length: PODS }, (_, i) => {
    const labels = `{ app: churn-${i % 6}, round: r${round} }`;
    return `apiVersion: v1\nkind: Pod\nmetadata: { name: churn-${i}, namespace: default, labels: ${labels} }\n`;
  });
  const policies = Array.from(
    { length: 6 },
    (_, i) => `apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: { name: churn-${i}-${round}, namespace: default }
spec:
  endpointSelector: { matchLabels: { app: churn-${i} } }
  ingress: [{ fromEndpoints: [{ matchLabels: { round: r${round} } }], toPorts: [{ ports: [{ port: "${8000 + round}" }] }] }]
  egress: [{ toCIDR: [10.${round}.${i}.0/24] }]
`,
  );
  return { 'pods.yaml': pods.join('---\n'), 'policies.yaml': policies.join('---\n') };
}

interface Left {
  readonly fds: number;
  readonly links: number;
  readonly records: number;
  readonly pins: number;
  readonly maps: string;
}

async function left(): Promise<Left> {
  const lines = (text: string): number => text.trim().split('\n').length;
  const { maps } = await node.getJson<{ maps: { name: string; entries: number }[] }>('/v1/status');
  const kept = maps.filter(({ name }) => !name.startsWith('conntrack'));
  return {
    fds: (await readdir(`/proc/${node.agentPid}/fd`)).length,
    links: lines(await node.netns.ip('-o link show')),
    records: (await readdir(`${node.folder}/state/endpoints`)).length,
    pins: (await readdir(node.pinFolder, { recursive: true })).length,
    maps: kept.map(({ name, entries }) => `${name} ${entries}`).join(', '),
  };
}

/** What is left when no pod is there and the last policy's rows are deleted, which is a moment later. */
async function empty(): Promise<Left | false> {
  const now = await left();
  return now.maps.includes('verdicts 0,') && now;
}

async function memoryMiB(): Promise<number> {
  process.kill(node.agentPid, 'SIGUSR2');
  await node.get('/healthz'); // answered after the collection
  const status = await readFile(`/proc/${node.agentPid}/status`, 'utf8');
  return Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1]) / 1024;
}

async function round(number: number): Promise<void> {
  for (const [name, text] of Object.entries(manifestsOf(number))) await node.writeManifest(name, text);
  await until(async () => (await node.get('/v1/policies')).body.includes(`"churn-5-${number}"`), { what: 'the round' });
  const queue = Array.from({ length: PODS }, (_, i) => i);
  const lane = async (): Promise<void> => {
    for (let i = queue.pop(); i !== undefined; i = queue.pop()) {
      const netns = await node.bed.netns(`churn${i}`);
      const call = {
        containerId: `churn-${i}`,
        netns: netns.path,
        interfaceName: 'eth0',
        args: `IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=churn-${i}`,
      };
      const added = await node.cni({ command: 'ADD', ...call });
      assert.is(added.code, 0, added.stdout);
      assert.is((await node.cni({ command: 'DEL', ...call })).code, 0);
      await node.bed.removeNetns(netns);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, lane));
}

test(`${ROUNDS} rounds of ${PODS} pods, each with labels and policies of its own: nothing grows`, async () => {
  const memory: number[] = [];
  let before: Left | undefined;
  for (let number = 1; number <= ROUNDS; number++) {
    await round(number);
    memory.push(await memoryMiB());
    if (number === WARM_UP) before = await until(empty, { what: 'the last policies to be deleted' });
  }
  let now = before;
  await until(
    async () => {
      now = await left();
      return JSON.stringify(now) === JSON.stringify(before);
    },
    { what: 'all to be as before', detail: () => `before ${JSON.stringify(before)}\nnow    ${JSON.stringify(now)}` },
  );
  console.log(`MiB after each round: ${memory.map((mib) => mib.toFixed(0)).join(' ')}`);
  const grown = (memory.at(-1) ?? 0) - (memory[WARM_UP - 1] ?? 0);
  assert.ok(grown < SLACK_MIB, `${grown.toFixed(1)} MiB more`);
});

test.run();
