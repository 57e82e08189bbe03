/** The addon itself under Debian's 5.10 and 6.1: Node boots in a machine with native/ and takes the tour of fixtures/native-tour.ts. */
import { globSync, readdirSync, readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { stripTypeScriptTypes } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as assert from 'uvu/assert';
import { command } from '../kit/command.ts';
import { privileged } from '../kit/privileged.ts';
import { suite } from '../kit/suite.ts';
import { boot, parents } from './boot.ts';
import { type InitramfsFile, initramfs } from './initramfs.ts';
import { notFetched, OLD_KERNELS } from './kernels.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const FIXTURES = join(ROOT, 'test/kernel/fixtures');
const ADDON = join(ROOT, 'native/build/Release/weir_native.node');
/** Node and its libraries, unpacked, take 140 MiB of it. */
const MEMORY = '2G';

const test = privileged(suite('native on old kernels'), 'root', 'btf', 'qemu');
const folder = await mkdtemp(join(tmpdir(), `wt-native-${process.pid}-`));
const [init, object] = [join(folder, 'init'), join(folder, 'native.bpf.o')];

test.before(async () => {
  const multiarch = (await command(['gcc', '-print-multiarch'])).trim();
  const source = join(FIXTURES, 'native.bpf.c');
  await command(['clang', '-target', 'bpf', '-g', '-O2', `-I/usr/include/${multiarch}`, '-c', source, '-o', object]);
  await command(['gcc', '-O2', '-Wall', '-static', '-o', init, join(FIXTURES, 'node-init.c')]);
});
test.after(() => rm(folder, { recursive: true }));

/**
 * JavaScript already: what Node strips types with is WebAssembly, and about one in a hundred Nodes dies in V8's code for it
 * under qemu's emulation (signal 11, or "Check failed: it->second.Size() > offset"), more than once in CI.
 */
const javascript = (path: string, from: string): InitramfsFile => ({
  path: path.replace(/\.ts$/, '.js'),
  content: Buffer.from(stripTypeScriptTypes(readFileSync(from, 'utf8')).replace(/(?<=from '.*)\.ts(?=';)/g, '.js')),
});

/** As they lie in the machine: the shared libraries where the loader looks for them, the sources beside the tour. */
async function machine(kernel: string): Promise<Uint8Array> {
  const file = (path: string, from: string): InitramfsFile => ({ path, content: readFileSync(from), executable: true });
  const linked = await command(['ldd', process.execPath, ADDON]);
  const libraries = new Set([...linked.matchAll(/(\/\S+) \(0x/g)].map(([, path]) => path as string));
  const sources = [...globSync('native/**/*.ts', { cwd: ROOT }), 'agent/model/address.ts'];
  const modules = readdirSync(kernel).filter((name) => name.endsWith('.ko'));
  const files = [
    file('init', init),
    file('node', process.execPath),
    javascript('tour.js', join(FIXTURES, 'native-tour.ts')),
    file('native.bpf.o', object),
    file('native/build/Release/weir_native.node', ADDON),
    ...[...libraries].map((path) => file(path.slice(1), path)),
    ...sources.map((path) => javascript(path, join(ROOT, path))),
    ...modules.map((name) => file(`modules.d/${name}`, join(kernel, name))),
    { path: 'modules', content: Buffer.from(modules.map((name) => `/modules.d/${name}\n`).join('')) },
    { path: 'package.json', content: Buffer.from('{ "type": "module" }') },
  ];
  const folders = new Set(files.flatMap(({ path }) => parents(`/${path}`)));
  return initramfs([...folders], files);
}

type Step = { name: string; result?: unknown; error?: string };

for (const { release, folder: kernel } of OLD_KERNELS) {
  const absent = notFetched();
  if (absent !== undefined) test.skip(`Linux ${release}`, absent);
  else
    test(`Linux ${release}`, async () => {
      const { answers, screen } = await boot(kernel, await machine(kernel), MEMORY);
      const lines = answers.split(/\r?\n/).filter((line) => line !== '');
      assert.ok(lines.pop() === 'end' && lines.every((line) => line.startsWith('{"name":')), `${answers}\n${screen}`);
      const steps = lines.map((line) => JSON.parse(line) as Step);
      assert.equal(steps, [
        {
          name: 'features',
          result: {
            ...{ tcx: false, ringbuf: true, btf: true, redirectPeer: true, jiffies64: true },
            setRetval: release !== '5.10', // since 5.18
          },
        },
        { name: 'hash', result: [1000, true, 1000] },
        { name: 'cpu_hash', result: [1000, true, 1000] },
        { name: 'lpm', result: [1000, true, 1000] },
        { name: 'array', result: [8, true, 8] },
        { name: 'cpu_array', result: [8, true, 8] },
        { name: 'sweep', result: [1000, 3000, 2000] },
        { name: 'ring', result: [7, { received: 500, queuedDropped: 0, badSize: 0 }] },
        {
          name: 'wire',
          result: [
            ['default4', '169.254.1.1'],
            ['default6', 'fe80::1'],
          ],
        },
        {
          name: 'refusal',
          error: 'route add 10.1.0.0/16: ENETUNREACH (Network is unreachable): Nexthop has invalid gateway',
        },
        { name: 'tcx', error: `attach tcx ingress judge to ifindex ${1 << 20}: EINVAL (Invalid argument)` },
        {
          name: 'clsact',
          result: [
            [
              [1, 'judge'],
              [2, 'judge'],
            ],
            true,
            1,
          ],
        },
        { name: 'xdp', result: ['xdp', 1 << 20] },
        { name: 'cgroup', result: ['cgroup', 10] },
        { name: 'pin', result: ['map', 'program'] },
        { name: 'delete', result: true },
      ]);
    });
}

test.run();
