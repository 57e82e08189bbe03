/** native/: maps of every kind that Weir uses, one entry and many at a time, and the sweep. */
import * as assert from 'uvu/assert';
import * as native from '../../native/index.ts';
import { compileBpf } from '../kit/bpf-object.ts';
import { privileged } from '../kit/privileged.ts';
import { suite } from '../kit/suite.ts';

const map = (name: string, type: string, entries: number, more = '') =>
  `struct { __uint(type, BPF_MAP_TYPE_${type}); __uint(max_entries, ${entries}); ${more} } ${name} SEC(".maps");`;
const U32_U64 = '__type(key, __u32); __type(value, __u64);';
const OBJECT = `
struct lpm_key { __u32 prefix_len; __u8 data[4]; };
struct timed { __u64 tag; __u64 expires; };
${map('hash', 'HASH', 5000, U32_U64)}
${map('lru', 'LRU_HASH', 20000, '__type(key, __u32); __type(value, struct timed);')}
${map('array', 'ARRAY', 8, U32_U64)}
${map('cpu_array', 'PERCPU_ARRAY', 4, '__type(key, __u32); __type(value, __u32);')}
${map('cpu_hash', 'PERCPU_HASH', 4000, U32_U64)}
${map('lpm', 'LPM_TRIE', 4000, '__type(key, struct lpm_key); __type(value, __u64); __uint(map_flags, BPF_F_NO_PREALLOC);')}
${map('calls', 'PROG_ARRAY', 2, '__uint(key_size, 4); __uint(value_size, 4);')}
SEC("tc") int pass(struct __sk_buff *skb) { return 7; }
SEC("tc") int jump(struct __sk_buff *skb) { bpf_tail_call(skb, &calls, 0); return 1; }
SEC("tc") int count(struct __sk_buff *skb)
{
	__u32 slot = 2;
	__u32 *value = bpf_map_lookup_elem(&cpu_array, &slot);
	if (value)
		*value += 1;
	return 0;
}
`;

interface State {
  object: native.LoadedObject;
}
const state = {} as State;
const test = privileged(suite('native map', state), 'root');
let fds: number;

test.before(() => {
  fds = native.openFds();
  using source = compileBpf(OBJECT);
  state.object = native.openObject(source.path);
});
test.after(() => {
  state.object.close();
  assert.is(native.openFds(), fds, 'descriptors that stay open');
});

const mapOf = (name: string): native.MapHandle => {
  const found = state.object.maps[name];
  if (!found) throw new Error(`no map ${name}`);
  return found;
};
const programOf = (name: string): native.ProgramHandle => {
  const found = state.object.programs[name];
  if (!found) throw new Error(`no program ${name}`);
  return found;
};
const u32 = (...values: number[]) => new Uint8Array(Uint32Array.from(values).buffer);
const u64 = (...values: bigint[]) => new Uint8Array(BigUint64Array.from(values).buffer);
const range = (count: number, from = 0) => Array.from({ length: count }, (_, i) => from + i);
const keysIn = (entries: native.MapEntries) => new Uint32Array(entries.keys.slice().buffer);
const valuesIn = (entries: native.MapEntries) => new BigUint64Array(entries.values.slice().buffer);
const emptied = (handle: native.MapHandle) => {
  const { keys, count } = native.mapEntries(handle);
  assert.is(native.mapDeleteBatch(handle, keys, count), count);
  assert.is(native.mapEntries(handle).count, 0);
};
const codeOf = (action: () => unknown): string => {
  try {
    action();
    return 'accepted';
  } catch (error) {
    return error instanceof native.KernelError ? error.code : String(error);
  }
};

test('hash: absent, created, replaced, deleted', () => {
  const hash = mapOf('hash');
  assert.is(native.mapLookup(hash, u32(1)), undefined);
  native.mapUpdate(hash, u32(1), u64(10n), native.BPF_NOEXIST);
  assert.is(
    codeOf(() => native.mapUpdate(hash, u32(1), u64(11n), native.BPF_NOEXIST)),
    'EEXIST',
  );
  assert.is(
    codeOf(() => native.mapUpdate(hash, u32(2), u64(11n), native.BPF_EXIST)),
    'ENOENT',
  );
  native.mapUpdate(hash, u32(1), u64(12n));
  assert.equal(native.mapLookup(hash, u32(1)), u64(12n));
  assert.is(native.mapDelete(hash, u32(1)), true);
  assert.is(native.mapDelete(hash, u32(1)), false);
});

