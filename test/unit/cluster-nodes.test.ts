/** What an agent says of its node, and what the holder of the Lease does about nodes and identities. */
import { setImmediate as turn } from 'node:timers/promises';
import * as assert from 'uvu/assert';
import { createIdentityCollector } from '../../agent/cluster/collect-identities.ts';
import { createNodeStatus } from '../../agent/cluster/node-status.ts';
import {
  IDENTITIES,
  type IdentityObject,
  identityObject,
  NODES,
  type NodeObject,
  type NodeStatus,
  PODS,
  RECORDS,
  type RecordObject,
  SLICES,
  type SliceObject,
} from '../../agent/cluster/objects.ts';
import { createOwnRecord } from '../../agent/cluster/own-record.ts';
import { createOwnTaint } from '../../agent/cluster/own-taint.ts';
import { isToBeTainted, RESTART_MS } from '../../agent/cluster/taint.ts';
import { createNodeTender } from '../../agent/cluster/tend-nodes.ts';
import { collectionPath, objectPath } from '../../agent/kubernetes/path.ts';
import { fakeClock } from '../kit/clock.ts';
import { suite } from '../kit/suite.ts';
import { FakeApi } from './cluster-api.ts';
import { ownerOf, QUIET } from './cluster-identity-world.ts';

const TAINT = { key: 'node.weir.dev/agent-not-ready', effect: 'NoSchedule' };

function world() {
  const api = new FakeApi();
  const clock = fakeClock();
  const end = new AbortController();
  const parts = {
    ...{ client: api.client('node-1'), nodeName: 'node-1', clock, now: () => 1_800_000_000_000 + clock.nowMs() },
    ...{ log: QUIET, signal: end.signal, owner: ownerOf('node-1') },
  };
  const pass = async (ms: number) => {
    await api.settleAll();
    clock.advance(ms);
    await api.settleAll();
  };
  return { api, clock, end, parts, pass };
}

const decisions = suite('cluster: which nodes are tainted');
const node: NodeObject = { metadata: { name: 'n' } };
for (const [name, signs, expected] of [
  ['its agent is ready', { hasPod: true, isReady: true, hasRecord: true, notReadyMs: 0 }, false],
  ['an agent comes up for the first time', { hasPod: true, isReady: false, hasRecord: false, notReadyMs: 0 }, true],
  ['its agent restarts', { hasPod: true, isReady: false, hasRecord: true, notReadyMs: RESTART_MS - 1 }, false],
  ['its agent is gone for long', { hasPod: false, isReady: false, hasRecord: true, notReadyMs: RESTART_MS }, true],
  ['no agent is to run there', { hasPod: false, isReady: false, hasRecord: false, notReadyMs: 1e9 }, false],
] as const) {
  decisions(name, () => assert.is(isToBeTainted(node, signs), expected));
}
decisions('one that is tainted already is left alone', () => {
  const signs = { hasPod: true, isReady: false, hasRecord: false, notReadyMs: 0 };
  assert.not(isToBeTainted({ ...node, spec: { taints: [TAINT] } }, signs));
});
decisions.run();

const tending = suite('cluster: tending nodes');
const taintsOf = (api: FakeApi, name: string) =>
  (api.one<NodeObject>(objectPath(NODES, '', name))?.spec?.taints ?? []).map(({ key }) => key);

function addPod(api: FakeApi, nodeName: string, ready: boolean): void {
  api.create(collectionPath(PODS, 'kube-system'), {
    metadata: { name: `weir-${nodeName}`, labels: { 'app.kubernetes.io/name': 'weir' } },
    spec: { nodeName },
    status: { conditions: [{ type: 'Ready', status: ready ? 'True' : 'False' }] },
  });
}

function tender({ api, parts }: ReturnType<typeof world>) {
  return createNodeTender({
    ...parts,
    namespace: 'kube-system',
    records: () => api.all<RecordObject>(collectionPath(RECORDS)),
    slices: () => api.all<SliceObject>(collectionPath(SLICES)),
  });
}

tending(
  'an agent that is away for longer than a restart: its node is tainted, once, and keeps its other taints',
  async () => {
    const here = world();
    const { api, clock } = here;
    for (const name of ['node-1', 'node-2']) {
      api.create(collectionPath(NODES), {
        metadata: { name },
        spec: { taints: [{ key: 'mine', effect: 'NoExecute' }] },
      });
      api.create(collectionPath(RECORDS), { metadata: { name }, spec: {} });
    }
    addPod(api, 'node-1', true);
    addPod(api, 'node-2', false);
    const { run } = tender(here);
    const turnOnce = async () => {
      const done = run();
      await api.settleAll();
      await done;
    };
    await turnOnce();
    clock.advance(RESTART_MS - 1);
    await turnOnce();
    assert.equal(taintsOf(api, 'node-2'), ['mine'], 'it may be restarting');
    clock.advance(1);
    await turnOnce();
    await turnOnce();
    assert.equal(taintsOf(api, 'node-2'), ['mine', TAINT.key]);
    assert.equal(taintsOf(api, 'node-1'), ['mine']);
  },
);

