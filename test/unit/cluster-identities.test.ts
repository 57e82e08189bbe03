/** One number per label set and one label set per number, whatever happens when; and what one agent does in plain cases. */
import { setImmediate as turn } from 'node:timers/promises';
import * as assert from 'uvu/assert';
import { createIdentities, type HeldRecord } from '../../agent/cluster/identities.ts';
import { chooseTickets, isCurrent, numberOf } from '../../agent/cluster/number-range.ts';
import {
  IDENTITIES,
  type IdentityObject,
  identityName,
  MOST_IDENTITY_LABELS,
  RECORDS,
  type RecordObject,
} from '../../agent/cluster/objects.ts';
import { createOwnRecord } from '../../agent/cluster/own-record.ts';
import type { WeirError } from '../../agent/errors.ts';
import { POD_RANGE } from '../../agent/identity/allocate.ts';
import { ApiError } from '../../agent/kubernetes/api-error.ts';
import { collectionPath, objectPath } from '../../agent/kubernetes/path.ts';
import type { IdentityNumber } from '../../agent/model/identity.ts';
import type { Labels } from '../../agent/model/labels.ts';
import { MOST_IDENTITY_LABELS as DEFINED } from '../../crds/weir/identity.ts';
import { fakeClock } from '../kit/clock.ts';
import { suite } from '../kit/suite.ts';
import { FakeApi } from './cluster-api.ts';
import {
  Agent,
  assertAgreed,
  GRACE_MS,
  labelsOf,
  live,
  memoryJournal,
  ownerOf,
  QUIET,
} from './cluster-identity-world.ts';

const LONG = process.env.WEIR_TEST_LONG === '1' ? 10 : 1;

const range = suite('cluster: the range of numbers');
const SMALL = { first: 256, last: 259 };

range('tickets count on, numbers go round', () => {
  assert.equal(
    [256, 259, 260, 263, 264].map((ticket) => numberOf(ticket, SMALL)),
    [256, 259, 256, 259, 256],
  );
});
range('a ticket is good until its number is handed out again', () => {
  assert.ok(isCurrent(257, 258, SMALL));
  assert.ok(isCurrent(257, 261, SMALL));
  assert.not(isCurrent(257, 262, SMALL), '261, which is number 257 too, was given away');
  assert.not(isCurrent(257, 256, SMALL), 'the range went back');
});
range('what is taken is passed over from the second lap on', () => {
  const taken = (number: IdentityNumber) => number === 257;
  assert.equal(chooseTickets(256, 2, taken, SMALL), { tickets: [256, 257], next: 258 });
  assert.equal(chooseTickets(260, 2, taken, SMALL), { tickets: [260, 262], next: 263 });
  assert.equal(chooseTickets(260, 9, taken, SMALL), { tickets: [260, 262, 263], next: 264 });
  assert.equal(chooseTickets(260, 2, () => true, SMALL).tickets, []);
});
range.run();

const model = suite('cluster: identities of many agents');
for (const [name, odds] of [
  ['three agents, a range that wraps often', { agents: 3, sets: 6, numbers: 20, steps: 2500 }],
  ['many sets, room for all', { agents: 2, sets: 8, numbers: 64, steps: 2500 }],
  ['numbers run out', { agents: 3, sets: 12, numbers: 10, steps: 1500 }],
] as const) {
  model(name, async () => {
    let removed = 0;
    let wrapped = 0;
    for (let seed = 1; seed <= 50 * LONG; seed++) {
      const life = await live(seed, odds).catch((cause: unknown) => {
        throw new Error(`seed ${seed}: ${(cause as Error).message}`, { cause });
      });
      removed += life.removed;
      wrapped += life.wrapped ? 1 : 0;
    }
    assert.ok(removed > 20, `identities were collected: ${removed}`);
    assert.ok(odds.numbers > 50 || wrapped > 0, 'the range wrapped');
  });
}
model.run();

const one = suite('cluster: identities of one agent');