test('buffers of another length are refused, also when the handle lies', () => {
  const hash = mapOf('hash');
  assert.throws(() => native.mapLookup(hash, new Uint8Array(3)), /key must be 4 bytes, got 3/);
  assert.throws(() => native.mapUpdate(hash, u32(1), new Uint8Array(9)), /value must be 8 bytes, got 9/);
  assert.throws(() => native.mapUpdateBatch(hash, u32(1, 2), u64(1n), 2), /values must be 16 bytes, got 8/);
  const lie: native.MapHandle = { ...hash, keySize: 1, valueBytes: 1, name: 'lie' };
  const one = new Uint8Array(1);
  for (const action of [
    () => native.mapLookup(lie, one),
    () => native.mapDelete(lie, one),
    () => native.mapUpdate(lie, one, one),
    () => native.mapUpdateBatch(lie, one, one, 1),
    () => native.mapDeleteBatch(lie, one, 1),
  ])
    assert.is(codeOf(action), 'EMSGSIZE');
  assert.is(
    codeOf(() => native.mapLookup({ ...hash, fd: 0 }, u32(1))),
    'EINVAL',
  );
  assert.is(
    codeOf(() => native.mapLookup({ ...hash, fd: -1 }, u32(1))),
    'EBADFD',
  );
});

test('batches: thousands written, read and deleted; done says how far a full map got', () => {
  const hash = mapOf('hash');
  const keys = range(5000);
  native.mapUpdateBatch(hash, u32(...keys), u64(...keys.map((key) => BigInt(key) * 3n)), keys.length);
  const entries = native.mapEntries(hash);
  assert.is(entries.count, 5000);
  const values = valuesIn(entries);
  for (const [i, key] of keysIn(entries).entries()) assert.is(values[i], BigInt(key) * 3n);
  assert.is(new Set(keysIn(entries)).size, 5000);

  assert.is(native.mapDeleteBatch(hash, u32(0, 99999, 1, 88888, 2), 5), 3);
  try {
    native.mapUpdateBatch(hash, u32(...range(10, 7000)), u64(...range(10).map(BigInt)), 10);
    assert.unreachable('the map took more than it holds');
  } catch (error) {
    assert.instance(error, native.KernelError);
    assert.is(
      (error as native.KernelError).message,
      'map update batch hash: E2BIG (Argument list too long): 3 of 10 written',
    );
    assert.is((error as native.KernelError).done, 3);
  }
  emptied(hash);
  native.mapUpdateBatch(hash, new Uint8Array(), new Uint8Array(), 0);
});

test('array: always all of its slots', () => {
  const array = mapOf('array');
  native.mapUpdateBatch(array, u32(0, 7), u64(5n, 6n), 2);
  assert.equal([...valuesIn(native.mapEntries(array))], [5n, 0n, 0n, 0n, 0n, 0n, 0n, 6n]);
  assert.is(native.mapLookup(array, u32(8)), undefined);
});

test('per-cpu maps: one value per possible CPU, each rounded up to 8 bytes', () => {
  const array = mapOf('cpu_array');
  const cpus = native.possibleCpus();
  assert.is(array.valueSize, 4);
  assert.is(array.valueBytes, 8 * cpus);
  for (let i = 0; i < 5; i++) native.testRun(programOf('count'), { data: new Uint8Array(64) });
  const counts = new Uint32Array((native.mapLookup(array, u32(2)) as Uint8Array).slice().buffer);
  assert.is(
    counts.filter((_, i) => i % 2 === 0).reduce((sum, n) => sum + n, 0),
    5,
  );
  assert.is(native.mapEntries(array).count, 4);

  const hash = mapOf('cpu_hash');
  const value = u64(...range(cpus).map((cpu) => BigInt(cpu) + 1n));
  for (const key of range(3000)) native.mapUpdate(hash, u32(key), value);
  const entries = native.mapEntries(hash);
  assert.is(entries.count, 3000);
  assert.equal(entries.values.subarray(0, value.length), value);
  emptied(hash);
});