tending('who does not see its own pod sees no agents, and taints nobody', async () => {
  const here = world();
  here.api.create(collectionPath(NODES), { metadata: { name: 'node-2' } });
  addPod(here.api, 'node-2', false);
  const done = tender(here).run();
  await here.api.settleAll();
  await done;
  assert.equal(taintsOf(here.api, 'node-2'), []);
});

tending('what a node that is gone left is removed, and only that', async () => {
  const here = world();
  const { api } = here;
  api.create(collectionPath(NODES), { metadata: { name: 'node-1' } });
  for (const name of ['node-1', 'node-2']) {
    api.create(collectionPath(RECORDS), { metadata: { name }, spec: {} });
    api.create(collectionPath(SLICES), { metadata: { name: `${name}-0` }, spec: { node: name, endpoints: [] } });
  }
  const done = tender(here).run();
  await api.settleAll();
  await done;
  assert.equal(api.all(collectionPath(RECORDS)).map(({ metadata }) => metadata.name), ['node-1']); // biome-ignore format: one line each
  assert.equal(api.all(collectionPath(SLICES)).map(({ metadata }) => metadata.name), ['node-1-0']); // biome-ignore format: one line each
});
tending.run();

const own = suite('cluster: the own node');

own('the taint goes when the agent is ready, also when it comes again, and the condition is said once', async () => {
  const { api, end, parts, pass } = world();
  api.create(collectionPath(NODES), {
    metadata: { name: 'node-1' },
    spec: { taints: [TAINT, { key: 'mine', effect: 'NoSchedule' }] },
  });
  const taint = createOwnTaint(parts);
  parts.client.watch<NodeObject>({
    ...{ path: collectionPath(NODES), fieldSelector: 'metadata.name=node-1', signal: end.signal },
    onChanges: (changes) => {
      for (const change of changes) taint.take(change.type === 'upsert' ? change.object : undefined);
    },
    onSynced() {},
  });
  await pass(0);
  assert.equal(taintsOf(api, 'node-1'), [TAINT.key, 'mine']);
  taint.setReady(true);
  await pass(0);
  await pass(0);
  assert.equal(taintsOf(api, 'node-1'), ['mine']);
  const conditions = api.one<NodeObject>(objectPath(NODES, '', 'node-1'))?.status?.conditions ?? [];
  assert.equal(conditions.map(({ type, status, reason }) => [type, status, reason]), [['NetworkUnavailable', 'False', 'WeirIsUp']]); // biome-ignore format: one line
  api.patch(objectPath(NODES, '', 'node-1'), { type: 'merge', body: { spec: { taints: [TAINT] } } });
  await pass(0);
  await pass(0);
  assert.equal(taintsOf(api, 'node-1'), []);
  const written = Object.fromEntries(api.counts);
  await pass(60_000);
  assert.equal(Object.fromEntries(api.counts), written, 'nothing to do is nothing written');
});

own('the record: what somebody else changes is made right, and says which claims were gone', async () => {
  const { api, parts, pass } = world();
  const record = createOwnRecord({ ...parts, onTrouble: () => {} });
  const path = objectPath(RECORDS, '', 'node-1');
  const read = () => api.one<RecordObject>(path);
  record.describe({ addresses: ['192.0.2.1'], podCidrs: ['10.0.1.0/24'], routerAddresses: ['10.0.1.1'] });
  const claimed = record.claim([300, 301]);
  await pass(0);
  await claimed;
  const before = read() as RecordObject;
  assert.equal([...record.seen(before)], [], 'our own');
  api.patch(path, { type: 'merge', body: { spec: { identities: [300], podCidrs: [] } } });
  assert.equal([...record.seen(read())], [301]);
  await pass(0);
  assert.equal(read()?.spec, before.spec);
  assert.equal([...record.seen(before)], [], 'a watch that is late');
  api.remove(path);
  assert.equal([...record.seen(undefined)], [300, 301]);
  await pass(0);
  assert.equal(read()?.spec, before.spec);
});

