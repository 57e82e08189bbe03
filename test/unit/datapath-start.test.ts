/** What happens before programs are loaded: which kernel is good enough, how fast its clock ticks, grace periods. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { createGracePeriods } from '../../agent/datapath/program/grace-period.ts';
import { hzBetween } from '../../agent/datapath/program/jiffies.ts';
import { openPins } from '../../agent/datapath/program/pins.ts';
import { chooseAttachMode, requireFeatures } from '../../agent/datapath/program/requirements.ts';
import { suite } from '../kit/suite.ts';

const ALL = { tcx: true, ringbuf: true, btf: true, redirectPeer: true, jiffies64: true, setRetval: true };
const test = suite('datapath start');

test('a kernel that lacks something is told what, and which kernel has it', () => {
  requireFeatures(ALL);
  requireFeatures({ ...ALL, tcx: false });
  assert.throws(
    () => requireFeatures({ ...ALL, redirectPeer: false, ringbuf: false }, true),
    (error: Error & { code?: string }) => {
      assert.is(error.code, 'KERNEL_UNSUPPORTED');
      assert.match(
        error.message,
        /lacks BPF ring buffers \(Linux 5\.8\), the BPF helper bpf_redirect_peer \(Linux 5\.10\)/,
      );
      return true;
    },
  );
  assert.throws(() => requireFeatures({ ...ALL, btf: false }, false), /must run as root/);
});

test('tcx where the kernel has it, unless a setting says otherwise', () => {
  assert.is(chooseAttachMode('auto', ALL), 'tcx');
  assert.is(chooseAttachMode('auto', { ...ALL, tcx: false }), 'clsact');
  assert.is(chooseAttachMode('clsact', ALL), 'clsact');
  assert.throws(() => chooseAttachMode('tcx', { ...ALL, tcx: false }), /lacks tcx links \(Linux 6\.6\)/);
});

test('HZ is the choice nearest to what was measured, a jiffy more or less', () => {
  const after = (jiffies: number, ms: number) => ({
    jiffies: 1000n + BigInt(jiffies),
    ns: 5n + BigInt(ms * 1_000_000),
  });
  const start = { jiffies: 1000n, ns: 5n };
  for (const [jiffies, hz] of [
    [6, 100],
    [7, 100],
    [14, 250],
    [15, 250],
    [16, 250],
    [18, 300],
    [19, 300],
    [59, 1000],
    [61, 1000],
  ] as const) {
    assert.is(hzBetween(start, after(jiffies, 60)), hz, `${jiffies} jiffies in 60 ms`);
  }
});

test('pins belong on a BPF file system', () => {
  assert.throws(
    () => openPins(join(tmpdir(), 'weir-pins')),
    (error: Error & { code?: string }) => {
      assert.is(error.code, 'CONFIG_INVALID');
      assert.match(error.message, /weir-pins is not on a BPF file system; expected one below \/sys\/fs\/bpf/);
      return true;
    },
  );
});

const folder = mkdtempSync(join(tmpdir(), 'weir-grace-'));
test.after(() => rmSync(folder, { recursive: true }));

test('grace periods are expedited while anybody needs it, and as before afterwards', async () => {
  for (const before of ['0', '1']) {
    const path = join(folder, before);
    writeFileSync(path, before);
    const gracePeriods = createGracePeriods(() => assert.unreachable(), path);
    const now = () => readFileSync(path, 'utf8');
    const first = Promise.withResolvers<void>();
    const long = gracePeriods.expedited(() => first.promise);
    assert.is(await gracePeriods.expedited(async () => now()), '1');
    assert.is(now(), '1');
    first.resolve();
    await long;
    assert.is(now(), before);
    await gracePeriods.expedited(() => Promise.reject(new Error('no'))).catch(() => {});
    assert.is(now(), before);
  }
});

test('where that cannot be asked for it is said once, and the work is done', async () => {
  let told = 0;
  const gracePeriods = createGracePeriods(() => void told++, join(folder, 'none/there'));
  assert.is(await gracePeriods.expedited(async () => 5), 5);
  assert.is(await gracePeriods.expedited(async () => 6), 6);
  assert.is(told, 1);
});

test.run();
