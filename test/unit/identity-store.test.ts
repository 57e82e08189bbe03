/** The identity store on a real disk: what survives a restart, a crash, damage and a disk that cannot be written. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, unlinkSync, writeFileSync } from 'node:fs';
import { mkdir, rename } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { WeirError } from '../../agent/errors.ts';
import { type IdentityStore, openIdentityStore } from '../../agent/identity/store.ts';
import type { Labels } from '../../agent/model/labels.ts';
import { fakeClock } from '../kit/clock.ts';
import { suite } from '../kit/suite.ts';

const test = suite<{ directory: string }>('identity store');
const set = (name: string): Labels => new Map([['k8s:app', name]]);
const file = (directory: string): string => join(directory, 'identities.journal');
const GRACE_MS = 1000;
const open = (directory: string, more = {}): Promise<IdentityStore> =>
  openIdentityStore({ directory, graceMs: GRACE_MS, ...more });

test.before.each((context) => {
  context.directory = mkdtempSync(join(tmpdir(), 'wt-identity-'));
});
test.after.each((context) => rmSync(context.directory, { recursive: true, force: true }));

test('numbers are the same after a restart', async ({ directory }) => {
  const first = await open(directory);
  assert.is(await first.acquire(set('a')), 256);
  assert.is(await first.acquire(set('b')), 257);
  await first.close();
  const second = await open(directory);
  assert.is(await second.acquire(set('b')), 257);
  assert.is(await second.acquire(set('c')), 258);
  assert.equal(second.problems(), []);
  await second.close();
});

test('a number is on disk when acquire() resolves: the file as it is then is enough', async ({ directory }) => {
  const store = await open(directory);
  const names = Array.from({ length: 20 }, (_, i) => `s${i}`);
  const numbers = await Promise.all(names.map((name) => store.acquire(set(name))));
  const copy = join(directory, 'crash');
  await mkdir(copy);
  writeFileSync(file(copy), readFileSync(file(directory)));
  await store.close();
  const after = await open(copy);
  assert.equal(await Promise.all(names.map((name) => after.acquire(set(name)))), numbers);
  await after.close();
});

test('known labels cost no write', async ({ directory }) => {
  const store = await open(directory);
  await store.acquire(set('a'));
  const before = readFileSync(file(directory), 'utf8');
  await store.acquire(set('a'));
  store.release(set('a'));
  await store.acquire(set('a'));
  assert.is(readFileSync(file(directory), 'utf8'), before);
  await store.close();
});

test('a crash at every byte of the last append keeps all earlier numbers', async ({ directory }) => {
  const store = await open(directory);
  await store.acquire(set('a'));
  const whole = readFileSync(file(directory)).length;
  await store.acquire(set('b'));
  await store.close();
  const bytes = readFileSync(file(directory));
  for (let size = whole; size < bytes.length; size++) {
    writeFileSync(file(directory), bytes.subarray(0, size));
    const after = await open(directory);
    assert.equal(after.problems(), [], `cut at ${size}`);
    assert.is(await after.acquire(set('a')), 256);
    assert.is(await after.acquire(set('c')), 257, 'b was never told its number');
    await after.close();
    const again = await open(directory);
    assert.is(await again.acquire(set('c')), 257, 'the cut line is no head of the next');
    await again.close();
  }
});

test('a long line that a crash cut short leaves nothing behind', async ({ directory }) => {
  const store = await open(directory);
  await store.acquire(set('a'));
  await store.close();
  writeFileSync(file(directory), 'x'.repeat(5000), { flag: 'a' });
  const after = await open(directory);
  assert.is(await after.acquire(set('b')), 257);
  await after.close();
  assert.ok(readFileSync(file(directory)).length < 500);
  const again = await open(directory);
  assert.equal(again.problems(), []);
  assert.is(await again.acquire(set('b')), 257);
  await again.close();
});

test('damage: the good lines and the previous journal are used, and it is said', async ({ directory }) => {
  const store = await open(directory);
  for (const name of ['a', 'b', 'c']) await store.acquire(set(name));
  await store.close();
  const text = readFileSync(file(directory), 'utf8');
  writeFileSync(file(directory), text.replace('"b"', '"X"'));
  const after = await open(directory);
  assert.equal(
    after.problems().map((problem) => problem.message),
    [`${file(directory)} has 1 damaged lines; label sets that could be read and keep their numbers: 2`],
  );
  assert.is(await after.acquire(set('c')), 258);
  assert.is(await after.acquire(set('b')), 260, 'not 257, which the lost line may have given away, and one skipped');
  await after.close();
  const again = await open(directory);
  assert.equal(again.problems(), [], 'told once');
  await again.close();
});

test('a missing journal is rebuilt from the previous one', async ({ directory }) => {
  const clock = fakeClock();
  const store = await open(directory, { clock });
  // Enough forgotten sets for a rewrite, after which the old file is the previous one.
  await Promise.all(Array.from({ length: 1200 }, (_, i) => store.acquire(set(`s${i}`))));
  for (let i = 1; i < 1200; i++) store.release(set(`s${i}`));
  clock.advance(GRACE_MS);
  await store.collect();
  await store.close();
  assert.equal(readdirSync(directory).sort(), ['identities.journal', 'identities.journal.previous']);
  assert.ok(readFileSync(file(directory)).length < 500, 'short again');
  unlinkSync(file(directory));
  const after = await open(directory);
  assert.match(
    after.problems()[0]?.message ?? '',
    /identities.journal is missing; label sets that could be read and keep their numbers: 1$/,
  );
  assert.is(await after.acquire(set('s0')), 256);
  assert.ok((await after.acquire(set('fresh'))) >= 256 + 1200);
  await after.close();
});

test('unused numbers are forgotten after the grace, not before, also across a restart', async ({ directory }) => {
  const clock = fakeClock();
  const first = await open(directory, { clock });
  await first.acquire(set('a'));
  await first.close();
  const store = await open(directory, { clock });
  clock.advance(GRACE_MS - 1);
  await store.collect();
  assert.is(store.list().length, 1, 'its pod may still show up');
  clock.advance(1);
  await store.collect();
  assert.is(store.list().length, 0);
  await store.close();
});

test('at the limit: init, a problem, and recovery when a number is free', async ({ directory }) => {
  const clock = fakeClock();
  const store = await open(directory, { clock, range: { first: 256, last: 257 } });
  await store.acquire(set('a'));
  await store.acquire(set('b'));
  assert.is(await store.acquire(set('c')), 5);
  assert.is(store.problems()[0]?.code, 'identities-exhausted');
  assert.match(store.problems()[0]?.message ?? '', /^all 2 identity numbers are taken; .* k8s:app=c$/);
  assert.is(await store.acquire(set('a')), 256, 'who has a number keeps it');
  store.release(set('b'));
  clock.advance(GRACE_MS);
  await store.collect();
  assert.equal(store.problems(), []);
  assert.is(await store.acquire(set('c')), 257);
  await store.close();
});

test('a disk that cannot be written: known labels work, new ones fail and can be retried', async ({ directory }) => {
  const first = await open(directory);
  await first.acquire(set('a'));
  await first.close();
  const away = `${directory}-away`;
  const store = await open(directory);
  await rename(directory, away); // not even root can create a file in a directory that is not there
  try {
    assert.is(await store.acquire(set('a')), 256);
    const errors = await Promise.all(
      [store.acquire(set('b')), store.acquire(set('b'))].map((got) =>
        got.then(
          () => undefined,
          (e: unknown) => e,
        ),
      ),
    );
    for (const error of errors) {
      assert.ok(error instanceof WeirError && error.code === 'STATE_NOT_DURABLE' && error.retryable);
    }
  } finally {
    await rename(away, directory);
  }
  assert.is(await store.acquire(set('b')), 257);
  await store.close();
  const after = await open(directory);
  assert.is(await after.acquire(set('b')), 257, 'the retry was written');
  await after.close();
});

test('a torn rewrite leaves the old journal in force', async ({ directory }) => {
  const store = await open(directory);
  await store.acquire(set('a'));
  await store.close();
  writeFileSync(`${file(directory)}.tmp`, 'half a li');
  const after = await open(directory);
  assert.is(await after.acquire(set('a')), 256);
  await after.close();
  truncateSync(file(directory), 0);
  const empty = await open(directory);
  assert.is(await empty.acquire(set('z')), 256, 'an empty journal is a fresh one');
  await empty.close();
});

test.run();
