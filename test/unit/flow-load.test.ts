/** A million events through a full store: the memory stays flat, nothing is lost without a count. */
import * as assert from 'uvu/assert';
import { EventType } from '../../agent/datapath/layout.gen.ts';
import { RECORD_BYTES } from '../../agent/flow/store.ts';
import { heldBytes } from '../kit/memory.ts';
import { suite } from '../kit/suite.ts';
import * as r from './flow-records.ts';

const test = suite('flow: load');
const BATCH = 1024;
const MILLION = 1_000_000;

/** Pods, a remote pod and the world, all event types. */
function mixedBatch(): Uint8Array {
  const types = [EventType.EVENT_NEW, EventType.EVENT_REPLY, EventType.EVENT_END, EventType.EVENT_DROP];
  const others = [r.BACKEND, r.POSTGRES, r.REMOTE, r.WORLD];
  return r.batch(
    ...Array.from({ length: BATCH }, (_, i) =>
      r.event({ type: types[i % 4] as number, to: others[(i >> 2) % 4] as r.Party, destinationPort: i + 1 }),
    ),
  );
}

test('a million events: all counted, memory flat', () => {
  const { history } = r.makeHistory(100_000);
  const records = mixedBatch();
  const batches = Math.ceil(MILLION / BATCH);
  const feed = (count: number) => {
    for (let i = 0; i < count; i++) history.listener(records, BATCH, 0);
  };
  feed(batches / 10);
  const before = heldBytes();
  feed(batches);
  const grown = heldBytes() - before;
  assert.is(history.stats().seen, history.losses().overwritten + history.stats().records);
  assert.is(history.stats().seen % BATCH, 0);
  // objects kept per event, even small ones, would be tens of MB; what is left are addresses as text for ends
  assert.ok(grown < 24 * 1024 * 1024, `a million events left ${grown} bytes`);
});

test('the rings take the memory that was asked for, and no more', () => {
  const bytes = 8 << 20;
  const before = process.memoryUsage().arrayBuffers;
  const { history } = r.makeHistory(bytes / RECORD_BYTES);
  const grown = process.memoryUsage().arrayBuffers - before;
  assert.ok(grown > bytes - RECORD_BYTES && grown < bytes + (3 << 20), `${grown} bytes`);
  assert.is(history.stats().capacity, Math.floor(bytes / RECORD_BYTES));
});

test.run();
