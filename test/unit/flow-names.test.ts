/** Names are those of the moment of the event, whatever happens to the pod afterwards. */
import * as assert from 'uvu/assert';
import { DropReason, EventFlags, EventType } from '../../agent/datapath/layout.gen.ts';
import { allOf } from '../../agent/flow/filter.ts';
import type { Flow } from '../../agent/flow/flow.ts';
import type { FlowHistory } from '../../agent/flow/history.ts';
import { NameTable } from '../../agent/flow/name-table.ts';
import { suite } from '../kit/suite.ts';
import * as r from './flow-records.ts';

const test = suite('flow: names');

async function all(history: FlowHistory): Promise<readonly Flow[]> {
  return (await history.page({ wanted: allOf([]), order: 'oldest', count: 1000, cursor: undefined })).flows;
}

test('a flow of a deleted pod keeps names, labels and rule', async () => {
  const fake = r.makeHistory(16);
  fake.history.listener(r.event(), 1, 0);
  fake.endpoints.clear();
  fake.labels.clear();
  fake.rules.clear();
  fake.changed();
  const [flow] = await all(fake.history);
  assert.is(flow?.source.pod_name, 'frontend-abc');
  assert.equal(flow?.destination.labels, ['k8s:app=backend', 'k8s:io.kubernetes.pod.namespace=default']);
  assert.is(flow?.weir.rule?.line, 12);
});

test('events before and after a pod replaced another on the same index carry their own names', async () => {
  const fake = r.makeHistory(16);
  fake.history.listener(r.event(), 1, 0);
  fake.endpoints.set(r.FRONTEND.id, r.podName('successor', r.FRONTEND));
  fake.changed();
  fake.history.listener(r.event(), 1, 0);
  assert.equal(
    (await all(fake.history)).map((flow) => flow.source.pod_name),
    ['frontend-abc', 'successor'],
  );
});

test('the late end of a connection is not blamed on the pod that got the index since', async () => {
  const fake = r.makeHistory(16);
  const newcomer = { ...r.FRONTEND, ip: '10.1.0.77', ip6: 'fd00::77' };
  fake.endpoints.set(r.FRONTEND.id, r.podName('newcomer', newcomer));
  fake.addresses.set(r.FRONTEND.ip, r.podName('frontend-abc', r.FRONTEND));
  fake.changed();
  const end = { type: EventType.EVENT_END };
  fake.history.listener(r.batch(r.event(end), r.event({ ...end, from: newcomer })), 2, 0);
  assert.equal(
    (await all(fake.history)).map((flow) => flow.source.pod_name),
    ['frontend-abc', 'newcomer'],
  );
});

const ASKED = { service: '10.96.0.1', servicePort: 80 };

test('a Service is told by the name it had, on the side that stands for it', async () => {
  const fake = r.makeHistory(16);
  fake.services.set('10.96.0.1 80 6', { namespace: 'default', name: 'web' });
  fake.history.listener(r.event(ASKED), 1, 0);
  fake.services.set('10.96.0.1 80 6', { namespace: 'default', name: 'shop' });
  fake.changed();
  const reply = { from: r.BACKEND, to: r.FRONTEND, type: EventType.EVENT_REPLY, flags: EventFlags.EVENT_IS_REPLY };
  fake.history.listener(r.batch(r.event({ ...reply, ...ASKED }), r.event()), 2, 0);
  const flows = await all(fake.history);
  assert.equal(
    flows.map(({ source_service, destination_service }) => [source_service?.name, destination_service?.name]),
    [
      [undefined, 'web'],
      ['shop', undefined],
      [undefined, undefined],
    ],
  );
  assert.equal(
    flows.map(({ IP, weir }) => [IP?.source_xlated, weir.service]),
    [
      [undefined, { address: '10.96.0.1', port: 80 }],
      ['10.96.0.1', { address: '10.96.0.1', port: 80 }],
      [undefined, undefined],
    ],
  );
});

test('a Service that refused the packet is told, a port or protocol of another is not it', async () => {
  const fake = r.makeHistory(16);
  fake.services.set('10.1.0.2 8080 6', { namespace: 'default', name: 'empty' });
  const refused = { reason: DropReason.DROP_SERVICE_NO_BACKEND };
  const records = [
    r.drop(refused),
    r.drop({ ...refused, destinationPort: 8081 }),
    r.drop({ ...refused, protocol: 17 }),
    r.drop({ reason: DropReason.DROP_POLICY_DENIED }),
    r.drop(refused),
  ];
  fake.history.listener(r.batch(...records), records.length, 0);
  assert.equal(
    (await all(fake.history)).map((flow) => flow.destination_service?.name),
    ['empty', undefined, undefined, undefined, 'empty'],
  );
  assert.is(fake.asked.filter((one) => one === '10.1.0.2 8080 6').length, 1, 'asked for once');
});

test('a spoofed source address does not hide the pod that sent it', async () => {
  const fake = r.makeHistory(16);
  fake.history.listener(r.drop({ from: { ...r.FRONTEND, ip: '8.8.8.8' } }), 1, 0);
  assert.is((await all(fake.history))[0]?.source.pod_name, 'frontend-abc');
});

test('a remote address is asked for once, and again when names changed', async () => {
  const fake = r.makeHistory(64);
  const fromRemote = r.event({ from: r.REMOTE });
  fake.history.listener(r.batch(fromRemote, fromRemote, fromRemote), 3, 0);
  assert.equal(fake.asked, [r.REMOTE.ip]);
  fake.addresses.set(r.REMOTE.ip, r.podName('remote-2', r.REMOTE));
  fake.changed();
  fake.history.listener(fromRemote, 1, 0);
  fake.addresses.delete(r.REMOTE.ip);
  fake.changed();
  fake.history.listener(r.batch(fromRemote, fromRemote), 2, 0);
  assert.is(fake.asked.length, 3);
  assert.equal(
    (await all(fake.history)).map((flow) => flow.source.pod_name),
    ['remote-1', 'remote-1', 'remote-1', 'remote-2', undefined, undefined],
  );
});

