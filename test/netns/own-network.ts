/**
 * Imported first by a test that plays a node itself: starts the file again in a network namespace of its own, so that
 * devices, routes and forwarding of the machine stay as they are. The node's own addresses are 10.99.0.1 and fd99::1. BPF pins and /run/netns are shared with the machine.
 */
import { execFileSync, spawnSync } from 'node:child_process';

const MARK = 'WEIR_TEST_OWN_NETWORK';

if (process.env[MARK] === undefined && process.getuid?.() === 0) {
  const words = ['--net', '--', process.execPath, ...process.execArgv, ...process.argv.slice(1)];
  const { status } = spawnSync('unshare', words, { stdio: 'inherit', env: { ...process.env, [MARK]: '1' } });
  process.exit(status ?? 1);
}
if (process.env[MARK] !== undefined) {
  for (const words of [
    'link set lo up',
    'address add 10.99.0.1/32 dev lo',
    '-6 address add fd99::1/128 dev lo nodad',
  ]) {
    execFileSync('ip', words.split(' '));
  }
}
