/** Pages and streams over a ring that is being overwritten: right order, no gap without a count, nobody delayed. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import fc from 'fast-check';
import * as assert from 'uvu/assert';
import { formatCursor, parseCursor } from '../../agent/flow/cursor.ts';
import { allOf, byPort } from '../../agent/flow/filter.ts';
import type { FlowLine, LostEvents } from '../../agent/flow/flow.ts';
import type { FlowHistory, FlowQuery } from '../../agent/flow/history.ts';
import { suite } from '../kit/suite.ts';
import { until } from '../kit/until.ts';
import * as r from './flow-records.ts';

const test = suite('flow: history');
const EVERYTHING = allOf([]);
const query = (some: Partial<FlowQuery>): FlowQuery => ({
  wanted: EVERYTHING,
  order: 'oldest',
  count: 1000,
  cursor: undefined,
  ...some,
});
const sequences = (flows: readonly { weir: { sequence: number } }[]) => flows.map((flow) => flow.weir.sequence);
const lostTotal = (lost: readonly LostEvents[]) => lost.reduce((sum, one) => sum + Number(one.num_events_lost), 0);
const feed = (history: FlowHistory, count: number) => history.listener(r.numbered(count), count, 0);

test('the newest and the oldest N, oldest first', async () => {
  const { history } = r.makeHistory(100);
  feed(history, 50);
  assert.equal(sequences((await history.page(query({ order: 'newest', count: 3 }))).flows), [48, 49, 50]);
  const oldest = await history.page(query({ count: 3 }));
  assert.equal(sequences(oldest.flows), [1, 2, 3]);
  assert.is(oldest.more, true);
  assert.equal((await history.page(query({ count: 0 }))).flows, []);
});

test('pages by cursor see each record once, also those that came meanwhile', async () => {
  const { history } = r.makeHistory(100);
  feed(history, 10);
  let page = await history.page(query({ count: 4 }));
  const seen = sequences(page.flows);
  feed(history, 5);
  while (page.more) {
    page = await history.page(query({ count: 4, cursor: page.cursor }));
    seen.push(...sequences(page.flows));
  }
  assert.equal(
    seen,
    Array.from({ length: 15 }, (_, i) => i + 1),
  );
  const after = await history.page(query({ cursor: page.cursor }));
  assert.equal(after.flows, []);
  assert.equal(after.cursor, page.cursor);
});

test('the cursor of the newest page goes on with what is newer', async () => {
  const { history } = r.makeHistory(100);
  feed(history, 10);
  const newest = await history.page(query({ order: 'newest', count: 2 }));
  assert.is(newest.more, false);
  feed(history, 2);
  assert.equal(sequences((await history.page(query({ cursor: newest.cursor }))).flows), [11, 12]);
});

test('a cursor that fell off the ring says how much is lost', async () => {
  const { history } = r.makeHistory(10);
  feed(history, 10);
  const { cursor } = await history.page(query({ count: 4 }));
  feed(history, 7);
  const page = await history.page(query({ cursor }));
  assert.equal(page.lost, [{ source: 'HUBBLE_RING_BUFFER', num_events_lost: '3', weir: { stage: 'subscriber' } }]);
  assert.equal(sequences(page.flows), [8, 9, 10, 11, 12, 13, 14, 15, 16, 17]);
  assert.is(history.losses().subscriber, 3);
  assert.is(history.losses().overwritten, 7);
});

test('overwritten while a page is being read: in order, nothing twice, the rest counted', async () => {
  const { history } = r.makeHistory(40_000);
  feed(history, 40_000);
  const reading = history.page(query({ count: 100_000, wanted: byPort('destination', [7, 39_000]) }));
  const writing = (async () => {
    for (let i = 0; i < 4; i++) {
      await nextTurn();
      feed(history, 10_000);
    }
  })();
  const page = await reading;
  await writing;
  const got = sequences(page.flows);
  assert.equal(
    got,
    [...got].sort((a, b) => a - b),
  );
  assert.is(got[0], 7, 'read before it was overwritten');
  assert.is(page.cursor.sequence, 40_001, 'a page ends where the history ended when it was asked for');
  const rest = await history.page(query({ count: 100_000, cursor: page.cursor }));
  assert.is(rest.flows.length + lostTotal(rest.lost), 40_000);
});

test('a backward page over a ring that turns meanwhile ends, without duplicates', async () => {
  const { history } = r.makeHistory(40_000);
  feed(history, 40_000);
  const reading = history.page(query({ order: 'newest', count: 5, wanted: byPort('destination', [1, 2, 3]) }));
  await nextTurn();
  feed(history, 30_000);
  const { flows } = await reading;
  const got = sequences(flows);
  assert.is(new Set(got).size, got.length);
  assert.ok(flows.every((flow) => [1, 2, 3].includes(flow.l4?.TCP?.destination_port ?? 0)));
});

test('a cursor of an earlier run: says so and starts at the oldest', async () => {
  const { history } = r.makeHistory(10);
  feed(history, 3);
  const page = await history.page(query({ cursor: { run: '0'.repeat(18), sequence: 900 } }));
  assert.is(page.restarted, true);
  assert.equal(sequences(page.flows), [1, 2, 3]);
});

test('cursors survive their text; anything else is none', () => {
  const cursor = { run: '0123456789abcdef01', sequence: 2 ** 40 };
  assert.equal(parseCursor(formatCursor(cursor)), cursor);
  fc.assert(fc.property(fc.string({ maxLength: 60 }), (text) => assert.is(parseCursor(text), undefined)));
  assert.is(parseCursor('0123456789abcdef01-9999999999999999'), undefined);
});

test('losses before the store stand where they happened, by stage', async () => {
  const { history, ring } = r.makeHistory(100);
  feed(history, 2);
  ring.lost = 5;
  history.listener(r.numbered(1), 1, 3);
  const page = await history.page(query({}));
  assert.equal(
    page.lost.map((lost) => [lost.source, lost.num_events_lost, lost.weir.stage]),
    [
      ['PERF_EVENT_RING_BUFFER', '5', 'ring'],
      ['OBSERVER_EVENTS_QUEUE', '3', 'queue'],
    ],
  );
  assert.equal(sequences(page.flows), [1, 2, 4], 'the loss has a number of its own');
  assert.equal(history.losses(), { ring: 5, queue: 3, overwritten: 0, subscriber: 0 });
});

test("the ring's losses are found by whoever asks next, also when no batch tells of them", async () => {
  const { history, ring } = r.makeHistory(100, {});
  feed(history, 1);
  ring.lost = 5;
  assert.is(history.losses().ring, 5);
  ring.lost = 7;
  const page = await history.page(query({}));
  assert.is(lostTotal(page.lost), 7);
  assert.is(history.losses().ring, 7);
  ring.lost = 0;
  history.losses();
  ring.lost = 2;
  assert.is(history.losses().ring, 9, 'a counter that started over is followed');
});

test('what the kernel counted before this agent began is not its loss', () => {
  const { history } = r.makeHistory(100, { ringLost: () => 1000 });
  assert.is(history.losses().ring, 0);
});

test('a follower learns of losses without anybody asking', async () => {
  const { history, ring } = r.makeHistory(100);
  const stop = new AbortController();
  const lines = history.follow(query({ order: 'newest', count: 0 }), stop.signal);
  const first = lines.next();
  await until(() => history.stats().followers === 1, { what: 'the follower to be there' });
  history.listener(new Uint8Array(), 0, 4);
  ring.lost = 3;
  history.listener(new Uint8Array(), 0, 2);
  const lost = [...((await first).value ?? [])];
  const reading = (async () => {
    while (tally(lost) < 9) lost.push(...((await lines.next()).value ?? []));
  })();
  await until(() => tally(lost) === 9, { what: 'the second loss, which waits for its interval' });
  await reading;
  stop.abort();
  await lines.return();
});

test('a flood of loss is written down once per interval, and in full', async () => {
  const { history, ring } = r.makeHistory(1000);
  for (let i = 1; i <= 100; i++) {
    ring.lost = 6 * i;
    history.listener(r.numbered(1), 1, 4);
  }
  assert.ok(history.next - 1 < 110, 'a hundred lossy batches are not a hundred more records');
  const page = await history.page(query({}));
  assert.is(lostTotal(page.lost), 1000);
  assert.equal([history.losses().ring, history.losses().queue], [600, 400]);
});

/** Takes lines from a stream until it has so many flows and losses together. */
async function take(lines: AsyncGenerator<FlowLine[], void, void>, total: number): Promise<FlowLine[]> {
  const got: FlowLine[] = [];
  while (tally(got) < total) {
    const { value } = await lines.next();
    if (!value) break;
    got.push(...value);
  }
  return got;
}
const tally = (lines: readonly FlowLine[]) =>
  lines.reduce((sum, line) => sum + (line.flow ? 1 : Number(line.lost_events?.num_events_lost ?? 0)), 0);

