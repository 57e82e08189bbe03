/**
 * The test runner: `npm test [-- LEVEL | NAME]... [--long]`. One process per file with a time limit; a line per file as it
 * ends; the whole output of those that failed; what was skipped and why; what was left behind. The last line is
 * "N passed, N failed, N skipped".
 */
import { chmod, mkdir, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { endAll, execute } from './runner/execute.ts';
import { judge, type Verdict } from './runner/judge.ts';
import { belongings, leftovers, madeByOthers } from './runner/leftovers.ts';
import { discover, LEVELS, select, type TestFile } from './runner/levels.ts';

/** Files that take longer are shown while they run. */
const STILL_RUNNING_MS = 30_000;
/** The kernel takes a namespace and its links apart some time after its last user has gone. */
const LEFTOVERS_GRACE_MS = 3000;

interface Totals {
  passed: number;
  failed: number;
  skipped: number;
}

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    // --root: where the levels' folders are; the tests of this runner use it.
    options: { long: { type: 'boolean', default: false }, root: { type: 'string' }, limit: { type: 'string' } },
  });
  const root = values.root ?? fileURLToPath(new URL('.', import.meta.url)).replace(/\/$/, '');
  const files = select(discover(root), positionals);
  const strict = process.env.WEIR_REQUIRE_PRIVILEGED === '1' || process.env.CI === 'true';
  const run = `${process.pid}-${Date.now()}`;
  const env = { WEIR_TEST_RUN: run, ...(values.long ? { WEIR_TEST_LONG: '1' } : {}) };
  const factor = values.long ? 10 : 1;

  for (const signal of ['SIGINT', 'SIGTERM'] as const)
    process.on(signal, () => {
      endAll();
      process.exitCode = 130;
    });

  // Short, for sockets are made in it and their paths have at most 107 bytes.
  const temporary = await mkdtemp(join(tmpdir(), 'wt'));
  await chmod(temporary, 0o711); // As the usual /tmp: a test that becomes another user still reaches its files.
  const before = belongings(run);
  const totals: Totals = { passed: 0, failed: 0, skipped: 0 };
  const skips: string[] = [];
  const failures: string[] = [];
  const ran = new Set<number>();

  const runFile = async (file: TestFile) => {
    const limitS = values.limit === undefined ? file.level.timeLimitS * factor : Number(values.limit);
    const started = performance.now();
    const heartbeat = setInterval(() => {
      console.log(`  ..    ${file.name}  still running (${Math.round((performance.now() - started) / 1000)} s)`);
    }, STILL_RUNNING_MS);
    // A temporary folder of its own: what stays in it is this file's doing.
    const folder = join(temporary, String(files.indexOf(file)));
    await mkdir(folder);
    const execution = await execute(file.path, limitS, { ...env, TMPDIR: folder });
    clearInterval(heartbeat);
    ran.add(execution.pid);
    const verdict = judge(execution, limitS, await readdir(folder));
    const failedSkips = strict ? verdict.skipped.length : 0;
    totals.passed += verdict.passed;
    totals.failed += verdict.failed + failedSkips;
    totals.skipped += verdict.skipped.length - failedSkips;
    skips.push(...verdict.skipped.map((skip) => `${file.name}: ${skip}`));
    console.log(line(file, verdict, execution.seconds, failedSkips));
    if (verdict.failed > 0) {
      failures.push(file.name);
      console.log(indented(execution.output));
      for (const problem of verdict.problems) console.log(`    ✘ ${problem}`);
    }
  };

  for (const level of LEVELS) {
    const queue = files.filter((file) => file.level === level);
    const worker = async () => {
      for (let file = queue.shift(); file !== undefined; file = queue.shift()) {
        if (process.exitCode === 130) return;
        await runFile(file);
      }
    };
    await Promise.all(Array.from({ length: level.parallel }, worker));
  }

  await rm(temporary, { recursive: true });
  const look = () => leftovers(before, belongings(run), madeByOthers(ran));
  const deadline = performance.now() + LEFTOVERS_GRACE_MS;
  let left = look();
  while (left.length > 0 && performance.now() < deadline) {
    await delay(200);
    left = look();
  }
  totals.failed += left.length;
  if (skips.length > 0) {
    console.log(`\nSkipped${strict ? ', which counts as failed here (CI or WEIR_REQUIRE_PRIVILEGED)' : ''}:`);
    for (const skip of skips) console.log(`  ${skip}`);
  }
  if (left.length > 0) {
    console.log('\nLeft behind by the tests, each counted as a failure:');
    for (const thing of left) console.log(`  ${thing}`);
  }
  if (failures.length > 0) console.log(`\nFailed: ${failures.join(' ')}`);
  if (files.length === 0) {
    console.log('no test files');
    totals.failed += 1;
  }
  console.log(`\n${totals.passed} passed, ${totals.failed} failed, ${totals.skipped} skipped`);
  return totals.failed === 0 ? 0 : 1;
}

function line(file: TestFile, verdict: Verdict, seconds: number, failedSkips: number): string {
  const word = verdict.failed + failedSkips > 0 ? 'FAIL' : 'ok  ';
  const counts = [
    `${verdict.passed} passed`,
    ...(verdict.failed > 0 ? [`${verdict.failed} failed`] : []),
    ...(verdict.skipped.length > 0 ? [`${verdict.skipped.length} skipped`] : []),
  ];
  return `  ${word}  ${file.name}  ${counts.join(', ')}  ${seconds.toFixed(1)} s`;
}

function indented(output: string): string {
  return output.replace(/^/gm, '    | ');
}

const code = await main().catch((error: unknown) => {
  console.error(`test: ${error instanceof Error ? error.message : String(error)}`);
  return 2;
});
process.exitCode = process.exitCode === 130 ? 130 : code;
