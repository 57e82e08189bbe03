/** The lock of a state directory, with real processes: held, given back, taken over from the dead, never held twice. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { WeirError } from '../../agent/errors.ts';
import { takeLock } from '../../agent/run/lock.ts';
import { suite } from '../kit/suite.ts';

interface Context {
  readonly directory: string;
  readonly children: ChildProcess[];
}
const test = suite<Context>('run lock');
test.before.each((context) => {
  Object.assign(context, { directory: mkdtempSync(join(tmpdir(), 'wt-lock-')), children: [] });
});
test.after.each(async ({ directory, children }) => {
  for (const child of children) await kill(child);
  rmSync(directory, { recursive: true, force: true });
});

const MODULE = new URL('../../agent/run/lock.ts', import.meta.url).href;
/** A process that tries to take the lock, says how it went, and keeps it until it is killed. */
function contender(context: Context): { child: ChildProcess; answer: Promise<string> } {
  const program = `
    import { takeLock } from ${JSON.stringify(MODULE)};
    try {
      await takeLock(process.argv[1]);
      console.log('held');
      setInterval(() => {}, 1000);
    } catch (error) {
      console.log(error.message);
    }`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', program, context.directory], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  context.children.push(child);
  const answer = new Promise<string>((resolve) => child.stdout?.once('data', (data) => resolve(String(data).trim())));
  return { child, answer };
}

async function kill(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGKILL');
  await gone;
}

async function refusal(directory: string): Promise<string> {
  try {
    await (await takeLock(directory)).release();
  } catch (error) {
    assert.ok(error instanceof WeirError && error.code === 'ALREADY_RUNNING', String(error));
    return error.message;
  }
  return 'taken';
}

test('held: the second is told the pid of the first', async (context) => {
  const { child, answer } = contender(context);
  assert.is(await answer, 'held');
  const message = `another agent runs on the state directory ${context.directory}: pid ${child.pid}`;
  assert.is(await refusal(context.directory), message);
});

test('given back: the next one takes it, nothing is left', async ({ directory }) => {
  const lock = await takeLock(directory);
  assert.match(await refusal(directory), `pid ${process.pid}`);
  await lock.release();
  assert.equal(readdirSync(directory), []);
  assert.is(await refusal(directory), 'taken');
});

test('a killed holder: its lock is taken over, its file goes', async (context) => {
  const { child, answer } = contender(context);
  await answer;
  await kill(child);
  assert.equal(readdirSync(context.directory), ['agent.lock.1']);
  const lock = await takeLock(context.directory);
  assert.equal(readdirSync(context.directory), ['agent.lock.2']);
  await lock.release();
});

test('many start at once after a crash: exactly one holds', async (context) => {
  const { child, answer } = contender(context);
  await answer;
  await kill(child);
  const answers = await Promise.all(Array.from({ length: 6 }, () => contender(context).answer));
  assert.is(answers.filter((one) => one === 'held').length, 1, answers.join('\n'));
  assert.is(answers.filter((one) => one.startsWith('another agent runs')).length, 5, answers.join('\n'));
});

test('a directory whose sockets would have too long a path', async ({ directory }) => {
  const deep = join(directory, 'd'.repeat(100));
  mkdirSync(deep);
  try {
    await takeLock(deep);
    assert.unreachable();
  } catch (error) {
    assert.ok(error instanceof WeirError && error.code === 'CONFIG_INVALID', String(error));
  }
});

test.run();
