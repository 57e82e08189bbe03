import * as assert from 'uvu/assert';
import type { ApplyResult, Datapath, DatapathDelta, DatapathRows } from '../../agent/datapath/datapath.ts';
import type { Prefix } from '../../agent/model/address.ts';
import { labelsKey } from '../../agent/model/labels.ts';
import type {
  Document,
  EndpointSlice,
  Node,
  Service,
  ServiceEndpoint,
  SourceChange,
} from '../../agent/model/object.ts';
import { podLabels } from '../../agent/model/pod-labels.ts';
import { createEngine } from '../../agent/policy/engine.ts';
import { createRealizer, type Realizer } from '../../agent/realize/realizer.ts';
import { createLogger } from '../../agent/run/log.ts';
import { suite } from '../kit/suite.ts';
import { until } from '../kit/until.ts';
import { at, pod, podChange, record } from './realize-objects.ts';

const test = suite('the loop of the down river');
const NOTHING: ApplyResult = { epochBumped: false, operations: 0, lockedDown: [] };

/** A datapath that remembers, and fails or waits when told to. */
function fakeDatapath() {
  const calls: ({ kind: 'replace'; rows: DatapathRows } | { kind: 'apply'; delta: DatapathDelta })[] = [];
  const state = { calls, fail: undefined as Error | undefined, gate: Promise.resolve() };
  const answer = async (): Promise<ApplyResult> => {
    await state.gate;
    if (state.fail) throw state.fail;
    return NOTHING;
  };
  const datapath = {
    replace: (rows: DatapathRows) => {
      calls.push({ kind: 'replace', rows });
      return answer();
    },
    apply: (delta: DatapathDelta) => {
      calls.push({ kind: 'apply', delta });
      return answer();
    },
  } as unknown as Datapath;
  return { ...state, state, datapath };
}

function start(
  lastValid: Document[] = [],
  more: { readonly services?: boolean; readonly podsArePublished?: boolean } = {},
): {
  realizer: Realizer;
  kernel: ReturnType<typeof fakeDatapath>;
  kept: Document[][];
  numbers: { full: boolean };
} {
  const kernel = fakeDatapath();
  const given = new Map<string, number>();
  const numbers = { full: false };
  const kept: Document[][] = [];
  const realizer = createRealizer({
    engine: createEngine(),
    datapath: kernel.datapath,
    identities: {
      acquire: async (labels) => {
        const key = labelsKey(labels);
        if (numbers.full) return 5;
        const number = given.get(key) ?? 256 + given.size;
        given.set(key, number);
        return number;
      },
      release: () => {},
    },
    nodeName: 'here',
    podCidrs: ['10.244.0.0/24' as Prefix],
    labelsOf: (pod, namespace) => podLabels(pod, namespace, { clusterName: 'default' }),
    log: createLogger({ level: 'error', format: 'text', write: () => {} }),
    lastValid,
    keepDocuments: async (documents) => void kept.push(documents),
    now: () => 0,
    ...more,
  });
  return { realizer, kernel, kept, numbers };
}

const policy = (app: string): Document => ({
  ref: { apiVersion: 'cilium.io/v2', kind: 'CiliumNetworkPolicy', namespace: 'default', name: 'p', uid: '' },
  annotations: {},
  raw: {
    apiVersion: 'cilium.io/v2',
    kind: 'CiliumNetworkPolicy',
    metadata: { name: 'p', namespace: 'default' },
    spec: { endpointSelector: { matchLabels: { app } }, ingress: [{}] },
  },
  origin: { place: 'p.yaml', line: () => undefined },
});

test('nothing reaches the kernel before the source is complete; then everything does at once', async () => {
  const { realizer, kernel } = start();
  const restored = realizer.admit(record(7, 'web'), undefined);
  realizer.change([podChange(pod('web', 'web'))]);
  await new Promise(setImmediate);
  assert.is(kernel.calls.length, 0);
  realizer.synced();
  await restored;
  assert.is(kernel.calls.length, 1);
  const [first] = kernel.calls;
  assert.ok(first?.kind === 'replace');
  assert.is(first.rows.endpoints[0]?.identity, 256);
  assert.is(first.rows.peers[0]?.address, '10.244.0.7');
  realizer.stop();
});

