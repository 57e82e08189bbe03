/** What breaks in real clusters, one after the other on one of them: traffic does not notice, and what was meant is in force again. */
import { setTimeout as sleep } from 'node:timers/promises';
import * as assert from 'uvu/assert';
import { privileged } from '../kit/privileged.ts';
import { suite } from '../kit/suite.ts';
import { until } from '../kit/until.ts';
import { CONTROL_PLANE } from './addresses.ts';
import { cni } from './by-hand.ts';
import { type Cluster, clusterName } from './cluster.ts';
import { FaultTraffic, SERVER_POLICY } from './fault-traffic.ts';
import type { Node } from './node.ts';
import { runPods } from './pods.ts';
import { cilium } from './policy-documents.ts';
import { agentPod, NAMESPACE, startWeirCluster } from './weir.ts';

const IS_LONG = process.env.WEIR_TEST_LONG === '1';

/** In force at client's own node. */
const NO_CLIENT = cilium('no-client', {
  endpointSelector: { matchLabels: { app: 'client' } },
  egressDeny: [{ toEntities: ['all'] }],
});

const test = privileged(suite('fault'), 'root', 'kubernetes', 'etcd', 'containerd', 'image');
let cluster: Cluster;
let traffic: FaultTraffic;

function node(name: string): Node {
  const found = cluster.nodes.find((one) => one.name === name);
  if (found === undefined) throw new Error(`no node ${name}`);
  return found;
}

/** Undefined while none runs. */
async function agentOf(node: Node): Promise<number | undefined> {
  return node.processOf('weir-agent').catch((error: Error) => {
    if (/^no container/.test(error.message)) return undefined;
    throw error;
  });
}

const answers = async (node: Node, path: string): Promise<boolean> =>
  (await node.tryRun(['curl', '-sf', '-o', '/dev/null', '--max-time', '2', `http://127.0.0.1:9879${path}`])).code === 0;

/** Kills agents as the kernel does when memory is short, and waits for the next ones. */
async function killAgents(nodes: readonly Node[], path: '/healthz' | '/livez' = '/healthz'): Promise<void> {
  await Promise.all(
    nodes.map(async (node) => {
      const killed = await agentOf(node);
      if (killed === undefined) throw new Error(`no agent runs on ${node.name}`);
      process.kill(killed, 'SIGKILL');
      const isNew = async () => {
        const pid = await agentOf(node);
        return pid !== undefined && pid !== killed && (await answers(node, path));
      };
      // The kubelet waits longer with each time a container ends.
      await until(isNew, { what: `the agent of ${node.name} to be back`, timeoutMs: 90_000, everyMs: 200 });
    }),
  );
}

/** A pod of its own: which runtime starts a container is the sandbox's. */
async function restartAgent(name: string): Promise<void> {
  await cluster.kubectl('-n', NAMESPACE, 'delete', 'pod', await agentPod(cluster, name), '--grace-period=5');
  await cluster.kubectl('-n', NAMESPACE, 'rollout', 'status', 'daemonset/weir', '--timeout=90s');
}

/** With a scheduler, controllers and kubelets that do not know yet how long it was away: they wait up to a minute longer. */
async function startControlPlane(): Promise<void> {
  await cluster.controlPlane.stop('kube-scheduler', 'kube-controller-manager');
  await Promise.all(cluster.nodes.map((node) => node.stop('kubelet')));
  await cluster.controlPlane.start();
  await Promise.all(cluster.nodes.map((node) => node.startKubelet()));
}

/** Endpoints as the node's agent lists them: "default/client". */
async function endpointsOf(name: string): Promise<string[]> {
  const list = await cluster.kubectl(
    ...['-n', NAMESPACE, 'exec', await agentPod(cluster, name), '-c', 'weir-agent', '--'],
    ...['weir', 'endpoint', 'list', '-o', 'json'],
  );
  const endpoints: { namespace: string; podName: string }[] = JSON.parse(list);
  return endpoints.map(({ namespace, podName }) => `${namespace}/${podName}`).sort();
}

