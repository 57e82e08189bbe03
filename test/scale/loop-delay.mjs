/**
 * Preloaded into a process that is measured: the first SIGWINCH begins to watch how late its event loop is, the second
 * writes the longest delay, in milliseconds, to a file named by its process id in the folder WEIR_TEST_LOOP_DELAY, and ends
 * it. Plain JavaScript, for the reason given in test/bench/collect-garbage.mjs.
 */
import { renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
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
  const file = join(process.env.WEIR_TEST_LOOP_DELAY ?? '', `${process.pid}`);
  writeFileSync(`${file}.new`, `${delay.max / 1e6}`);
  renameSync(`${file}.new`, file);
});
