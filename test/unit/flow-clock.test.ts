/** Kernel time to wall time: steady between steps of the wall clock, and right after one. */
import fc from 'fast-check';
import * as assert from 'uvu/assert';
import { FlowClock, formatTime, SYSTEM_CLOCK } from '../../agent/flow/clock.ts';
import { suite } from '../kit/suite.ts';

const test = suite('flow: clock');

/** Wall clock = monotonic + base, and Date.now() cuts to the millisecond. */
function fakeClock(baseMs: number) {
  const state = { monotonicMs: 1000.25, baseMs };
  const clock = new FlowClock({
    monotonicNs: () => BigInt(Math.round(state.monotonicMs * 1e6)),
    wallMs: () => Math.floor(state.monotonicMs + state.baseMs),
  });
  return { state, clock };
}

test('events keep their order and drift at most the millisecond of the wall clock', () => {
  fc.assert(
    fc.property(fc.array(fc.double({ min: 0.001, max: 50, noNaN: true }), { maxLength: 200 }), (steps) => {
      const { state, clock } = fakeClock(1_700_000_000_000.7);
      let before = 0;
      let offset = clock.sample();
      for (const step of steps) {
        state.monotonicMs += step;
        const sampled = clock.sample();
        assert.ok(sampled >= offset, 'between steps the offset only gets truer: no jitter');
        offset = sampled;
        const time = state.monotonicMs + sampled;
        assert.ok(time >= before, `went back from ${before} to ${time}`);
        const truth = state.monotonicMs + state.baseMs;
        assert.ok(time <= truth + 0.01 && time > truth - 1.01, `${time} is not within 1 ms below ${truth}`);
        before = time;
      }
    }),
  );
});

for (const jump of [3_600_000, -3_600_000, 10, -10]) {
  test(`follows a step of ${jump} ms at the next batch`, () => {
    const { state, clock } = fakeClock(1_700_000_000_000);
    const before = clock.sample();
    state.baseMs += jump;
    assert.ok(Math.abs(clock.sample() - before - jump) < 1);
  });
}

test("the machine's clocks: now is now", () => {
  const now = Number(SYSTEM_CLOCK.monotonicNs()) / 1e6 + new FlowClock().sample();
  assert.ok(Math.abs(now - Date.now()) < 1000);
});

test('time as text has microseconds', () => {
  assert.is(formatTime(Date.UTC(2024, 1, 29, 1, 2, 3, 4) + 0.567), '2024-02-29T01:02:03.004567Z');
  assert.is(formatTime(Date.UTC(2024, 0, 1) - 0.0001), '2024-01-01T00:00:00.000000Z');
});

test.run();
