/** A node whose process is interrupted, as the demo by Ctrl-C or a test by the runner's time limit, leaves nothing behind. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { createInterface } from 'node:readline';
import * as assert from 'uvu/assert';
import { privileged } from '../kit/privileged.ts';
import { suite } from '../kit/suite.ts';
import { until } from '../kit/until.ts';

/** Says in one line what it made, then waits to be ended. */
const SCRIPT = `
import { NodeUnderTest } from ${JSON.stringify(new URL('../kit/node.ts', import.meta.url).href)};
const node = await NodeUnderTest.start('interrupted', { manifests: {} });
console.log(JSON.stringify([node.netns.path, node.world.path, node.pinFolder, node.folder, '/proc/' + node.agentPid]));
await new Promise(() => {});
`;
const EXIT_CODES = { SIGINT: 130, SIGTERM: 143 } as const;

const test = privileged(suite('an interrupted node'), 'root', 'btf', 'bpffs');

for (const signal of ['SIGINT', 'SIGTERM'] as const)
  test(`${signal}: agent, namespaces, pins and files go`, async () => {
    const child = spawn(process.execPath, ['--input-type=module', '-e', SCRIPT], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const exit = once(child, 'exit');
    const said = await Promise.race([
      once(createInterface(child.stdout), 'line').then(([line]) => line as string),
      exit.then(([code]) => Promise.reject(new Error(`ended with ${code} before its node was there`))),
    ]);
    const made = JSON.parse(said) as string[];
    const stillThere = (): string[] => made.filter((path) => existsSync(path));
    assert.equal(stillThere(), made);

    child.kill(signal);
    assert.equal(await exit, [EXIT_CODES[signal], null]);
    // The agent is killed before the process ends, and may be seen for a moment after.
    await until(() => stillThere().length === 0, {
      what: 'all of it to be gone',
      detail: () => stillThere().join('\n'),
    });
  });

test.run();