test('backends that are meant for a zone serve the pods of this node if it is in that zone, whenever that is known', async () => {
  const { realizer, kernel } = start([], { services: true });
  const names = { namespace: 'default', name: 'web' };
  const endpoint = (id: number, zone: string): ServiceEndpoint => ({
    ...{ addresses: [at(id)], ready: true, serving: true, terminating: false, nodeName: '', pod: '' },
    ...{ forNodes: [], forZones: [zone] },
  });
  const service: Service = {
    ...names,
    ...{ uid: '', labels: {}, selector: {}, clusterIps: [at(200)], affinitySeconds: 0, localOnly: false },
    ports: [{ name: '', protocol: 'TCP', port: 80, targetPort: 80 }],
  };
  const slice: EndpointSlice = {
    ...{ ...names, service: 'web', ports: [{ name: '', protocol: 'TCP', port: 80 }] },
    endpoints: [endpoint(7, 'a'), endpoint(8, 'b')],
  };
  const node = (name: string, zone: string): Node => ({
    ...{ name, labels: { 'topology.kubernetes.io/zone': zone }, addresses: [], podCidrs: [] },
  });
  const change = (kind: 'Service' | 'EndpointSlice' | 'Node', value: { readonly name: string }): SourceChange =>
    ({
      type: 'upsert',
      object: { kind, ref: { ...names, apiVersion: 'v1', kind, uid: '', name: value.name }, value },
    }) as SourceChange;
  realizer.change([change('Service', service), change('EndpointSlice', slice), change('Node', node('there', 'a'))]);
  realizer.synced();
  await realizer.firstRealized;
  const [first] = kernel.calls;
  assert.ok(first?.kind === 'replace');
  assert.is(first.rows.services?.[0]?.backends.length, 2);
  realizer.change([change('Node', node('here', 'b'))]);
  await until(() => kernel.calls.length === 2, { what: 'the change' });
  const next = kernel.calls[1];
  assert.ok(next?.kind === 'apply');
  assert.equal(
    next.delta.setServices?.map(({ backends }) => backends.map(({ address }) => address)),
    [[at(8)]],
  );
  realizer.stop();
});

test('admissions of one tick share a revision, and later ones wait for their own', async () => {
  const { realizer, kernel } = start();
  realizer.synced();
  await realizer.firstRealized;
  const gate = Promise.withResolvers<void>();
  kernel.state.gate = gate.promise;
  const both = Promise.all([1, 2].map((id) => realizer.admit(record(id, `p${id}`), pod(`p${id}`, 'a'))));
  await until(() => kernel.calls.length === 2, { what: 'the first apply' });
  let thirdDone = false;
  const third = realizer.admit(record(3, 'p3'), pod('p3', 'a')).then(() => {
    thirdDone = true;
  });
  gate.resolve();
  await both;
  assert.not(thirdDone);
  await third;
  const sizes = kernel.calls.slice(1).map((call) => call.kind === 'apply' && call.delta.setEndpoints.length);
  assert.equal(sizes, [2, 1]);
  realizer.stop();
});

test('after an apply that failed the kernel is read and made equal, and the caller has seen the failure', async () => {
  const { realizer, kernel } = start();
  realizer.synced();
  await realizer.firstRealized;
  kernel.state.fail = new Error('ENOMEM');
  const failed = await realizer.admit(record(1, 'p1'), pod('p1', 'a')).catch((error: { code: string }) => error.code);
  assert.is(failed, 'DATAPATH_FAILED');
  assert.is(realizer.failure?.code, 'DATAPATH_FAILED');
  kernel.state.fail = undefined;
  await until(() => realizer.failure === undefined, { what: 'the retry' });
  assert.is(kernel.calls.at(-1)?.kind, 'replace');
  realizer.stop();
});

test('a label change gives a new identity and policy in one revision', async () => {
  const { realizer, kernel } = start();
  realizer.change([podChange(pod('web', 'web'))]);
  realizer.synced();
  await realizer.admit(record(1, 'web'), pod('web', 'web'));
  const before = realizer.desired.members.get(1)?.identity;
  realizer.change([podChange(pod('web', 'db'))]);
  await until(
    () =>
      realizer.desired.members.get(1)?.identity !== before &&
      realizer.revision().desired === realizer.revision().realized,
    {
      what: 'the new identity',
    },
  );
  const last = kernel.calls.at(-1);
  assert.ok(last?.kind === 'apply');
  assert.is(last.delta.setEndpoints[0]?.identity, realizer.desired.members.get(1)?.identity);
  assert.is(last.delta.setPeers[0]?.identity, realizer.desired.members.get(1)?.identity);
  realizer.stop();
});

test('an annotation of the pod that asks for a level is one row of its endpoint', async () => {
  const { realizer, kernel } = start();
  const annotated = (annotations: Record<string, string>) => ({ ...pod('web', 'web'), annotations });
  realizer.synced();
  await realizer.admit(record(1, 'web'), annotated({}));
  for (const [written, expected] of [
    ['none', 'none'],
    ['maximum', 'maximum'],
    ['None', undefined],
  ] as const) {
    const before = kernel.calls.length;
    realizer.change([podChange(annotated({ 'weir.dev/flow-aggregation': written }))]);
    await until(() => kernel.calls.length > before, { what: 'the new level' });
    const last = kernel.calls.at(-1);
    assert.ok(last?.kind === 'apply');
    assert.equal(
      last.delta.setEndpoints.map(({ id, aggregation }) => [id, aggregation]),
      [[1, expected]],
    );
    assert.equal(last.delta.setPeers, []);
  }
  realizer.stop();
});

