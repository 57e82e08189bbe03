/** The runner must not be fooled: every way in which uvu leaves with 0 although something failed, and what tests leave behind. */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as assert from 'uvu/assert';
import { command, tryCommand } from '../kit/command.ts';
import { missing } from '../kit/privileged.ts';
import { suite } from '../kit/suite.ts';
import { leftovers, madeByOthers } from '../runner/leftovers.ts';
import { LEVELS, select } from '../runner/levels.ts';

const RUNNER = fileURLToPath(new URL('../run.ts', import.meta.url));
const UVU = `import { suite } from '${import.meta.resolve('uvu')}';\nconst test = suite('s');\n`;
const OURS = `import { suite } from '${new URL('../kit/suite.ts', import.meta.url)}';\nconst test = suite('s');\n`;
const GOOD = `test('good', () => {});\n`;
const RUN = 'test.run();\n';

/** Runs the runner on one test file with this source; resolves with its exit code and output. */
async function runnerOn(source: string, env: Record<string, string> = {}, limitS = 20) {
  const root = await mkdtemp(join(tmpdir(), 'wt-runner-'));
  try {
    await mkdir(join(root, 'unit'));
    await writeFile(join(root, 'unit/case.test.ts'), source);
    const { code, stdout, stderr } = await tryCommand(
      [process.execPath, RUNNER, '--root', root, '--limit', String(limitS)],
      {
        env: { CI: '', WEIR_REQUIRE_PRIVILEGED: '', ...env },
      },
    );
    const lastLine = stdout.trimEnd().split('\n').at(-1);
    return { code, stdout, stderr, lastLine };
  } finally {
    await rm(root, { recursive: true });
  }
}

interface Case {
  readonly name: string;
  readonly source: string;
  readonly lastLine: string;
  /** Must stand in the output: without it a person would not find the cause. */
  readonly says?: RegExp;
  readonly env?: Record<string, string>;
  readonly limitS?: number;
}

