/** List and watch against a server that breaks every promise: what is known ends up as a fresh list would have it. */
import fc from 'fast-check';
import * as assert from 'uvu/assert';
import { createClient, type KubernetesClient, type KubernetesObject } from '../../agent/kubernetes/client.ts';
import type { Watch, WatchChange, WatchTimes } from '../../agent/kubernetes/watch.ts';
import { suite } from '../kit/suite.ts';
import { until } from '../kit/until.ts';
import { FakeApiServer, PATH, send, status } from './kubernetes-server.ts';

const QUICK: Partial<WatchTimes> = { backoff: { firstMs: 1, maxMs: 20 }, stallMs: 5000, answerMs: 5000 };

interface Follower {
  readonly watch: Watch;
  /** name -> uid and version, as told. */
  readonly known: Map<string, string>;
  readonly told: string[];
  readonly troubles: string[];
  synced: number;
  /** Names told before the first list was complete. */
  deletedBeforeSync: number;
  stop(): Promise<void>;
}

function clientOf(api: FakeApiServer, times: Partial<WatchTimes> = {}): KubernetesClient {
  return createClient({
    connection: api.connection,
    watchTimes: { ...QUICK, ...times },
    rate: { perSecond: 10_000, burst: 10_000 },
  });
}

function follow(client: KubernetesClient): Follower {
  const stop = new AbortController();
  const known = new Map<string, string>();
  const told: string[] = [];
  const troubles: string[] = [];
  const take = (change: WatchChange<KubernetesObject>): void => {
    const { name, uid = '' } = change.type === 'upsert' ? change.object.metadata : change.ref;
    told.push(`${change.type === 'upsert' ? '+' : '-'}${name}`);
    if (change.type === 'delete') {
      if (follower.synced === 0) follower.deletedBeforeSync++;
      assert.ok(known.get(name)?.startsWith(`${uid} `), `a deletion of what was never told: ${name} ${uid}`);
      known.delete(name);
    } else {
      assert.ok(!known.has(name) || known.get(name)?.startsWith(`${uid} `), `${name} was replaced without a deletion`);
      known.set(name, `${uid} ${change.object.metadata.resourceVersion}`);
    }
  };
  const watch = client.watch<KubernetesObject>({
    path: PATH,
    onChanges: (changes) => changes.forEach(take),
    onSynced: () => follower.synced++,
    onTrouble: (error) => troubles.push(error?.message ?? 'works again'),
    signal: stop.signal,
  });
  const follower: Follower = {
    watch,
    known,
    told,
    troubles,
    synced: 0,
    deletedBeforeSync: 0,
    async stop() {
      stop.abort(new Error('end of test'));
      await watch.stopped;
      client.close();
    },
  };
  return follower;
}

function asListed(api: FakeApiServer): string[] {
  return [...api.objects.values()]
    .map(({ metadata }) => `${metadata.name} ${metadata.uid} ${metadata.resourceVersion}`)
    .sort();
}

const asKnown = ({ known }: Follower): string[] => [...known].map(([name, rest]) => `${name} ${rest}`).sort();

function settled(api: FakeApiServer, follower: Follower): Promise<unknown> {
  return until(() => follower.synced === 1 && asKnown(follower).join() === asListed(api).join(), {
    what: 'the state to equal a fresh list',
    everyMs: 2,
    timeoutMs: 5000,
    detail: () => `known ${asKnown(follower)}\nlisted ${asListed(api)}\n${JSON.stringify(follower.watch.state())}`,
  });
}

const test = suite('kubernetes: watch');

test('lists in pages, then watches; objects come without managedFields and with their kind', async () => {
  await using api = await new FakeApiServer().start();
  for (let i = 0; i < 600; i++) api.put(`o${String(i).padStart(3, '0')}`);
  const seen: KubernetesObject[] = [];
  const client = clientOf(api);
  const follower = follow(client);
  await settled(api, follower);
  seen.push(...(await client.list(PATH)).items);
  assert.is(seen.length, 600);
  assert.equal(seen[0], {
    metadata: { name: 'o000', uid: 'uid-1', resourceVersion: '101' },
    kind: 'Thing',
    apiVersion: 'v1',
  });
  assert.is(api.requests.filter((line) => line.includes('limit=250')).length, 6);
  api.put('o000');
  api.remove('o001');
  await settled(api, follower);
  assert.is(follower.watch.state().lists, 1);
  assert.is(follower.synced, 1);
  await follower.stop();
});