test('longest prefix: every entry once', () => {
  const lpm = mapOf('lpm');
  const keys = new Uint8Array(3000 * 8);
  for (const i of range(3000)) keys.set([32, 0, 0, 0, 10, 0, i >> 8, i & 255], i * 8);
  native.mapUpdateBatch(lpm, keys, new Uint8Array(3000 * 8), 3000);
  native.mapUpdate(lpm, Uint8Array.of(8, 0, 0, 0, 10, 0, 0, 0), u64(8n));
  const entries = native.mapEntries(lpm);
  assert.is(entries.count, 3001);
  assert.is(new Set(range(3001).map((i) => entries.keys.subarray(8 * i, 8 * i + 8).join())).size, 3001);
  assert.equal(native.mapLookup(lpm, Uint8Array.of(32, 0, 0, 0, 10, 9, 9, 9)), u64(8n));
  emptied(lpm);
});

test('program array: one write switches the program behind a tail call', () => {
  const calls = mapOf('calls');
  const run = () => native.testRun(programOf('jump'), { data: new Uint8Array(64) }).retval;
  assert.is(run(), 1);
  native.mapUpdate(calls, u32(0), u32(programOf('pass').fd));
  assert.is(run(), 7);
  assert.is(native.mapEntries(calls).count, 1);
  native.mapDelete(calls, u32(0));
  assert.is(run(), 1);
});

test('sweep: takes what has expired, at most the limit, and returns it', async () => {
  const lru = mapOf('lru');
  const keys = range(3000);
  native.mapUpdateBatch(lru, u32(...keys), u64(...keys.flatMap((key) => [BigInt(key), BigInt(key)])), keys.length);
  const some = await native.mapSweep(lru, 8, 1000n, 400);
  assert.is(some.count, 400);
  const rest = await native.mapSweep(lru, 8, 1000n, 5000);
  assert.is(rest.count, 600);
  assert.is(rest.scanned, 2600);
  const swept = [...keysIn(some), ...keysIn(rest)].sort((a, b) => a - b);
  assert.equal(swept, range(1000));
  assert.equal(valuesIn(rest)[0], BigInt(keysIn(rest)[0] ?? -1), 'the value comes with its key');
  assert.is((await native.mapSweep(lru, 8, 1000n, 5000)).count, 0);
  emptied(lru);
});

test('sweep: an entry renewed meanwhile is not lost', async () => {
  const lru = mapOf('lru');
  const keys = range(8000);
  let contested = 0;
  for (let round = 0; round < 5; round++) {
    native.mapUpdateBatch(lru, u32(...keys), u64(...keys.flatMap((key) => [BigInt(key), 1n])), keys.length);
    const sweeping = native.mapSweep(lru, 8, 100n, 10_000); // on its own thread, while this one renews
    for (const key of keys) native.mapUpdate(lru, u32(key), u64(BigInt(key), 200n));
    const swept = await sweeping;
    contested += swept.count;
    assert.is(native.mapEntries(lru).count, keys.length, `round ${round}: renewed entries are missing`);
    emptied(lru);
  }
  assert.ok(contested > 0, 'the sweep never came first: nothing was tested');
});

test('sweep: refused where there is no u64', async () => {
  const refusal = (handle: native.MapHandle, offset: number) =>
    native.mapSweep(handle, offset, 1n, 1).then(
      () => 'accepted',
      (error: native.KernelError) => error.code,
    );
  assert.is(await refusal(mapOf('lru'), 9), 'EINVAL');
  assert.is(await refusal(mapOf('cpu_hash'), 0), 'EINVAL');
  assert.is(await refusal({ ...mapOf('lru'), fd: -1 }, 8), 'EBADF');
});

test.run();
