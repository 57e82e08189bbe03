/**
 * Preloaded into an agent that is measured: the first SIGWINCH begins to watch how late its event loop is, the second
 * writes the longest delay and the 99th percentile (milliseconds, JSON) to the file WEIR_TEST_LOOP_DELAY and ends it.
 * Plain JavaScript, for the reason given in test/bench/collect-garbage.mjs.
 */
import { renameSync, writeFileSync } from 'node:fs';
import { monitorEventLoopDelay } from 'node:perf_hooks';

const delay = monitorEventLoopDelay({ resolution: 1 });
let isWatching = false;
process.on('SIGWINCH', () => {
  isWatching = !isWatching;
  if (isWatching) {
    delay.reset();
    delay.enable();
    return;
  }
  delay.disable();
  const file = process.env.WEIR_TEST_LOOP_DELAY ?? '';
  writeFileSync(`${file}.new`, JSON.stringify({ maxMs: delay.max / 1e6, p99Ms: delay.percentile(99) / 1e6 }));
  renameSync(`${file}.new`, file);
});
