/** What the documents say about the repository is so: links lead somewhere, and the tests that faults.md names are there. */
import { existsSync, globSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as assert from 'uvu/assert';
import { suite } from '../kit/suite.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const FAULTS = 52;

const documents = globSync('**/*.md', { cwd: ROOT, exclude: (path) => /(^|\/)(node_modules|build)(\/|$)/.test(path) });
const read = (path: string) => readFileSync(join(ROOT, path), 'utf8');

const links = suite('documents');
links('there are some', () => assert.ok(documents.includes('README.md') && documents.includes('docs/faults.md')));
for (const path of documents)
  links(`${path}: links lead to files that are there`, () => {
    const text = read(path).replace(/```[\s\S]*?```/g, '');
    const broken = [...text.matchAll(/\]\(([^)\s#]+)(?:#[^)]*)?\)/g)]
      .map((match) => match[1] ?? '')
      .filter((target) => !/^[a-z]+:/.test(target) && !existsSync(join(ROOT, dirname(path), target)));
    assert.equal(broken, []);
  });
links.run();

const faults = suite('docs/faults.md');
const rows = read('docs/faults.md')
  .split('\n')
  .map((line) => line.split('|').map((cell) => cell.trim()))
  .filter(([, number]) => /^\d+$/.test(number ?? ''))
  .map(([, number = '', fault = '', answer = '', state = '', by = '']) => ({
    number: Number(number),
    fault,
    answer,
    state,
    by,
  }));

faults('has every fault once, in order', () => {
  assert.equal(
    rows.map(({ number }) => number),
    Array.from({ length: FAULTS }, (_, i) => i + 1),
  );
});
for (const { number, fault, state, by } of rows)
  faults(`${number}, ${fault}: ${state}`, () => {
    assert.ok(['tested', 'partly', 'later'].includes(state), `state "${state}"`);
    const tests = [...by.matchAll(/`([^`]+)`/g)].map((match) => match[1] ?? '');
    const missing = tests.filter((name) => !existsSync(join(ROOT, 'test', `${name}.test.ts`)));
    assert.equal(missing, []);
    assert.is(tests.length > 0, state !== 'later', 'what is tested names its tests, what is for later names the part');
    assert.ok(by !== '');
  });
faults.run();
