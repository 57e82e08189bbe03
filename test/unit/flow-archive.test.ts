/** The history on disk: what was in memory is there after memory, restarts, and damage; what cannot be there is counted. */
import { appendFile, mkdtemp, readdir, readFile, rename, rm, truncate, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { readFilters } from '../../agent/api/hubble/flow-filter.ts';
import { type ArchiveOptions, FlowArchive } from '../../agent/flow/archive/archive.ts';
import type { Cursor } from '../../agent/flow/cursor.ts';
import { DESTINATION } from '../../agent/flow/decode.ts';
import { byPort } from '../../agent/flow/filter.ts';
import type { Flow } from '../../agent/flow/flow.ts';
import type { FlowHistory, FlowQuery } from '../../agent/flow/history.ts';
import { RECORD_BYTES } from '../../agent/flow/store.ts';
import type { Telling } from '../../agent/flow/stream.ts';
import { suite } from '../kit/suite.ts';
import { until } from '../kit/until.ts';
import * as r from './flow-records.ts';

const test = suite('flow: history on disk');
let folder = '';
test.before.each(async () => {
  folder = await mkdtemp(join(tmpdir(), 'wt-archive-'));
});
test.after.each(() => rm(folder, { recursive: true, force: true }));

/** One run of an agent: memory for so many records, and the archive, written when the test says. */
async function run(memory: number, options: Partial<ArchiveOptions> = {}, ring = { lost: 0 }) {
  const archive = await FlowArchive.open({
    directory: folder,
    maxBytes: 1 << 30,
    maxAgeMs: 3600_000,
    everyMs: 1_000_000,
    retryMs: 0,
    ...options,
  });
  const made = r.makeHistory(memory, { archive, ringLost: () => ring.lost });
  const see = (count: number, firstPort: number) => made.history.listener(r.numbered(count, firstPort), count, 0);
  return { ...made, archive, see };
}

const ask = (query: Partial<FlowQuery>): FlowQuery => ({
  wanted: () => true,
  order: 'oldest',
  count: 1000,
  cursor: undefined,
  ...query,
});
const ports = (flows: readonly Flow[]) => flows.map(({ l4 }) => l4?.TCP?.destination_port);
const upTo = (first: number, last: number) => Array.from({ length: last - first + 1 }, (_, i) => first + i);

test('what memory overwrote is read from disk: by both orders, with filters, names and all', async () => {
  const { archive, history, see } = await run(10);
  for (let port = 1; port <= 50; port += 5) {
    see(5, port);
    await archive.flush();
  }
  const all = await history.page(ask({}));
  assert.equal(ports(all.flows), upTo(1, 50));
  assert.equal([all.lost, all.more, all.restarted], [[], false, false]);
  const newest = await history.page(ask({ order: 'newest', count: 30 }));
  assert.equal(ports(newest.flows), upTo(21, 50));
  const one = await history.page(ask({ wanted: byPort('destination', [3]) }));
  assert.equal(
    one.flows.map((flow) => [flow.source.pod_name, flow.weir.rule?.id, flow.weir.rule?.policy.name]),
    [['frontend-abc', r.ALLOW_RULE, 'backend-policy']],
  );
  assert.equal(
    all.flows.find(({ weir }) => weir.sequence === 3),
    one.flows[0],
    'the same as it was in memory',
  );
  await archive.close();
});

test('pages by cursor cross from disk into memory without a gap or a double', async () => {
  const { archive, history, see } = await run(10);
  see(10, 1);
  await archive.flush();
  see(10, 11);
  await archive.flush();
  see(3, 21);
  const seen: (number | undefined)[] = [];
  let cursor: Cursor | undefined;
  for (let more = true; more; ) {
    const page = await history.page(ask({ cursor, count: 4 }));
    seen.push(...ports(page.flows));
    ({ cursor, more } = page);
  }
  assert.equal(seen, upTo(1, 23));
  see(1, 24);
  assert.equal(ports((await history.page(ask({ cursor }))).flows), [24]);
  await archive.close();
});

test('a restart keeps it, a cursor of the run before goes on, and uuids are what they were', async () => {
  const before = await run(100);
  before.see(20, 1);
  const page = await before.history.page(ask({ count: 5 }));
  const known = (await before.history.page(ask({}))).flows;
  await before.archive.close();
  const after = await run(100);
  after.see(5, 21);
  const { flows, restarted, cursor } = await after.history.page(ask({ cursor: page.cursor }));
  assert.equal([ports(flows), restarted], [upTo(6, 25), false]);
  assert.equal(flows.slice(0, 15), known.slice(5));
  assert.is(cursor.run, after.history.run);
  const newest = await after.history.page(ask({ order: 'newest', count: 8 }));
  assert.equal(ports(newest.flows), upTo(18, 25));
  // the first of each run has the same sequence
  const teller = { node: 'node-1', run: after.history.run, cluster: 'default', version: '1' };
  const [first, second] = [known[0]?.uuid, flows.at(-5)?.uuid] as [string, string];
  for (const [uuid, port] of [
    [first, 1],
    [second, 21],
  ] as const) {
    const wanted = readFilters([{ uuid: [uuid] }], [], teller);
    assert.equal(ports((await after.history.page(ask({ wanted }))).flows), [port]);
  }
  await after.archive.close();
});

test('a cursor of a run of which nothing is left starts at the oldest and says so', async () => {
  const { archive, history, see } = await run(100);
  see(3, 1);
  const { restarted, flows } = await history.page(ask({ cursor: { run: 'f'.repeat(18), sequence: 7 } }));
  assert.equal([restarted, ports(flows)], [true, [1, 2, 3]]);
  await archive.close();
});

test('what is overwritten before it is written is counted, and a reader is told', async () => {
  const { archive, history, see } = await run(10);
  see(5, 1);
  await archive.flush();
  see(10, 6);
  see(10, 16);
  await archive.flush();
  assert.equal(archive.stats().lost, { refused: 0, slow: 10, crash: 0 });
  const page = await history.page(ask({}));
  assert.equal(ports(page.flows), [...upTo(1, 5), ...upTo(16, 25)]);
  assert.equal(
    page.lost.map((lost) => [lost.weir.stage, lost.num_events_lost]),
    [['subscriber', '10']],
  );
  await archive.close();
});

test('a disk that refuses stops the history and not the flows; it goes on when the disk does', async () => {
  const { archive, history, see } = await run(10);
  see(5, 1);
  await archive.flush();
  const aside = `${folder}-aside`;
  await archive.close();
  await rename(folder, aside);
  const broken = await FlowArchive.open({
    directory: folder,
    maxBytes: 1 << 30,
    maxAgeMs: 1e9,
    everyMs: 1e6,
    retryMs: 0,
  });
  await rm(folder, { recursive: true });
  const made = r.makeHistory(10, { archive: broken });
  made.history.listener(r.numbered(5, 1), 5, 0);
  await broken.flush();
  assert.match(broken.stats().failure ?? '', 'ENOENT');
  assert.is((await made.history.page(ask({}))).flows.length, 5, 'memory serves on');
  made.history.listener(r.numbered(10, 6), 10, 0);
  await broken.flush();
  assert.equal(broken.stats().lost, { refused: 5, slow: 0, crash: 0 });
  await rename(aside, folder);
  await broken.flush();
  assert.is(broken.stats().failure, undefined);
  assert.is(broken.stats().records, 10, 'what memory still held was not lost');
  await broken.close();
  assert.is(history.next, 6);
});

test('size and age: the oldest segments go', async () => {
  const clock = { now: Date.now() };
  const { archive, history, see } = await run(1000, { maxBytes: 40_000, maxAgeMs: 3600_000, now: () => clock.now });
  for (let i = 0; i < 10; i++) {
    see(50, 1 + 50 * i);
    await archive.flush();
    clock.now += 11 * 60_000; // the next begins a segment
  }
  const { bytes, segments } = archive.stats();
  assert.ok(bytes <= 40_000 + 12_000, `${bytes} bytes`);
  assert.ok(segments < 6, `${segments} segments`);
  clock.now += 2 * 3600_000;
  see(1, 900);
  await archive.flush();
  assert.is(archive.stats().segments, 1, 'all others are too old');
  assert.is((await readdir(folder)).length, 3, 'its two files, and how far the run has come');
  assert.is((await history.page(ask({}))).flows.length, 501);
  await archive.close();
});

test('what was written while the clock ran ahead keeps nothing else beyond its age', async () => {
  const clock = { now: Date.now() };
  const options = { now: () => clock.now };
  const dayAhead = clock.now + 24 * 3600_000;
  const ahead = await run(10, { now: () => dayAhead });
  ahead.see(1, 1);
  await ahead.archive.close();
  const { path } = ahead.archive.segments[0] as { path: string };
  await utimes(`${path}.flows`, dayAhead / 1000, dayAhead / 1000);
  const right = await run(10, options);
  right.see(1, 2);
  await right.archive.close();
  clock.now += 2 * 3600_000;
  const later = await run(10, options);
  assert.equal(
    later.archive.segments.map(({ run: of }) => of),
    [ahead.history.run],
  );
  await later.archive.close();
});

test('a clock that is set back hides nothing that was written before', async () => {
  const clock = { now: Date.now() };
  const { archive, history, see } = await run(1, { now: () => clock.now });
  see(1, 1);
  await archive.flush();
  clock.now -= 3600_000;
  see(1, 2);
  await archive.flush();
  see(1, 3);
  const page = await history.page(ask({ sinceMs: Date.now() - 60_000 }));
  assert.equal(ports(page.flows), [1, 2, 3]);
  await archive.close();
});

const DAMAGE: Record<string, (path: string) => Promise<void>> = {
  'a record cut off': (path) => truncate(`${path}.flows`, RECORD_BYTES * 7 + 100),
  'names cut off in a line': (path) => appendFile(`${path}.names`, '["parties",{"na'),
  'bytes behind the last record': (path) => appendFile(`${path}.flows`, 'x'),
};
for (const [what, damage] of Object.entries(DAMAGE)) {
  test(`a crash in the middle of writing: ${what}`, async () => {
    const before = await run(100);
    before.see(10, 1);
    await before.archive.close();
    const [file = ''] = (await readdir(folder)).filter((name) => name.endsWith('.flows'));
    await damage(join(folder, file.replace('.flows', '')));
    const after = await run(100);
    const { flows } = await after.history.page(ask({}));
    assert.equal(ports(flows), upTo(1, what === 'a record cut off' ? 7 : 10));
    assert.is(flows[0]?.source.pod_name, 'frontend-abc');
    await after.archive.close();
  });
}

test('segments of another layout, and files of others, are left alone and counted', async () => {
  const before = await run(100);
  before.see(10, 1);
  await before.archive.close();
  const [file = ''] = (await readdir(folder)).filter((name) => name.endsWith('.names'));
  await writeFile(join(folder, file), '{"version":1,"layout":"be 64 0"}\n');
  await writeFile(join(folder, 'notes.txt'), 'mine');
  const after = await run(100);
  after.see(1, 11);
  assert.equal(ports((await after.history.page(ask({}))).flows), [11]);
  assert.is(after.archive.stats().unreadable, 1);
  await after.archive.close();
});

test('since spares what is older', async () => {
  const clock = { now: Date.now() - 3600_000 };
  const { archive, history, see } = await run(1, { now: () => clock.now });
  see(1, 1);
  await archive.flush();
  clock.now += 20 * 60_000;
  see(1, 2);
  await archive.flush();
  see(1, 3);
  const page = await history.page(ask({ sinceMs: clock.now - 60_000 }));
  assert.equal(ports(page.flows), [2, 3]);
  await archive.close();
});

/** Ports of flows, and losses as "stage count". */
const PORTS: Telling<number | string> = {
  flow: (flow) => flow.port(DESTINATION),
  lost: (stage, count) => `${stage} ${count}`,
};

/** What a stream shows until it ends by itself. */
async function streamed(history: FlowHistory, query: Partial<FlowQuery>): Promise<(number | string | undefined)[]> {
  const lines: (number | string)[] = [];
  for await (const batch of history.stream(ask(query), PORTS, 'now', new AbortController().signal))
    lines.push(...batch);
  return lines;
}

test('a stream begins on disk and goes on in memory, without a gap or a double', async () => {
  const before = await run(100);
  before.see(20, 1);
  await before.archive.close();
  const { archive, history, see } = await run(10);
  for (let port = 21; port <= 80; port += 10) {
    see(10, port);
    await archive.flush();
  }
  see(3, 81);
  assert.equal(await streamed(history, {}), upTo(1, 83));
  assert.equal(await streamed(history, { order: 'newest', count: 5 }), upTo(79, 83));
  assert.equal(await streamed(history, { order: 'newest', count: 12 }), upTo(72, 83), 'two of them on disk');
  assert.equal(await streamed(history, { order: 'newest', count: 70 }), upTo(14, 83), 'of the run before too');
  assert.equal(await streamed(history, { wanted: byPort('destination', [3, 30, 83]) }), [3, 30, 83]);
  const cursor = { run: before.history.run, sequence: 19 };
  assert.equal(await streamed(history, { cursor }), upTo(19, 83));
  assert.equal(await streamed(history, { order: 'newest', count: 0 }), []);
  await archive.close();
});

test('a stream that follows: the past, then what comes, also what was overwritten in memory while it read', async () => {
  const { archive, history, see } = await run(100);
  for (let port = 1; port <= 900; port += 100) {
    see(100, port);
    await archive.flush();
  }
  const stop = new AbortController();
  const stream = history.stream(ask({}), PORTS, 'never', stop.signal);
  const got: unknown[] = [...((await stream.next()).value ?? [])];
  assert.equal(got, upTo(1, 64), 'what is read from disk is handed over as it is asked for');
  for (let port = 901; port <= 1500; port += 100) {
    see(100, port);
    await archive.flush();
  }
  while (got.length < 1500) got.push(...((await stream.next()).value ?? []));
  assert.equal(got, upTo(1, 1500));
  const next = stream.next();
  see(1, 2000);
  assert.equal((await next).value, [2000]);
  stop.abort();
  await stream.return();
  await archive.close();
});

/** Of a mark; 0 when it is not there. */
const seen = (path: string) =>
  readFile(path, 'utf8').then(
    (text) => Number(text.split(' ')[0]),
    () => 0,
  );

test('a crash: what memory had not written yet is counted once, and told where it would have stood', async () => {
  const before = await run(100);
  before.see(20, 1);
  await before.archive.flush();
  before.see(7, 21);
  const mark = join(folder, `${before.history.run}.seen`);
  await until(async () => (await seen(mark)) === 28, { what: 'the mark' });
  // the agent is gone: its archive is not closed
  const after = await run(100);
  assert.equal(after.archive.stats().lost, { refused: 0, slow: 0, crash: 7 });
  after.see(3, 28);
  const all = await after.history.page(ask({}));
  assert.equal(ports(all.flows), [...upTo(1, 20), ...upTo(28, 30)]);
  assert.equal(
    all.lost.map(({ num_events_lost, weir }) => [num_events_lost, weir.stage]),
    [['7', 'overwritten']],
  );
  assert.equal(await streamed(after.history, {}), [...upTo(1, 20), 'overwritten 7', ...upTo(28, 30)]);
  const first = await after.history.page(ask({ count: 20 }));
  assert.equal([ports(first.flows), first.lost], [upTo(1, 20), []]);
  const rest = await after.history.page(ask({ cursor: first.cursor }));
  assert.equal([ports(rest.flows), rest.lost.map(({ num_events_lost }) => num_events_lost)], [upTo(28, 30), ['7']]);
  await after.archive.close();
  const third = await run(100);
  assert.equal(third.archive.stats().lost.crash, 0, 'it was counted when it was found');
  assert.equal(await streamed(third.history, {}), [...upTo(1, 20), 'overwritten 7', ...upTo(28, 30)]);
  await third.archive.close();
  await before.archive.close();
});

test("what the kernel's ring lost while no agent ran is told by the next", async () => {
  const ring = { lost: 0 };
  const before = await run(100, {}, ring);
  before.see(5, 1);
  ring.lost = 4;
  before.see(1, 6);
  assert.equal(before.history.losses().ring, 4);
  await before.archive.close();
  ring.lost = 11;
  const after = await run(100, {}, ring);
  assert.is(after.history.losses().ring, 7);
  assert.equal(await streamed(after.history, {}), [...upTo(1, 6), 'ring 4', 'ring 7']);
  await after.archive.close();
  ring.lost = 2;
  const third = await run(100, {}, ring);
  assert.is(third.history.losses().ring, 0, 'the machine was started anew, and the counter with it');
  await third.archive.close();
});

test('a run that wrote nothing before it crashed is counted, and its mark goes', async () => {
  const before = await run(100);
  before.see(5, 1);
  const mark = join(folder, `${before.history.run}.seen`);
  await until(async () => (await seen(mark)) === 6, { what: 'the mark' });
  const after = await run(100);
  assert.is(after.archive.stats().lost.crash, 5);
  assert.equal(await readdir(folder), []);
  await after.archive.close();
});

test('a gap on disk is told where it is: records that the disk was too slow for, a segment that cannot be read', async () => {
  const { archive, history, see } = await run(10);
  see(5, 1);
  await archive.flush();
  see(10, 6);
  see(10, 16);
  await archive.flush();
  see(10, 26);
  await archive.flush();
  assert.equal(await streamed(history, {}), [...upTo(1, 5), 'overwritten 10', ...upTo(16, 35)]);
  await archive.close();
  const after = await run(10);
  const [, second] = (await readdir(folder)).filter((name) => name.endsWith('.names')).toSorted();
  await writeFile(join(folder, second ?? ''), 'damage\n');
  assert.is(after.archive.endOf(history.run), 36);
  assert.equal(await streamed(after.history, {}), [...upTo(1, 5), 'overwritten 10', 'overwritten 20']);
  assert.is(after.archive.stats().unreadable, 1);
  await after.archive.close();
});

test('a reader whose run went with its age is told how much that was, and goes on with the oldest there is', async () => {
  const clock = { now: Date.now() };
  const options = { now: () => clock.now, maxAgeMs: 3600_000 };
  const before = await run(1000, options);
  before.see(700, 1);
  await before.archive.close();
  clock.now += 30 * 60_000;
  const { archive, history, see } = await run(1000, options);
  see(5, 701);
  await archive.flush();
  const stream = history.stream(ask({}), PORTS, 'now', new AbortController().signal);
  const got: unknown[] = [...((await stream.next()).value ?? [])];
  clock.now += 45 * 60_000;
  see(1, 706);
  await archive.flush();
  assert.is(
    archive.segments.some(({ run: of }) => of === before.history.run),
    false,
  );
  for await (const batch of stream) got.push(...batch);
  assert.equal(got, [...upTo(1, 512), 'overwritten 188', ...upTo(701, 705)]);
  await archive.close();
});

test.run();