test('a list that is overtaken by compaction between two pages begins again, without pages', async () => {
  await using api = await new FakeApiServer().start();
  for (let i = 0; i < 300; i++) api.put(`o${i}`);
  let pages = 0;
  api.fault = (_request, _response, url) => {
    if (!url.searchParams.has('watch') && ++pages === 2) {
      api.remove('o0');
      api.put('new');
      api.compact();
    }
    return false;
  };
  const follower = follow(clientOf(api));
  await settled(api, follower);
  assert.is(pages, 3);
  assert.ok(!api.requests[2]?.includes('limit'));
  await follower.stop();
});

test('410 on a watch: a new list, and what vanished meanwhile is told as deleted', async () => {
  await using api = await new FakeApiServer().start();
  for (const name of ['a', 'b', 'c']) api.put(name);
  const follower = follow(clientOf(api));
  await settled(api, follower);
  api.hold = true;
  api.cut();
  api.remove('a');
  api.remove('b');
  api.put('b'); // another b
  api.compact();
  api.hold = false;
  await settled(api, follower);
  assert.equal(follower.told.slice(3).sort(), ['+b', '-a', '-b']);
  assert.is(follower.watch.state().lists, 2);
  await follower.stop();
});

test('a watch that breaks off goes on from where it was, without a list', async () => {
  await using api = await new FakeApiServer().start();
  api.put('a');
  const follower = follow(clientOf(api));
  await until(() => api.watchers.size === 1, { what: 'a watch' });
  for (let i = 0; i < 5; i++) {
    api.cut();
    api.put(`b${i}`);
    await settled(api, follower);
  }
  assert.is(follower.watch.state().lists, 1);
  await follower.stop();
});

test('a bookmark moves on where a watch resumes', async () => {
  await using api = await new FakeApiServer().start();
  const follower = follow(clientOf(api));
  await until(() => api.watchers.size === 1, { what: 'a watch' });
  api.hold = true;
  api.put('a');
  api.remove('a');
  api.bookmark();
  await until(() => follower.watch.state().bytes > 0, { what: 'the bookmark' });
  api.cut();
  await until(() => api.requests.at(-1)?.includes(`resourceVersion=${api.version}`), {
    what: 'a watch from the bookmark',
  });
  await follower.stop();
});

for (const [what, line] of [
  ['no JSON', '{"type":"ADDED","obj'],
  ['no version', '{"type":"ADDED","object":{"metadata":{"name":"x"}}}'],
  ['no name', '{"type":"ADDED","object":{"metadata":{"resourceVersion":"999"}}}'],
  ['an unknown type', '{"type":"RENAMED","object":{"metadata":{"name":"x","resourceVersion":"999"}}}'],
  ['null', 'null'],
] as const) {
  test(`a line with ${what} is counted and leads to a new list`, async () => {
    await using api = await new FakeApiServer().start();
    api.put('a');
    const follower = follow(clientOf(api));
    await until(() => api.watchers.size === 1, { what: 'a watch' });
    api.mangle = () => [line];
    api.put('lost');
    api.mangle = (lines) => lines;
    await settled(api, follower);
    const { unreadable, lists } = follower.watch.state();
    assert.equal({ unreadable, lists }, { unreadable: 1, lists: 2 });
    assert.match(follower.troubles[0] as string, 'listing again');
    await follower.stop();
  });
}

test('events before a line that cannot be read are told', async () => {
  await using api = await new FakeApiServer().start();
  const follower = follow(clientOf(api));
  await until(() => api.watchers.size === 1, { what: 'a watch' });
  api.mangle = (lines) => [...lines, 'x'];
  api.fault = () => true; // nothing is listed any more
  api.put('a');
  await until(() => follower.known.has('a'), { what: 'the event' });
  api.fault = () => false;
  await follower.stop();
});

