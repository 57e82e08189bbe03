/** The table of identities: properties over random lives, and recovery from a journal cut or damaged anywhere. */
import * as fc from 'fast-check';
import * as assert from 'uvu/assert';
import { type IdentityRecord, type IdentityTable, replayIdentities } from '../../agent/identity/allocate.ts';
import { labelFilter } from '../../agent/identity/label-filter.ts';
import type { IdentityNumber } from '../../agent/model/identity.ts';
import { type Labels, labelsKey } from '../../agent/model/labels.ts';
import { journalLine, readJournal } from '../../agent/run/journal.ts';
import { suite } from '../kit/suite.ts';

const test = suite('identity allocate');
const RANGE = { first: 256, last: 263 };
const set = (name: string): Labels => new Map([['k8s:app', name]]);
const numberOf = (table: IdentityTable, name: string): IdentityNumber | undefined =>
  table.acquire(set(name))?.identity.number;

/** Every set has one number and every number one set. */
function assertOneToOne(table: IdentityTable): void {
  const list = table.list();
  assert.is(new Set(list.map((identity) => identity.number)).size, list.length);
  assert.is(new Set(list.map((identity) => labelsKey(identity.labels))).size, list.length);
  for (const identity of list) {
    assert.is(table.find(identity.labels)?.number, identity.number);
    assert.is(table.get(identity.number)?.number, identity.number);
  }
}

test('the same labels in another order are the same set', () => {
  const table = replayIdentities([], 0, 0, RANGE);
  const one = table.acquire(new Map([['k8s:a', '1'], ['k8s:b', '2']])); // biome-ignore format: a pair a line hides the order
  const other = table.acquire(new Map([['k8s:b', '2'], ['k8s:a', '1']])); // biome-ignore format: as above
  assert.is(one?.identity.number, 256);
  assert.is(other?.identity.number, 256);
  assert.is(other?.isNew, false);
  assert.is(table.users(256), 2);
});

test('a number comes back only when the range has wrapped', () => {
  const table = replayIdentities([], 0, 0, RANGE);
  assert.is(numberOf(table, 'a'), 256);
  table.release(set('a'), 0);
  table.forgetUnused(100, 100);
  const next = ['b', 'c', 'd', 'e', 'f', 'g', 'h'].map((name) => numberOf(table, name));
  assert.equal(next, [257, 258, 259, 260, 261, 262, 263]);
  assert.is(numberOf(table, 'a'), 256, 'wrapped');
  assert.is(numberOf(table, 'x'), undefined, 'full');
});

test('a released set keeps its number for the grace, and again when it comes back', () => {
  const table = replayIdentities([], 0, 0, RANGE);
  numberOf(table, 'a');
  table.release(set('a'), 1000);
  assert.equal(table.forgetUnused(1099, 100), []);
  assert.is(numberOf(table, 'a'), 256);
  assert.equal(table.forgetUnused(5000, 100), [], 'in use again');
  table.release(set('a'), 5000);
  assert.equal(table.forgetUnused(5100, 100), [{ forget: 256 }]);
  assert.is(numberOf(table, 'a'), 257);
});

test('releasing what has no user or no number changes nothing', () => {
  const table = replayIdentities([], 0, 0, RANGE);
  table.release(set('never'), 0);
  numberOf(table, 'a');
  table.release(set('a'), 0);
  table.release(set('a'), 50);
  assert.equal(table.forgetUnused(100, 100), [{ forget: 256 }], 'unused since the first release');
});

type Step = readonly ['acquire' | 'release', number] | readonly ['forget'] | readonly ['restart'];
const steps = fc.array(
  fc.oneof(
    fc.tuple(fc.constantFrom('acquire' as const, 'release' as const), fc.nat(11)),
    fc.tuple(fc.constant('forget' as const)),
    fc.tuple(fc.constant('restart' as const)),
  ),
  { maxLength: 120 },
);

/** Lives through the steps; returns every record that was written, in order. */
function live(life: readonly Step[], onStep: (table: IdentityTable) => void): IdentityRecord[] {
  const written: IdentityRecord[] = [];
  let table = replayIdentities([], 0, 0, RANGE);
  let now = 0;
  for (const step of life) {
    now++;
    if (step[0] === 'restart') table = replayIdentities(written, now, 0, RANGE);
    else if (step[0] === 'forget') written.push(...table.forgetUnused(now, 10));
    else if (step[0] === 'release') table.release(set(`s${step[1]}`), now);
    else {
      const got = table.acquire(set(`s${step[1]}`));
      if (got?.isNew) written.push({ assign: got.identity.number, labels: [...got.identity.labels] });
    }
    onStep(table);
  }
  return written;
}

test('never two numbers for one set, never two sets for one number', () =>
  fc.assert(
    fc.property(steps, (life) => void live(life, assertOneToOne)),
    { numRuns: 300 },
  ));

