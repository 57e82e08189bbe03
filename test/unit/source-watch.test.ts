/** A watched directory on a real disk: what each way of changing a file makes of the objects in force. */
import {
  appendFileSync,
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  renameSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import * as assert from 'uvu/assert';
import { type Problem, refKey } from '../../agent/model/object.ts';
import type { Clock } from '../../agent/run/clock.ts';
import { readManifests } from '../../agent/source/manifests/read.ts';
import { arrivedWhole, movedNames, Settling } from '../../agent/source/manifests/settle.ts';
import { manifestsSource } from '../../agent/source/manifests/source.ts';
import { fakeClock } from '../kit/clock.ts';
import { suite } from '../kit/suite.ts';
import { until } from '../kit/until.ts';

interface Watched {
  readonly directory: string;
  /** In force at the moment: object -> value of its label `v`. */
  readonly objects: Map<string, string>;
  /** Every change in words, in order: "+Namespace a=1", "-Namespace a", "synced". */
  readonly log: string[];
  readonly problems: Map<string, readonly Problem[]>;
  /** Every problem ever said: "b.yaml duplicate-object". */
  readonly said: string[];
  stop(): Promise<void>;
}

interface Context {
  readonly root: string;
  readonly running: Watched[];
}
const test = suite<Context>('source watch');

test.before.each((context) => {
  Object.assign(context, { root: mkdtempSync(join(tmpdir(), 'wt-source-')), running: [] });
});
test.after.each(async (context) => {
  for (const watched of context.running) await watched.stop();
  rmSync(context.root, { recursive: true, force: true });
});

const eventually = (ask: () => boolean, what: string): Promise<true> => until(ask, { what, everyMs: 1 });

const namespace = (name: string, v: string): string =>
  `apiVersion: v1\nkind: Namespace\nmetadata:\n  name: ${name}\n  labels: {v: "${v}"}\n`;

/** Rescans are an hour apart unless asked for: what is seen was noticed by the watch. */
async function watching(
  context: Context,
  files: Record<string, string> = {},
  options: StartOptions & { directory?: string } = {},
): Promise<Watched> {
  const directory = options.directory ?? join(context.root, 'manifests');
  mkdirSync(directory, { recursive: true });
  for (const [name, text] of Object.entries(files)) {
    writeFileSync(join(directory, name), text);
    utimesSync(join(directory, name), 0, 0); // Nobody is writing it any more.
  }
  const watched = start(context, directory, options);
  await eventually(() => watched.log.includes('synced'), 'synced');
  return watched;
}

interface StartOptions {
  rescanMs?: number;
  lastGood?: boolean;
  clock?: Clock;
}

function start(context: Context, directory: string, options: StartOptions = {}): Watched {
  const controller = new AbortController();
  const objects = new Map<string, string>();
  const log: string[] = [];
  const problems = new Map<string, readonly Problem[]>();
  const ever: string[] = [];
  const source = manifestsSource({
    directory,
    rescanMs: options.rescanMs ?? 3_600_000,
    ...(options.clock ? { clock: options.clock } : {}),
    ...(options.lastGood ? { lastGoodDirectory: join(context.root, 'last-good') } : {}),
  });
  const watched: Watched = {
    directory,
    objects,
    log,
    problems,
    said: ever,
    async stop() {
      controller.abort();
      await running;
    },
  };
  const running = source.run(
    {
      change(changes) {
        for (const change of changes) {
          if (change.type === 'delete') {
            objects.delete(refKey(change.ref));
            log.push(`-${refKey(change.ref)}`);
          } else if (change.object.kind === 'Namespace') {
            const key = refKey(change.object.ref);
            objects.set(key, change.object.value.labels.v ?? '');
            log.push(`+${key}=${change.object.value.labels.v}`);
          }
        }
      },
      synced: () => log.push('synced'),
      problems(place, list) {
        problems.set(place, list);
        ever.push(...list.map((problem) => `${basename(place)} ${problem.code}`));
      },
    },
    controller.signal,
  );
  context.running.push(watched);
  return watched;
}

const said = (watched: Watched, name: string): string[] =>
  (watched.problems.get(join(watched.directory, name)) ?? []).map((problem) => `${problem.line} ${problem.code}`);
const value = (watched: Watched, name: string): string | undefined => watched.objects.get(`Namespace ${name}`);

function replace(watched: Watched, name: string, text: string): void {
  const temporary = join(watched.directory, `.${name}.tmp`);
  writeFileSync(temporary, text);
  renameSync(temporary, join(watched.directory, name));
}

test('what is there at the start comes before synced, as one change', async (context) => {
  const watched = await watching(context, {
    'b.yaml': namespace('b', '1'),
    'a.yml': namespace('a', '1'),
    'c.json': '{}',
  });
  assert.equal(watched.log, ['+Namespace a=1', '+Namespace b=1', 'synced']);
  assert.equal(said(watched, 'c.json'), ['1 missing-field', '1 missing-field']);
});

test('a file that is being written at the start is waited for, and nothing is complete before it is', async (context) => {
  const clock = fakeClock();
  const directory = join(context.root, 'manifests');
  mkdirSync(directory);
  const file = join(directory, 'a.yaml');
  const half = namespace('a', 'half');
  writeFileSync(file, half);
  const watched = start(context, directory, { clock });
  for (let step = 0; step < 10; step++) {
    clock.advance(40); // less than a writer may pause
    appendFileSync(file, '# more to come');
  }
  assert.equal(watched.log, []);
  writeFileSync(file, namespace('a', 'whole'));
  await eventually(() => {
    clock.advance(20);
    return watched.log.length > 0;
  }, 'the whole file');
  assert.equal(watched.log, ['+Namespace a=whole', 'synced']);
});

test('rename() over a file is one change, and waits for no timer', async (context) => {
  const watched = await watching(context, { 'a.yaml': namespace('a', '0') }, { clock: fakeClock() });
  for (let round = 1; round <= 50; round++) {
    replace(watched, 'a.yaml', namespace('a', String(round)));
    await eventually(() => value(watched, 'a') === String(round), `round ${round}`);
  }
  const expected = Array.from({ length: 51 }, (_, round) => `+Namespace a=${round}`);
  assert.equal(
    watched.log.filter((line) => line !== 'synced'),
    expected,
  );
});

test('rename() from another directory waits for no timer either when the data is older than the rename', async (context) => {
  const watched = await watching(context, { 'a.yaml': namespace('a', '0') }, { clock: fakeClock() });
  const elsewhere = join(context.root, 'elsewhere.yaml');
  writeFileSync(elsewhere, namespace('a', '1'));
  await new Promise((resolve) => setTimeout(resolve, 20)); // the clock of the file system has moved on
  renameSync(elsewhere, join(watched.directory, 'a.yaml'));
  await eventually(() => value(watched, 'a') === '1', 'the new version');
});

test('rename() from another directory waits for no timer, even right after the data was written', async (context) => {
  const watched = await watching(context, { 'a.yaml': namespace('a', '0') }, { clock: fakeClock() });
  for (let v = 1; v <= 50; v++) {
    writeFileSync(join(context.root, 'new'), namespace('a', String(v)));
    utimesSync(join(context.root, 'new'), new Date(), new Date(Date.now() + 3_600_000)); // data younger than the rename
    renameSync(join(context.root, 'new'), join(watched.directory, 'a.yaml'));
    await eventually(() => watched.objects.get('Namespace a') === String(v), `version ${v}`);
  }
});

test('arrivedWhole: told of by name and not by data', () => {
  const renamed = { type: 'rename', name: 'a.yaml' } as const;
  assert.equal(arrivedWhole([renamed], ['a.yaml', 'b.yaml']), ['a.yaml']);
  assert.equal(arrivedWhole([renamed, { type: 'change', name: 'a.yaml' }], ['a.yaml']), []);
  assert.equal(arrivedWhole([{ type: 'change', name: 'a.yaml' }], ['a.yaml']), []);
});

test('a file written piece by piece never shows a piece', async (context) => {
  const watched = await watching(context, { 'a.yaml': namespace('a', '0') });
  const many = (v: string): string => Array.from({ length: 200 }, (_, i) => namespace(`n${i}`, v)).join('---\n');
  replace(watched, 'many.yaml', many('0'));
  await eventually(() => watched.objects.size === 201, 'all there');
  const before = watched.log.length;
  const fd = openSync(join(watched.directory, 'many.yaml'), 'w'); // truncates: for a moment the file is empty
  const text = many('1');
  for (let at = 0; at < text.length; at += 1000) {
    writeSync(fd, text.slice(at, at + 1000));
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  closeSync(fd);
  await eventually(() => value(watched, 'n199') === '1', 'the new version');
  const since = watched.log.slice(before);
  assert.equal(
    since.filter((line) => line.startsWith('-')),
    [],
    'nothing was deleted in between',
  );
  assert.is(since.length, 200, 'one change');
});

test('a file created and written in place comes once it is whole', async (context) => {
  const watched = await watching(context);
  writeFileSync(join(watched.directory, 'a.yaml'), '');
  appendFileSync(join(watched.directory, 'a.yaml'), namespace('a', '1'));
  await eventually(() => value(watched, 'a') === '1', 'the object');
  assert.equal(watched.log, ['synced', '+Namespace a=1']);
});

test('an editor that moves the old file away and writes a new one deletes nothing', async (context) => {
  const watched = await watching(context, { 'a.yaml': namespace('a', '0') });
  const file = join(watched.directory, 'a.yaml');
  renameSync(file, `${file}~`); // vim with backupcopy=no
  await new Promise((resolve) => setTimeout(resolve, 10)); // the agent sees the gap
  const fd = openSync(file, 'wx');
  await new Promise((resolve) => setTimeout(resolve, 10));
  writeSync(fd, namespace('a', '1'));
  closeSync(fd);
  unlinkSync(`${file}~`);
  writeFileSync(join(watched.directory, '4913'), '');
  writeFileSync(join(watched.directory, '.a.yaml.swp'), 'kind: [');
  await eventually(() => value(watched, 'a') === '1', 'the new version');
  assert.equal(watched.log, ['+Namespace a=0', 'synced', '+Namespace a=1']);
  assert.equal([...watched.problems.values()].flat(), []);
});

test('a broken file keeps its objects, says where, and recovers', async (context) => {
  const watched = await watching(context, { 'a.yaml': namespace('a', '0') });
  replace(watched, 'a.yaml', 'apiVersion: v1\nkind: [\n');
  await eventually(() => said(watched, 'a.yaml').length > 0, 'the problem');
  assert.match(said(watched, 'a.yaml')[0] ?? '', /^\d yaml-syntax$/);
  assert.is(value(watched, 'a'), '0');
  replace(watched, 'a.yaml', namespace('a', '1'));
  await eventually(() => value(watched, 'a') === '1', 'the new version');
  assert.equal(said(watched, 'a.yaml'), []);
});

test('a deleted file deletes its objects', async (context) => {
  const watched = await watching(context, { 'a.yaml': namespace('a', '0'), 'b.yaml': namespace('b', '0') });
  unlinkSync(join(watched.directory, 'a.yaml'));
  await eventually(() => watched.objects.size === 1, 'gone');
  assert.equal([...watched.objects.keys()], ['Namespace b']);
});

test('a file renamed inside the directory keeps its objects in force all the time', async (context) => {
  const watched = await watching(context, { 'a.yaml': namespace('a', '0') });
  renameSync(join(watched.directory, 'a.yaml'), join(watched.directory, 'b.yaml'));
  await eventually(() => watched.log.length === 3, 'delivered with its new place');
  assert.equal(watched.log, ['+Namespace a=0', 'synced', '+Namespace a=0']);
  assert.equal(watched.said, [], 'both names were never there at once');
  renameSync(join(watched.directory, 'b.yaml'), join(watched.directory, 'b.off'));
  await eventually(() => watched.objects.size === 0, 'switched off');
});

test('a ConfigMap mount: swapping ..data changes all files as one', async (context) => {
  const directory = join(context.root, 'mount');
  const version = (name: string, v: string): void => {
    mkdirSync(join(directory, name), { recursive: true });
    for (const file of ['a', 'b']) writeFileSync(join(directory, name, `${file}.yaml`), namespace(file, v));
  };
  version('..v0', '0');
  symlinkSync('..v0', join(directory, '..data'));
  for (const file of ['a', 'b']) symlinkSync(`..data/${file}.yaml`, join(directory, `${file}.yaml`));
  const watched = await watching(context, {}, { directory });
  version('..v1', '1');
  symlinkSync('..v1', join(directory, '..data_tmp'));
  renameSync(join(directory, '..data_tmp'), join(directory, '..data'));
  await eventually(() => value(watched, 'b') === '1', 'the new version');
  rmSync(join(directory, '..v0'), { recursive: true });
  const expected = ['+Namespace a=0', '+Namespace b=0', 'synced', '+Namespace a=1', '+Namespace b=1'];
  assert.equal(watched.log, expected);
});

test('a directory that is not there yet is reported and waited for', async (context) => {
  const directory = join(context.root, 'later');
  const watched = start(context, directory, { rescanMs: 20 });
  await eventually(() => watched.problems.has(directory), 'the problem');
  const message = watched.problems.get(directory)?.[0]?.message ?? '';
  assert.match(message, /^cannot be read, what was known stays in force: ENOENT/);
  assert.equal(watched.log, []);
  mkdirSync(directory);
  writeFileSync(join(directory, 'a.yaml'), namespace('a', '1'));
  await eventually(() => watched.log.includes('synced') && value(watched, 'a') === '1', 'its contents');
  assert.equal(watched.problems.get(directory), []);
});

test('a directory that vanishes keeps everything in force; one put in its place is watched', async (context) => {
  const watched = await watching(context, { 'a.yaml': namespace('a', '0') }, { rescanMs: 50 });
  renameSync(watched.directory, `${watched.directory}-away`);
  await eventually(() => (watched.problems.get(watched.directory) ?? []).length > 0, 'the problem');
  assert.is(value(watched, 'a'), '0');
  mkdirSync(watched.directory);
  writeFileSync(join(watched.directory, 'b.yaml'), namespace('b', '1'));
  await eventually(() => value(watched, 'b') === '1' && watched.objects.size === 1, 'the new contents');
});

test('the watch follows when another directory takes the place', async (context) => {
  const clock = fakeClock();
  const watched = await watching(context, { 'a.yaml': namespace('a', '0') }, { clock, rescanMs: 1000 });
  renameSync(watched.directory, `${watched.directory}-away`);
  mkdirSync(watched.directory);
  writeFileSync(join(watched.directory, 'a.yaml'), namespace('a', '1'));
  await eventually(() => {
    clock.advance(100); // until the rescan, and until what it found has settled
    return value(watched, 'a') === '1';
  }, 'the new directory');
  replace(watched, 'a.yaml', namespace('a', '2')); // time stands still: only the watch can see this
  await eventually(() => value(watched, 'a') === '2', 'a change in the new directory');
});

test('what the watch cannot see the rescan does: a link to a file elsewhere', async (context) => {
  const elsewhere = join(context.root, 'elsewhere.yaml');
  writeFileSync(elsewhere, namespace('a', '0'));
  const directory = join(context.root, 'links');
  mkdirSync(directory);
  symlinkSync(elsewhere, join(directory, 'a.yaml'));
  const watched = await watching(context, {}, { directory, rescanMs: 50 });
  writeFileSync(elsewhere, namespace('a', '1'));
  await eventually(() => value(watched, 'a') === '1', 'the new version');
});

test('directories, pipes and links to nothing are no manifests', async (context) => {
  const directory = join(context.root, 'odd');
  mkdirSync(join(directory, 'sub.yaml'), { recursive: true });
  writeFileSync(join(directory, 'sub.yaml', 'a.yaml'), namespace('a', '0'));
  symlinkSync('nowhere', join(directory, 'dangling.yaml'));
  writeFileSync(join(directory, 'latin1.yaml'), Buffer.from([0x61, 0x3a, 0x20, 0xe9]));
  const watched = await watching(context, {}, { directory });
  assert.equal(watched.log, ['synced']);
  assert.is(watched.problems.get(join(directory, 'latin1.yaml'))?.[0]?.message, 'the file is not UTF-8 text');
  assert.equal([...watched.problems.keys()], [join(directory, 'latin1.yaml')]);
});

test('broken while the agent restarts: the last good version is in force', async (context) => {
  const first = await watching(context, { 'a.yaml': namespace('a', '0') }, { lastGood: true });
  replace(first, 'b.yaml', namespace('b', '0'));
  await eventually(() => value(first, 'b') === '0', 'b');
  await first.stop();
  writeFileSync(join(first.directory, 'a.yaml'), 'kind: [');
  unlinkSync(join(first.directory, 'b.yaml'));
  const second = await watching(context, {}, { lastGood: true });
  assert.equal(second.log, ['+Namespace a=0', 'synced'], 'b was deleted, a is only broken');
  assert.equal(said(second, 'a.yaml').length, 1);
  await second.stop();
  const third = await watching(context, { 'b.yaml': 'kind: [' }, { lastGood: true });
  assert.equal(third.log, ['+Namespace a=0', 'synced'], 'nothing is remembered of b');
});

test('readManifests reads the same once, without a watch', async (context) => {
  const watched = await watching(context, {
    'a.yaml': namespace('a', '0'),
    'b.yaml': 'kind: [',
    'c.yaml': namespace('a', '1'),
  });
  const { objects, problems } = readManifests(watched.directory);
  assert.equal(
    objects.map((object) => refKey(object.ref)),
    ['Namespace a'],
  );
  assert.equal(
    problems.map((problem) => `${problem.place.slice(watched.directory.length + 1)}:${problem.line} ${problem.code}`),
    ['b.yaml:1 yaml-syntax', 'c.yaml:4 duplicate-object'],
  );
  assert.throws(() => readManifests(join(context.root, 'none')), /ENOENT/);
});

test('movedNames: the destination of a rename() inside the directory, and nothing else', () => {
  const rename = (name: string) => ({ type: 'rename', name }) as const;
  const change = (name: string) => ({ type: 'change', name }) as const;
  const here =
    (...names: string[]) =>
    (name: string) =>
      names.includes(name);
  const cases: readonly [ReturnType<typeof rename | typeof change>[], (name: string) => boolean, string[]][] = [
    [[rename('.a.tmp'), rename('a')], here('a'), ['a']],
    [[rename('.a.tmp'), change('.a.tmp'), rename('.a.tmp'), rename('a')], here('a'), ['a']],
    [[rename('a')], here('a'), []], // created, or moved from elsewhere
    [[rename('b'), rename('a')], here('a', 'b'), []], // two were created
    [[rename('a'), rename('a~'), rename('a'), change('a')], here('a', 'a~'), []], // vim: a is being written
    [[rename('x'), rename('a'), change('a')], here('a'), []], // x deleted, a created
    [[change('x'), rename('a')], here('a'), []],
  ];
  for (const [events, exists, moved] of cases) assert.equal([...movedNames(events, exists)], moved);
});

test('Settling believes in the end, whatever the writer does', () => {
  const settling = new Settling();
  const growing = (size: number) => ({ inode: '1:1', size, modifiedNs: BigInt(size), changedNs: BigInt(size) });
  let nowMs = 0;
  let believed = false;
  for (; !believed && nowMs < 5000; nowMs += 10) believed = settling.believe('a', growing(nowMs), false, nowMs);
  assert.is(nowMs, 1010);
  assert.equal(settling.waiting(), []);
});

test.run();
