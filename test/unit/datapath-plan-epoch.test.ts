/** When established connections are judged again, and what a plan looks like. */
import * as assert from 'uvu/assert';
import type { DatapathDelta, DatapathRows, EndpointRow, PeerRow } from '../../agent/datapath/datapath.ts';
import {
  changesOf,
  difference,
  merge,
  NO_CHANGES,
  NO_POLICY_ROWS,
  NO_ROWS,
} from '../../agent/datapath/plan/changes.ts';
import { heldIn } from '../../agent/datapath/plan/held.ts';
import { type Op, plan } from '../../agent/datapath/plan/plan.ts';
import { type Address, type Prefix, parseAddress, parsePrefix } from '../../agent/model/address.ts';
import { NO_VERDICT, type PolicyDirectionRow, type PolicyRow, type VerdictRow } from '../../agent/model/verdict.ts';
import { suite } from '../kit/suite.ts';

const address = (text: string): Address => parseAddress(text) as Address;
const prefix = (text: string): Prefix => parsePrefix(text) as Prefix;
const open: PolicyDirectionRow = {
  isolated: false,
  auditIsolated: false,
  hasDeny: false,
  hasAudit: false,
  hasAny: false,
  keepsEstablished: false,
  selectorSet: 0,
  addressSet: 0,
};
const policy = (id: number, selectorSet = 0): PolicyRow => ({
  id,
  revision: 1,
  ingress: { ...open, selectorSet },
  egress: open,
});
const verdict = (of: number, classId: number): VerdictRow => ({
  policy: of,
  classId,
  direction: 'ingress',
  protocol: 6,
  port: 80,
  portBits: 16,
  enforced: NO_VERDICT,
  audited: NO_VERDICT,
});
const web: EndpointRow = {
  id: 1,
  identity: 300,
  policy: 20,
  mac: '0a:00:00:00:00:01',
  addresses: [address('10.0.0.1')],
};
const webPeer: PeerRow = { address: address('10.0.0.1'), identity: 300, endpoint: 1, kind: 'pod' };
const actual: DatapathRows = {
  policy: {
    ...NO_POLICY_ROWS,
    policies: [policy(20, 5)],
    verdicts: [verdict(20, 7)],
    identityClasses: [{ set: 5, identity: 300, classId: 7 }],
    addressClasses: [],
    identities: [300, 301],
  },
  endpoints: [web],
  peers: [webPeer],
  ranges: [{ prefix: prefix('10.0.0.0/24'), identity: 3, kind: 'pod' }],
};
const NOTHING: DatapathDelta = {
  policy: { set: NO_POLICY_ROWS, remove: NO_POLICY_ROWS },
  setEndpoints: [],
  removeEndpoints: [],
  setPeers: [],
  removePeers: [],
  setRanges: [],
  removeRanges: [],
};
const setRows = (rows: Partial<DatapathDelta['policy']['set']>): DatapathDelta => ({
  ...NOTHING,
  policy: { set: { ...NO_POLICY_ROWS, ...rows }, remove: NO_POLICY_ROWS },
});
const removeRows = (rows: Partial<DatapathDelta['policy']['set']>): DatapathDelta => ({
  ...NOTHING,
  policy: { set: NO_POLICY_ROWS, remove: { ...NO_POLICY_ROWS, ...rows } },
});
const planned = (delta: DatapathDelta) => plan(changesOf(delta), heldIn(actual));
const bump = (delta: DatapathDelta): string | undefined => {
  const ops = planned(delta).ops;
  const found = ops.findIndex((op) => op.kind === 'epoch.bump');
  if (found >= 0) assert.is(found, ops.length - 1, 'the epoch is bumped when all else is in force');
  const op = ops[found];
  return op?.kind === 'epoch.bump' ? op.because : undefined;
};

const test = suite('datapath plan: epoch and order');

const additive: [string, DatapathDelta][] = [
  ['nothing', NOTHING],
  ['a new endpoint', { ...NOTHING, setEndpoints: [{ ...web, id: 2 }] }],
  ['the same endpoint again', { ...NOTHING, setEndpoints: [{ ...web, mac: '0A:00:00:00:00:01' }] }],
  ['a new pod of this node', { ...NOTHING, setPeers: [{ ...webPeer, address: address('10.0.0.2') }] }],
  ['the removal of what is not there', { ...NOTHING, removePeers: [address('10.9.9.9')], removeEndpoints: [9] }],
  [
    'a new policy',
    setRows({
      policies: [policy(21, 6)],
      verdicts: [verdict(21, 8)],
      identityClasses: [{ set: 6, identity: 300, classId: 8 }],
    }),
  ],
  [
    'a class of a new identity in a set in use',
    setRows({ identities: [302], identityClasses: [{ set: 5, identity: 302, classId: 7 }] }),
  ],
  ['a verdict for a new class of a policy in use', setRows({ verdicts: [verdict(20, 9)] })],
];
for (const [what, delta] of additive) test(`not bumped: ${what}`, () => assert.is(bump(delta), undefined));