test('the world is never asked for names', () => {
  const fake = r.makeHistory(16);
  fake.history.listener(r.batch(r.event({ from: r.WORLD }), r.event({ to: r.WORLD, version: 6 })), 2, 0);
  assert.equal(fake.asked, []);
});

test('many addresses in one cache slot do not get mixed up', async () => {
  const fake = r.makeHistory(20_000);
  const parties = Array.from({ length: 10_000 }, (_, i) => ({ ...r.REMOTE, ip: `10.9.${i >> 8}.${i & 255}` }));
  for (const party of parties) fake.addresses.set(party.ip, r.podName(`p-${party.ip}`, party));
  const records = r.batch(...parties.map((party) => r.event({ from: party })));
  fake.history.listener(records, parties.length, 0);
  fake.history.listener(records, parties.length, 0);
  const page = await fake.history.page({ wanted: allOf([]), order: 'oldest', count: 20_000, cursor: undefined });
  for (const flow of page.flows) assert.is(flow.source.pod_name, `p-${flow.IP?.source}`);
  assert.is(page.flows.length, 20_000);
});

test('a fresh but equal answer per call takes no room', () => {
  const fake = r.makeHistory(64);
  for (let i = 0; i < 50; i++) {
    fake.endpoints.set(r.FRONTEND.id, r.podName('frontend-abc', r.FRONTEND));
    fake.labels.set(r.FRONTEND.identity, new Map(fake.labels.get(r.FRONTEND.identity)));
    fake.rules.set(r.ALLOW_RULE, r.rule(r.ALLOW_RULE, 'allow'));
    fake.history.listener(r.event(), 1, 0);
  }
  assert.is(fake.history.stats().names, 6, 'two pods, two label sets, a rule, a policy');
});

test('endless pods in a small history: names are given back, never refused, never wrong', async () => {
  const fake = r.makeHistory(64, { maxNames: 256 });
  for (let i = 0; i < 20_000; i++) {
    fake.endpoints.set(r.FRONTEND.id, r.podName(`pod-${i}`, r.FRONTEND));
    fake.history.listener(r.event({ destinationPort: (i % 60_000) + 1 }), 1, 0);
    // names are given back at some of these moments: no record may notice
    if (i % 50 === 0) {
      for (const flow of await all(fake.history)) assert.is(flow.destination.pod_name, 'backend-xyz');
    }
  }
  assert.is(fake.history.stats().namesRefused, 0);
  assert.ok(fake.history.stats().names <= 4 * 256);
  const flows = await all(fake.history);
  assert.is(flows.length, 64);
  for (const { source, l4 } of flows) assert.is(source.pod_name, `pod-${(l4?.TCP?.destination_port ?? 0) - 1}`);
});

test('a remote name that was given back is found anew', async () => {
  const fake = r.makeHistory(64, { maxNames: 256 });
  fake.history.listener(r.event({ from: r.REMOTE }), 1, 0);
  for (let i = 0; i < 1000; i++) {
    fake.endpoints.set(r.FRONTEND.id, r.podName(`pod-${i}`, r.FRONTEND));
    fake.history.listener(r.event(), 1, 0);
  }
  fake.history.listener(r.event({ from: r.REMOTE }), 1, 0);
  assert.is((await all(fake.history)).at(-1)?.source.pod_name, 'remote-1');
  assert.equal(fake.asked, [r.REMOTE.ip, r.REMOTE.ip]);
});

test('a record in a used slot has none of the names of the one before', async () => {
  const fake = r.makeHistory(1);
  fake.history.listener(r.event(), 1, 0);
  fake.history.listener(r.event({ from: r.WORLD, to: r.WORLD, rule: [0, 0], policy: [0, 0] }), 1, 0);
  const [flow] = await all(fake.history);
  assert.equal([flow?.source.pod_name, flow?.weir.rule, flow?.ingress_allowed_by], [undefined, undefined, undefined]);
});

test('more names in use than there is room: refused and counted, the flow goes without', async () => {
  const fake = r.makeHistory(1000, { maxNames: 10 });
  for (let i = 0; i < 100; i++) {
    fake.endpoints.set(r.FRONTEND.id, r.podName(`pod-${i}`, r.FRONTEND));
    fake.history.listener(r.event(), 1, 0);
  }
  const flows = await all(fake.history);
  const nameless = flows.filter((flow) => flow.source.pod_name === undefined).length;
  assert.ok(nameless > 0);
  assert.is(fake.history.stats().namesRefused, nameless);
});

test('table: an entry in use is kept, one out of use is given to another', () => {
  const table = new NameTable<{ name: string }>(16, (a, b) => a.name === b.name);
  const first = table.intern('a', { name: 'a' }, 1, 1);
  for (let i = 0; i < 15; i++) table.intern(i, { name: String(i) }, 2 + i, 1);
  assert.is(table.intern('x', { name: 'x' }, 20, 1), undefined, 'all are in use');
  assert.is(table.refused, 1);
  const reused = table.intern('x', { name: 'x' }, 21, 5);
  assert.ok(reused, 'those of records 1 to 4 are free now');
  assert.is(first?.live, false);
  assert.is(table.get(reused?.ref ?? 0)?.name, 'x');
  assert.is(table.intern('a', { name: 'a' }, 22, 5)?.live, true, 'a comes back under a number of its own');
});

test.run();