test('a watch that says nothing any more is opened anew from where it was, which is no trouble', async () => {
  await using api = await new FakeApiServer().start();
  const follower = follow(clientOf(api, { stallMs: 50 }));
  await until(() => api.watchers.size === 1, { what: 'a watch' });
  api.hold = true; // connected, and silent
  api.put('a');
  api.hold = false; // the next watch is told
  await settled(api, follower);
  assert.ok(follower.watch.state().stalls >= 1);
  assert.is(follower.watch.state().lists, 1);
  assert.equal(follower.troubles, []);
  await follower.stop();
});

test('after a restore from a backup a watch from a version of the future is silent: versions are compared, and listed again', async () => {
  await using api = await new FakeApiServer().start();
  api.put('kept');
  const [backup, then] = [new Map(api.objects), api.version];
  api.put('lost');
  for (let i = 0; i < 20; i++) api.put('kept');
  const follower = follow(clientOf(api, { stallMs: 50 }));
  await settled(api, follower);
  api.restore(backup, then);
  api.put('new');
  await settled(api, follower);
  assert.is(follower.watch.state().lists, 2, 'a watch that is silent because nothing happens costs no list');
  await follower.stop();
});

test('where it cannot be listed again, what is known goes on being watched', async () => {
  await using api = await new FakeApiServer().start();
  api.put('a');
  const follower = follow(clientOf(api, { relistMs: 0 }));
  await settled(api, follower);
  await until(() => api.watchers.size === 1, { what: 'a watch' });
  api.fault = (_request, response, url) => {
    if (url.searchParams.has('watch')) return false;
    send(response, 500, status(500, 'InternalError', 'too busy for lists'));
    return true;
  };
  api.cut();
  api.put('b');
  await settled(api, follower);
  assert.match(follower.troubles.join(), /too busy for lists/);
  api.fault = () => false;
  await follower.stop();
});

test('429 is waited for as long as the server says, 500 is tried again, a page of a proxy is no answer', async () => {
  await using api = await new FakeApiServer().start();
  api.put('a');
  const at: number[] = [];
  api.fault = (_request, response) => {
    at.push(performance.now());
    if (at.length === 1) send(response, 429, status(429, 'TooManyRequests'), { 'Retry-After': '1' });
    else if (at.length === 2) send(response, 500, status(500, 'InternalError', 'etcdserver: leader changed'));
    else if (at.length === 3) response.writeHead(200).end('<html>');
    else if (at.length === 4) send(response, 200, { kind: 'ThingList' });
    return at.length <= 4;
  };
  const follower = follow(clientOf(api));
  await settled(api, follower);
  assert.ok((at[1] as number) - (at[0] as number) >= 990);
  assert.equal(follower.troubles, [
    `GET ${PATH}: the API server answers 500 InternalError: etcdserver: leader changed`,
    `GET ${PATH}: the answer is no JSON`,
    `GET ${PATH}: the answer is no list`,
    'works again',
  ]);
  await follower.stop();
});

test('nothing is deleted, and nothing is called synced, before the first list is complete', async () => {
  await using api = await new FakeApiServer().start();
  for (let i = 0; i < 400; i++) api.put(`o${i}`);
  let open = false;
  api.fault = (request, response, url) => {
    if (!url.searchParams.has('continue') || open) return false;
    response.destroy();
    request.destroy();
    return true;
  };
  const follower = follow(clientOf(api));
  await until(() => follower.watch.state().lists > 3, { what: 'tries' });
  api.remove('o0');
  assert.is(follower.synced, 0);
  assert.is(follower.known.size, 250);
  assert.is(follower.deletedBeforeSync, 0);
  open = true;
  await settled(api, follower);
  await follower.stop();
});

test('what a listener throws ends the watch with it', async () => {
  await using api = await new FakeApiServer().start();
  api.put('a');
  const watch = clientOf(api).watch({
    path: PATH,
    onChanges() {
      throw new Error('a mistake of ours');
    },
    onSynced: () => {},
    signal: new AbortController().signal,
  });
  await watch.stopped.then(
    () => assert.unreachable(),
    (error: Error) => assert.is(error.message, 'a mistake of ours'),
  );
});