test('a follower gets what comes, in order; history first when asked', async () => {
  const { history } = r.makeHistory(100);
  feed(history, 10);
  const stop = new AbortController();
  const fromNow = history.follow(query({ order: 'newest', count: 0 }), stop.signal);
  const withTwo = history.follow(query({ order: 'newest', count: 2 }), stop.signal);
  const pending = fromNow.next();
  const [first] = await take(withTwo, 2);
  assert.is(first?.flow?.weir.sequence, 9);
  assert.is(first?.node_name, 'node-1');
  await until(() => history.stats().followers === 2, { what: 'both followers to be there' });
  feed(history, 3);
  const { value } = await pending;
  assert.equal(
    value?.map((line) => line.flow?.weir.sequence),
    [11, 12, 13],
  );
  stop.abort();
  assert.is((await fromNow.next()).done, true);
  assert.is((await withTwo.next()).done, true);
  assert.is(history.stats().followers, 0);
});

test('a waiting follower ends at once when its client goes', async () => {
  const { history } = r.makeHistory(10);
  const stop = new AbortController();
  const next = history.follow(query({ order: 'newest', count: 0 }), stop.signal).next();
  await until(() => history.stats().followers === 1, { what: 'the follower to be there' });
  stop.abort();
  assert.is((await next).done, true);
});

