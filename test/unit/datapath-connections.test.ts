/** The end of an expired connection as an event: who began it decides which side is the source. */
import * as assert from 'uvu/assert';
import { endOf } from '../../agent/datapath/connections.ts';
import { ConntrackFlags, Direction, EventFlags, EventType } from '../../agent/datapath/layout.gen.ts';
import { suite } from '../kit/suite.ts';

const low = { address: Uint8Array.of(10, 0, 0, 1, ...Array<number>(12).fill(0)), port: 40_000 };
const high = { address: Uint8Array.of(10, 0, 0, 2, ...Array<number>(12).fill(0)), port: 80 };
const tuple = { family: 4, protocol: 6, low, high };
const entry = {
  expires: 1n,
  created: 7n,
  reported: 0n,
  packets: [5n, 4n],
  bytes: [500n, 4000n],
  identity: [300, 301],
  endpoint: [1, 2],
  node: [0, 0],
  policy: [20, 21],
  rule: [1000, 1001],
  epoch: 1,
  flags: 0,
  tcpFlags: Uint8Array.of(2, 16),
  service: { address: new Uint8Array(16), port: 0, clientPort: 0 },
  aggregation: 0,
};

const test = suite('datapath connections');

test('the initiator is the source, whichever end of the key it has', () => {
  const fromLow = endOf(tuple, { ...entry, flags: ConntrackFlags.CONNTRACK_INITIATOR_IS_LOW }, 9n);
  assert.equal([fromLow.source, fromLow.sourcePort, fromLow.destinationPort], [low.address, 40_000, 80]);
  const fromHigh = endOf(tuple, entry, 9n);
  assert.equal([fromHigh.source, fromHigh.sourcePort, fromHigh.destinationPort], [high.address, 80, 40_000]);
});

test('policies and rules are given by direction, totals by side', () => {
  const event = endOf(tuple, entry, 9n);
  assert.equal(event.policy, [21, 20], 'ingress is the responder, egress the initiator');
  assert.equal(event.rule, [1001, 1000]);
  assert.equal([event.packets, event.bytes], [entry.packets, entry.bytes]);
  assert.equal([event.type, event.time, event.created], [EventType.EVENT_END, 9n, 7n]);
  assert.is(event.tcpFlags, 18);
  assert.is(event.flags, EventFlags.EVENT_EXPIRED);
});

test('the end of a connection through a Service says what was asked for', () => {
  const service = { address: Uint8Array.of(10, 96, 0, 1, ...Array<number>(12).fill(0)), port: 443, clientPort: 40_000 };
  const through = endOf(tuple, { ...entry, service, flags: ConntrackFlags.CONNTRACK_THROUGH_SERVICE }, 9n);
  assert.equal([through.service, through.servicePort], [service.address, 443]);
  const direct = endOf(tuple, entry, 9n);
  assert.equal([direct.service, direct.servicePort], [new Uint8Array(16), 0]);
});

test('a revoked connection says so, and one from outside was decided at the door', () => {
  const flags = ConntrackFlags.CONNTRACK_REVOKED;
  const event = endOf(tuple, { ...entry, flags, endpoint: [0, 2] }, 9n);
  assert.is(event.flags, EventFlags.EVENT_EXPIRED | EventFlags.EVENT_REVOKED);
  assert.is(event.direction, Direction.DIRECTION_INGRESS);
  assert.is(endOf(tuple, entry, 9n).direction, Direction.DIRECTION_EGRESS);
});

test.run();