/** How many endpoints the node's agent found to be still there when it started. */
async function takenUp(name: string): Promise<number> {
  const log = await cluster.kubectl('-n', NAMESPACE, 'logs', await agentPod(cluster, name), '-c', 'weir-agent');
  const lines = log.split('\n').filter((line) => line.startsWith('{'));
  const ready = lines.map((line) => JSON.parse(line)).find(({ message }) => message === 'ready');
  return ready?.endpoints;
}

/** DELs of a pod that node1 keeps for its agent, as files; '': of all pods. */
async function keptDels(pod: string): Promise<string[]> {
  const { stdout } = await node('node1').tryRun(['grep', '-rl', `K8S_POD_NAME=${pod}`, '/var/lib/weir/cni-queue']);
  return stdout.split('\n').filter(Boolean);
}

/** The nodes' ends of pods' interfaces. */
const interfacesOf = async (node: Node): Promise<string[]> =>
  JSON.parse(await node.netns.ip('-json link show type veth'))
    .map(({ ifname }: { ifname: string }) => ifname)
    .filter((name: string) => /^weir[0-9a-f]{10}$/.test(name))
    .sort();

test.before(async () => {
  cluster = await startWeirCluster({ name: clusterName('fault'), nodes: 2, routingMode: 'tunnel' });
  traffic = await FaultTraffic.start(cluster);
});
test.after(async () => {
  await traffic?.close();
  await cluster?.down();
});

test('the agents of both nodes are killed under traffic: nobody notices', async () => {
  await traffic.unnoticed(() => killAgents(cluster.nodes));
  await traffic.inForce();
});

test('the API server is away while agents start again: pods go on, ADD says why it cannot, and all of it heals', async () => {
  await traffic.unnoticed(async () => {
    await cluster.controlPlane.stop('kube-apiserver');
    await killAgents(cluster.nodes, '/livez');
    await until(async () => /starting/.test((await cni(node('node1'), 'STATUS', '')).answer.msg ?? ''), {
      what: 'the agent to take requests',
      timeoutMs: 60_000,
    });
    const started = performance.now();
    const { code, answer } = await cni(node('node1'), 'ADD', 'by-hand', '/run/netns/by-hand');
    console.log(`  ADD took ${((performance.now() - started) / 1000).toFixed(1)} s: ${JSON.stringify(answer)}`);
    assert.equal(
      { code, answer: answer.code },
      { code: 1, answer: 11 },
      'as the CNI specification says: try again later',
    );
    assert.ok(performance.now() - started < 60_000, 'in bounded time');
    assert.match(answer.msg ?? '', /no answer of the API server/);
    if (IS_LONG) await sleep(60_000);
    await startControlPlane();
  });
  await until(() => answers(node('node1'), '/healthz'), { what: 'the agent to be ready', timeoutMs: 60_000 });
  await traffic.inForce();
  await runPods(cluster, [{ name: 'after', node: 'node1', labels: { app: 'client' } }]);
  await cluster.kubectl('delete', 'pod', 'after');
});

test('etcd forgot what a watch would go on from (410): the next change is in force all the same', async () => {
  await cluster.controlPlane.stop('kube-apiserver');
  await cluster.controlPlane.compact();
  await startControlPlane();
  await cluster.kubectl('delete', 'ciliumnetworkpolicy', 'server');
  await until(async () => (await traffic.tries('stranger')).every((outcome) => outcome === 'ok'), {
    what: 'stranger to be let in',
    timeoutMs: 30_000,
  });
  await cluster.apply(SERVER_POLICY);
  await traffic.inForce();
});

