/** The history on disk: what was in memory is there after memory, restarts, and damage; what cannot be there is counted. */
import { appendFile, mkdtemp, readdir, rename, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { type ArchiveOptions, FlowArchive } from '../../agent/flow/archive/archive.ts';
import type { Cursor } from '../../agent/flow/cursor.ts';
import { byPort } from '../../agent/flow/filter.ts';
import type { Flow } from '../../agent/flow/flow.ts';
import type { FlowQuery } from '../../agent/flow/history.ts';
import { suite } from '../kit/suite.ts';
import * as r from './flow-records.ts';

const test = suite('flow: history on disk');
let folder = '';
test.before.each(async () => {
  folder = await mkdtemp(join(tmpdir(), 'wt-archive-'));
});
test.after.each(() => rm(folder, { recursive: true, force: true }));

/** One run of an agent: memory for so many records, and the archive, written when the test says. */
async function run(memory: number, options: Partial<ArchiveOptions> = {}) {
  const archive = await FlowArchive.open({
    directory: folder,
    maxBytes: 1 << 30,
    maxAgeMs: 3600_000,
    everyMs: 1_000_000,
    retryMs: 0,
    ...options,
  });
  const made = r.makeHistory(memory, { archive });
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
  assert.equal(archive.stats().lost, { refused: 0, slow: 10 });
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
  assert.equal(broken.stats().lost, { refused: 5, slow: 0 });
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
  assert.is((await readdir(folder)).length, 2);
  assert.is((await history.page(ask({}))).flows.length, 501);
  await archive.close();
});

const DAMAGE: Record<string, (path: string) => Promise<void>> = {
  'a record cut off': (path) => truncate(`${path}.flows`, 176 * 7 + 100),
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

test.run();
