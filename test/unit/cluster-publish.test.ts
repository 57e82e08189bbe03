/** How a node's endpoints become slices: which entry stands where, what is written when, and what becomes of others' hands in it. */
import * as fc from 'fast-check';
import * as assert from 'uvu/assert';
import { type EndpointEntry, NODES, SLICES, type SliceObject } from '../../agent/cluster/objects.ts';
import { entryKey, type PackedSlice, pack } from '../../agent/cluster/packing.ts';
import { createPublisher } from '../../agent/cluster/publish.ts';
import { collectionPath, objectPath } from '../../agent/kubernetes/path.ts';
import type { Address } from '../../agent/model/address.ts';
import type { PublishedEndpoint } from '../../agent/model/object.ts';
import { createLogger } from '../../agent/run/log.ts';
import { fakeClock } from '../kit/clock.ts';
import { suite } from '../kit/suite.ts';
import { FakeApi } from './cluster-api.ts';
import { ownerOf } from './cluster-identity-world.ts';

const COLLECTION = collectionPath(SLICES);

const entry = (n: number, identity = 256): EndpointEntry => ({
  ...{
    addresses: [`10.0.${n >> 8}.${n & 255}`],
    identity,
    namespace: 'shop',
    pod: `web-${n}`,
    uid: `uid-${n}`,
    since: n,
  },
});
const wantedOf = (entries: readonly EndpointEntry[]) => new Map(entries.map((one) => [entryKey(one), one]));

/** What the slices are after the writes. */
function after(present: readonly PackedSlice[], writes: ReturnType<typeof pack>): PackedSlice[] {
  const slices = new Map(present.map((slice) => [slice.name, slice]));
  for (const write of writes) {
    assert.is(slices.has(write.name), write.kind !== 'create', `${write.kind} ${write.name}`);
    if (write.kind === 'remove') slices.delete(write.name);
    else slices.set(write.name, { name: write.name, endpoints: write.endpoints });
  }
  return [...slices.values()];
}

const packing = suite('cluster: packing endpoints into slices');

packing('nothing to do is nothing written', () => {
  const present = [{ name: 'n-0', endpoints: [entry(1), entry(2)] }];
  assert.equal(pack('n', present, wantedOf([entry(2), entry(1)]), 3), []);
});
packing('one that goes and one that comes are one write', () => {
  const present = [
    { name: 'n-0', endpoints: [entry(1), entry(2)] },
    { name: 'n-1', endpoints: [entry(3), entry(4), entry(5)] },
  ];
  const writes = pack('n', present, wantedOf([entry(1), entry(2), entry(4), entry(5), entry(6)]), 3);
  assert.equal(
    writes.map(({ kind, name }) => `${kind} ${name}`),
    ['update n-1'],
  );
});
packing('a full slice is left alone, an empty one goes, names are used again', () => {
  const present = [
    { name: 'n-0', endpoints: [entry(1), entry(2)] },
    { name: 'n-2', endpoints: [entry(3)] },
  ];
  const writes = pack('n', present, wantedOf([entry(1), entry(2)]), 2);
  assert.equal(writes, [{ kind: 'remove', name: 'n-2' }]);
  const more = pack('n', present, wantedOf([1, 2, 3, 4, 5].map((n) => entry(n))), 2);
  assert.equal(more.map(({ kind, name }) => `${kind} ${name}`), ['update n-2', 'create n-1']); // biome-ignore format: one line each
});

const lives = fc.array(fc.uniqueArray(fc.integer({ min: 0, max: 30 }), { maxLength: 20 }), { maxLength: 8 });
packing(
  'after the writes everything stands once, in slices that are not too large, and there is nothing left to write',
  () => {
    void fc.assert(
      fc.property(lives, fc.integer({ min: 1, max: 5 }), (steps, size) => {
        let slices: PackedSlice[] = [];
        for (const step of steps) {
          const wanted = wantedOf(step.map((n) => entry(n)));
          const before = new Map(
            slices.flatMap(({ name, endpoints }) => endpoints.map((one) => [entryKey(one), name])),
          );
          slices = after(slices, pack('n', slices, wanted, size));
          const all = slices.flatMap(({ endpoints }) => endpoints.map(entryKey));
          assert.equal([...all].sort(), [...wanted.keys()].sort());
          assert.ok(slices.every(({ endpoints }) => endpoints.length > 0 && endpoints.length <= size));
          for (const { name, endpoints } of slices)
            for (const one of endpoints) assert.is(before.get(entryKey(one)) ?? name, name, 'it stays where it was');
          assert.equal(pack('n', slices, wanted, size), []);
        }
      }),
    );
  },
);
packing('whatever stands there is made right', () => {
  const strange = fc.array(fc.array(fc.integer({ min: 0, max: 9 }), { maxLength: 6 }), { maxLength: 4 });
  void fc.assert(
    fc.property(strange, fc.uniqueArray(fc.integer({ min: 0, max: 9 })), (found, step) => {
      const present = found.map((numbers, i) => ({ name: `n-${i}`, endpoints: numbers.map((n) => entry(n, 300)) }));
      const wanted = wantedOf(step.map((n) => entry(n)));
      const slices = after(present, pack('n', present, wanted, 3));
      const all = slices.flatMap(({ endpoints }) => endpoints);
      assert.equal(all.map(entryKey).sort(), [...wanted.keys()].sort());
      assert.ok(all.every(({ identity }) => identity === 256));
      assert.ok(slices.every(({ endpoints }) => endpoints.length <= 3));
    }),
  );
});
packing.run();