own('the record: claims that cannot be written are refused, and made later', async () => {
  const { api, parts, pass } = world();
  const record = createOwnRecord({ ...parts, onTrouble: () => {} });
  record.describe({ addresses: ['192.0.2.1'], podCidrs: [], routerAddresses: [] });
  const refused = record.claim([300]).then(
    () => '',
    ({ code }) => code,
  );
  for (let i = 0; i < 3; i++) {
    for (const call of api.calls) call.fail();
    await turn();
  }
  assert.is(await refused, 'API_UNREACHABLE');
  await pass(10_000);
  assert.equal(api.one<RecordObject>(objectPath(RECORDS, '', 'node-1'))?.spec.identities, [300]);
});

own('the record: a write of before a restart that comes late changes nothing', async () => {
  const { api, parts, pass } = world();
  const where = { addresses: ['192.0.2.1'], podCidrs: [], routerAddresses: [] };
  const before = createOwnRecord({ ...parts, onTrouble: () => {} });
  before.describe(where);
  void before.claim([300]);
  await pass(0);
  before.drop([300]);
  await turn();
  const [late] = api.calls;
  assert.match(late?.what ?? '', /^update /);
  api.calls = []; // It is under way when the agent ends.

  const after = createOwnRecord({ ...parts, client: api.client('node-1 again'), onTrouble: () => {} });
  after.describe(where);
  const claimed = after.claim([300]);
  await turn();
  assert.match(api.calls[0]?.what ?? '', /^get /);
  await api.settleAll();
  await claimed;
  late?.answer();
  await turn();
  assert.equal(api.one<RecordObject>(objectPath(RECORDS, '', 'node-1'))?.spec.identities, [300]);
});

const STATUS: NodeStatus = {
  ...{ agentVersion: '1.0.0', ready: true, policyRevision: 1, desiredPolicyRevision: 1, endpoints: 1, identities: 1 },
  ...{ drops: 0, refused: [], refusedCount: 0, problems: [] },
};
own('the status: written when something changed, seldom when only counts did', async () => {
  const { api, parts, pass } = world();
  api.create(collectionPath(RECORDS), { metadata: { name: 'node-1' }, spec: {} });
  const status = createNodeStatus(parts);
  const writes = () => api.counts.get('patch weirnodes') ?? 0;
  const say = async (more: Partial<NodeStatus>, ms: number) => {
    await pass(ms);
    status.report({ ...STATUS, ...more });
    await pass(0);
  };
  await say({}, 0);
  assert.is(writes(), 1);
  await say({}, 5000);
  assert.is(writes(), 1, 'the same');
  await say({ drops: 5 }, 5000);
  assert.is(writes(), 1, 'counts only');
  await say({ drops: 5, policyRevision: 2 }, 5000);
  assert.is(writes(), 2);
  await say({ drops: 9, policyRevision: 2 }, 60_000);
  assert.is(writes(), 3);
  assert.is(api.one<RecordObject>(objectPath(RECORDS, '', 'node-1'))?.status?.drops, 9);
});
own.run();

const collecting = suite('cluster: collecting identities');
collecting(
  'marked first, removed after the grace, spared when somebody claims it, anew with another holder',
  async () => {
    const { api, clock, parts } = world();
    const labels = new Map([['k8s:app', 'web']]);
    const object = api.create(collectionPath(IDENTITIES), identityObject(300, labels));
    const path = objectPath(IDENTITIES, '', object.metadata.name);
    api.create(collectionPath(RECORDS), { metadata: { name: 'node-2' }, spec: { identities: [] } });
    const claims = (identities: number[]) =>
      api.patch(objectPath(RECORDS, '', 'node-2'), { type: 'merge', body: { spec: { identities } } });
    const holder = () =>
      createIdentityCollector({
        ...{ ...parts, graceMs: 1000 },
        identities: () => api.all<IdentityObject>(collectionPath(IDENTITIES)),
      });
    const run = async (collector: ReturnType<typeof holder>, ms: number) => {
      clock.advance(ms);
      const done = collector.run();
      await api.settleAll();
      return done;
    };
    const marked = () => api.one(path)?.metadata.annotations?.['weir.dev/unused'];
    const first = holder();
    await run(first, 0);
    assert.is(marked(), 'node-1');
    await run(first, 0);
    claims([300]);
    await run(first, 5000);
    assert.is(marked(), undefined, 'claimed again: spared');
    claims([]);
    await run(first, 0);
    await run(first, 0);
    await run(first, 999);
    assert.ok(api.one(path), 'within the grace');
    const second = holder();
    await run(second, 5000);
    assert.ok(api.one(path), 'a new holder starts its clock anew');
    assert.equal(await run(second, 1000), { marked: 0, spared: 0, removed: 1 });
    assert.not(api.one(path));
  },
);
collecting.run();