test('an older version after a newer one changes nothing, nor does an event of an object that made room for another', async () => {
  await using api = await new FakeApiServer().start();
  api.put('a');
  api.put('b');
  const follower = follow(clientOf(api));
  await until(() => api.watchers.size === 1, { what: 'a watch' });
  api.hold = true;
  api.put('a', { data: 1 });
  api.put('a', { data: 2 });
  api.remove('b');
  api.put('b');
  api.mangle = ([a1, a2, b1, b2]) => [a2, a1, a2, b2, b1] as string[];
  api.flush();
  await settled(api, follower);
  assert.equal(follower.told, ['+a', '+b', '+a', '-b', '+b']);
  assert.is(follower.watch.state().lists, 1);
  await follower.stop();
});

test('a late event does not bring back what has come and gone under the name of another', async () => {
  await using api = await new FakeApiServer().start();
  api.put('a');
  const follower = follow(clientOf(api));
  await until(() => api.watchers.size === 1, { what: 'a watch' });
  api.hold = true;
  api.remove('a');
  api.put('a');
  api.remove('a');
  api.mangle = (lines) => lines.toReversed();
  api.flush();
  api.mangle = (lines) => lines;
  api.hold = false;
  await settled(api, follower);
  await follower.stop();
});

// faults.md 44
test('after any events and faults, duplicated and reordered, what is known equals a fresh list', async () => {
  const name = fc.constantFrom('a', 'b', 'c', 'd');
  const step = fc.oneof(
    { weight: 6, arbitrary: fc.record({ do: fc.constant('put' as const), name }) },
    { weight: 5, arbitrary: fc.record({ do: fc.constant('remove' as const), name }) },
    {
      weight: 4,
      arbitrary: fc.record({
        do: fc.constantFrom('flush', 'flush', 'wait', 'cut', 'compact', 'bookmark', 'garbage', 'gone', 'fail', 'wait'),
      }),
    },
  );
  const shuffle = fc.constantFrom('as they are', 'twice', 'reversed', 'the last again', 'the first again');
  await fc.assert(
    fc.asyncProperty(fc.array(fc.tuple(step, shuffle), { maxLength: 25 }), async (steps) => {
      await using api = await new FakeApiServer().start();
      let before: string[] = [];
      api.put('a');
      api.hold = true;
      const follower = follow(clientOf(api));
      try {
        await until(() => api.watchers.size === 1, { what: 'a watch', everyMs: 1 });
        for (const [action, order] of steps) {
          api.mangle = (lines) => {
            const again =
              order === 'the last again' ? before.slice(-1) : order === 'the first again' ? before.slice(0, 1) : [];
            before = lines;
            if (order === 'twice') return [...lines, ...lines];
            if (order === 'reversed') return [...lines].reverse();
            return [...lines, ...again];
          };
          if (action.do === 'put') api.put((action as { name: string }).name);
          else if (action.do === 'remove') api.remove((action as { name: string }).name);
          else if (action.do === 'flush') api.flush();
          else if (action.do === 'cut') api.cut();
          else if (action.do === 'compact') api.compact();
          else if (action.do === 'garbage') api.write('{');
          else if (action.do === 'gone') api.write(JSON.stringify({ type: 'ERROR', object: status(410, 'Expired') }));
          else if (action.do === 'wait') await until(() => api.watchers.size === 1, { what: 'a watch', everyMs: 1 });
          else if (action.do === 'bookmark') {
            api.flush(); // the promise a bookmark makes
            api.bookmark();
          } else {
            let left = 2;
            api.fault = (_request, response) => {
              if (left-- > 0) send(response, 503, status(503, 'ServiceUnavailable'));
              return left >= 0;
            };
          }
        }
        api.mangle = (lines) => lines;
        api.hold = false;
        api.flush();
        await settled(api, follower);
        assert.is(follower.deletedBeforeSync, 0);
      } finally {
        await follower.stop();
      }
    }),
    { numRuns: 100, endOnFailure: true },
  );
});

test.run();