const CASES: readonly Case[] = [
  { name: 'all is well (uvu)', source: UVU + GOOD + RUN, lastLine: '1 passed, 0 failed, 0 skipped' },
  { name: 'all is well (ours)', source: OURS + GOOD + RUN, lastLine: '1 passed, 0 failed, 0 skipped' },
  {
    name: 'a test fails',
    source: `${OURS}${GOOD}test('bad', () => { throw new Error('why') });${RUN}`,
    lastLine: '1 passed, 1 failed, 0 skipped',
    says: /why/,
  },
  { name: 'there are no tests (uvu)', source: UVU + RUN, lastLine: '0 passed, 1 failed, 0 skipped', says: /Total 0/ },
  {
    name: 'there are no tests (ours)',
    source: OURS + RUN,
    lastLine: '0 passed, 1 failed, 0 skipped',
    says: /no tests/,
  },
  {
    name: '.run() is missing (uvu)',
    source: UVU + GOOD,
    lastLine: '0 passed, 1 failed, 0 skipped',
    says: /\.run\(\) is missing/,
  },
  {
    name: '.run() is missing for one of two suites (ours)',
    source: `${OURS}${GOOD}${RUN}const other = suite('other'); other('never', () => {});`,
    lastLine: '1 passed, 1 failed, 0 skipped',
    says: /other: 1 tests were never run/,
  },
  {
    name: '.only was left in (uvu)',
    source: `${UVU}${GOOD}test.only('mine', () => {});${RUN}`,
    env: { CI: 'true' },
    lastLine: '1 passed, 1 failed, 0 skipped',
    says: /not \.only/,
  },
  {
    name: '.only was left in (ours)',
    source: `${OURS}test.only('mine', () => {});${RUN}`,
    lastLine: '1 passed, 1 failed, 0 skipped',
    says: /\.only was left in at "mine"/,
  },
  {
    name: 'something that is not an Error is thrown (uvu)',
    source: `${UVU}${GOOD}test('bad', () => { throw 'text' });${RUN}`,
    lastLine: '1 passed, 1 failed, 0 skipped',
    says: /not an Error/,
  },
  {
    name: 'something that is not an Error is thrown (ours)',
    source: `${OURS}test('bad', () => { throw undefined });${GOOD}${RUN}`,
    lastLine: '1 passed, 1 failed, 0 skipped',
    says: /not an Error was thrown: undefined/,
  },
  {
    name: 'before throws (uvu)',
    source: `${UVU}test.before(() => { throw new Error('why') });${GOOD}${RUN}`,
    lastLine: '0 passed, 1 failed, 0 skipped',
    says: /hook failed/,
  },
  {
    name: 'before throws (ours)',
    source: `${OURS}test.before(() => { throw new Error('why') });${GOOD}${RUN}`,
    lastLine: '0 passed, 1 failed, 0 skipped',
    says: /before hook failed: Error: why/,
  },
  {
    name: 'a test fails and after.each throws (uvu)',
    source: `${UVU}${GOOD}test.after.each(() => { throw new Error('why') });test('bad', () => { throw new Error('other') });${RUN}`,
    lastLine: '0 passed, 2 failed, 0 skipped',
  },
  {
    name: 'after throws (ours)',
    source: `${OURS}${GOOD}test.after(() => { throw new Error('why') });${RUN}`,
    lastLine: '0 passed, 1 failed, 0 skipped',
    says: /after hook failed: Error: why/,
  },
  {
    name: 'a handle stays open',
    source: `${OURS}${GOOD}setInterval(() => {}, 1000);${RUN}`,
    limitS: 1,
    lastLine: '1 passed, 1 failed, 0 skipped',
    says: /outside of any test; still open: .*Timeout[\s\S]*not finished after 1 s/,
  },
  {
    name: 'a test never ends',
    source: `${OURS}test('for ever', () => new Promise(() => setInterval(() => {}, 1000)));${RUN}`,
    limitS: 1,
    lastLine: '0 passed, 1 failed, 0 skipped',
    says: /told to end in "s: for ever"/,
  },
  {
    name: 'a test blocks its thread and ignores SIGTERM',
    source: `${OURS}test('busy', () => { for (;;); });${RUN}`,
    limitS: 1,
    lastLine: '0 passed, 1 failed, 0 skipped',
    says: /not finished after 1 s/,
  },
  {
    name: 'the exit code is not 0 although the tests passed',
    source: `${UVU}${GOOD}${RUN}process.on('exit', () => { process.exitCode = 3 });`,
    lastLine: '1 passed, 1 failed, 0 skipped',
    says: /exit code 3 although all 1 tests passed/,
  },
  {
    name: 'the file does not parse',
    source: 'const = 1;',
    lastLine: '0 passed, 1 failed, 0 skipped',
    says: /SyntaxError/,
  },
  {
    name: 'a promise is rejected on the side',
    source: `${UVU}${GOOD}test('later', () => new Promise((r) => setTimeout(r, 50)));${RUN}Promise.reject(new Error('aside'));`,
    lastLine: '0 passed, 1 failed, 0 skipped',
    says: /aside/,
  },
  {
    name: 'a skip is shown with its reason',
    source: `${OURS}${GOOD}test.skip('not here', 'no such device');${RUN}`,
    lastLine: '1 passed, 0 failed, 1 skipped',
    says: /Skipped:\n +unit\/case: s: not here: no such device/,
  },
  {
    name: 'a skip of everything is not "no tests"',
    source: `${OURS}test.skip('a', 'b');${RUN}`,
    lastLine: '0 passed, 0 failed, 1 skipped',
  },
  {
    name: 'a skip fails where privileges are required',
    source: `${OURS}${GOOD}test.skip('not here', 'no such device');${RUN}`,
    env: { WEIR_REQUIRE_PRIVILEGED: '1' },
    lastLine: '1 passed, 1 failed, 0 skipped',
  },
  {
    name: 'a skip fails in CI',
    source: `${UVU}${GOOD}test.skip('not here');${RUN}`,
    env: { CI: 'true' },
    lastLine: '1 passed, 1 failed, 0 skipped',
  },
  {
    name: 'a process outlives its file',
    source: `${OURS}import { spawn } from 'node:child_process';test('s', () => { spawn('sleep', ['77'], { stdio: 'ignore' }).unref(); });${RUN}`,
    lastLine: '1 passed, 1 failed, 0 skipped',
    says: /a process outlived it: \d+ sleep 77/,
  },
  {
    name: 'a file stays in the temporary folder',
    source: `${OURS}import { mkdtempSync } from 'node:fs';import { tmpdir } from 'node:os';test('s', () => { mkdtempSync(tmpdir() + '/forgotten-'); });${RUN}`,
    lastLine: '1 passed, 1 failed, 0 skipped',
    says: /left in its temporary folder: forgotten-/,
  },
];

const traps = suite('runner: no failure is overlooked');
for (const { name, source, lastLine, says, env, limitS } of CASES)
  traps(name, async () => {
    const result = await runnerOn(source, env, limitS);
    assert.is(result.lastLine, lastLine, result.stdout);
    assert.is(result.code, / 0 failed/.test(lastLine) ? 0 : 1);
    if (says !== undefined) assert.match(result.stdout, says);
  });