test('a used set keeps its number whatever happens to others', () =>
  fc.assert(
    fc.property(steps, (life) => {
      const table = replayIdentities([], 0, 0, RANGE);
      const mine = numberOf(table, 'mine');
      for (const step of life) {
        if (step[0] === 'acquire') table.acquire(set(`s${step[1]}`));
        else if (step[0] === 'release') table.release(set(`s${step[1]}`), 0);
        else table.forgetUnused(1000, 10);
        assert.is(table.find(set('mine'))?.number, mine);
      }
    }),
    { numRuns: 200 },
  ));

test('a journal cut at any byte gives the table of its whole lines', () =>
  fc.assert(
    fc.property(steps, fc.nat(), (life, at) => {
      const written = live(life, () => {});
      const text = written.map(journalLine).join('');
      const cut = text.slice(0, at % (text.length + 1));
      const { records, damagedLines } = readJournal<IdentityRecord>(cut);
      assert.is(damagedLines, 0);
      assert.equal(records, written.slice(0, cut.split('\n').length - 1));
      assertOneToOne(replayIdentities(records, 0, 0, RANGE));
    }),
    { numRuns: 300 },
  ));

test('a flipped bit loses at most one record, and no number of the lost one is given to another set at once', () =>
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 6 }), fc.nat(), fc.nat(7), (count, at, bit) => {
      const table = replayIdentities([], 0, 0, RANGE);
      const names = Array.from({ length: count }, (_, i) => `s${i}`);
      const records = names.map((name) => ({ assign: numberOf(table, name) as number, labels: [...set(name)] }));
      const bytes = Buffer.from(records.map(journalLine).join(''));
      const where = at % bytes.length;
      bytes[where] = (bytes[where] as number) ^ (1 << bit);
      const read = readJournal<IdentityRecord>(bytes.toString());
      const again = replayIdentities(read.records, 0, read.damagedLines, RANGE);
      assertOneToOne(again);
      // A flipped newline joins or splits lines: two may go, or the last one counts as cut short.
      assert.ok(read.records.length >= count - 2, `${read.records.length} of ${count}`);
      if (bytes.at(-1) !== 0x0a) return;
      const fresh = numberOf(again, 'fresh');
      const lost = records.filter((r) => !read.records.some((kept) => 'assign' in kept && kept.assign === r.assign));
      if (lost.length === 1) assert.not.ok(lost.some((record) => record.assign === fresh));
    }),
    { numRuns: 500 },
  ));

test('a snapshot rebuilds the table, the last number given included', () => {
  const table = replayIdentities([], 0, 0, RANGE);
  for (const name of ['a', 'b', 'c']) numberOf(table, name);
  table.release(set('c'), 0);
  table.forgetUnused(10, 10);
  const again = replayIdentities(table.snapshot(), 0, 0, RANGE);
  assert.equal(
    again.list().map((identity) => identity.number),
    [256, 257],
  );
  assert.is(numberOf(again, 'd'), 259, 'not 258, which c had');
});

test('an older journal that disagrees with a newer one: the newer owner wins both ways', () => {
  const assign = (number: number, name: string): IdentityRecord => ({ assign: number, labels: [['k8s:app', name]] });
  const table = replayIdentities([assign(256, 'a'), assign(257, 'b'), assign(256, 'b'), assign(258, 'a')], 0, 0, RANGE);
  assertOneToOne(table);
  assert.equal([table.find(set('a'))?.number, table.find(set('b'))?.number], [258, 256]);
  assert.is(table.get(257), undefined);
});

test('numbers outside the range in a journal are ignored', () => {
  const table = replayIdentities([{ assign: 1, labels: [['k8s:app', 'host']] }], 0, 0, RANGE);
  assert.is(table.size, 0);
});

const pod: Labels = new Map([
  ['k8s:app', 'web'],
  ['k8s:app-version', '7'],
  ['k8s:team', 'red'],
  ['k8s:io.kubernetes.pod.namespace', 'shop'],
  ['k8s:io.cilium.k8s.policy.cluster', 'default'],
]);
const cluster = ['k8s:io.kubernetes.pod.namespace', 'k8s:io.cilium.k8s.policy.cluster'];
const filterCases: readonly [string[], string[]][] = [
  [[], ['k8s:app', 'k8s:app-version', 'k8s:team', ...cluster]],
  [['app'], ['k8s:app', 'k8s:app-version', ...cluster]],
  [['app$'], ['k8s:app', ...cluster]],
  [['k8s:team'], ['k8s:team', ...cluster]],
  [['any:team'], ['k8s:team', ...cluster]],
  [['cni:team'], cluster],
  [['!app'], ['k8s:team', ...cluster]],
  [
    ['app', '!app-version'],
    ['k8s:app', ...cluster],
  ],
  [['!io'], ['k8s:app', 'k8s:app-version', 'k8s:team', ...cluster]],
];
for (const [patterns, expected] of filterCases) {
  test(`label filter ${JSON.stringify(patterns)}`, () => {
    assert.equal([...labelFilter(patterns)(pod).keys()], expected);
  });
}

test.run();
