/**
 * Deployments over two nodes, scaled up and down five times, while a policy denies half of their pods: who may reaches the
 * server each time, who may not never does, and nothing is left of any of them. 20 pods; 100 with `npm run test:long`.
 */
import * as assert from 'uvu/assert';
import { privileged } from '../kit/privileged.ts';
import { suite } from '../kit/suite.ts';
import type { Peer } from '../kit/traffic.ts';
import { until } from '../kit/until.ts';
import { type Cluster, clusterName } from './cluster.ts';
import { AGNHOST_IMAGE } from './images.ts';
import type { Node } from './node.ts';
import { podPeer, runPods } from './pods.ts';
import { cilium } from './policy-documents.ts';
import { startWeirCluster } from './weir.ts';

const IS_LONG = process.env.WEIR_TEST_LONG === '1';
const PODS = IS_LONG ? 100 : 20;
const ROUNDS = 5;
const PORT = 7000;
const GRACE_SECONDS = 15;
const ROLES = ['allowed', 'denied'] as const;
type Role = (typeof ROLES)[number];

const POLICY = cilium('servers', {
  endpointSelector: { matchLabels: { role: 'server' } },
  ingress: [{ fromEndpoints: [{ matchLabels: { role: 'allowed' } }] }],
});

const test = privileged(suite('churn'), 'root', 'kubernetes', 'etcd', 'containerd', 'image');
let cluster: Cluster;
/** Each role has a server that nobody else tries, so that what it has seen is exact, also of pods that are long gone. */
const servers = new Map<Role, Peer>();
let before: string[];

const connections = async (role: Role): Promise<number> => (await servers.get(role)?.served())?.connections ?? 0;

/** Its pods try both families of the server: allowed ones until each was reached once, denied ones for as long as they live. */
function deployment(role: Role, addresses: readonly string[]): string {
  const attempts = addresses.map((address) => `nc -w 2 ${address} ${PORT} < /dev/null`);
  const script = {
    allowed: `${attempts.map((attempt) => `until ${attempt}; do sleep 0.1; done`).join('; ')}; while :; do sleep 60; done`,
    denied: `while :; do ${attempts.map((attempt) => `${attempt} & `).join('')} wait; sleep 0.2; done`,
  }[role];
  return JSON.stringify({
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name: role, namespace: 'default' },
    spec: {
      replicas: 0,
      selector: { matchLabels: { role } },
      template: {
        metadata: { labels: { role } },
        spec: {
          terminationGracePeriodSeconds: 0,
          topologySpreadConstraints: [
            {
              maxSkew: 1,
              topologyKey: 'kubernetes.io/hostname',
              whenUnsatisfiable: 'DoNotSchedule',
              labelSelector: { matchLabels: { role } },
            },
          ],
          containers: [
            { name: role, image: AGNHOST_IMAGE, imagePullPolicy: 'Never', command: ['/bin/sh', '-c', script] },
          ],
        },
      },
    },
  });
}

const scale = (replicas: number) => cluster.kubectl('scale', 'deployment', ...ROLES, `--replicas=${replicas}`);

async function gone(): Promise<void> {
  await scale(0);
  await cluster.kubectl('wait', '--for=delete', 'pod', '-l', 'role in (allowed, denied)', '--timeout=120s');
}

const rows = async (node: Node, script: string): Promise<string> => (await node.run(['sh', '-c', script])).trim();

/** What pods leave on a node and in the API server, where they leave anything. Connections expire by themselves. */
async function left(): Promise<string[]> {
  const found: string[] = [];
  for (const node of cluster.nodes) {
    const status = JSON.parse(
      await node.run(['curl', '-sf', '--unix-socket', '/run/weir/api.sock', 'http://weir/v1/status']),
    );
    const maps = (status.maps as { name: string; entries: number }[]).filter(
      ({ name }) => !/conntrack|service_flow|affinity/.test(name),
    );
    found.push(
      `${node.name} interfaces ${await rows(node, 'ip -o link show type veth | wc -l')}`,
      `${node.name} records ${await rows(node, 'ls /var/lib/weir/endpoints | wc -l')}`,
      `${node.name} kept DELs ${await rows(node, 'ls /var/lib/weir/cni-queue | wc -l')}`,
      `${node.name} namespaces ${await rows(node, 'ls /run/netns | wc -l')}`,
      ...maps.map(({ name, entries }) => `${node.name} map ${name} ${entries}`),
    );
  }
  const slices = await cluster.get<{ items: { spec: { endpoints?: unknown[] } }[] }>('weirendpointslices');
  found.push(`published ${slices.items.reduce((sum, { spec }) => sum + (spec.endpoints ?? []).length, 0)}`);
  const identities = await cluster.kubectl('get', 'weiridentities', '-o', 'name');
  return [...found, `identities ${identities.trim().split('\n').length}`];
}