test('a follower that never reads costs nothing but its place, delays nobody, and its loss is exact', async () => {
  const { history } = r.makeHistory(1000);
  const stop = new AbortController();
  const idle = history.follow(query({}), stop.signal);
  feed(history, 1);
  await idle.next();
  const brisk = history.follow(query({}), stop.signal);
  let got = tally(await take(brisk, 1));
  for (let i = 0; i < 300; i++) {
    feed(history, 700);
    got += tally(await take(brisk, 700));
    if (i % 50 === 0) history.losses();
  }
  assert.is(got, 1 + 300 * 700, 'the brisk one lost nothing');
  assert.is(history.losses().subscriber, 300 * 700 - 1000, 'counted while it sleeps');
  const rest = await take(idle, 300 * 700);
  assert.is(rest[0]?.lost_events?.weir.stage, 'subscriber');
  assert.is(Number(rest[0]?.lost_events?.num_events_lost), 300 * 700 - 1000);
  assert.is(rest.filter((line) => line.flow).length, 1000);
  stop.abort();
  await idle.return();
  await brisk.return();
  assert.is(history.losses().subscriber, 300 * 700 - 1000, 'still counted when it is gone');
});

test('whatever the pace of writing and reading: delivered + lost = written, in order', async () => {
  const step = fc.oneof(
    fc.record({ write: fc.integer({ min: 1, max: 120 }) }),
    fc.record({ read: fc.integer({ min: 1, max: 5 }) }),
  );
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 1, max: 60 }), fc.array(step, { maxLength: 40 }), async (capacity, steps) => {
      const { history } = r.makeHistory(capacity);
      const stop = new AbortController();
      const lines = history.follow(query({}), stop.signal);
      // a stream begins with its first read
      feed(history, 1);
      const got: FlowLine[] = [...((await lines.next()).value ?? [])];
      let written = 1;
      for (const one of steps) {
        if ('write' in one) {
          feed(history, one.write);
          written += one.write;
        } else {
          for (let i = 0; i < one.read && tally(got) < written; i++) got.push(...((await lines.next()).value ?? []));
        }
      }
      while (tally(got) < written) got.push(...((await lines.next()).value ?? []));
      stop.abort();
      await lines.return();
      assert.is(tally(got), written);
      const order = got.flatMap((line) => (line.flow ? [line.flow.weir.sequence] : []));
      assert.ok(order.every((sequence, i) => i === 0 || sequence > (order[i - 1] as number)));
      // each gap in the numbers is as long as the loss reported in front of it
      let next = 1;
      for (const line of got) {
        if (line.lost_events) next += Number(line.lost_events.num_events_lost);
        else assert.is(line.flow?.weir.sequence, next++);
      }
      const subscriber = got.reduce((sum, line) => sum + Number(line.lost_events?.num_events_lost ?? 0), 0);
      assert.is(history.losses().subscriber, subscriber);
    }),
    { numRuns: 200 },
  );
});

