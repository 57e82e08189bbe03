/** native/: the ring buffer consumer. Every record is delivered or counted as lost. */
import { spawnSync } from 'node:child_process';
import * as assert from 'uvu/assert';
import * as native from '../../native/index.ts';
import { compileBpf } from '../kit/bpf-object.ts';
import { privileged } from '../kit/privileged.ts';
import { suite } from '../kit/suite.ts';
import { until } from '../kit/until.ts';

const OBJECT = `
struct record { __u64 sequence; __u64 half; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 20); } events SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, __u32); __type(value, __u64); } sent SEC(".maps");
static int send(__u64 flags)
{
	__u32 slot = 0;
	__u64 *sequence = bpf_map_lookup_elem(&sent, &slot);
	if (!sequence)
		return 1;
	struct record record = { *sequence, *sequence / 2 };
	*sequence += 1;
	return bpf_ringbuf_output(&events, &record, sizeof(record), flags);
}
SEC("tc") int emit(struct __sk_buff *skb) { return send(0); }
SEC("tc") int emit_quietly(struct __sk_buff *skb) { return send(BPF_RB_NO_WAKEUP); }
SEC("tc") int emit_short(struct __sk_buff *skb) { __u32 half = 5; return bpf_ringbuf_output(&events, &half, sizeof(half), 0); }
`;
const OPTIONS = { recordSize: 16, maxQueuedRecords: 50_000, maxBatchRecords: 256, maxDelayMs: 5 };

interface State {
  object: native.LoadedObject;
  path: string;
}
const state = {} as State;
const test = privileged(suite('native ring', state), 'root');
let source: ReturnType<typeof compileBpf>;
let fds: number;

test.before(() => {
  fds = native.openFds();
  source = compileBpf(OBJECT);
});
test.before.each(() => {
  state.object = native.openObject(source.path);
});
test.after.each(() => state.object.close());
test.after(() => {
  source[Symbol.dispose]();
  assert.is(native.openFds(), fds, 'descriptors that stay open');
});

function run(program: string, times: number): void {
  const handle = state.object.programs[program];
  if (!handle) throw new Error(`no program ${program}`);
  const data = new Uint8Array(64);
  for (let i = 0; i < times; i++) assert.is(native.testRun(handle, { data }).retval, 0, 'the ring itself had no room');
}

/** Collects everything and remembers the batches. */
function collect(options: Partial<native.RingOptions> = {}) {
  const events = state.object.maps.events as native.MapHandle;
  const seen = { sequences: [] as number[], batches: [] as number[], dropped: 0 };
  const consumer = native.ringConsumer(events, { ...OPTIONS, ...options }, (records, count, dropped) => {
    assert.is(records.length, count * 16);
    const words = new BigUint64Array(records.buffer, records.byteOffset, 2 * count);
    for (let i = 0; i < count; i++) seen.sequences.push(Number(words[2 * i]));
    seen.batches.push(count);
    seen.dropped += dropped;
  });
  return { seen, consumer };
}

test('records arrive whole, in order, in batches no larger than asked for', async () => {
  const { seen, consumer } = collect();
  run('emit', 20_000);
  await until(() => seen.sequences.length === 20_000, { what: 'all records' });
  assert.ok(seen.sequences.every((sequence, i) => sequence === i));
  assert.ok(Math.max(...seen.batches) <= 256);
  assert.equal(consumer.stats(), { received: 20_000, queuedDropped: 0, badSize: 0 });
  await consumer.stop();
  await consumer.stop();
});

test('one record does not wait for a full batch, nor for a wake-up', async () => {
  const { seen, consumer } = collect();
  run('emit', 1);
  await until(() => seen.sequences.length === 1, { what: 'a single record' });
  run('emit_quietly', 3);
  await until(() => seen.sequences.length === 4, { what: 'records sent without a wake-up' });
  await consumer.stop();
});

test('what JS is too slow for is dropped and counted', async () => {
  const { seen, consumer } = collect({ maxQueuedRecords: 100, maxBatchRecords: 40 });
  // This thread is busy, so nobody empties the queue; the ring has room for all.
  run('emit', 5_000);
  while (consumer.stats().received < 5_000); // busy: the event loop must not turn
  const { queuedDropped } = consumer.stats();
  assert.is(queuedDropped, 4_900);
  run('emit', 1);
  await until(() => consumer.stats().received === 5_001 && seen.sequences.length >= 100, { what: 'the rest' });
  await consumer.stop();
  assert.is(seen.dropped, consumer.stats().queuedDropped);
  assert.is(seen.sequences.length + seen.dropped, 5_001);
  assert.equal(
    seen.sequences.slice(0, 100),
    Array.from({ length: 100 }, (_, i) => i),
  );
});

test('records of another size are left out and counted', async () => {
  const { seen, consumer } = collect();
  run('emit_short', 3);
  run('emit', 2);
  await until(() => seen.sequences.length === 2, { what: 'the good records' });
  assert.equal(consumer.stats(), { received: 2, queuedDropped: 0, badSize: 3 });
  await consumer.stop();
});

test('stop hands over what is queued, and then nothing comes', async () => {
  const { seen, consumer } = collect({ maxDelayMs: 60_000, maxBatchRecords: 1000 });
  run('emit', 10);
  while (consumer.stats().received < 10);
  assert.is(seen.sequences.length, 0);
  await consumer.stop();
  assert.is(seen.sequences.length, 10);
  run('emit', 5);
  assert.is(seen.sequences.length, 10);
});

test('only a ring buffer is taken, and options are checked', () => {
  const { events, sent } = state.object.maps;
  if (!events || !sent) throw new Error('maps are missing');
  const nothing = () => {};
  assert.throws(
    () => native.ringConsumer(sent, OPTIONS, nothing),
    (error: Error) => (error as native.KernelError).code === 'EINVAL',
  );
  assert.throws(
    () => native.ringConsumer(events, { ...OPTIONS, recordSize: 0 }, nothing),
    /recordSize must be an integer from 1/,
  );
});

test('a consumer keeps no process alive, and an ending process or worker takes its threads along', () => {
  const index = JSON.stringify(new URL('../../native/index.ts', import.meta.url).href);
  const open = `const native = await import(${index});
    const object = native.openObject(${JSON.stringify(source.path)});
    native.ringConsumer(object.maps.events, ${JSON.stringify(OPTIONS)}, () => {});
    native.testRun(object.programs.emit, { data: new Uint8Array(64), repeat: 5000 });
    void native.linkList({});`;
  const inWorker = `import { Worker } from 'node:worker_threads';
    for (let i = 0; i < 3; i++) {
      const worker = new Worker(${JSON.stringify(`(async () => { ${open} })()`)}, { eval: true });
      await new Promise((done, failed) => worker.on('exit', done).on('error', failed));
    }`;
  for (const script of [open, `${open} process.exit(0);`, inWorker]) {
    const child = spawnSync(process.execPath, ['--input-type=module', '-e', script], {
      encoding: 'utf8',
      timeout: 20_000,
    });
    assert.equal([child.status, child.signal, child.stderr], [0, null, '']);
  }
});

test.run();