/** With no grace period the API server forgets a pod before its node has taken it down: what is left, once that is done. */
async function settled(): Promise<string[]> {
  const { items } = await cluster.get<{ items: { spec: { hostNetwork?: boolean } }[] }>('pods', '-A');
  const wired = items.filter(({ spec }) => spec.hostNetwork !== true).length;
  let found = await left();
  await until(
    async () => {
      const again = await left();
      const isStill = JSON.stringify(again) === JSON.stringify(found);
      found = again;
      return isStill && sumOf(found, 'namespaces') === wired && sumOf(found, 'records') === wired;
    },
    { what: `the nodes to have ${wired} pods`, timeoutMs: 60_000, everyMs: 1000, detail: () => found.join('\n') },
  );
  return found;
}

/** Of "node1 records 2" and "node2 records 1": 3. */
function sumOf(found: readonly string[], what: string): number {
  const counts = found.filter((line) => line.includes(` ${what} `)).map((line) => Number(line.split(' ').at(-1)));
  return counts.reduce((sum, count) => sum + count, 0);
}

test.before(async () => {
  cluster = await startWeirCluster({
    name: clusterName('churn'),
    nodes: 2,
    routingMode: 'tunnel',
    values: [`extraConfig.identityGraceSeconds=${GRACE_SECONDS}`],
  });
  await cluster.apply(POLICY);
  const addresses = await runPods(
    cluster,
    ROLES.map((role, i) => ({ name: `for-${role}`, node: `node${i + 1}`, labels: { role: 'server' } })),
  );
  for (const role of ROLES) {
    const peer = await podPeer(cluster, `for-${role}`);
    await peer.serveTcp(PORT);
    servers.set(role, peer);
    await cluster.apply(deployment(role, addresses.get(`for-${role}`) ?? []));
  }
  // One of each, so that both have an identity, which outlives its pods by minutes.
  await scale(1);
  await until(async () => (await connections('allowed')) >= 2, {
    what: 'the first pods to be let in',
    timeoutMs: 60_000,
  });
  await gone();
  before = await settled();
});
test.after(async () => {
  await Promise.all([...servers.values()].map((peer) => peer.close()));
  await cluster?.down();
});

test(`${PODS} pods come and go ${ROUNDS} times: every allowed one is let in, no denied one ever`, async () => {
  for (let round = 1; round <= ROUNDS; round++) {
    const started = performance.now();
    await scale(PODS / ROLES.length);
    for (const role of ROLES) await cluster.kubectl('rollout', 'status', 'deployment', role, '--timeout=180s');
    const running = performance.now();
    const wanted = 2 + (PODS / ROLES.length) * 2 * round;
    let seen = 0;
    await until(
      async () => {
        seen = await connections('allowed');
        return seen >= wanted;
      },
      { what: 'every allowed pod to be let in', timeoutMs: 20_000, detail: () => `${seen} of ${wanted} connections` },
    );
    const letIn = performance.now();
    assert.is(await connections('denied'), 0, `round ${round}: a denied pod was let in`);
    await gone();
    const seconds = (from: number, to: number) => ((to - from) / 1000).toFixed(1);
    console.log(
      `  ${round}: running after ${seconds(started, running)} s, all let in ${seconds(running, letIn)} s later, gone ${seconds(letIn, performance.now())} s after that`,
    );
  }
  assert.is(await connections('denied'), 0);
});

test('nothing is left of them: interfaces, records, rows of maps, entries for other nodes', async () => {
  await cluster.kubectl('delete', 'deployment', ...ROLES);
  let now: string[] = [];
  await until(
    async () => {
      now = await left();
      return JSON.stringify(now) === JSON.stringify(before);
    },
    {
      what: 'everything to be as before',
      timeoutMs: 60_000,
      everyMs: 1000,
      detail: () => now.filter((line) => !before.includes(line)).join('\n'),
    },
  );
});

if (IS_LONG)
  test('identities that nobody has any more are collected, and only those', async () => {
    const roles = async () => {
      const { items } = await cluster.get<{ items: { spec: { labels: Record<string, string> } }[] }>('weiridentities');
      return items.map(({ spec }) => spec.labels['k8s:role']).sort();
    };
    await until(async () => JSON.stringify(await roles()) === '["server","server",null]', {
      what: 'identities to be collected',
      timeoutMs: 400_000,
      everyMs: 2000,
    });
  });

test('the same pods reach both servers when the policy is gone', async () => {
  await cluster.kubectl('delete', 'ciliumnetworkpolicy', 'servers');
  const addresses = await Promise.all(
    ROLES.map(async (role) => {
      const { status } = await cluster.get<{ status: { podIPs: { ip: string }[] } }>('pod', `for-${role}`);
      return status.podIPs.map(({ ip }) => ip);
    }),
  );
  for (const [i, role] of ROLES.entries()) await cluster.apply(deployment(role, addresses[i] ?? []));
  await scale(1);
  await until(async () => (await connections('denied')) > 0, { what: 'a denied pod to be let in', timeoutMs: 60_000 });
});

test.run();
