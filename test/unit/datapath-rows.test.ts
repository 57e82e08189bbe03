/** Rows to the kernel's bytes and back, and the bytes themselves where the programs rely on them. */
import fc from 'fast-check';
import * as assert from 'uvu/assert';
import type { EndpointRow } from '../../agent/datapath/datapath.ts';
import * as abi from '../../agent/datapath/layout.gen.ts';
import { macBytes } from '../../agent/datapath/map/addresses.ts';
import { decodeEndpoint, encodeEndpoint } from '../../agent/datapath/map/endpoint-rows.ts';
import {
  decodePeer,
  decodeRange,
  encodePeer,
  encodePeerKey,
  encodeRange,
  encodeRangeKey,
} from '../../agent/datapath/map/peer-rows.ts';
import {
  decodeAddressClass,
  decodeIdentityClass,
  decodePolicy,
  decodeVerdict,
  encodeAddressClasses,
  encodeAddressClassKey,
  encodeIdentityClassKey,
  encodePolicy,
  encodeVerdict,
  encodeVerdictKey,
} from '../../agent/datapath/map/policy-rows.ts';
import {
  type Address,
  formatAddress,
  formatPrefix,
  type Prefix,
  parseAddress,
  parsePrefix,
} from '../../agent/model/address.ts';
import { AGGREGATION_LEVELS } from '../../agent/model/aggregation.ts';
import type { TierVerdict, TierVerdicts, VerdictRow } from '../../agent/model/verdict.ts';
import { suite } from '../kit/suite.ts';

const bytes = (length: number) => fc.uint8Array({ minLength: length, maxLength: length });
const u32 = fc.integer({ min: 0, max: 0xffffffff });
const address: fc.Arbitrary<Address> = fc.oneof(bytes(4), bytes(16)).map(formatAddress);
const prefix: fc.Arbitrary<Prefix> = fc
  .oneof(fc.tuple(bytes(4), fc.integer({ min: 0, max: 32 })), fc.tuple(bytes(16), fc.integer({ min: 0, max: 128 })))
  .map(([of, length]) => formatPrefix(of, length));
const kind = fc.constantFrom('outside' as const, 'node' as const, 'pod' as const);
const precedence = fc.integer({ min: 1, max: 2 ** 29 - 1 });
const tier: fc.Arbitrary<TierVerdict | undefined> = fc.option(
  fc.oneof(
    fc.record({ action: fc.constantFrom('allow' as const, 'deny' as const, 'pass' as const), precedence, rule: u32 }),
    fc.record({ action: fc.constant('deny' as const), precedence, rule: u32, keep: fc.constant(true as const) }),
  ),
  { nil: undefined },
);
const tiers: fc.Arbitrary<TierVerdicts> = fc.tuple(tier, tier, tier);
const place = fc.oneof(
  fc.constant({ protocol: undefined, port: 0, portBits: 0 }),
  fc
    .tuple(fc.integer({ min: 0, max: 255 }), fc.integer({ min: 0, max: 0xffff }), fc.integer({ min: 0, max: 16 }))
    .map(([protocol, port, portBits]) => ({ protocol, port: port & (0xffff << (16 - portBits)) & 0xffff, portBits })),
);
const verdict: fc.Arbitrary<VerdictRow> = fc
  .tuple(
    place,
    fc.record({
      policy: u32,
      classId: u32,
      direction: fc.constantFrom('ingress' as const, 'egress' as const),
      enforced: tiers,
      audited: tiers,
    }),
  )
  .map(([where, rest]) => ({ ...rest, ...where }));
const directionRow = fc.record({
  isolated: fc.boolean(),
  auditIsolated: fc.boolean(),
  hasDeny: fc.boolean(),
  hasAudit: fc.boolean(),
  hasAny: fc.boolean(),
  keepsEstablished: fc.boolean(),
  selectorSet: u32,
  addressSet: u32,
});

/** Without the null prototypes that fast-check gives records. */
const plain = (row: unknown): unknown => structuredClone(row);
/** Through the struct's bytes and back. */
const through = <T>(codec: abi.Codec<T>, value: T): T => codec.decode(codec.encode(value));
const check = <T>(arbitrary: fc.Arbitrary<T>, back: (row: T) => T) =>
  fc.assert(fc.property(arbitrary, (row) => assert.equal(plain(back(row)), plain(row))));

const test = suite('datapath rows');