test('ADD waits for its very pod: while the one before of the same name is known, and while its namespace is not', async () => {
  const { realizer } = start([], { podsArePublished: true });
  realizer.synced();
  await realizer.firstRealized;
  const namespace = { apiVersion: 'v1', kind: 'Namespace', namespace: '', name: 'default', uid: '' };
  const before = { ...pod('web-0', 'a'), uid: 'old' };
  const after = { ...pod('web-0', 'b'), uid: 'new' };
  const tell = (change: SourceChange): void => realizer.change([change]);
  const answers: (string | undefined)[] = [];
  const asked = realizer.podOf('default', 'web-0', 'new', 60_000).then((found) => void answers.push(found?.uid));
  for (const change of [podChange(before), podChange(after)]) {
    tell(change);
    await new Promise(setImmediate);
    assert.equal(answers, []);
  }
  tell({ type: 'upsert', object: { kind: 'Namespace', ref: namespace, value: { name: 'default', labels: {} } } });
  await asked;
  assert.equal(answers, ['new']);
  assert.is((await realizer.podOf('default', 'web-0', 'another', 1))?.uid, 'new', 'what is there, after the wait');
  assert.is((await realizer.podOf('default', 'web-0', '', 60_000))?.uid, 'new', 'a runtime that tells none');
  realizer.stop();
});

test('in manifests a pod needs no Namespace', async () => {
  const { realizer } = start();
  realizer.change([podChange(pod('web', 'a'))]);
  assert.is((await realizer.podOf('default', 'web', '', 60_000))?.name, 'web');
  realizer.stop();
});

test("a static pod's endpoint follows the labels of its mirror, whose uid is another", async () => {
  const { realizer } = start();
  const mirror = (app: string) => ({
    ...pod('static', app),
    ...{ uid: 'of-the-mirror', annotations: { 'kubernetes.io/config.mirror': 'hash' } },
  });
  realizer.synced();
  await realizer.admit({ ...record(1, 'static'), podUid: 'hash' }, mirror('a'));
  const member = realizer.desired.members.get(1);
  assert.is(member?.labels.get('k8s:app'), 'a');
  realizer.change([podChange(mirror('b'))]);
  await until(() => member?.labels.get('k8s:app') === 'b', { what: 'the new label' });
  realizer.stop();
});

test('an endpoint removed while its number is written leaves nothing', async () => {
  const { realizer, kernel } = start();
  realizer.synced();
  await realizer.firstRealized;
  const admitted = realizer.admit(record(1, 'p1'), pod('p1', 'a'));
  const withdrawn = realizer.withdraw(1);
  await Promise.all([admitted, withdrawn]);
  assert.is(realizer.desired.members.size, 0);
  assert.equal(realizer.desired.peers.rows(), []);
  assert.is(realizer.desired.identities.users.size, 0);
  assert.not(kernel.calls.some((call) => call.kind === 'apply' && call.delta.setEndpoints.length > 0));
  realizer.stop();
});

test('a pod for which no number is free is denied by default as init, and gets its number once there is one', async () => {
  const { realizer, kernel, numbers } = start();
  numbers.full = true;
  realizer.synced();
  await realizer.admit(record(1, 'p1'), pod('p1', 'a'));
  const rows = kernel.calls.flatMap((call) => (call.kind === 'apply' ? call.delta.policy.set.policies : []));
  assert.is(realizer.desired.members.get(1)?.identity, 5);
  assert.ok(rows.every((row) => row.ingress.isolated && row.egress.isolated));
  numbers.full = false;
  realizer.askAgain();
  await until(() => realizer.desired.members.get(1)?.identity === 256, { what: 'the number' });
  realizer.stop();
});

test('the last valid version is in force until the source speaks; what the source no longer has is dropped', async () => {
  const { realizer, kernel, kept } = start([policy('web')]);
  realizer.change([podChange(pod('web', 'web'))]);
  const admitted = realizer.admit(record(1, 'web'), undefined);
  realizer.synced();
  await admitted;
  const first = kernel.calls[0];
  assert.ok(first?.kind === 'replace');
  assert.not(
    first.rows.policy.policies.some((row) => row.ingress.isolated),
    'the document is gone from the source',
  );
  realizer.change([{ type: 'upsert', object: { kind: 'Document', ref: policy('web').ref, value: policy('web') } }]);
  await until(() => kept.at(-1)?.length === 1, { what: 'the document to be kept' });
  realizer.stop();
});

test.run();
