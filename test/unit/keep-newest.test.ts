/** What is set last is kept longest. */
import * as assert from 'uvu/assert';
import { keepNewest } from '../../agent/model/keep-newest.ts';
import { suite } from '../kit/suite.ts';

const test = suite('keep newest');
test('what was set again is new again; the oldest gives way', () => {
  const map = new Map<string, number>();
  for (const [i, key] of ['a', 'b', 'a', 'c', 'd'].entries()) keepNewest(map, key, i, 3);
  assert.equal([...map], [['a', 2], ['c', 3], ['d', 4]]); // biome-ignore format: one line
});
test('a value of the same key pushes nobody out', () => {
  const map = new Map([['a', 1], ['b', 1]]); // biome-ignore format: one line
  keepNewest(map, 'a', 2, 2);
  assert.equal([...map], [['b', 1], ['a', 2]]); // biome-ignore format: one line
});
test.run();