traps('a daemon that left the process group is found', async () => {
  const source = `${OURS}import { spawn } from 'node:child_process';test('s', () => { spawn('sleep', ['78'], { stdio: 'ignore', detached: true }).unref(); });${RUN}`;
  const result = await runnerOn(source);
  const pid = /^ +process (\d+) sleep 78$/m.exec(result.stdout)?.[1];
  assert.is(result.lastLine, '1 passed, 1 failed, 0 skipped', result.stdout);
  process.kill(Number(pid));
});
if (missing('root') === undefined)
  traps('a namespace left behind is found', async () => {
    const source = `${OURS}import { execFileSync } from 'node:child_process';test('s', () => { execFileSync('ip', ['netns', 'add', 'wt-runner-' + process.pid]); });${RUN}`;
    const result = await runnerOn(source);
    const name = /^ +network namespace \/run\/netns\/(wt-runner-\d+)$/m.exec(result.stdout)?.[1];
    if (name !== undefined) await command(['ip', 'netns', 'del', name]);
    assert.is(result.lastLine, '1 passed, 1 failed, 0 skipped', result.stdout);
  });
traps('nothing at all was run', async () => {
  const root = await mkdtemp(join(tmpdir(), 'wt-runner-'));
  const { code, stdout } = await tryCommand([process.execPath, RUNNER, '--root', root]);
  await rm(root, { recursive: true });
  assert.match(stdout, /0 passed, 1 failed, 0 skipped\n$/);
  assert.is(code, 1);
});
traps.run();

const left = suite('runner: leftovers');
left('only what is new and has a name of ours counts', () => {
  const before = { link: ['/sys/class/net/eth0', '/sys/class/net/wt1x1'], process: [] };
  const after = {
    link: [
      '/sys/class/net/eth0',
      '/sys/class/net/wt1x1',
      '/sys/class/net/wt2x1',
      '/sys/class/net/docker0',
      '/sys/class/net/weirab12',
    ],
    cluster: ['/var/lib/weir-clusters/mine', '/var/lib/weir-clusters/.number-2', '/var/lib/weir-clusters/wt-x-2-1'],
    socket: ['/run/weir/api.sock'],
    mount: ['/var/cache/weir/image/root', '/tmp/wt-x-2/full'],
    process: ['77 sleep 1'],
  };
  assert.equal(
    leftovers(before, after, () => false),
    [
      'link /sys/class/net/wt2x1',
      'link /sys/class/net/weirab12',
      'cluster /var/lib/weir-clusters/wt-x-2-1',
      'socket /run/weir/api.sock',
      'mount /tmp/wt-x-2/full',
      'process 77 sleep 1',
    ],
  );
  assert.equal(
    leftovers(before, after, (name) => /wt2|wt-x-2/.test(name)),
    ['link /sys/class/net/weirab12', 'socket /run/weir/api.sock', 'process 77 sleep 1'],
  );
});
left('the tests of another checkout are told by the process id in their names', () => {
  const others = madeByOthers(new Set([4711]));
  for (const name of ['/run/netns/wt-dns-4712-3', '/sys/class/net/wt4712x1', '/var/lib/weir-clusters/wt-cli-99999-1'])
    assert.is(others(name), true, name);
  for (const name of ['/run/netns/wt-dns-4711-99999', '/sys/class/net/wt4711x1', '/run/netns/wt-dns', '/run/weir/4712'])
    assert.is(others(name), false, name);
});
left.run();

const selection = suite('runner: which files are meant');
const [unit, , bpf] = LEVELS;
const files = [
  { level: unit, name: 'unit/labels', path: '' },
  { level: bpf, name: 'bpf/layout', path: '' },
  { level: bpf, name: 'bpf/layout-endian', path: '' },
].filter((file) => file.level !== undefined) as Parameters<typeof select>[0];
const chosen = (...words: string[]) => select(files, words).map((file) => file.name);
selection('no word: all', () => assert.equal(chosen(), ['unit/labels', 'bpf/layout', 'bpf/layout-endian']));
selection('a level', () => assert.equal(chosen('unit'), ['unit/labels']));
selection('the beginning of a name', () => assert.equal(chosen('bpf/layout'), ['bpf/layout', 'bpf/layout-endian']));
selection('a path', () => assert.equal(chosen('./test/bpf/layout-endian.test.ts'), ['bpf/layout-endian']));
selection('two words, no file twice', () =>
  assert.equal(chosen('bpf', 'bpf/layout', 'unit'), ['unit/labels', 'bpf/layout', 'bpf/layout-endian']),
);
selection('a word that means nothing is refused', () =>
  assert.throws(() => chosen('units'), /no test matches "units"/),
);
selection.run();