one('a set that is held costs no call, and a new one one while numbers are at hand', async () => {
  const api = new FakeApi();
  const agent = new Agent(api, 'node-1', POD_RANGE);
  await api.settleAll();
  agent.acquire(1);
  await api.settleAll();
  assert.is(agent.using.get(1), 256);
  api.counts.clear();
  agent.acquire(2);
  await api.settleAll();
  assert.is(agent.using.get(2), 257);
  assert.equal(Object.fromEntries(api.counts), { 'create weiridentities': 1 });
  const again = agent.identities.acquire(labelsOf(2));
  assert.is(api.calls.length, 0);
  assert.is(await again, 257);
  agent.end();
});

one('the object names the labels, and the record the number', async () => {
  const api = new FakeApi();
  const agent = new Agent(api, 'node-1', POD_RANGE);
  agent.acquire(1);
  await api.settleAll();
  const object = api.one<IdentityObject>(objectPath(IDENTITIES, '', identityName(labelsOf(1))));
  assert.equal(object?.spec, { number: 256, labels: { 'k8s:app': 'app-1' } });
  const record = api.one<RecordObject>(objectPath(RECORDS, '', 'node-1'));
  assert.ok(record?.spec.identities.includes(256));
  assert.is(record?.metadata.ownerReferences?.[0]?.name, 'node-1');
  agent.end();
});

one('more labels than an identity takes: told at once, and neither a number nor a call is spent on it', async () => {
  const api = new FakeApi();
  const agent = new Agent(api, 'node-1', POD_RANGE);
  agent.acquire(1);
  await api.settleAll();
  api.counts.clear();
  const many = (count: number): Labels =>
    new Map([
      ['k8s:io.kubernetes.pod.namespace', 'shop'],
      ...Array.from({ length: count - 1 }, (_, i) => [`k8s:label-${1000 + i}`, ''] as const),
    ]);
  const error = await agent.identities.acquire(many(257)).catch((cause: unknown) => cause as WeirError);
  assert.ok(typeof error === 'object' && error.code === 'API_REFUSED');
  assert.is(
    error.message,
    'a pod of namespace "shop" has 257 labels that make its identity, with those of its namespace (k8s:io.kubernetes.pod.namespace=shop, k8s:label-1000=, k8s:label-1001=, ...); expected at most 256: remove some, or leave out by --identity-labels what no policy asks for',
  );
  assert.is(api.calls.length, 0);
  const most = agent.identities.acquire(many(256));
  await api.settleAll();
  assert.is(await most, 257);
  assert.is(await agent.identities.acquire(labelsOf(1)), 256);
  agent.end();
});

one('as many labels as the definition takes', () => assert.is(MOST_IDENTITY_LABELS, DEFINED));

one('without an API server: held sets go on, new ones fail and can be retried', async () => {
  const api = new FakeApi();
  const agent = new Agent(api, 'node-1', POD_RANGE);
  agent.acquire(1);
  await api.settleAll();
  agent.restart(); // From now on nobody answers.
  await turn();
  assert.is(await agent.identities.acquire(labelsOf(1)), 256);
  const refused = agent.identities.acquire(labelsOf(2)).then(
    () => undefined,
    (error: unknown) => error as WeirError,
  );
  await turn();
  agent.clock.advance(500);
  const error = await refused;
  assert.is(error?.code, 'TIMEOUT');
  assert.ok(error?.retryable);
  await api.settleAll(); // It is back.
  assert.is(
    await agent.identities.acquire(labelsOf(2)),
    264,
    'found by the work that went on; 257 to 263 went with the restart',
  );
  agent.end();
});

one('a journal whose claims are gone from the cluster is not believed when the number has another owner', async () => {
  const api = new FakeApi();
  const held: HeldRecord[] = [{ hold: 300, labels: [...labelsOf(1)] }];
  api.create(collectionPath(IDENTITIES), {
    metadata: { name: identityName(labelsOf(7)) },
    spec: { number: 300, labels: Object.fromEntries(labelsOf(7)) },
  });
  api.create('/api/v1/nodes', { metadata: { name: 'node-1' } });
  const clock = fakeClock();
  const { signal } = new AbortController();
  const client = api.client('node-1');
  const record = createOwnRecord({
    client,
    nodeName: 'node-1',
    clock,
    signal,
    owner: ownerOf('node-1'),
    onTrouble: () => {},
  });
  const renumbered: string[] = [];
  const identities = createIdentities({
    ...{ client, record, held, clock, signal, journal: memoryJournal(), log: QUIET, graceMs: GRACE_MS, waitMs: 500 },
    onRenumbered: (labels) => renumbered.push(identityName(labels)),
  });
  record.describe({ addresses: ['192.0.2.1'], podCidrs: [], routerAddresses: [] });
  assert.is(await identities.acquire(labelsOf(1)), 300, 'until more is known');
  await api.settleAll();
  assert.equal(renumbered, [identityName(labelsOf(1))]);
  const number = await identities.acquire(labelsOf(1));
  assert.ok(number !== 300 && number >= 256, `${number}`);
});