/** What becomes of the connections of these ports, as nft rules, and how long the agent may take, which nobody tells. */
const QUIET = {
  // Found by TCP's probes, after 25 s (agent/kubernetes/transport.ts).
  'its connection is dead': {
    rules: (ports: string) => [`in tcp sport { ${ports} } drop`, `out tcp dport { ${ports} } drop`],
    limitMs: 60_000,
  },
  // Acknowledgements pass, so to TCP all is well: found after 90 s without a word (agent/kubernetes/watch.ts).
  'nothing comes any more': {
    rules: (ports: string) => [`out tcp dport { ${ports} } ip length > 80 drop`],
    limitMs: 120_000,
  },
};
for (const [how, { rules, limitMs }] of Object.entries(QUIET))
  test(`a watch stalls, and nobody says so (${how}): the agent asks anew, and has what it missed`, async () => {
    const agent = await agentOf(node('node1'));
    const sockets = await node('node1').run(['ss', '-Htnp', 'state', 'established', 'dst', CONTROL_PLANE.v4]);
    const ports = [...sockets.matchAll(/:(\d+)\s+\S+:6443.*pid=(\d+)/g)].flatMap(([, port = '', pid]) =>
      Number(pid) === agent ? [port] : [],
    );
    assert.ok(ports.length > 0, sockets);
    const table = (words: string) => cluster.controlPlane.netns.run(['nft', words]);
    await table(
      'add table ip stall; add chain ip stall in { type filter hook input priority 0; }; add chain ip stall out { type filter hook output priority 0; }',
    );
    const started = performance.now();
    try {
      for (const rule of rules(`${ports}`)) await table(`add rule ip stall ${rule}`);
      await cluster.apply(NO_CLIENT);
      await until(async () => (await traffic.tries('client')).every((outcome) => outcome === 'timeout'), {
        what: 'client, whose node knows nothing of it yet, to be held back by its own policy',
        timeoutMs: limitMs,
        everyMs: 1000,
      });
      console.log(`  after ${((performance.now() - started) / 1000).toFixed(1)} s`);
    } finally {
      await table('delete table ip stall');
      await cluster.kubectl('delete', 'ciliumnetworkpolicy', 'no-client');
    }
    await traffic.inForce(30_000);
  });

test('containerd is restarted: nobody notices, and the next pod runs', async () => {
  await traffic.unnoticed(async () => {
    await node('node1').stop('containerd');
    await node('node1').startContainerd();
  });
  await runPods(cluster, [{ name: 'next', node: 'node1' }]);
  await cluster.kubectl('delete', 'pod', 'next');
  // Without a grace period the API server forgets a pod before its node has taken it down.
  await until(async () => !(await endpointsOf('node1')).includes('default/next'), {
    what: 'its endpoint to be gone',
    timeoutMs: 30_000,
  });
});

test('pods are deleted while no agent runs: nothing of them is left when it is back', async () => {
  const names = ['gone', 'forced', 'unheard'];
  await runPods(
    cluster,
    names.map((name) => ({ name, node: 'node1' })),
  );
  const [before, interfaces] = [await endpointsOf('node1'), await interfacesOf(node('node1'))];
  const nowhere = '{"spec":{"template":{"spec":{"nodeSelector":{"weir.test/nowhere":"true"}}}}}';
  await cluster.kubectl('-n', NAMESPACE, 'patch', 'daemonset', 'weir', '-p', nowhere);
  await until(async () => (await Promise.all(cluster.nodes.map(agentOf))).every((pid) => pid === undefined), {
    what: 'agents to end',
    timeoutMs: 60_000,
  });
  await traffic.unnoticed(async () => {
    await cluster.kubectl('delete', 'pod', 'gone', '--timeout=60s');
    await cluster.kubectl('delete', 'pod', 'forced', '--force', '--grace-period=0');
    await cluster.kubectl('delete', 'pod', 'unheard', '--timeout=60s');
    await until(async () => (await Promise.all(names.map(keptDels))).every((files) => files.length > 0), {
      what: 'the node to have taken them down',
      timeoutMs: 60_000,
    });
    // As if no DEL had ever come: its namespace is gone, and that is all there is to tell by.
    await node('node1').run(['rm', ...(await keptDels('unheard'))]);
    assert.is((await cni(node('node1'), 'STATUS', '')).answer.code, 50);
  });
  const anywhere = '{"spec":{"template":{"spec":{"nodeSelector":{"weir.test/nowhere":null}}}}}';
  await cluster.kubectl('-n', NAMESPACE, 'patch', 'daemonset', 'weir', '-p', anywhere);
  await cluster.kubectl('-n', NAMESPACE, 'rollout', 'status', 'daemonset/weir', '--timeout=90s');
  const kept = before.filter((endpoint) => !names.includes(endpoint.replace('default/', '')));
  // By itself, at once: the kubelet has the runtime send each DEL again, within a minute.
  assert.is(await takenUp('node1'), kept.length);
  await until(async () => JSON.stringify(await endpointsOf('node1')) === JSON.stringify(kept), {
    what: 'their endpoints to be gone',
    timeoutMs: 30_000,
  });
  await until(async () => (await interfacesOf(node('node1'))).length === interfaces.length - names.length, {
    what: 'their interfaces to be gone',
  });
  await until(async () => (await keptDels('')).length === 0, { what: 'the kept DELs to be done with' });
  await traffic.inForce();
});

