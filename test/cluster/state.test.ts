/** What nodes agree on through a real API server, by agents that are processes of their own and are killed. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import * as assert from 'uvu/assert';
import { createNodeStatus } from '../../agent/cluster/node-status.ts';
import {
  IDENTITIES,
  type IdentityObject,
  identityName,
  type NodeObject,
  RECORDS,
  type RecordObject,
  SLICES,
  type SliceObject,
} from '../../agent/cluster/objects.ts';
import { createOwnTaint } from '../../agent/cluster/own-taint.ts';
import { createNodeTender } from '../../agent/cluster/tend-nodes.ts';
import { createClient, type KubernetesClient } from '../../agent/kubernetes/client.ts';
import { connect } from '../../agent/kubernetes/connection.ts';
import { collectionPath, objectPath } from '../../agent/kubernetes/path.ts';
import { systemClock } from '../../agent/run/clock.ts';
import { createLogger } from '../../agent/run/log.ts';
import { privileged } from '../kit/privileged.ts';
import { suite } from '../kit/suite.ts';
import { until } from '../kit/until.ts';
import { type ApiServer, startApiServer } from './api-server.ts';
import type { Order, Word } from './state-agent.ts';

const PROGRAM = fileURLToPath(new URL('state-agent.ts', import.meta.url));
const CRDS = fileURLToPath(new URL('../../crds', import.meta.url));
/** Label sets; most are unused at any time. */
const SETS = 60;
/** For conditions: four processes and an API server start side by side, on a machine that has more to do. */
const PATIENCE_MS = 90_000;
const LOOKS_LEAST = 20;
const QUIET = createLogger({ level: 'error', format: 'text', write: () => {} });
const appOf = (set: number) => new Map([['k8s:app', `app-${set}`]]);

const test = privileged(suite('cluster state on a real API server'), 'api-server');
let api: ApiServer;
let client: KubernetesClient;
const agents: AgentProcess[] = [];

test.before(async () => {
  api = await startApiServer('state');
  await api.apply(CRDS);
  client = createClient({
    connection: await connect({ kubeconfig: api.kubeconfig }),
    rate: { perSecond: 1000, burst: 1000 },
  });
});
test.after(async () => {
  for (const agent of agents) agent.kill();
  client?.close();
  api?.stop();
});

/** A node's agent, and what its kernel holds of it. */
class AgentProcess {
  readonly node: string;
  readonly #directory: string;
  #child!: ChildProcess;
  synced = false;
  readonly using = new Map<number, number>();
  readonly asked = new Set<number>();
  readonly announced = new Map<string, boolean>();
  /** Slice -> uids, of other nodes. */
  readonly peers = new Map<string, readonly string[]>();
  readonly faults: string[] = [];

