/** `npm run check`: what a change has to pass: format, lint, types, generated files as generated, and all tests. */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
/** Longer files are named, for somebody to think about; a long table is no fault. */
const LONG_FILE_LINES = 350;

interface Outcome {
  readonly ok: boolean;
  readonly output: string;
}

function run(words: readonly string[], input?: string): Outcome {
  const [program = '', ...args] = words;
  const result = spawnSync(program, args, { cwd: ROOT, encoding: 'utf8', input, maxBuffer: 1 << 28 });
  return {
    ok: result.status === 0,
    output: `${result.stdout ?? ''}${result.stderr ?? ''}${result.error?.message ?? ''}`,
  };
}

/** Files git knows or would take in, so that a new one is checked before its commit. */
function files(...patterns: string[]): string[] {
  return run(['git', 'ls-files', '--cached', '--others', '--exclude-standard', '--', ...patterns])
    .output.split('\n')
    .filter((path) => path !== '');
}

/** Programs that write committed files. */
const GENERATORS = ['bpf/gen/main.ts', 'agent/api/hubble/generate.ts', 'crds/generate.ts', 'docs/generate.ts'];
const GENERATED = ['*.gen.ts', 'crds/*.yaml', 'docs/reference'];

/** Generates in place, so that what differs can be looked at (and committed). */
function generatedIsClean(): Outcome {
  for (const generator of GENERATORS) {
    const outcome = run([process.execPath, generator]);
    if (!outcome.ok) return outcome;
  }
  return run(['git', 'diff', '--exit-code', '--', ...GENERATED]);
}

const steps: readonly [name: string, step: () => Outcome][] = [
  ['biome', () => run(['node_modules/.bin/biome', 'check', '--error-on-warnings', '.'])],
  ['clang-format', () => run(['clang-format', '--dry-run', '--Werror', ...files('*.c', '*.h', '*.cc')])],
  ['types', () => run([process.execPath, 'node_modules/typescript/bin/tsc', '-p', '.'])],
  ['generated files', generatedIsClean],
];

let failed = false;
for (const [name, step] of steps) {
  const started = performance.now();
  const { ok, output } = step();
  console.log(
    `check: ${name.padEnd(15)} ${ok ? 'ok' : 'FAILED'} (${((performance.now() - started) / 1000).toFixed(1)} s)`,
  );
  if (!ok) console.log(output.replace(/^/gm, '  | '));
  failed ||= !ok;
}

const lengths = files('*.ts', '*.c', '*.h', '*.cc', '*.sh')
  .filter((path) => !path.endsWith('.gen.ts'))
  .map((path) => ({ path, lines: readFileSync(join(ROOT, path), 'utf8').split('\n').length - 1 }))
  .filter(({ lines }) => lines > LONG_FILE_LINES);
for (const { path, lines } of lengths) console.log(`check: long file       ${path} has ${lines} lines`);

console.log('check: tests');
const tests = spawnSync(process.execPath, ['test/run.ts', ...process.argv.slice(2)], { cwd: ROOT, stdio: 'inherit' });
failed ||= tests.status !== 0;
console.log(`check: ${failed ? 'FAILED' : 'all is well'}`);
process.exitCode = failed ? 1 : 0;
