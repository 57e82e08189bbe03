/** The committed reference pages are what the code says now. */
import { readFileSync } from 'node:fs';
import * as assert from 'uvu/assert';
import { referencePages } from '../../docs/generate.ts';
import { suite } from '../kit/suite.ts';

const test = suite('api: reference pages');

for (const [name, text] of await referencePages()) {
  test(`docs/reference/${name} is current`, () => {
    const committed = readFileSync(new URL(`../../docs/reference/${name}`, import.meta.url), 'utf8');
    assert.ok(committed === text, `it is not: run node docs/generate.ts`);
  });
}

test.run();