  constructor(node: string) {
    this.node = node;
    this.#directory = join(api.folder, `state-${node}`);
    mkdirSync(this.#directory, { recursive: true });
    this.start();
    agents.push(this);
  }

  start(): void {
    this.synced = false;
    this.asked.clear();
    const child = spawn(process.execPath, [PROGRAM, api.kubeconfig, this.node, this.#directory], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    this.#child = child;
    child.stdin?.on('error', () => {}); // Killed while it was told something.
    createInterface({ input: child.stdout as NonNullable<typeof child.stdout> }).on('line', (line) => {
      if (child === this.#child) this.#hear(JSON.parse(line) as Word);
    });
    for (const set of this.using.keys()) this.tell({ do: 'acquire', set });
  }

  #hear(word: Word): void {
    if (word.is === 'synced') this.synced = true;
    else if (word.is === 'peers') this.peers.set(word.slice, word.uids);
    else if (word.is === 'announced') this.announced.set(word.uid, word.accepted);
    else if (word.is === 'renumbered') this.faults.push(`${this.node}: ${word.app} has another number now`);
    else if (word.is === 'refused') {
      this.asked.delete(word.set);
      if (!word.retryable) this.faults.push(`${this.node}: set ${word.set} was refused for good: ${word.code}`);
    } else {
      this.asked.delete(word.set);
      const before = this.using.get(word.set);
      if (before !== undefined && before !== word.number)
        this.faults.push(`${this.node}: set ${word.set} was ${before} and is ${word.number}`);
      this.using.set(word.set, word.number);
    }
  }

  tell(order: Order): void {
    this.#child.stdin?.write(`${JSON.stringify(order)}\n`);
  }

  acquire(set: number): void {
    if (this.using.has(set) || this.asked.has(set)) return;
    this.asked.add(set);
    this.tell({ do: 'acquire', set });
  }

  release(set: number): void {
    if (!this.using.has(set) || this.asked.has(set)) return;
    this.using.delete(set);
    this.tell({ do: 'release', set });
  }

  kill(): void {
    this.#child.kill('SIGKILL');
  }

  async end(): Promise<void> {
    const ended = new Promise((resolve) => this.#child.once('exit', resolve));
    this.#child.stdin?.end();
    await ended;
  }
}

async function makeNode(name: string, spec: object = {}): Promise<void> {
  await client.create('/api/v1/nodes', { apiVersion: 'v1', kind: 'Node', metadata: { name }, spec });
}

test('agents that are killed, an API server that goes away: one number per set, one set per number, none in use collected', async () => {
  const names = ['node-1', 'node-2', 'node-3', 'node-4'];
  for (const name of names) await makeNode(name);
  const nodes = names.map((name) => new AgentProcess(name));
  await until(() => nodes.every(({ synced }) => synced), {
    what: 'the agents to have their lists',
    timeoutMs: PATIENCE_MS,
  });
  const dice = (sides: number) => Math.floor(Math.random() * sides);
  const pick = () => nodes[dice(nodes.length)] as AgentProcess;
  const seen = new Set<string>();
  let looks = 0;
  let collected = 0;

  /** What is in use before and after the list was in use during it. */
  async function look(): Promise<void> {
    const before = nodes.map(({ using }) => new Map(using));
    const { items } = await client.list<IdentityObject>(collectionPath(IDENTITIES));
    const numberOf = new Map(items.map(({ metadata, spec }) => [metadata.name, spec.number]));
    assert.is(new Set(numberOf.values()).size, items.length, 'one set per number');
    for (const [i, { node, using, faults }] of nodes.entries()) {
      assert.equal(faults, []);
      for (const [set, number] of before[i] ?? []) {
        if (using.get(set) !== number) continue;
        assert.is(numberOf.get(identityName(appOf(set))), number, `${node} uses ${number} for set ${set}`);
      }
    }
    const uids = new Set(items.map(({ metadata }) => metadata.uid ?? ''));
    for (const uid of seen) if (!uids.has(uid)) collected += seen.delete(uid) ? 1 : 0;
    for (const uid of uids) seen.add(uid);
    looks++;
  }

  const end = performance.now() + 12_000;
  const killAt = [2000, 5000, 8000].map((ms) => performance.now() + ms);
  let downAt = performance.now() + 6000;
  while (performance.now() < end || looks <= LOOKS_LEAST || collected === 0) {
    for (let i = 0; i < 4; i++) {
      const agent = pick();
      agent.acquire(dice(SETS));
      const used = [...agent.using.keys()];
      if (used.length > 4) agent.release(used[dice(used.length)] as number);
    }
    if (performance.now() > (killAt[0] ?? Number.POSITIVE_INFINITY)) {
      killAt.shift();
      const victim = pick();
      victim.kill();
      victim.start();
    }
    if (performance.now() > downAt) {
      downAt = Number.POSITIVE_INFINITY;
      await api.down();
      for (let set = 0; set < SETS; set++) pick().acquire(set);
      await api.up();
      await until(
        () =>
          look().then(
            () => true,
            () => undefined,
          ),
        { what: 'the API server to answer', timeoutMs: PATIENCE_MS },
      );
    }
    await look();
    await new Promise((resolve) => setTimeout(resolve, 30)); // The pace of the load, not a condition.
  }
  await until(() => nodes.every(({ asked }) => asked.size === 0), {
    what: 'every set asked for to be settled',
    timeoutMs: PATIENCE_MS,
  });
  await look();

  for (const node of nodes) for (const set of [...node.using.keys()]) node.release(set);
  await until(async () => (await client.list(collectionPath(IDENTITIES))).items.length === 0, {
    what: 'everything that is not used any more to be collected',
    timeoutMs: PATIENCE_MS,
  });
  for (const node of nodes) await node.end();
});

test('a node without an API server keeps the numbers it had; with it, endpoints are published and repaired', async () => {
  for (const name of ['node-5', 'node-9']) await makeNode(name);
  const node = new AgentProcess('node-5');
  const other = new AgentProcess('node-9');
  const seen = (expected: string) =>
    until(() => other.peers.get('node-5-0')?.join() === expected, { what: `the other node to see "${expected}"` });
  await until(() => other.synced, { what: 'the other agent' });
  node.acquire(1);
  await until(() => node.using.has(1), { what: 'a number' });
  const number = node.using.get(1) as number;
  node.tell({ do: 'announce', pods: [{ uid: 'a', address: '10.0.5.2', number }] });
  await until(() => node.announced.get('a'), { what: 'the entry to be accepted' });
  const own = async () =>
    (await client.list<SliceObject>(collectionPath(SLICES))).items.filter(({ spec }) => spec.node === 'node-5');
  await seen('a');
  assert.equal((await own())[0]?.spec.endpoints[0]?.namedPorts, [{ name: 'http', protocol: 'TCP', port: 80 }]);

  await api.down();
  node.kill();
  node.start();
  node.acquire(1);
  node.tell({ do: 'acquire', set: 2 });
  await until(() => node.faults.length > 0 || node.using.has(1), { what: 'the number of before' });
  assert.is(node.using.get(1), number);
  await api.up();
  node.acquire(2);
  const retried = () => {
    node.acquire(2);
    return node.using.has(2);
  };
  await until(retried, {
    what: 'a number for the new set',
    timeoutMs: PATIENCE_MS,
  });
  node.tell({ do: 'announce', pods: [{ uid: 'b', address: '10.0.5.3', number: node.using.get(2) as number }] });
  await until(() => node.announced.get('b'), { what: 'the entry to be accepted' });
  await until(
    async () => JSON.stringify((await own()).map(({ spec }) => spec.endpoints.map(({ uid }) => uid))) === '[["b"]]',
    {
      what: 'the entry of before the restart to go',
    },
  );

  const [slice] = await own();
  await client.remove(objectPath(SLICES, '', slice?.metadata.name ?? ''));
  await until(async () => (await own()).length === 1, { what: 'a slice that somebody removed to come back' });
  await client.remove(objectPath(RECORDS, '', 'node-5'));
  await until(
    async () => {
      const record = await client.get<RecordObject>(objectPath(RECORDS, '', 'node-5')).catch(() => undefined);
      return record?.spec.identities.includes(number);
    },
    { what: 'the record to come back with its claims' },
  );
  await seen('b');
  node.tell({ do: 'announce', pods: [] });
  await seen('');
  assert.equal([...node.peers], [], 'its own it knows better');
  assert.equal(node.faults, []);
  await Promise.all([node.end(), other.end()]);
});

test('the status of a node, its taint and its condition', async () => {
  await makeNode('node-6', {
    taints: [
      { key: 'node.weir.dev/agent-not-ready', effect: 'NoSchedule' },
      { key: 'mine', effect: 'NoSchedule' },
    ],
  });
  const path = objectPath({ apiVersion: 'v1', plural: 'nodes' }, '', 'node-6');
  const end = new AbortController();
  const parts = { client, nodeName: 'node-6', clock: systemClock, now: Date.now, log: QUIET, signal: end.signal };
  const taint = createOwnTaint(parts);
  const watch = client.watch<NodeObject>({
    ...{ path: '/api/v1/nodes', fieldSelector: 'metadata.name=node-6', signal: end.signal },
    onChanges: (changes) => {
      for (const change of changes) taint.take(change.type === 'upsert' ? change.object : undefined);
    },
    onSynced() {},
  });
  const node = () => client.get<NodeObject>(path);
  const keys = async () => ((await node()).spec?.taints ?? []).map(({ key }) => key);
  await until(() => watch.state().synced, { what: 'the watch' });
  assert.ok((await keys()).includes('node.weir.dev/agent-not-ready'), 'not before the agent is ready');
  taint.setReady(true);
  await until(async () => !(await keys()).includes('node.weir.dev/agent-not-ready'), { what: 'the taint to go' });
  assert.ok((await keys()).includes('mine'), 'the taints of others stay');
  await until(
    async () =>
      (await node()).status?.conditions?.some(
        ({ type, status }) => type === 'NetworkUnavailable' && status === 'False',
      ),
    { what: 'the condition' },
  );

  // The holder of the Lease: its own agent is ready, that of node-7 comes up, node-8 has none.
  for (const name of ['node-7', 'node-8']) await makeNode(name);
  await makePod('weir-6', 'node-6', 'True');
  await makePod('weir-7', 'node-7', 'False');
  const record = {
    apiVersion: 'weir.dev/v1alpha1',
    kind: 'WeirNode',
    metadata: { name: 'node-gone' },
    spec: { addresses: ['192.0.2.9'], podCidrs: [], routerAddresses: [] },
  };
  await client.create(collectionPath(RECORDS), record);
  const { items: records } = await client.list<RecordObject>(collectionPath(RECORDS));
  const tender = createNodeTender({ ...parts, namespace: 'kube-system', records: () => records, slices: () => [] });
  await tender.run();
  const tainted = async () =>
    (await client.list<NodeObject>('/api/v1/nodes')).items
      .filter(({ spec }) => spec?.taints?.some(({ key }) => key === 'node.weir.dev/agent-not-ready'))
      .map(({ metadata }) => metadata.name);
  assert.equal(await tainted(), ['node-7']);
  assert.is(
    await client.get(objectPath(RECORDS, '', 'node-gone')).catch((error: { code: string }) => error.code),
    'NOT_FOUND',
  );

  const status = createNodeStatus(parts);
  await client.create(collectionPath(RECORDS), { ...record, metadata: { name: 'node-6' } });
  const told = {
    ...{
      agentVersion: '1.0.0',
      ready: true,
      policyRevision: 7,
      desiredPolicyRevision: 8,
      endpoints: 2,
      identities: 1,
      drops: 9,
    },
    refused: [
      { kind: 'NetworkPolicy', namespace: 'shop', name: 'bad', uid: 'u', generation: 3, reason: 'spec.x: why' },
    ],
    ...{ refusedCount: 1, problems: ['something'] },
  };
  status.report(told);
  await status.idle();
  const written = await client.get<RecordObject>(objectPath(RECORDS, '', 'node-6'));
  const { updated, ...said } = written.status ?? {};
  assert.ok(Date.parse(updated ?? '') > 0);
  assert.equal(said, told);
  end.abort();
  await watch.stopped;
});

async function makePod(name: string, nodeName: string, ready: 'True' | 'False'): Promise<void> {
  const pod = {
    ...{ apiVersion: 'v1', kind: 'Pod', metadata: { name, labels: { 'app.kubernetes.io/name': 'weir' } } },
    spec: { nodeName, containers: [{ name: 'weir-agent', image: 'weir' }] },
  };
  await client.create('/api/v1/namespaces/kube-system/pods', pod);
  const body = { status: { conditions: [{ type: 'Ready', status: ready }] } };
  await client.patch(`/api/v1/namespaces/kube-system/pods/${name}/status`, { type: 'merge', body });
}

test.run();
