import * as assert from 'uvu/assert';
import { type Address, parseAddress } from '../../agent/model/address.ts';
import { CLAIM_RANK, createPeerTable } from '../../agent/realize/peer-table.ts';
import { suite } from '../kit/suite.ts';

const test = suite('who lives at an address');
const A = parseAddress('10.244.0.7') as Address;
const pod = (identity: number) => [{ address: A, identity, endpoint: 0, kind: 'pod' as const }];

test('the DELETE of the old owner, arriving after the CREATE of the new one, takes nothing away', () => {
  const table = createPeerTable();
  table.claim('pod default/old', CLAIM_RANK.remotePod, pod(300));
  table.take();
  table.claim('pod default/new', CLAIM_RANK.remotePod, pod(301));
  assert.equal(table.take(), { set: pod(301), remove: [] });
  table.withdraw('pod default/old');
  assert.equal(table.take(), { set: [], remove: [] });
  assert.is(table.at(A)?.identity, 301);
});

test('an endpoint wired here outranks what a manifest says of its address, whatever the order', () => {
  const table = createPeerTable();
  const here = [{ address: A, identity: 400, endpoint: 5, kind: 'pod' as const }];
  table.claim('endpoint 5', CLAIM_RANK.endpoint, here);
  table.claim('pod default/liar', CLAIM_RANK.remotePod, pod(301));
  assert.equal(table.take(), { set: here, remove: [] });
  table.withdraw('endpoint 5');
  assert.equal(table.take(), { set: pod(301), remove: [] });
});

test('a claim that comes and goes between two takes is never written', () => {
  const table = createPeerTable();
  table.claim('pod a/b', CLAIM_RANK.remotePod, pod(300));
  table.withdraw('pod a/b');
  assert.equal(table.take(), { set: [], remove: [] });
});

test('a new claim of the same owner replaces its old addresses', () => {
  const table = createPeerTable();
  const B = parseAddress('fd00::7') as Address;
  table.claim('pod a/b', CLAIM_RANK.remotePod, pod(300));
  table.take();
  table.claim('pod a/b', CLAIM_RANK.remotePod, [{ address: B, identity: 300, endpoint: 0, kind: 'pod' }]);
  assert.equal(table.take(), { set: [{ address: B, identity: 300, endpoint: 0, kind: 'pod' }], remove: [A] });
  assert.is(table.ownerOf(B), 'pod a/b');
});

test.run();
