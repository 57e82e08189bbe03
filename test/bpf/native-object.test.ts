/** native/: objects, their configuration and their pins. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, rmSync } from 'node:fs';
import * as assert from 'uvu/assert';
import * as native from '../../native/index.ts';
import { verifierTail } from '../../native/object.ts';
import { compileBpf } from '../kit/bpf-object.ts';
import { privileged } from '../kit/privileged.ts';
import { suite } from '../kit/suite.ts';

const test = privileged(suite('native object'), 'root', 'bpffs');
const pins = `/sys/fs/bpf/wt-native-object-${process.pid}`;

const OBJECT = `
const volatile __u8 small; const volatile __u16 port = 7; const volatile __s32 offset; const volatile __u64 big;
const volatile _Bool on; const volatile struct { __u8 bytes[6]; } mac;
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 16); __type(key, __u32); __type(value, __u64);
	 __uint(pinning, LIBBPF_PIN_BY_NAME); } table SEC(".maps");
SEC("tc") int answer(struct __sk_buff *skb)
{
	__u32 key = 1;
	__u64 value = big;
	bpf_map_update_elem(&table, &key, &value, BPF_ANY);
	return on ? offset + port + small + mac.bytes[5] : -2;
}
`;

let before: number;
test.before.each(() => {
  mkdirSync(pins, { recursive: true });
  before = native.openFds();
});
test.after.each(() => {
  rmSync(pins, { recursive: true, force: true });
  assert.is(native.openFds(), before, 'descriptors that stay open');
});

const refused = (action: () => unknown): native.KernelError => {
  try {
    action();
  } catch (error) {
    assert.instance(error, native.KernelError);
    return error as native.KernelError;
  }
  throw new Error('it was accepted');
};
const bytesOf = (value: number): Uint8Array => new Uint8Array(Uint32Array.of(value).buffer);
const packet = new Uint8Array(64);

test('constants by name reach the program, and its maps and result come back', () => {
  using source = compileBpf(OBJECT);
  const object = native.openObject(source.path, {
    rodata: {
      small: 255,
      port: 1000,
      offset: -1300,
      big: 2n ** 64n - 1n,
      on: true,
      mac: Uint8Array.of(0, 0, 0, 0, 0, 2),
    },
  });
  const { answer } = object.programs;
  const { table } = object.maps;
  if (!answer || !table) throw new Error('parts are missing');
  const run = native.testRun(answer, { data: packet, repeat: 10 });
  assert.is(run.retval, 255 + 1000 - 1300 + 2);
  assert.is(run.data.length, 64);
  assert.equal(native.mapLookup(table, bytesOf(1)), new Uint8Array(8).fill(255));
  const info = native.programInfo(answer);
  assert.is(info.name, 'answer');
  assert.match(info.tag, /^[0-9a-f]{16}$/);
  assert.ok(info.xlatedInsns > 5 && info.mapIds.includes(table.id));
  object.close();
  object.close();
});

test('a constant that does not exist or does not fit is refused by name', () => {
  using source = compileBpf(OBJECT);
  const load = (rodata: Record<string, number | bigint | Uint8Array>) =>
    refused(() => native.openObject(source.path, { rodata }));
  assert.match(load({ prot: 1 }).message, /ENOENT.*no const volatile variable "prot"; there are: .*port/);
  assert.match(load({ port: 65536 }).message, /EINVAL.*variable "port" takes an integer that fits 2 bytes/);
  assert.match(load({ port: -1 }).message, /"port"/);
  assert.match(load({ small: 256n }).message, /"small" takes an integer that fits 1 bytes/);
  assert.match(load({ offset: -(2n ** 31n) - 1n }).message, /"offset"/);
  assert.match(load({ big: 2n ** 64n }).message, /"big"/);
  assert.match(load({ mac: 5 }).message, /"mac" takes 6 raw bytes/);
  assert.match(load({ mac: new Uint8Array(5) }).message, /"mac" takes 6 bytes, got 5 bytes/);
  assert.throws(
    () => native.openObject(source.path, { rodata: { port: 1.5 } }),
    /rodata port must be an integer, got 1.5/,
  );
});

test('a file that is no object is refused', () => {
  assert.is(refused(() => native.openObject('/nonexistent.o')).code, 'ENOENT');
  assert.is(refused(() => native.openObject('/etc/hostname')).operation, 'object open /etc/hostname');
});

test('what the verifier says comes with the error, and nothing is printed', () => {
  using source = compileBpf(`SEC("tc") int wild(struct __sk_buff *skb)
  { char *data = (void *)(long)skb->data; return data[10]; }`);
  const error = refused(() => native.openObject(source.path));
  assert.is(error.code, 'EACCES');
  assert.match(error.message, /EACCES.*: R1 offset is outside of the packet$/);
  assert.match(error.log ?? '', /^program wild:/);
  assert.match(error.log ?? '', /invalid access to packet, off=10 size=1/);

  const child = `import { openObject } from ${JSON.stringify(new URL('../../native/index.ts', import.meta.url).href)};
    try { openObject(${JSON.stringify(source.path)}); } catch {}`;
  const run = spawnSync(process.execPath, ['--input-type=module', '-e', child], { encoding: 'utf8' });
  assert.equal([run.status, run.stdout, run.stderr], [0, '', '']);
});

test('a long verifier log is cut to its end', () => {
  const lines = Array.from({ length: 200 }, (_, i) => `${i}: (b7) r1 = ${i}`);
  const tail = verifierTail(
    `libbpf: prog 'p': -- BEGIN PROG LOAD LOG --\n${lines.join('\n')}\nR1 invalid\nprocessed 9 insns (limit 1000000)\n-- END PROG LOAD LOG --\nlibbpf: failed`,
  ).split('\n');
  assert.equal([tail[0], tail[1], tail.at(-1)], ['program p:', '(141 lines before these)', 'R1 invalid']);
  assert.is(tail.length, 62);
});

test('maps are resized and reused by pin, also where the object asks libbpf to pin', () => {
  using source = compileBpf(OBJECT);
  const pin = `${pins}/table`;
  const options = { maxEntries: { table: 4096 }, reuse: { table: pin } };
  const first = native.openObject(source.path, options);
  const table = first.maps.table as native.MapHandle;
  assert.is(table.maxEntries, 4096);
  native.pin(table, pin);
  native.mapUpdate(table, bytesOf(9), new Uint8Array(8).fill(9));
  first.close();

  const second = native.openObject(source.path, options);
  assert.equal(native.mapLookup(second.maps.table as native.MapHandle, bytesOf(9)), new Uint8Array(8).fill(9));
  second.close();

  const error = refused(() => native.openObject(source.path, { reuse: { table: pin } }));
  assert.is(error.operation, 'map reuse');
  assert.match(
    error.message,
    /table: the object has hash key 4 value 8 max_entries 16 .*, the pin has hash key 4 value 8 max_entries 4096/,
  );
  assert.match(refused(() => native.openObject(source.path, { reuse: { tabel: pin } })).message, /no map "tabel"/);
  assert.match(refused(() => native.openObject(source.path, { maxEntries: { tabel: 1 } })).message, /no map "tabel"/);
});

test('pins give back what they hold', () => {
  using source = compileBpf(OBJECT);
  const object = native.openObject(source.path);
  const { table } = object.maps;
  const { answer } = object.programs;
  if (!table || !answer) throw new Error('parts are missing');
  native.pin(table, `${pins}/table`);
  native.pin(answer, `${pins}/answer`);
  assert.is(refused(() => native.pin(table, `${pins}/table`)).code, 'EEXIST');

  const map = native.openPinned(`${pins}/table`);
  const program = native.openPinned(`${pins}/answer`);
  if (map?.kind !== 'map' || program?.kind !== 'program') throw new Error(`kinds ${map?.kind}, ${program?.kind}`);
  assert.equal(
    [map.name, map.type, map.keySize, map.valueSize, map.maxEntries, map.id],
    ['table', 1, 4, 8, 16, table.id],
  );
  assert.is(program.name, 'answer');
  native.closeFd(map);
  native.closeFd(program);
  assert.is(refused(() => native.closeFd(map)).code, 'EBADF');

  native.unpin(`${pins}/table`);
  native.unpin(`${pins}/table`);
  assert.is(native.openPinned(`${pins}/table`), undefined);
  assert.is(native.openPinned(`${pins}/no/such/folder`), undefined);
  object.close();
});

test('the kernel is asked what it can do', () => {
  const features = native.features();
  assert.is(features.ringbuf, true);
  assert.is(features.redirectPeer, true);
});

test.run();
