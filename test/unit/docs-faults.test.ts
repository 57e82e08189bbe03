/** docs/faults.md: each test that it names by title is a test of that file. (unit/docs looks at its shape.) */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as assert from 'uvu/assert';
import { suite } from '../kit/suite.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const ROW = /^\| (\d+) \|.*\| (tested|partly|later) \| (.*) \|$/gm;
/** `file`: "title" */
const NAMED = /`([^`]+)`: "(.*?)"(?=<br>|$)/g;
/** Any call of a suite with a title, be the suite's name test, add or tcx. */
const TITLE = /^\s*\w+\(\s*(['"`])((?:\\.|(?!\1).)*)\1/gm;

const test = suite('docs/faults.md by title');
const text = readFileSync(join(ROOT, 'docs/faults.md'), 'utf8');

function titlesOf(file: string): string[] {
  const source = readFileSync(join(ROOT, 'test', `${file}.test.ts`), 'utf8');
  return [...source.matchAll(TITLE)].map((match) => (match[2] ?? '').replace(/\\(.)/g, '$1'));
}

for (const [, number, state, by = ''] of text.matchAll(ROW)) {
  test(`${number} is ${state}, and its tests have these titles`, () => {
    const named = [...by.matchAll(NAMED)].map(([, file = '', title = '']) => ({ file, title }));
    const missing = named.filter(({ file, title }) => !titlesOf(file).some((known) => known.includes(title)));
    assert.equal(missing, []);
    assert.is(named.length, (by.match(/`/g) ?? []).length / 2, 'every file comes with a title');
    if (state === 'later') assert.match(by, /^(issue \d|the step that)/);
    else assert.ok(named.length > 0);
  });
}

test.run();
