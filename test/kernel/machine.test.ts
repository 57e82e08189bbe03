/** The probe and the machines it runs in, with the least of programs: does the harness itself tell the truth? */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as assert from 'uvu/assert';
import { command } from '../kit/command.ts';
import { Testbed } from '../kit/netns.ts';
import { privileged } from '../kit/privileged.ts';
import { suite } from '../kit/suite.ts';
import { Probe } from './boot.ts';
import { notFetched, OLD_KERNELS } from './kernels.ts';
import { type Answers, script } from './script.ts';

const TRIVIAL = fileURLToPath(new URL('./fixtures/trivial.bpf.c', import.meta.url));
const LINK = 1 << 20;

const test = privileged(suite('probe machine'), 'root', 'btf', 'qemu');
const folder = await mkdtemp(join(tmpdir(), `wt-machine-${process.pid}-`));
const object = join(folder, 'trivial.bpf.o');
let probe: Probe;

test.before(async () => {
  const multiarch = (await command(['gcc', '-print-multiarch'])).trim();
  await command(['clang', '-target', 'bpf', '-g', '-O2', `-I/usr/include/${multiarch}`, '-c', TRIVIAL, '-o', object]);
  probe = await Probe.build();
});
test.after(async () => {
  await probe.remove();
  await rm(folder, { recursive: true });
});

/** An IPv4 ethertype, so that the kernel takes it for a frame at all. */
function frame(fill: number): Buffer {
  const bytes = Buffer.alloc(64, fill);
  bytes.writeUInt16BE(0x0800, 12);
  return bytes;
}

const SCRIPT = script([
  ['open', object],
  ['rodata', 'unwanted', Uint8Array.of(0xaa)],
  ['load'],
  ['link', 'weir0', LINK],
  ['run', 'unwanted', 'judge', LINK, frame(0xaa)],
  ['run', 'wanted', 'judge', LINK, frame(0xab)],
  ['clsact', 'weir0', 'ingress', 'judge'],
  ['send', 'weir0p', frame(0xaa)],
  ['send', 'weir0p', frame(0xac)],
  ['events', 'events'],
  ['sums', 'seen'],
  ['rodata', 'missing', Uint8Array.of(1)],
  ['no-such-word'],
]);

function check(answers: Answers): void {
  assert.is(answers.runs.get('unwanted')?.retval, 2);
  assert.is(answers.runs.get('wanted')?.retval, 0);
  assert.equal(answers.runs.get('wanted')?.frame, frame(0xab));
  const events = answers.events.map((event) => event.toString('hex'));
  assert.equal(events, ['aa', 'ab', 'aa', 'ac'], 'two runs, then two frames through the clsact filter');
  assert.equal(
    answers.lines.filter((line) => line.startsWith('sum ')),
    ['sum seen 0 2', 'sum seen 1 2'],
  );
  assert.equal(answers.failures, [
    'failed line 12 rodata missing 01: No such file or directory',
    'failed line 13 no-such-word  : Bad message',
  ]);
}

test('works on this kernel', async () => {
  await using bed = await Testbed.open('machine');
  check(await probe.here(await bed.netns(), SCRIPT));
});

for (const { release, folder: kernel } of OLD_KERNELS) {
  const absent = notFetched();
  if (absent !== undefined) test.skip(`works on Linux ${release}`, absent);
  else
    test(`works on Linux ${release}`, async () => {
      const answers = await probe.in(kernel, SCRIPT, [object]);
      assert.ok(answers.kernel.startsWith(`${release}.`), answers.kernel);
      check(answers);
    });
}

test('an object the verifier refuses is answered with its log', async () => {
  await using bed = await Testbed.open('machine');
  const broken = join(folder, 'broken.bpf.o');
  const source = '__attribute__((section("tc"), naked)) int judge(void) { asm("exit"); }';
  await command(['clang', '-target', 'bpf', '-g', '-O2', '-x', 'c', '-c', '-', '-o', broken], { input: source });
  const answers = await probe.here(await bed.netns(), script([['open', broken], ['load']]));
  assert.match(answers.failures.at(-1) ?? '', /^failed line 2 load/);
  assert.ok(
    answers.failures.some((line) => line.startsWith('log ') && line.includes('!read_ok')),
    answers.failures.join('\n'),
  );
});

test.run();
