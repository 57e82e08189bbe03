/**
 * Preloaded into a process that is measured: collects all garbage on SIGUSR2. Plain JavaScript, because reading one
 * TypeScript file makes Node load its type stripper, which alone takes more than ten MiB.
 */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc');
process.on('SIGUSR2', () => collect({ type: 'major', execution: 'sync', flavor: 'last-resort' }));