const endpoint = (n: number, identity = 256): PublishedEndpoint => ({
  ...{ addresses: [`10.0.0.${n}` as Address], identity, namespace: 'shop', pod: `web-${n}`, uid: `uid-${n}` },
  ...{ namedPorts: [], workload: undefined },
});

function world(api = new FakeApi()) {
  const clock = fakeClock();
  const end = new AbortController();
  const lines: string[] = [];
  const client = api.client('node-1');
  if (!api.one(objectPath(NODES, '', 'node-1'))) api.create(collectionPath(NODES), { metadata: { name: 'node-1' } });
  const publisher = createPublisher({
    ...{ client, nodeName: 'node-1', clock, signal: end.signal, owner: ownerOf('node-1'), sliceSize: 3 },
    now: () => 1_000_000 + clock.nowMs(),
    log: createLogger({ level: 'info', format: 'text', write: (line) => lines.push(line) }),
  });
  client.watch<SliceObject>({
    ...{ path: COLLECTION, signal: end.signal },
    onChanges: (changes) => publisher.take(changes),
    onSynced: () => publisher.synced(),
  });
  const published = () =>
    api
      .all<SliceObject>(COLLECTION)
      .map(({ metadata, spec }) => `${metadata.name}: ${spec.endpoints.map(({ pod }) => pod).join(' ')}`);
  /** Time passes, and what that leads to happens. */
  const pass = async (ms: number) => {
    await api.settleAll();
    clock.advance(ms);
    await api.settleAll();
  };
  return { api, clock, end, lines, publisher, published, pass };
}

const publishing = suite('cluster: publishing endpoints');

publishing('at once after a quiet time, then in batches', async () => {
  const { api, publisher, published, pass } = world();
  publisher.announce([]);
  await pass(0);
  await pass(100);
  publisher.announce([endpoint(1)]);
  await pass(0);
  assert.equal(published(), ['node-1-0: web-1']);
  for (const n of [2, 3]) publisher.announce(Array.from({ length: n }, (_, i) => endpoint(i + 1)));
  await pass(99);
  assert.equal(published(), ['node-1-0: web-1'], 'not yet');
  await pass(1);
  assert.equal(published(), ['node-1-0: web-1 web-2 web-3']);
  assert.is(api.counts.get('update weirendpointslices'), 1);
});

publishing('the object is the node’s, so that it goes with it', async () => {
  const { api, publisher, pass } = world();
  publisher.announce([endpoint(1)]);
  await pass(0);
  const [slice] = api.all<SliceObject>(COLLECTION);
  assert.equal(slice?.metadata.labels, { 'weir.dev/node': 'node-1' });
  assert.is(slice?.metadata.ownerReferences?.[0]?.uid, 'uid of node-1');
  assert.is(slice?.spec.node, 'node-1');
});

publishing('announced() is true once the entry is accepted', async () => {
  const { publisher, pass } = world();
  await pass(0);
  publisher.announce([endpoint(1)]);
  let answer: boolean | undefined;
  void publisher.announced('uid-1', 1000).then((accepted) => {
    answer = accepted;
  });
  await Promise.resolve();
  assert.is(answer, undefined);
  await pass(100);
  assert.is(answer, true);
  assert.is(await publisher.announced('uid-1', 1000), true, 'and stays so');
});

publishing('announced() gives up in time, and says so', async () => {
  const { clock, lines, publisher, pass } = world();
  await pass(0);
  publisher.announce([endpoint(1)]);
  const answer = publisher.announced('uid-1', 1000); // Nobody answers.
  clock.advance(1000);
  assert.is(await answer, false);
  assert.match(lines.join(''), /other nodes may not know of a pod yet: its entry is not accepted uid=uid-1/);
});

