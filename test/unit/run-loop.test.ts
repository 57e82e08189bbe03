/** Loop, back-off, readiness and shutdown under a clock that the test moves. */
import * as assert from 'uvu/assert';
import { backoffMs } from '../../agent/run/backoff.ts';
import { createLogger } from '../../agent/run/log.ts';
import { type LoopOptions, startLoop } from '../../agent/run/loop.ts';
import { createReadiness } from '../../agent/run/readiness.ts';
import { listenForShutdown } from '../../agent/run/shutdown.ts';
import { fakeClock } from '../kit/clock.ts';
import { suite } from '../kit/suite.ts';

const test = suite('run loop');
const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

function loopUnderTest(more: Partial<LoopOptions> = {}) {
  const clock = fakeClock();
  const stop = new AbortController();
  const runs: number[] = [];
  const errors: number[] = [];
  const outcome: { fail: boolean; during?: () => Promise<void> | void } = { fail: false };
  const loop = startLoop({
    name: 'test',
    minMs: 10,
    retryMs: 100,
    resyncMs: 1000,
    clock,
    random: () => 0,
    signal: stop.signal,
    async run() {
      runs.push(clock.nowMs());
      await outcome.during?.();
      if (outcome.fail) throw new Error('no');
    },
    onError: (_, failures) => errors.push(failures),
    ...more,
  });
  const advance = async (ms: number): Promise<void> => {
    clock.advance(ms);
    await settle();
  };
  return { clock, stop, runs, errors, outcome, loop, advance };
}

test('a trigger runs at once; many become one run after minMs', async () => {
  const { loop, runs, advance } = loopUnderTest();
  loop.trigger();
  await advance(0);
  for (let i = 0; i < 5; i++) loop.trigger();
  await advance(9);
  assert.equal(runs, [0]);
  await advance(1);
  assert.equal(runs, [0, 10]);
});

test('nobody asks: every resyncMs, the first time too', async () => {
  const { runs, advance } = loopUnderTest();
  await advance(999);
  assert.equal(runs, []);
  await advance(1);
  await advance(1000);
  assert.equal(runs, [1000, 2000]);
});

test('a trigger during a run is one more run after it', async () => {
  const { loop, runs, outcome, advance } = loopUnderTest();
  const gate = Promise.withResolvers<void>();
  outcome.during = () => gate.promise;
  loop.trigger();
  await advance(0);
  loop.trigger();
  loop.trigger();
  await advance(50);
  assert.equal(runs, [0], 'never two at once');
  delete outcome.during;
  gate.resolve();
  await settle();
  await advance(0);
  assert.equal(runs, [0, 50]);
});

test('a failure is retried with growing waits; triggers do not shorten them', async () => {
  const { loop, runs, errors, outcome, advance } = loopUnderTest();
  outcome.fail = true;
  loop.trigger();
  await advance(0);
  for (let i = 0; i < 40; i++) {
    loop.trigger();
    await advance(10);
  }
  assert.equal(runs, [0, 100, 300]);
  assert.equal(errors, [1, 2, 3]);
  outcome.fail = false;
  await advance(400);
  assert.equal(runs.at(-1), 700);
  loop.trigger();
  await advance(10);
  assert.is(runs.length, 5, 'at once again after a success');
});

test('an abort ends it: no run starts, a running one is waited for', async () => {
  const { loop, runs, outcome, stop, clock, advance } = loopUnderTest();
  const gate = Promise.withResolvers<void>();
  outcome.during = () => gate.promise;
  loop.trigger();
  await advance(0);
  stop.abort();
  let stopped = false;
  void loop.stopped.then(() => {
    stopped = true;
  });
  await settle();
  assert.not.ok(stopped);
  gate.resolve();
  await loop.stopped;
  loop.trigger();
  await advance(5000);
  assert.equal(runs, [0]);
  assert.is(clock.pending, 0);
});

test('back-off doubles up to its maximum, less up to a quarter', () => {
  const times = { firstMs: 100, maxMs: 5000 };
  assert.equal([1, 2, 3, 7, 1000].map((failures) => backoffMs(failures, times, () => 0)), [100, 200, 400, 5000, 5000]); // biome-ignore format: a table
  assert.is(backoffMs(1, times, () => 1), 75); // biome-ignore format: a table
});

test('readiness: what is pending, in order, until all is done', async () => {
  const readiness = createReadiness(['datapath', 'source']);
  assert.equal(readiness.pending(), ['datapath', 'source']);
  readiness.done('source');
  readiness.done('source');
  assert.equal(readiness.pending(), ['datapath']);
  assert.throws(() => readiness.done('sauce'), /no such readiness task: sauce/);
  readiness.done('datapath');
  await readiness.ready;
  assert.equal(readiness.pending(), []);
});

function shutdownUnderTest() {
  const clock = fakeClock();
  const listeners = new Map<string, () => void>();
  const exits: number[] = [];
  const lines: string[] = [];
  const shutdown = listenForShutdown({
    deadlineMs: 1000,
    clock,
    log: createLogger({ level: 'info', format: 'text', write: (line) => lines.push(line.slice(25).trimEnd()) }),
    process: {
      on: (signal, listener) => listeners.set(signal, listener),
      off: (signal) => listeners.delete(signal),
      exit: (code) => exits.push(code),
    },
  });
  return { clock, shutdown, listeners, exits, lines, send: (signal: string) => listeners.get(signal)?.() };
}

test('the first signal aborts, the second exits', () => {
  const { shutdown, send, exits, lines } = shutdownUnderTest();
  send('SIGTERM');
  assert.ok(shutdown.signal.aborted);
  assert.equal(exits, []);
  send('SIGINT');
  assert.equal(exits, [1]);
  assert.equal(lines, ['info  stopping reason=SIGTERM', 'warn  second signal, exiting at once signal=SIGINT']);
});

test('parts that do not stop are left behind at the deadline', () => {
  const { shutdown, clock, exits } = shutdownUnderTest();
  shutdown.begin('the source can never work');
  clock.advance(999);
  assert.equal(exits, []);
  clock.advance(1);
  assert.equal(exits, [1]);
});

test('parts that stopped in time take deadline and handlers away', () => {
  const { shutdown, clock, exits, listeners } = shutdownUnderTest();
  shutdown.begin('done');
  shutdown.finished();
  clock.advance(5000);
  assert.equal(exits, []);
  assert.is(listeners.size, 0);
});

test.run();