test('a filter of a follower is not asked about losses, and rare flows arrive', async () => {
  const { history } = r.makeHistory(50_000);
  const stop = new AbortController();
  const lines = history.follow(query({ wanted: byPort('destination', [40_000]) }), stop.signal);
  const first = lines.next();
  await until(() => history.stats().followers === 1, { what: 'the follower to be there' });
  feed(history, 45_000);
  assert.is((await first).value?.[0]?.flow?.weir.sequence, 40_000);
  stop.abort();
  await lines.return();
});

test('stats: records, capacity, seconds', () => {
  const { history } = r.makeHistory(10);
  assert.equal([history.stats().records, history.stats().seconds], [0, 0]);
  history.listener(r.event({ time: 1_000_000_000n }), 1, 0);
  history.listener(r.event({ time: 3_500_000_000n }), 1, 0);
  const { records, capacity, seconds, seen } = history.stats();
  assert.equal([records, capacity, seen], [2, 10, 2]);
  assert.ok(Math.abs(seconds - 2.5) < 0.002);
});

/** Turns of the event loop that others had meanwhile. */
async function turnsDuring(work: Promise<unknown>): Promise<number> {
  let isDone = false;
  const done = work.finally(() => {
    isDone = true;
  });
  let turns = 0;
  for (; !isDone; turns++) await nextTurn();
  await done;
  return turns;
}

test('a filter that takes its time leaves others theirs: pages of either order, and streams', async () => {
  const { history } = r.makeHistory(1000);
  feed(history, 1000);
  let looked = 0;
  const wanted = () => {
    looked++;
    for (const end = performance.now() + 0.1; performance.now() < end; );
    return false;
  };
  const follow = async () => {
    const stream = history.stream(
      query({ wanted }),
      { flow: () => 0, lost: () => 0 },
      'now',
      new AbortController().signal,
    );
    for await (const _ of stream);
  };
  for (const work of [
    () => history.page(query({ wanted })),
    () => history.page(query({ wanted, order: 'newest' })),
    follow,
    () => history.each(wanted, () => {}),
  ]) {
    looked = 0;
    const turns = await turnsDuring(work());
    assert.is(looked, 1000);
    assert.ok(turns >= 50, `${turns} turns in 100 ms`);
  }
});

test.run();