publishing('told() resolves when what went is gone for everybody, however long that takes', async () => {
  const { api, clock, publisher, published, pass } = world();
  publisher.announce([endpoint(1), endpoint(2)]);
  await pass(0);
  await publisher.told(); // Nothing is open.
  publisher.announce([endpoint(2)]);
  let isTold = false;
  void publisher.told().then(() => {
    isTold = true;
  });
  clock.advance(100);
  for (let i = 0; i < 5; i++) {
    for (const call of api.calls) call.fail();
    await new Promise(setImmediate);
    clock.advance(1000);
    assert.not(isTold, 'the API server is away');
    assert.equal(published(), ['node-1-0: web-1 web-2']);
  }
  await pass(20_000);
  assert.equal(published(), ['node-1-0: web-2']);
  assert.ok(isTold);
});

publishing('a restart writes nothing, removes what is gone, and keeps the order of endpoints', async () => {
  const first = world();
  first.publisher.announce([1, 2, 3, 4].map((n) => endpoint(n)));
  await first.pass(0);
  first.end.abort();
  const since = () =>
    Object.fromEntries(
      first.api.all<SliceObject>(COLLECTION).flatMap(({ spec }) => spec.endpoints.map((e) => [e.pod, e.since])),
    );
  const before = since();
  first.api.counts.clear();
  const second = world(first.api);
  await second.pass(0);
  assert.equal(second.published(), first.published(), 'nothing goes before it is known what should be');
  second.publisher.announce([1, 2, 3, 5].map((n) => endpoint(n)));
  await second.pass(100);
  assert.equal(second.published(), ['node-1-0: web-1 web-2 web-3', 'node-1-1: web-5']);
  assert.is(first.api.counts.get('update weirendpointslices'), 1);
  const now = since();
  assert.is(now['web-1'], before['web-1']);
  assert.ok(
    (now['web-5'] as number) > Math.max(...Object.values(before).map(Number)),
    'later than all that were, though the clock began anew',
  );
});

publishing('what somebody else changed or removed is made right', async () => {
  const { api, publisher, published, pass } = world();
  publisher.announce([1, 2, 3, 4].map((n) => endpoint(n)));
  await pass(0);
  const path = objectPath(SLICES, '', 'node-1-0');
  api.patch(path, { type: 'merge', body: { spec: { endpoints: [entry(9)] } } });
  api.remove(objectPath(SLICES, '', 'node-1-1'));
  await pass(0);
  await pass(100);
  await pass(100);
  assert.equal(published().sort(), ['node-1-0: web-1 web-2 web-3', 'node-1-1: web-4']);
  api.patch(path, { type: 'merge', body: { spec: { node: 'node-2' } } });
  await pass(0);
  await pass(100);
  assert.is(api.one<SliceObject>(path)?.spec.node, 'node-1');
});

publishing('after an outage only the difference is written', async () => {
  const { api, clock, publisher, published, pass } = world();
  publisher.announce([endpoint(1), endpoint(2)]);
  await pass(0);
  publisher.announce([endpoint(1), endpoint(3)]);
  clock.advance(100);
  for (let i = 0; i < 20; i++) {
    for (const call of api.calls) call.fail();
    await new Promise(setImmediate);
    clock.advance(1000);
  }
  api.counts.clear();
  await pass(20_000);
  await pass(20_000);
  assert.equal(published(), ['node-1-0: web-1 web-3']);
  assert.equal(Object.fromEntries(api.counts), { 'update weirendpointslices': 1 });
});

publishing('a watch that is late does not undo what was written since', async () => {
  const { api, clock, publisher, published, pass } = world();
  await pass(0);
  const step = async () => {
    clock.advance(100);
    for (let i = 0; i < 3; i++) {
      await new Promise(setImmediate);
      for (const call of api.calls) call.answer();
    }
  };
  for (const n of [1, 2]) {
    publisher.announce(Array.from({ length: n }, (_, i) => endpoint(i + 1)));
    await step();
  }
  const written = Object.fromEntries(api.counts);
  for (const watch of api.watches) watch.tell(1);
  await step();
  for (const watch of api.watches) watch.tell();
  await step();
  assert.equal(published(), ['node-1-0: web-1 web-2']);
  assert.equal(Object.fromEntries(api.counts), written);
});

publishing('an answer that is lost does no harm', async () => {
  const { api, publisher, published, pass, clock } = world();
  await pass(0);
  publisher.announce([endpoint(1)]);
  clock.advance(100);
  await new Promise(setImmediate);
  for (const call of api.calls) call.loseAnswer();
  publisher.announce([endpoint(1, 300), endpoint(2)]);
  await pass(1000);
  await pass(1000);
  assert.equal(published(), ['node-1-0: web-1 web-2']);
  assert.is(api.all<SliceObject>(COLLECTION)[0]?.spec.endpoints[0]?.identity, 300);
});

publishing.run();
