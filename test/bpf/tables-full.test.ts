/** Tables of the kernel that are full: what is new finds no room, and nothing else stands still for it. */
import * as assert from 'uvu/assert';
import type { DatapathRows, NodeRow, PeerRow, RangeRow, ServiceRow } from '../../agent/datapath/datapath.ts';
import { kernelTables } from '../../agent/datapath/map/kernel-tables.ts';
import { type MapHandles, policyMaps } from '../../agent/datapath/map/maps.ts';
import { createApplier } from '../../agent/datapath/plan/apply.ts';
import { NO_POLICY_ROWS, NO_ROWS } from '../../agent/datapath/plan/changes.ts';
import { Retired } from '../../agent/datapath/plan/retired.ts';
import { WriteFailure } from '../../agent/datapath/plan/tables.ts';
import type { Address, Prefix } from '../../agent/model/address.ts';
import { systemClock } from '../../agent/run/clock.ts';
import { DatapathFixture } from '../kit/datapath-fixture.ts';
import { privileged } from '../kit/privileged.ts';
import { suite } from '../kit/suite.ts';

const ROOM = 3;
const SIZES = {
  peers: ROOM,
  ranges: ROOM,
  identities: ROOM,
  tunnel_sources: ROOM,
  service_slots: ROOM,
  service_members: ROOM,
};

const test = privileged(suite('full tables'), 'root');
const datapath = DatapathFixture.open({ maxEntries: SIZES });
const tables = kernelTables(policyMaps(datapath.object.maps as MapHandles));
test.after(() => datapath[Symbol.dispose]());
test.after.each(async () => {
  const applier = createApplier(tables, new Retired(0), systemClock);
  await applier.replace(NO_ROWS);
  await applier.collect();
});

const ip = (last: number): Address => `192.0.2.${last}` as Address;
const peer = (last: number, identity = 300): PeerRow => ({ address: ip(last), identity, endpoint: 0, kind: 'pod' });
const range = (net: number): RangeRow => ({ prefix: `10.${net}.0.0/16` as Prefix, identity: 3, kind: 'pod' });
const node = (number: number, sources: number): NodeRow => {
  const all = Array.from({ length: sources }, (_, i) => ip(number * 10 + i));
  return { number, address: all[0] as Address, sources: all };
};
const service = (port: number, backends: number): ServiceRow => ({
  frontend: { address: '10.96.0.1' as Address, protocol: 'TCP', port },
  backends: Array.from({ length: backends }, (_, i) => ({ address: ip(i + 1), port: 8000 + port })),
  affinitySeconds: 0,
});
const identities = (...numbers: number[]): DatapathRows => ({
  ...NO_ROWS,
  policy: { ...NO_POLICY_ROWS, identities: numbers },
});

/** What fills a table, what then is too much for it, and what there is of both afterwards. */
const CASES: [string, Partial<DatapathRows>, Partial<DatapathRows>, Partial<DatapathRows>][] = [
  [
    'peer.set',
    { peers: [peer(1), peer(2), peer(3)] },
    { peers: [peer(4), peer(2, 301), peer(3)] },
    { peers: [peer(2, 301), peer(3)] },
  ],
  ['range.set', { ranges: [range(1), range(2), range(3)] }, { ranges: [range(4), range(2)] }, { ranges: [range(2)] }],
  ['node.set', { nodes: [node(1, 3)] }, { nodes: [node(2, 3)] }, { nodes: [{ ...node(2, 3), sources: [] }] }],
  [
    'backends.set',
    { services: [service(80, 2), service(81, 1)] },
    { services: [service(81, 1), service(82, 2)] },
    { services: [service(81, 1)] },
  ],
];

for (const [kind, full, tooMuch, left] of CASES) {
  test(`${kind}: what finds no room is left out and told, and what goes makes room for it`, async () => {
    const applier = createApplier(tables, new Retired(0), systemClock);
    await applier.replace({ ...NO_ROWS, ...full });
    const refused = await applier.replace({ ...NO_ROWS, ...tooMuch }).catch((error: unknown) => error);
    assert.match(String(refused), `the kernel refused ${kind}`);
    assert.equal(held(), content({ ...NO_ROWS, ...left }));
    await applier.collect();
    await applier.replace({ ...NO_ROWS, ...tooMuch }); // As the realizer does half a second later.
    assert.equal(held(), content({ ...NO_ROWS, ...tooMuch }));
  });
}

test('identities that are too many stay unknown', async () => {
  const applier = createApplier(tables, new Retired(0), systemClock);
  const refused = await applier.replace(identities(300, 301, 302, 303, 304)).catch((error: unknown) => error);
  assert.match(String(refused), 'the kernel refused identity.add');
  assert.equal(held(), content(identities(300, 301, 302)));
});

test('an operation of many writes that fails is the one that is told', () => {
  try {
    tables.write([
      { kind: 'node.set', row: node(1, ROOM + 2) },
      { kind: 'node.set', row: node(2, 1) },
    ]);
    assert.unreachable('there was room');
  } catch (error) {
    assert.instance(error, WriteFailure);
    assert.equal([(error as WriteFailure).index, (error as WriteFailure).isFull], [0, true]);
  }
});

/** Rows and fields in no order. */
function content(rows: DatapathRows): unknown {
  const ordered = (value: unknown): unknown => {
    if (Array.isArray(value)) return value.map((item) => JSON.stringify(ordered(item))).sort();
    if (typeof value !== 'object' || value === null) return value;
    return Object.fromEntries(
      Object.entries(value)
        .sort(([a], [b]) => (a < b ? -1 : 1))
        .map(([k, v]) => [k, ordered(v)]),
    );
  };
  return ordered(rows);
}

function held(): unknown {
  return content(tables.rows());
}

test.run();