test('a node whose agent is ten minutes ahead: chores stay with one agent, and policies know its pods', async () => {
  interface Lease {
    readonly spec: { readonly renewTime: string; readonly leaseTransitions: number; readonly holderIdentity: string };
  }
  const lease = () => cluster.get<Lease>('lease', '-n', NAMESPACE, 'weir-chores');
  await node('node1').setClock('weir-agent', '+10m');
  await restartAgent('node1');
  const { time } = JSON.parse(
    (
      await cluster.kubectl('-n', NAMESPACE, 'logs', await agentPod(cluster, 'node1'), '-c', 'weir-agent', '--tail=1')
    ).trim(),
  );
  assert.ok(Date.parse(time) - Date.now() > 500_000, `the agent says it is ${time}`);

  await runPods(cluster, [{ name: 'late', node: 'node1', labels: { app: 'client', of: 'another-clock' } }]);
  // Who is ahead must want it from another: whose lease would look long over to it, if clocks were compared.
  const patch = JSON.stringify({ spec: { holderIdentity: 'node2' } });
  await cluster.kubectl('-n', NAMESPACE, 'patch', 'lease', 'weir-chores', '--type=merge', '-p', patch);
  const given = await lease();
  await until(async () => (await lease()).spec.renewTime !== given.spec.renewTime, {
    what: 'node2 to renew the lease that it was given',
    timeoutMs: 60_000,
    everyMs: 250,
  });
  const before = await lease();
  const identities = await cluster.kubectl('get', 'weiridentities', '-o', 'name');
  const renewed = new Set<string>();
  await until(
    async () => {
      renewed.add((await lease()).spec.renewTime);
      return renewed.size > 4;
    },
    { what: 'the lease to be renewed four times', timeoutMs: 90_000, everyMs: 500 },
  );
  const { spec } = await lease();
  assert.is(spec.leaseTransitions, before.spec.leaseTransitions, 'nobody took it from the other');
  assert.is(spec.holderIdentity, before.spec.holderIdentity);
  for (const identity of identities.trim().split('\n')) await cluster.kubectl('get', identity);
  await traffic.inForce();
  await cluster.kubectl('delete', 'pod', 'late');
  await node('node1').setClock('weir-agent', undefined);
  await restartAgent('node1');
});

test('a node is rebooted: its pods get networks again, what it knew of the old ones is gone, and the policy is in force', async () => {
  const before = await endpointsOf('node2');
  await node('node2').reboot();
  await until(async () => (await agentOf(node('node2'))) !== undefined && (await answers(node('node2'), '/healthz')), {
    what: 'its agent to be ready',
    timeoutMs: 120_000,
  });
  await cluster.kubectl('wait', '--for=condition=Ready', 'node/node2', '--timeout=60s');
  traffic = await traffic.again();
  await traffic.inForce(60_000);
  await until(async () => JSON.stringify(await endpointsOf('node2')) === JSON.stringify(before), {
    what: 'the endpoints to be the same ones',
    timeoutMs: 30_000,
  });
  assert.is((await interfacesOf(node('node2'))).length, before.length);
});

test.run();