test('every row comes back as it went in', () => {
  check(verdict, (row) =>
    decodeVerdict(through(abi.verdictKey, encodeVerdictKey(row)), through(abi.verdict, encodeVerdict(row))),
  );
  check(fc.record({ id: u32, revision: fc.nat(), ingress: directionRow, egress: directionRow }), (row) =>
    decodePolicy(row.id, through(abi.policy, encodePolicy(row))),
  );
  check(fc.record({ set: u32, identity: u32, classId: u32 }), (row) =>
    decodeIdentityClass(through(abi.identityClassKey, encodeIdentityClassKey(row)), row.classId),
  );
  check(fc.record({ set: u32, prefix, outside: u32, node: u32, pod: u32 }), (row) =>
    decodeAddressClass(
      through(abi.addressClassKey, encodeAddressClassKey(row)),
      through(abi.addressClasses, encodeAddressClasses(row)),
    ),
  );
  check(fc.record({ address, identity: u32, endpoint: u32, kind }), (row) =>
    decodePeer(through(abi.peerKey, encodePeerKey(row.address)), through(abi.peer, encodePeer(row))),
  );
  check(fc.record({ prefix, identity: u32, kind }), (row) =>
    decodeRange(through(abi.rangeKey, encodeRangeKey(row.prefix)), through(abi.peer, encodeRange(row))),
  );
});

test('an endpoint comes back with the addresses it has, IPv4 first', () => {
  const own = (text: string) => parseAddress(text) as Address;
  const base = { id: 4, identity: 300, policy: 20, mac: '0a:01:02:03:04:05' };
  for (const addresses of [[own('10.0.0.1'), own('fd00::1')], [own('255.255.255.254')], [own('fd00::1')], []]) {
    const back = decodeEndpoint(4, through(abi.endpoint, encodeEndpoint({ ...base, addresses })));
    assert.equal(back, { ...base, addresses });
  }
  const swapped = encodeEndpoint({ ...base, addresses: [own('fd00::1'), own('10.0.0.1')] });
  assert.equal(decodeEndpoint(4, swapped)?.addresses, ['10.0.0.1', 'fd00::1']);
  assert.throws(() => encodeEndpoint({ ...base, addresses: [own('10.0.0.1'), own('10.0.0.2')] }), /2 IPv4 addresses/);
});

test('an endpoint comes back with what it asks to be told, and nothing where it asks for nothing', () => {
  const base = { id: 4, identity: 300, policy: 20, mac: '0a:01:02:03:04:05', addresses: [] };
  const back = (row: EndpointRow) => decodeEndpoint(4, through(abi.endpoint, encodeEndpoint(row)));
  for (const aggregation of AGGREGATION_LEVELS) assert.equal(back({ ...base, aggregation }), { ...base, aggregation });
  assert.equal(back(base), base);
  const newer = { ...encodeEndpoint(base), aggregation: 5 };
  assert.throws(() => decodeEndpoint(4, newer), /aggregation 5: expected 0 to 4/);
});

test('a slot of zeros is free', () => {
  assert.is(decodeEndpoint(4, abi.endpoint.decode(new Uint8Array(abi.endpoint.size))), undefined);
});

test('prefix lengths count the fields before the address or port', () => {
  const at = (text: string) => parsePrefix(text) as Prefix;
  assert.is(encodeRangeKey(at('10.0.0.0/8')).prefixLen, 40);
  assert.is(encodeRangeKey(at('::/0')).prefixLen, 32);
  assert.is(encodeAddressClassKey({ set: 1, prefix: at('fd00::/64') }).prefixLen, 128);
  const key = { policy: 1, classId: 2, direction: 'egress' as const, port: 0, portBits: 0 };
  assert.is(encodeVerdictKey({ ...key, protocol: undefined }).prefixLen, 72);
  assert.is(encodeVerdictKey({ ...key, protocol: 6 }).prefixLen, 80);
  assert.is(encodeVerdictKey({ ...key, protocol: 6, port: 443, portBits: 16 }).prefixLen, 96);
  assert.throws(() => encodeVerdictKey({ ...key, protocol: undefined, portBits: 3 }), /needs a protocol/);
});

test('a port is big-endian in the key, so that its leading bits come first', () => {
  const key = encodeVerdictKey({
    policy: 1,
    classId: 2,
    direction: 'ingress',
    protocol: 6,
    port: 0x1234,
    portBits: 16,
  });
  assert.equal([...abi.verdictKey.encode(key).slice(12)], [0, 6, 0x12, 0x34]);
});

test('an IPv4 address stands in the first four bytes with zeros behind', () => {
  const { family, address } = encodePeerKey(parseAddress('1.2.3.4') as Address);
  assert.is(family, 4);
  assert.equal([...address], [1, 2, 3, 4, ...Array<number>(12).fill(0)]);
});

test('what no version of ours has written is refused', () => {
  assert.throws(
    () => decodePeer({ family: 5, address: new Uint8Array(16) }, { identity: 1, endpoint: 0, kind: 0, node: 0 }),
    /family 5/,
  );
  assert.throws(
    () => decodePeer({ family: 4, address: new Uint8Array(16) }, { identity: 1, endpoint: 0, kind: 9, node: 0 }),
    /kind 9/,
  );
  assert.throws(
    () =>
      decodeRange(
        { family: 4, prefixLen: 65, address: new Uint8Array(16) },
        { identity: 1, endpoint: 0, kind: 0, node: 0 },
      ),
    /length 33/,
  );
  assert.throws(() => macBytes('0a:00'), /not a MAC/);
});

test.run();
