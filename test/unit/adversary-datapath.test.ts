/** Numbers that must not come twice, and changes that only look additive. */
import * as assert from 'uvu/assert';
import type { DatapathDelta, DatapathRows } from '../../agent/datapath/datapath.ts';
import { numbersAbove } from '../../agent/datapath/numbers.ts';
import { changesOf, NO_POLICY_ROWS, NO_ROWS } from '../../agent/datapath/plan/changes.ts';
import { heldIn } from '../../agent/datapath/plan/held.ts';
import { plan } from '../../agent/datapath/plan/plan.ts';
import { type Address, type Prefix, parseAddress, parsePrefix } from '../../agent/model/address.ts';
import { FIRST_POLICY, NO_VERDICT, type PolicyRow } from '../../agent/model/verdict.ts';
import { suite } from '../kit/suite.ts';

const test = suite('adversary: datapath');
const address = (text: string): Address => parseAddress(text) as Address;
const prefix = (text: string): Prefix => parsePrefix(text) as Prefix;
const rows = (policy: Partial<DatapathRows['policy']>, more: Partial<DatapathRows> = {}): DatapathRows => ({
  ...NO_ROWS,
  policy: { ...NO_POLICY_ROWS, ...policy },
  ...more,
});
const open = {
  isolated: false,
  auditIsolated: false,
  hasDeny: false,
  hasAudit: false,
  hasAny: false,
  keepsEstablished: false,
  selectorSet: 0,
  addressSet: 0,
};

test('a policy whose header is deleted but whose verdicts are not yet does not lend its number to another', () => {
  const verdict = {
    policy: 40,
    classId: 0,
    direction: 'ingress' as const,
    protocol: 6,
    port: 80,
    portBits: 16,
    enforced: NO_VERDICT,
    audited: NO_VERDICT,
  };
  assert.is(numbersAbove(rows({ verdicts: [verdict] })).firstPolicy, 41);
  const endpoint = { id: 1, identity: 300, policy: 50, mac: '0a:00:00:00:00:01', addresses: [] };
  assert.is(numbersAbove(rows({}, { endpoints: [endpoint] })).firstPolicy, 51);
  assert.equal(numbersAbove(NO_ROWS), { firstPolicy: FIRST_POLICY, firstSet: 1 });
});

test('a set nobody is in, which a policy in force consults, does not lend its number to another', () => {
  const policy: PolicyRow = {
    id: 20,
    revision: 1,
    ingress: { ...open, selectorSet: 7 },
    egress: { ...open, addressSet: 9 },
  };
  const classes = { identityClasses: [{ set: 5, identity: 300, classId: 1 }] };
  assert.equal(numbersAbove(rows({ policies: [policy], ...classes })), { firstPolicy: 21, firstSet: 10 });
});

const NOTHING: DatapathDelta = {
  policy: { set: NO_POLICY_ROWS, remove: NO_POLICY_ROWS },
  setEndpoints: [],
  removeEndpoints: [],
  setPeers: [],
  removePeers: [],
  setRanges: [],
  removeRanges: [],
};
const bumps = (delta: DatapathDelta): boolean =>
  plan(changesOf(delta), heldIn(NO_ROWS)).ops.some(({ kind }) => kind === 'epoch.bump');

test('an address learned late was judged as the world or as unmanaged: its connections are judged again', () => {
  const peer = { address: address('10.0.1.7'), identity: 300, endpoint: 0, kind: 'pod' as const };
  assert.ok(bumps({ ...NOTHING, setPeers: [peer] }), 'a pod of another node');
  assert.ok(bumps({ ...NOTHING, setPeers: [{ ...peer, kind: 'node', identity: 6 }] }), 'another node');
  assert.ok(bumps({ ...NOTHING, setRanges: [{ prefix: prefix('10.0.1.0/24'), identity: 3, kind: 'pod' }] }));
  assert.not(bumps({ ...NOTHING, setPeers: [{ ...peer, endpoint: 3 }] }), 'a pod here is asked in its own program');
});

test.run();