one('an identity that a person removed is made again with its number', async () => {
  const api = new FakeApi();
  const agents = ['node-1', 'node-2'].map((name) => new Agent(api, name, POD_RANGE));
  for (const agent of agents) agent.acquire(1);
  await api.settleAll();
  api.remove(objectPath(IDENTITIES, '', identityName(labelsOf(1))));
  await api.settleAll();
  assertAgreed(api, agents);
  for (const agent of agents) agent.end();
});

one('all numbers are taken: init, and said; a number again when one is free', async () => {
  const api = new FakeApi();
  const agent = new Agent(api, 'node-1', { first: 256, last: 257 });
  await api.settleAll();
  for (const set of [1, 2]) agent.acquire(set);
  await api.settleAll();
  const refused = agent.identities.acquire(labelsOf(3));
  await api.settleAll();
  assert.is(await refused, 5);
  assert.match(agent.identities.exhausted ?? '', /all identity numbers of the cluster are taken; .*k8s:app=app-3/);
  agent.release(1);
  for (let runs = 0; runs < 4; runs++) {
    agent.clock.advance(2 * GRACE_MS);
    await agent.identities.collect();
    agent.collect();
    await api.settleAll();
  }
  const third = agent.identities.acquire(labelsOf(3));
  await api.settleAll();
  assert.ok((await third) >= 256);
  assert.is(agent.identities.exhausted, undefined);
  agent.end();
});

one('an object with other labels than its name stands for is refused by name', async () => {
  const api = new FakeApi();
  const name = identityName(labelsOf(1));
  api.create(collectionPath(IDENTITIES), { metadata: { name }, spec: { number: 400, labels: { 'k8s:app': 'admin' } } });
  const agent = new Agent(api, 'node-1', POD_RANGE);
  await api.settleAll();
  const refused = agent.identities.acquire(labelsOf(1)).then(
    () => '',
    (error: unknown) => (error as Error).message,
  );
  await api.settleAll();
  assert.is(
    await refused,
    `WeirIdentity ${name} has other labels than its name stands for; expected k8s:app=app-1: remove it`,
  );
  agent.end();
});

one('a record that somebody else writes just as the API server comes back is written all the same', async () => {
  const clock = fakeClock();
  const end = new AbortController();
  const answer = (code: 'API_UNREACHABLE' | 'API_CONFLICT') => Promise.reject(new ApiError(code, 'test', code));
  const there = {
    metadata: { name: 'node-1', resourceVersion: '1' },
    spec: { addresses: [], podCidrs: [], routerAddresses: [], identities: [] },
  };
  const reads = [() => answer('API_UNREACHABLE'), () => answer('API_UNREACHABLE')];
  const updates = [() => answer('API_CONFLICT')];
  const record = createOwnRecord({
    client: {
      get: async () => (await (reads.shift() ?? (async () => there))()) as never,
      create: async () => answer('API_CONFLICT'),
      update: async (_path, object) => (await (updates.shift() ?? (async () => object))()) as never,
    },
    nodeName: 'node-1',
    owner: ownerOf('node-1'),
    clock,
    signal: end.signal,
    onTrouble: () => {},
  });
  record.describe({ addresses: [], podCidrs: [], routerAddresses: [] });
  await turn();
  let accepted = false;
  for (let i = 0; i < 6 && !accepted; i++) {
    record.claim([300]).then(
      () => {
        accepted = true;
      },
      () => {}, // The API server is away: asked again.
    );
    clock.advance(10_000);
    for (let turns = 0; turns < 10; turns++) await turn();
  }
  assert.ok(accepted);
  end.abort();
});

one.run();
