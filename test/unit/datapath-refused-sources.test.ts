/** Whom the uplinks refuse, over what an earlier agent has left: nothing is let in again before it is known that it may. */
import * as assert from 'uvu/assert';
import { DropReason, type RangeKey } from '../../agent/datapath/layout.gen.ts';
import type { NodeMaps } from '../../agent/datapath/map/maps.ts';
import { decodeRangeKey, encodeRangeKey } from '../../agent/datapath/map/peer-rows.ts';
import { createRefusedSources } from '../../agent/datapath/map/refused-sources.ts';
import type { Prefix } from '../../agent/model/address.ts';
import { suite } from '../kit/suite.ts';

const test = suite('refused sources');
const { DROP_DENY_CIDR: DENIED, DROP_HOST_SPOOF: OWN } = DropReason;
const prefixes = (...texts: string[]) => texts as Prefix[];

function table(rows: Readonly<Record<string, number>> = {}, room = { entries: Number.POSITIVE_INFINITY }) {
  const held = new Map(Object.entries(rows));
  const map = {
    entries: () => [...held].map(([prefix, reason]): [RangeKey, number] => [encodeRangeKey(prefix as Prefix), reason]),
    setAll(entries: readonly (readonly [RangeKey, number])[]) {
      for (const [key, reason] of entries) {
        const prefix = decodeRangeKey(key);
        if (!held.has(prefix) && held.size >= room.entries) throw new Error('full');
        held.set(prefix, reason);
      }
    },
    deleteAll(keys: readonly RangeKey[]) {
      return keys.filter((key) => held.delete(decodeRangeKey(key))).length;
    },
  };
  return { held, sources: createRefusedSources(map as unknown as NodeMaps['refusedSources']) };
}

test('own prefixes and denied ones come and go by themselves; a prefix in both is the node its own', async () => {
  const { held, sources } = table();
  await sources.setOwn(prefixes('10.0.0.0/24', '192.0.2.1/32'));
  await sources.setDenied(prefixes('203.0.113.0/24', '10.0.0.0/24'));
  assert.equal(Object.fromEntries(held), { '10.0.0.0/24': OWN, '192.0.2.1/32': OWN, '203.0.113.0/24': DENIED });
  await sources.setOwn(prefixes('192.0.2.1/32'));
  assert.equal(Object.fromEntries(held), { '10.0.0.0/24': DENIED, '192.0.2.1/32': OWN, '203.0.113.0/24': DENIED });
  await sources.setDenied([]);
  assert.equal(Object.fromEntries(held), { '192.0.2.1/32': OWN });
});

test('after a restart what was denied stays so until it is known what is denied now', async () => {
  const { held, sources } = table({ '203.0.113.0/24': DENIED, '198.51.100.0/24': DENIED, '192.0.2.1/32': OWN });
  await sources.setOwn(prefixes('192.0.2.2/32'));
  assert.equal(Object.fromEntries(held), { '203.0.113.0/24': DENIED, '198.51.100.0/24': DENIED, '192.0.2.2/32': OWN });
  await sources.setDenied(prefixes('203.0.113.0/24'));
  assert.equal(Object.fromEntries(held), { '203.0.113.0/24': DENIED, '192.0.2.2/32': OWN });
});

test('and what is the node its own, until it is known what that is now', async () => {
  const { held, sources } = table({ '203.0.113.0/24': DENIED, '192.0.2.1/32': OWN });
  await sources.setDenied([]);
  assert.equal(Object.fromEntries(held), { '192.0.2.1/32': OWN });
  await sources.setOwn([]);
  assert.equal(Object.fromEntries(held), {});
});

test('what could not be written is tried again, and what was written before that is known', async () => {
  const room = { entries: 1 };
  const { held, sources } = table({}, room);
  const own = prefixes('10.0.0.0/24', '192.0.2.1/32');
  assert.match(String(await sources.setOwn(own).catch((error: unknown) => error)), 'full');
  assert.equal(Object.fromEntries(held), { '10.0.0.0/24': OWN });
  room.entries = 9;
  await sources.setOwn(own);
  assert.equal(Object.fromEntries(held), { '10.0.0.0/24': OWN, '192.0.2.1/32': OWN });
  room.entries = 3;
  const denied = prefixes('198.51.100.0/24', '203.0.113.0/24');
  assert.match(String(await sources.setDenied(denied).catch((error: unknown) => error)), 'full');
  await sources.setDenied([]);
  assert.equal(Object.fromEntries(held), { '10.0.0.0/24': OWN, '192.0.2.1/32': OWN });
});

test('too many denied ranges take no room from what is the node its own', async () => {
  const room = { entries: 3 };
  const { held, sources } = table({}, room);
  await sources.setOwn(prefixes('10.0.0.0/24'));
  await sources.setDenied(prefixes('198.51.100.0/24', '203.0.113.0/24', '203.0.114.0/24')).catch(() => {});
  const change = prefixes('10.0.1.0/24');
  await sources.setOwn(change).catch(() => {});
  await sources.setOwn(change).catch(() => {});
  assert.is(held.get('10.0.1.0/24'), OWN);
});

test.run();
