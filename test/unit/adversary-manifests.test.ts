/** Accidents of a disk: none of them may pass for the wish to have no policies. */
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { refKey } from '../../agent/model/object.ts';
import { SETTLE_MS } from '../../agent/source/manifests/settle.ts';
import { manifestsSource } from '../../agent/source/manifests/source.ts';
import { suite } from '../kit/suite.ts';
import { until } from '../kit/until.ts';

const test = suite('adversary: manifests');
const namespace = (name: string): string => `apiVersion: v1\nkind: Namespace\nmetadata: { name: ${name} }\n`;

interface Watched {
  readonly directory: string;
  readonly objects: Set<string>;
  /** Places with a problem. */
  readonly problems: Set<string>;
}

/** Runs `story` on a watched directory with a.yaml and b.yaml, rescanned all the time. */
async function watching(story: (watched: Watched) => Promise<void>): Promise<void> {
  const root = mkdtempSync(join(tmpdir(), 'wt-adversary-'));
  const directory = join(root, 'manifests');
  mkdirSync(directory);
  for (const name of ['a', 'b']) writeFileSync(join(directory, `${name}.yaml`), namespace(name));
  const watched: Watched = { directory, objects: new Set(), problems: new Set() };
  const controller = new AbortController();
  const source = manifestsSource({ directory, rescanMs: 20 });
  const running = source.run(
    {
      change(changes) {
        for (const change of changes) {
          if (change.type === 'delete') watched.objects.delete(refKey(change.ref));
          else watched.objects.add(refKey(change.object.ref));
        }
      },
      problems(place, problems) {
        if (problems.length > 0) watched.problems.add(place);
        else watched.problems.delete(place);
      },
      synced() {},
    },
    controller.signal,
  );
  try {
    await until(() => watched.objects.size === 2, { what: 'both files' });
    await story(watched);
  } finally {
    controller.abort();
    await running;
    rmSync(root, { recursive: true, force: true });
  }
}

/** Longer than anything the source waits for: several rescans, and several times the settling of a file. */
async function keeps(watched: Watched, place: string): Promise<void> {
  await until(() => watched.problems.has(place), { what: 'the problem to be told' });
  const since = performance.now();
  await until(() => performance.now() - since > 5 * SETTLE_MS || watched.objects.size < 2, { what: 'some rescans' });
  assert.is(watched.objects.size, 2, 'everything stays in force');
}

test('rm -rf of the directory takes nothing out of force, though each file is seen to go', () =>
  watching(async (watched) => {
    for (const name of ['a.yaml', 'b.yaml']) {
      unlinkSync(join(watched.directory, name));
      await new Promise((resolve) => setTimeout(resolve, SETTLE_MS / 5)); // as slow as a disk may be
    }
    rmSync(watched.directory, { recursive: true });
    await keeps(watched, watched.directory);
    mkdirSync(watched.directory);
    writeFileSync(join(watched.directory, 'a.yaml'), namespace('a'));
    await until(() => watched.objects.size === 1 && watched.problems.size === 0, { what: 'the new directory' });
  }));

test('an empty directory in the place of the other, as after an unmount, takes nothing out of force', () =>
  watching(async (watched) => {
    renameSync(watched.directory, `${watched.directory}-away`);
    mkdirSync(watched.directory);
    await keeps(watched, watched.directory);
    rmSync(watched.directory, { recursive: true });
    renameSync(`${watched.directory}-away`, watched.directory);
    await until(() => watched.problems.size === 0, { what: 'the old one, back' });
    for (const name of ['a.yaml', 'b.yaml']) unlinkSync(join(watched.directory, name));
    await until(() => watched.objects.size === 0, { what: 'files that are deleted to be gone' });
  }));

test('a file that becomes a link to nothing, or a directory, keeps its objects and is told of', () =>
  watching(async (watched) => {
    const place = join(watched.directory, 'a.yaml');
    unlinkSync(place);
    symlinkSync('/nowhere/a.yaml', place);
    await keeps(watched, place);
    unlinkSync(place);
    mkdirSync(place);
    await keeps(watched, place);
    rmSync(place, { recursive: true });
    await until(() => watched.objects.size === 1 && watched.problems.size === 0, { what: 'the deletion' });
  }));

test('a link to itself is no manifest, and does not end the source', () =>
  watching(async (watched) => {
    const place = join(watched.directory, 'a.yaml');
    symlinkSync('loop.yaml', join(watched.directory, 'loop.yaml'));
    unlinkSync(place);
    symlinkSync('a.yaml', place);
    await keeps(watched, place);
    unlinkSync(place);
    writeFileSync(place, namespace('c'));
    await until(() => watched.objects.has('Namespace c'), {
      what: 'life after it',
      detail: () => [...watched.objects].join(),
    });
  }));

test.run();
