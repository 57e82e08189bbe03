// biome-ignore-all lint/suspicious/noTemplateCurlyInString: some strings here are source code
/** Dependencies run one way: every import of the repository against test/kit/import-rules.ts, and no cycles. */
import { existsSync, globSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as assert from 'uvu/assert';
import { cycles, type Edge, violations } from '../kit/import-rules.ts';
import { importsOf } from '../kit/import-scan.ts';
import { suite } from '../kit/suite.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const FOLDERS = ['agent', 'native', 'bpf', 'cni', 'crds', 'docs', 'demo', 'setup', 'test'];

function edgesOf(file: string, source: string): Edge[] {
  return importsOf(source).map(({ specifier, line, typeOnly }) => {
    const to = specifier.startsWith('.') ? normalize(join(dirname(file), specifier)) : specifier;
    return { from: file, line, to, typeOnly };
  });
}

const edges = FOLDERS.flatMap((folder) => globSync(`${folder}/**/*.ts`, { cwd: ROOT }))
  .filter((file) => !file.includes('node_modules'))
  .flatMap((file) => edgesOf(file, readFileSync(join(ROOT, file), 'utf8')));

const repository = suite('imports of the repository');
repository('run in the allowed directions', () => assert.equal(violations(edges), []));
repository('have no cycles', () => assert.equal(cycles(edges), []));
repository('name files that are there', () => {
  const missing = edges.filter(
    ({ to, from }) =>
      edges.some((edge) => edge.from === from) && /^\w+\/.*\.ts$/.test(to) && !existsSync(join(ROOT, to)),
  );
  assert.equal(
    missing.map(({ from, to }) => `${from} imports ${to}`),
    [],
  );
});
repository('were found at all', () =>
  assert.ok(edges.some(({ from, to }) => from.endsWith('unit/imports.test.ts') && to === 'uvu/assert')),
);
repository.run();

const scan = suite('imports: the scanner');
const SOURCES: readonly [source: string, expected: readonly string[]][] = [
  [`import a from 'a';`, ['a']],
  [`import 'a';`, ['a']],
  [`import { a, type b as c } from "a"`, ['a']],
  [`import a, * as b from 'a'; import type from 'b'`, ['a', 'b']],
  [`import\n  {\n  a,\n}\nfrom\n  'a';`, ['a']],
  [`import type { A } from 'a';`, ['a (type)']],
  [`import type A from 'a';`, ['a (type)']],
  [`import type, { a } from 'a';`, ['a']],
  [
    `export { a } from 'a'; export * from 'b'; export * as c from 'c'; export type { D } from 'd'`,
    ['a', 'b', 'c', 'd (type)'],
  ],
  [`export const from = 'a'; export function x() { return 'from'; } export default 'b'; export { y }; 'from "z"'`, []],
  [`export type A = 'a' | 'b'; export interface B { from: 'c' } export class C { x = 'from' }`, []],
  [`const a = await import('a'); type B = import("b").B; import.meta.url`, ['a', 'b']],
  [`// import 'a'\n/* import 'b' */ /** import c from 'c' */ import 'd'`, ['d']],
  [`const s = "import 'a'"; const t = 'it\\'s import "b"'; import 'c'`, ['c']],
  ["const s = `import 'a' ${f({ a: `import 'b'` })} import('c')`; import 'd'", ['d']],
  ["const s = `${await import('a')} }`; import 'b'", ['a', 'b']],
  [`const r = /['"\`]/; const q = a / b / c; const s = x.replace(/[/']/g, ''); import 'a'`, ['a']],
  [`object.import('a'); object.export; import 'b'`, ['b']],
  [`#!/usr/bin/env node\nimport 'a'`, ['a']],
];
for (const [source, expected] of SOURCES)
  scan(JSON.stringify(source), () =>
    assert.equal(
      importsOf(source).map(({ specifier, typeOnly }) => `${specifier}${typeOnly ? ' (type)' : ''}`),
      expected,
    ),
  );
scan('an import() that cannot be checked is refused', () => assert.throws(() => importsOf('\nimport(name)'), /line 2/));
scan('lines are counted through all of it', () => {
  assert.is(importsOf("/*\n*/ const a = `\n${1}\n`; 'x';\nimport 'b'")[0]?.line, 5);
});
scan.run();

const rules = suite('imports: the rules');
const allBroken = (file: string, source: string) => violations(edgesOf(file, source));
const broken = (file: string, source: string) => allBroken(file, source).join('\n');
rules('what is allowed passes', () => {
  assert.equal(
    allBroken(
      'agent/flow/store.ts',
      `import '../model/x.ts'; import '../datapath/layout.gen.ts'; import '../errors.ts'; import 'node:fs'`,
    ),
    [],
  );
  assert.equal(allBroken('agent/cli/observe.ts', `import type { Flow } from '../api/flows.ts'`), []);
});
rules('upwards is refused with the reason', () => {
  assert.match(
    broken('agent/model/x.ts', `import '../policy/y.ts'`),
    /agent\/model\/x.ts:1 .*the nouns stand on nothing/,
  );
  assert.match(broken('agent/flow/x.ts', `import '../datapath/apply.ts'`), /may import only/);
  assert.match(broken('agent/cli/observe.ts', `import { Flow } from '../api/flows.ts'`), /may import only/);
  assert.match(broken('agent/realize/x.ts', `import '../main.ts'`), /nobody imports main/);
  assert.match(broken('agent/api/x.ts', `import '../../test/kit/suite.ts'`), /nobody imports test/);
  assert.match(broken('agent/api/x.ts', `import '../../native/index.ts'`), /native is used by/);
  assert.match(broken('test/oracle/x.ts', `import '../../agent/policy/compile.ts'`), /proves nothing/);
});
rules('packages belong to parts', () => {
  assert.match(broken('agent/flow/x.ts', `import 'fastify'`), /does not use this package/);
  assert.match(broken('test/unit/x.test.ts', `import { suite } from 'uvu'`), /take suite from test\/kit\/suite.ts/);
});
rules('a new part needs a rule', () => assert.match(broken('agent/mesh/x.ts', `import '../model/y.ts'`), /no rule/));
rules('a cycle is shown once, in order', () => {
  const edge = (from: string, to: string) => ({ from, to, line: 1, typeOnly: false });
  assert.equal(cycles([edge('a', 'b'), edge('b', 'c'), edge('c', 'b'), edge('a', 'c')]), [['b', 'c', 'b']]);
});
rules.run();