const notAdditive: [string, DatapathDelta][] = [
  ['endpoint 1 changed', { ...NOTHING, setEndpoints: [{ ...web, policy: 21 }] }],
  ['endpoint 1 changed', { ...NOTHING, setEndpoints: [{ ...web, identity: 301 }] }],
  ['endpoint 1 changed', { ...NOTHING, setEndpoints: [{ ...web, aggregation: 'none' }] }],
  ['endpoint 1 removed', { ...NOTHING, removeEndpoints: [1] }],
  ['address 10.0.0.1 changed', { ...NOTHING, setPeers: [{ ...webPeer, identity: 301 }] }],
  ['address 10.0.0.1 changed', { ...NOTHING, removePeers: [webPeer.address] }],
  [
    'range 10.0.1.0/24 changed',
    { ...NOTHING, setRanges: [{ prefix: prefix('10.0.1.0/24'), identity: 3, kind: 'pod' }] },
  ],
  ['address 10.0.0.2 changed', { ...NOTHING, setPeers: [{ ...webPeer, address: address('10.0.0.2'), endpoint: 0 }] }],
  ['range 10.0.0.0/24 changed', { ...NOTHING, removeRanges: [prefix('10.0.0.0/24')] }],
  ['policy 20 changed', setRows({ policies: [policy(20, 6)] })],
  [
    'a verdict of policy 20 changed',
    setRows({
      verdicts: [{ ...verdict(20, 7), enforced: [undefined, { action: 'deny', precedence: 1, rule: 1 }, undefined] }],
    }),
  ],
  ['identity 300 changed class in set 5', setRows({ identityClasses: [{ set: 5, identity: 300, classId: 8 }] })],
  ['identity 301 changed class in set 5', setRows({ identityClasses: [{ set: 5, identity: 301, classId: 7 }] })],
  [
    '10.0.0.0/8 changed class in set 5',
    setRows({ addressClasses: [{ set: 5, prefix: prefix('10.0.0.0/8'), outside: 1, node: 0, pod: 0 }] }),
  ],
  ['set 5 lost a member', removeRows({ identityClasses: [{ set: 5, identity: 300, classId: 7 }] })],
];
for (const [because, delta] of notAdditive) test(`bumped: ${because}`, () => assert.is(bump(delta), because));

test('a pod that goes is cut off first, and its policy is deleted only after the grace period', () => {
  const { ops, later } = planned({
    ...removeRows({
      policies: [policy(20, 5)],
      verdicts: [verdict(20, 7)],
      identityClasses: [{ set: 5, identity: 300, classId: 7 }],
    }),
    removeEndpoints: [1],
    removePeers: [webPeer.address],
    setPeers: [{ ...webPeer, address: address('10.0.0.7') }],
  });
  assert.equal(
    ops.map((op: Op) => op.kind),
    ['endpoint.clear', 'peer.set', 'peer.delete', 'epoch.bump'],
  );
  assert.equal(
    later.map((op) => op.kind),
    ['policy.delete', 'identityClass.delete', 'verdict.delete'],
  );
});

test('a key that is set and removed in one delta is set', () => {
  const { ops } = planned({ ...NOTHING, setPeers: [webPeer], removePeers: [webPeer.address] });
  assert.equal(ops, [{ kind: 'peer.set', row: webPeer }]);
});

test('two changes merge into what the second leaves', () => {
  const first = changesOf({ ...NOTHING, setPeers: [webPeer], removeEndpoints: [4], setEndpoints: [web] });
  const second = changesOf({ ...NOTHING, removePeers: [webPeer.address], setEndpoints: [{ ...web, id: 4 }] });
  const both = merge(first, second);
  assert.equal(both.peers, { set: [], remove: [{ address: webPeer.address }] });
  assert.equal(both.endpoints, { set: [web, { ...web, id: 4 }], remove: [] });
  assert.equal(merge(NO_CHANGES, second), second);
  assert.equal(merge(second, NO_CHANGES), second);
});

test('equal rows differ in nothing, and from nothing everything is set', () => {
  assert.equal(difference(actual, actual), NO_CHANGES);
  const all = difference(NO_ROWS, actual);
  assert.equal(all.endpoints.set, actual.endpoints);
  assert.equal(difference(actual, NO_ROWS).ranges.remove, actual.ranges);
});

test.run();
