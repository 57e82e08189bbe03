/**
 * uvu's suite, made honest. uvu 0.5.6 exits with 0 when a `before` throws, when something that is not an Error is thrown,
 * when `after.each` throws behind a failure, when `.run()` is missing and when `.only` was left in (reference: the
 * project's notes on packages). Here each of these ends the process with exit code 1 and says so, also under `node FILE`.
 */
import { inspect } from 'node:util';
import { type Callback, type Test, suite as uvuSuite } from 'uvu';

/** As uvu's, but a skip must give its reason. */
export interface Suite<T> extends Omit<Test<T>, 'skip'> {
  (name: string, test: Callback<T>): void;
  skip(name: string, reason: string): void;
}

const problems: string[] = [];
const unfinished = new Map<object, { name: string; tests: number }>();
let current = '';

/** A group of tests; ends with `.run()`. `state` is handed to every hook and test. */
export function suite<T = Record<string, unknown>>(name: string, state?: T): Suite<T> {
  const inner = uvuSuite<T>(name, state);
  const entry = { name, tests: 0 };
  unfinished.set(inner, entry);

  const add = (register: Test<T>['only']) => (title: string, body: Callback<T>) => {
    entry.tests += 1;
    register(title, async (context) => {
      current = `${name}: ${title}`;
      try {
        await body(context);
      } catch (thrown) {
        throw thrown instanceof Error ? withCause(thrown) : new Error(`not an Error was thrown: ${inspect(thrown)}`);
      } finally {
        current = '';
      }
    });
  };
  const hook = (kind: string, register: Test<T>['before']['each']) => (body: Callback<T>) =>
    register(async (context) => {
      try {
        await body(context);
      } catch (thrown) {
        problem(`${name}: the ${kind} hook failed: ${thrown instanceof Error ? thrown.stack : inspect(thrown)}`);
        throw thrown;
      }
    });
  const hooks = (kind: 'before' | 'after') =>
    Object.assign(hook(kind, inner[kind]), { each: hook(`${kind}.each`, inner[kind].each) });

  const addOnly = add(inner.only);
  return Object.assign(add(inner), {
    only(title: string, body: Callback<T>) {
      if (process.env.WEIR_TEST_RUN !== undefined) problem(`${name}: .only was left in at "${title}"`);
      addOnly(title, body);
    },
    skip(title: string, reason: string) {
      entry.tests += 1;
      console.log(`SKIP ${name}: ${title}: ${reason}`);
      inner.skip(title);
    },
    before: hooks('before'),
    after: hooks('after'),
    run() {
      unfinished.delete(inner);
      if (entry.tests === 0) problem(`${name}: the suite has no tests`);
      inner.run();
    },
  });
}

/** uvu prints the stack and nothing of the cause, which is where fast-check puts what the property has thrown. */
function withCause(error: Error): Error {
  if (error.cause !== undefined) error.stack += `\n    because of ${inspect(error.cause)}`;
  return error;
}

function problem(text: string): void {
  problems.push(text);
  console.error(`✘ ${text}`);
}

process.on('exit', () => {
  for (const { name, tests } of unfinished.values())
    problem(`${name}: ${tests} tests were never run: .run() is missing`);
  if (problems.length > 0) process.exitCode = 1;
});

/** The runner's time limit: say what was going on, then leave through process.exit so that cleaning up happens. */
process.on('SIGTERM', () => {
  const open = process.getActiveResourcesInfo().join(', ');
  console.error(`✘ told to end ${current === '' ? 'outside of any test' : `in "${current}"`}; still open: ${open}`);
  process.exit(143);
});
