/** The tables of abi/policy.h mean what they say: classes, prefixes of ports, tiers, defaults; and who a peer is. */
import * as assert from 'uvu/assert';
import { Direction, EventFlags, EventType, type TierVerdict } from '../../agent/datapath/layout.gen.ts';
import { DatapathFixture, type Run, type TestPod } from '../kit/datapath-fixture.ts';
import {
  allow,
  deny,
  pass,
  redirect,
  setAddressClass,
  setIdentity,
  setPolicy,
  setVerdict,
} from '../kit/datapath-policy.ts';
import { IPPROTO, icmp, icmpEcho, tcp, udp } from '../kit/packet.ts';
import { privileged } from '../kit/privileged.ts';
import { suite } from '../kit/suite.ts';

const OPEN = 16;
const PEER = 1002;
const UNKNOWN = 4242;
const FIRST_SET = 100;
const CLASS = 7;
const ADDRESS_CLASS = 0x80000001;

const test = privileged(suite('policy in the kernel'), 'root');
const datapath = DatapathFixture.open();
setPolicy(datapath, OPEN, {});
setIdentity(datapath, PEER);
setIdentity(datapath, 1);
setIdentity(datapath, 9);
setIdentity(datapath, 10);
const pod = datapath.pod({ identity: 1001, policy: OPEN, ipv4: '10.9.0.2', ipv6: 'fd09::2' });
const local = datapath.pod({ identity: PEER, policy: OPEN, ipv4: '10.9.0.3', ipv6: 'fd09::3' });
const REMOTE = { 4: '10.8.0.9', 6: 'fd08::9' } as const;
datapath.peer(REMOTE[4], { identity: PEER, kind: 'pod' });
datapath.peer(REMOTE[6], { identity: PEER, kind: 'pod' });
test.after(() => datapath[Symbol.dispose]());

let nextPolicy = 1000;
let nextPort = 20000;

/** Gives `pod` a policy of its own and returns its number. */
function policyOf(words: Parameters<typeof setPolicy>[2], on: TestPod = pod): number {
  const policy = nextPolicy++;
  setPolicy(datapath, policy, words);
  datapath.setEndpoint(on, { policy });
  return policy;
}

/** A new connection each time: the source port is never used again. */
const enter = (from: string, dport = 80): Promise<Run> =>
  datapath.toPod(pod, tcp({ from, to: from.includes(':') ? pod.ipv6 : pod.ipv4, sport: nextPort++, dport }).syn());
const leave = (to: string, dport = 80): Promise<Run> =>
  datapath.fromPod(pod, tcp({ from: to.includes(':') ? pod.ipv6 : pod.ipv4, to, sport: nextPort++, dport }).syn());

/** 'pass' or the reason, with the rule of the direction that judged. */
function outcome(run: Run, direction: 'ingress' | 'egress' = 'ingress'): string {
  const event = run.events.find((one) => one.type === EventType.EVENT_NEW || one.type === EventType.EVENT_DROP);
  const rule = event?.rule[direction === 'ingress' ? Direction.DIRECTION_INGRESS : Direction.DIRECTION_EGRESS];
  return `${run.reason ?? 'pass'} ${rule}`;
}

test('no policy, and a policy that is not in the table', async () => {
  datapath.setEndpoint(pod, { policy: 0 });
  assert.is(outcome(await enter(REMOTE[4])), 'NO_POLICY 0');
  assert.is(outcome(await leave(REMOTE[4])), 'NO_POLICY 0');
  datapath.setEndpoint(pod, { policy: 999 });
  assert.is(outcome(await enter(REMOTE[6])), 'NO_POLICY 0');
});

test('lockdown denies both ways, with and without a row in the table', async () => {
  datapath.setEndpoint(pod, { policy: 1 });
  for (const isolated of [false, true]) {
    assert.is(outcome(await enter(REMOTE[4])), 'POLICY_DENIED 0');
    assert.is(outcome(await leave(REMOTE[6])), 'POLICY_DENIED 0');
    setPolicy(datapath, 1, { ingress: { isolated, hasAny: true }, egress: { isolated, hasAny: true } });
    for (const direction of ['ingress', 'egress'] as const) {
      setVerdict(datapath, { policy: 1, class: 0, direction }, { admin: allow(1, 5) });
    }
  }
});

test('a policy isolates one direction, or the other, or both', async () => {
  policyOf({ ingress: { isolated: true } });
  assert.is(outcome(await enter(REMOTE[4])), 'POLICY_DENIED 0');
  assert.is(outcome(await leave(REMOTE[4])), 'pass 0');
  policyOf({ egress: { isolated: true } });
  assert.is(outcome(await enter(REMOTE[6])), 'pass 0');
  const run = await leave(REMOTE[6]);
  assert.is(outcome(run), 'POLICY_DENIED 0');
  assert.is(run.events[0]?.direction, Direction.DIRECTION_EGRESS);
});

test('between two pods of the node both policies are asked, and the event says whose decided', async () => {
  const policy = policyOf({ egress: { isolated: true, hasAny: true } });
  const other = policyOf({ ingress: { isolated: true } }, local);
  for (const to of [local.ipv4, local.ipv6]) {
    const first = await leave(to);
    assert.equal([first.reason, first.events[0]?.direction], ['POLICY_DENIED', Direction.DIRECTION_EGRESS]);
    assert.equal(first.events[0]?.policy, [0, policy]);
  }
  setVerdict(datapath, { policy, class: 0, direction: 'egress' }, { normal: allow(1, 31) });
  const second = await leave(local.ipv4);
  assert.equal([second.reason, second.events[0]?.direction], ['POLICY_DENIED', Direction.DIRECTION_INGRESS]);
  assert.equal(
    [second.events[0]?.policy, second.events[0]?.rule],
    [
      [other, policy],
      [0, 31],
    ],
  );
  assert.is(datapath.drops()['POLICY_DENIED/ingress'] !== undefined, true);
  datapath.setEndpoint(local, { policy: OPEN });
  assert.is(outcome(await leave(local.ipv6), 'egress'), 'pass 31');
});

test('an identity class allows, by protocol and port', async () => {
  const set = FIRST_SET;
  const policy = policyOf({ ingress: { isolated: true, identitySet: set } });
  setIdentity(datapath, PEER, set, CLASS);
  const place = { policy, class: CLASS, direction: 'ingress' } as const;
  assert.is(outcome(await enter(REMOTE[4])), 'POLICY_DENIED 0');
  setVerdict(datapath, { ...place, protocol: IPPROTO.tcp, port: 8080 }, { normal: allow(1, 11) });
  setVerdict(datapath, { ...place, protocol: IPPROTO.tcp, port: 9216, portBits: 8 }, { normal: allow(1, 12) });
  setVerdict(datapath, { ...place, protocol: IPPROTO.udp }, { normal: allow(1, 13) });
  for (const from of [REMOTE[4], REMOTE[6]]) {
    const to = from === REMOTE[4] ? pod.ipv4 : pod.ipv6;
    assert.is(outcome(await enter(from, 8080)), 'pass 11');
    assert.is(outcome(await enter(from, 8081)), 'POLICY_DENIED 0');
    assert.is(outcome(await enter(from, 9216)), 'pass 12');
    assert.is(outcome(await enter(from, 9471)), 'pass 12');
    assert.is(outcome(await enter(from, 9472)), 'POLICY_DENIED 0');
    assert.is(outcome(await datapath.toPod(pod, udp({ from, to, sport: nextPort++, dport: 1 }))), 'pass 13');
    assert.is(outcome(await datapath.toPod(pod, icmpEcho({ from, to }))), 'POLICY_DENIED 0');
  }
  assert.is(outcome(await enter('192.0.2.1', 8080)), 'POLICY_DENIED 0');
});

test('the longest prefix of the port wins, whatever its precedence: the compiler flattened it', async () => {
  const policy = policyOf({ ingress: { hasAny: true, isolated: true } });
  const place = { policy, class: 0, direction: 'ingress' } as const;
  setVerdict(datapath, place, { normal: allow(9, 21) });
  setVerdict(datapath, { ...place, protocol: IPPROTO.tcp }, { normal: deny(8, 22) });
  setVerdict(datapath, { ...place, protocol: IPPROTO.tcp, port: 1024, portBits: 6 }, { normal: allow(7, 23) });
  setVerdict(datapath, { ...place, protocol: IPPROTO.tcp, port: 1111 }, { normal: deny(6, 24) });
  assert.is(outcome(await enter(REMOTE[4], 80)), 'POLICY_DENY_RULE 22');
  assert.is(outcome(await enter(REMOTE[4], 1112)), 'pass 23');
  assert.is(outcome(await enter(REMOTE[4], 1111)), 'POLICY_DENY_RULE 24');
  assert.is(outcome(await datapath.toPod(pod, udp({ from: REMOTE[4], to: pod.ipv4, sport: nextPort++ }))), 'pass 21');
});

test('ICMP by type and code', async () => {
  const policy = policyOf({ ingress: { isolated: true, hasAny: true } });
  const place = { policy, class: 0, direction: 'ingress' } as const;
  setVerdict(datapath, { ...place, protocol: IPPROTO.icmp, port: 13 << 8 }, { normal: allow(1, 41) });
  setVerdict(datapath, { ...place, protocol: IPPROTO.icmpv6, port: 128 << 8, portBits: 8 }, { normal: allow(1, 42) });
  const send = async (from: string, to: string, type: number, code = 0): Promise<string | undefined> =>
    (await datapath.toPod(pod, icmp({ from, to, type, code }))).reason;
  assert.is(await send(REMOTE[4], pod.ipv4, 13), undefined);
  assert.is(await send(REMOTE[4], pod.ipv4, 13, 1), 'POLICY_DENIED');
  assert.is(await send(REMOTE[4], pod.ipv4, 14), 'POLICY_DENIED');
  assert.is(await send(REMOTE[6], pod.ipv6, 128), undefined);
  assert.is(await send(REMOTE[6], pod.ipv6, 128, 3), undefined);
  assert.is(await send(REMOTE[6], pod.ipv6, 129), 'POLICY_DENIED');
});

test('the tiers, in order', async () => {
  type Case = [string, { admin?: TierVerdict; normal?: TierVerdict; baseline?: TierVerdict }, boolean, string];
  const cases: Case[] = [
    ['nothing, open', {}, false, 'pass 0'],
    ['nothing, isolated', {}, true, 'POLICY_DENIED 0'],
    ['admin allow over all', { admin: allow(1, 1), normal: deny(1, 2), baseline: deny(1, 3) }, true, 'pass 1'],
    [
      'admin deny over all',
      { admin: deny(1, 1), normal: allow(1, 2), baseline: allow(1, 3) },
      false,
      'POLICY_DENY_RULE 1',
    ],
    [
      'admin pass to normal',
      { admin: pass(9, 1), normal: deny(1, 2), baseline: allow(1, 3) },
      false,
      'POLICY_DENY_RULE 2',
    ],
    ['admin pass, isolated', { admin: pass(9, 1), baseline: allow(1, 3) }, true, 'POLICY_DENIED 0'],
    ['admin pass to baseline', { admin: pass(9, 1), baseline: deny(1, 3) }, false, 'POLICY_DENY_RULE 3'],
    ['admin pass to nothing', { admin: pass(9, 1) }, false, 'pass 0'],
    ['normal allow', { normal: allow(1, 2), baseline: deny(1, 3) }, true, 'pass 2'],
    ['normal pass, open', { normal: pass(1, 2), baseline: deny(1, 3) }, false, 'POLICY_DENY_RULE 3'],
    ['normal pass, isolated', { normal: pass(1, 2), baseline: allow(1, 3) }, true, 'POLICY_DENIED 0'],
    ['baseline allow', { baseline: allow(1, 3) }, false, 'pass 3'],
    ['baseline pass', { baseline: pass(1, 3) }, false, 'pass 0'],
    ['what is not built yet denies', { normal: redirect(1, 2) }, false, 'POLICY_DENY_RULE 2'],
  ];
  for (const [name, words, isolated, expected] of cases) {
    for (const direction of ['ingress', 'egress'] as const) {
      const policy = policyOf({ [direction]: { isolated, hasAny: true } });
      setVerdict(datapath, { policy, class: 0, direction }, words);
      const run = direction === 'ingress' ? await enter(REMOTE[4]) : await leave(REMOTE[6]);
      assert.is(outcome(run, direction), expected, `${name}, ${direction}`);
    }
  }
});

test('of identity class, address class and any, the best precedence per tier', async () => {
  const classes = [
    ['identity', CLASS],
    ['address', ADDRESS_CLASS],
    ['any', 0],
  ] as const;
  setAddressClass(datapath, 50, '10.8.0.0/16', { pod: ADDRESS_CLASS });
  setIdentity(datapath, PEER, 51, CLASS);
  for (const [winner, best] of classes) {
    const policy = policyOf({ ingress: { isolated: true, hasAny: true, identitySet: 51, addressSet: 50 } });
    for (const [, one] of classes) {
      setVerdict(
        datapath,
        { policy, class: one, direction: 'ingress' },
        { normal: one === best ? deny(9, 61) : allow(8, 62) },
      );
    }
    assert.is(outcome(await enter(REMOTE[4])), 'POLICY_DENY_RULE 61', `denied by ${winner}`);
  }
  for (const [winner, best] of classes) {
    const policy = policyOf({ ingress: { isolated: true, hasAny: true, identitySet: 51, addressSet: 50 } });
    setVerdict(datapath, { policy, class: best, direction: 'ingress' }, { normal: allow(1, 63) });
    assert.is(outcome(await enter(REMOTE[4])), 'pass 63', `allowed by ${winner} alone`);
  }
  const policy = policyOf({ ingress: { isolated: true, hasAny: true, identitySet: 51, addressSet: 50 } });
  setVerdict(datapath, { policy, class: CLASS, direction: 'ingress' }, { admin: pass(2, 64), normal: allow(5, 65) });
  setVerdict(
    datapath,
    { policy, class: ADDRESS_CLASS, direction: 'ingress' },
    { admin: deny(1, 66), normal: deny(4, 67) },
  );
  assert.is(outcome(await enter(REMOTE[4])), 'pass 65', 'tiers are settled one by one');
});

test('addresses: the longest prefix, one class per kind of peer', async () => {
  const set = 60;
  setAddressClass(datapath, set, '10.8.0.0/16', { outside: ADDRESS_CLASS, pod: ADDRESS_CLASS + 1 });
  setAddressClass(datapath, set, '10.8.0.9/32', { outside: ADDRESS_CLASS, node: ADDRESS_CLASS + 2 });
  setAddressClass(datapath, set, 'fd08::/64', { node: ADDRESS_CLASS + 2 });
  const policy = policyOf({ ingress: { isolated: true, addressSet: set } });
  for (const [i, rule] of [71, 72, 73].entries()) {
    setVerdict(datapath, { policy, class: ADDRESS_CLASS + i, direction: 'ingress' }, { normal: allow(1, rule) });
  }
  datapath.peer('10.8.7.7', { identity: PEER, kind: 'pod' });
  datapath.peer('fd08::77', { identity: 6, kind: 'node' });
  assert.is(outcome(await enter('10.8.7.7')), 'pass 72', 'a pod, by the shorter prefix');
  assert.is(outcome(await enter('10.8.7.8')), 'pass 71', 'nobody known: outside');
  assert.is(outcome(await enter('10.8.0.9')), 'POLICY_DENIED 0', 'a pod, and the longer prefix has no class for pods');
  assert.is(outcome(await enter('fd08::77')), 'pass 73', 'a node');
  assert.is(outcome(await enter('fd08::78')), 'POLICY_DENIED 0', 'outside, where only nodes have a class');
  assert.is(outcome(await enter('192.0.2.1')), 'POLICY_DENIED 0');
});

test('an IPv4 address is not the IPv6 address with the same bytes', async () => {
  const set = 61;
  setAddressClass(datapath, set, 'a08:9::/32', { outside: ADDRESS_CLASS, pod: ADDRESS_CLASS });
  const policy = policyOf({ ingress: { isolated: true, addressSet: set } });
  setVerdict(datapath, { policy, class: ADDRESS_CLASS, direction: 'ingress' }, { normal: allow(1, 81) });
  assert.is(outcome(await enter('10.8.0.9')), 'POLICY_DENIED 0');
  assert.is(outcome(await enter('a08:9::1')), 'pass 81');
  datapath.peer('c000:201::', { identity: PEER, kind: 'pod' });
  const event = (await enter('192.0.2.1')).events[0];
  assert.is(event?.identity[0], 9, 'world, not the peer c000:201::');
});

test('an identity that is not compiled in is dropped where somebody could mean it', async () => {
  datapath.peer('10.8.9.9', { identity: UNKNOWN, kind: 'pod' });
  const set = FIRST_SET;
  policyOf({ ingress: { isolated: true, identitySet: set } });
  assert.is(outcome(await enter('10.8.9.9')), 'IDENTITY_UNKNOWN 0');
  const deniesSome = policyOf({ ingress: { hasDeny: true, identitySet: set, hasAny: true } });
  setVerdict(datapath, { policy: deniesSome, class: 0, direction: 'ingress' }, { normal: allow(1, 91) });
  assert.is(outcome(await enter('10.8.9.9')), 'IDENTITY_UNKNOWN 0');
  policyOf({ ingress: { identitySet: set } });
  assert.is(outcome(await enter('10.8.9.9')), 'pass 0', 'nothing isolates and nothing denies');
  policyOf({ ingress: { isolated: true } });
  assert.is(outcome(await enter('10.8.9.9')), 'POLICY_DENIED 0', 'no rule names identities');
  policyOf({ ingress: { isolated: true, identitySet: set } });
  setIdentity(datapath, UNKNOWN);
  assert.is(outcome(await enter('10.8.9.9')), 'POLICY_DENIED 0', 'known, and in no class');
});

test('who a peer is: exact address, then the longest range, then the world', async () => {
  datapath.setEndpoint(pod, { policy: OPEN });
  datapath.range('10.7.0.0/16', { identity: 3, kind: 'pod' });
  datapath.range('10.7.1.0/24', { identity: 33, kind: 'pod' });
  datapath.range('fd07::/48', { identity: 3, kind: 'pod' });
  datapath.peer('10.7.1.1', { identity: 1234, kind: 'pod' });
  const identityOf = async (from: string): Promise<number | undefined> => (await enter(from)).events[0]?.identity[0];
  assert.is(await identityOf('10.7.1.1'), 1234);
  assert.is(await identityOf('10.7.1.2'), 33);
  assert.is(await identityOf('10.7.2.2'), 3);
  assert.is(await identityOf('fd07::1'), 3);
  assert.is(await identityOf('198.51.100.1'), 9);
  assert.is(await identityOf('2001:db8::1'), 10);
});

test('host is what local sockets send, whatever the address; its addresses by a device are somebody outside, masqueraded', async () => {
  datapath.setEndpoint(pod, { policy: OPEN });
  for (const [address, to] of [
    ['192.0.2.100', pod.ipv4],
    ['2001:db8::100', pod.ipv6],
  ] as const) {
    datapath.peer(address, { identity: 1, kind: 'node' });
    const own = await datapath.toPod(pod, udp({ from: address, to, sport: nextPort++ }), 'host');
    assert.equal([own.verdict, own.events[0]?.identity], ['stack', [1, 1001]]);
    const unlisted = await datapath.toPod(
      pod,
      udp({ from: address.replace(/100$/, '101'), to, sport: nextPort++ }),
      'host',
    );
    assert.is(unlisted.events[0]?.identity[0], 1);
    const sport = nextPort++;
    const packet = () => udp({ from: address, to, sport, dport: 53 });
    const masked = await datapath.toPod(pod, packet(), 'outside');
    const world = address.includes(':') ? 10 : 9;
    assert.equal(
      [masked.verdict, masked.events[0]?.identity],
      ['stack', [world, 1001]],
      'no more rights than the world',
    );
    const answer = () => udp({ from: to, to: address, sport: 53, dport: sport });
    assert.is((await datapath.fromPod(pod, answer())).verdict, 'stack', 'the stack translates it back');
    datapath.bumpEpoch();
    assert.is((await datapath.fromPod(pod, answer())).verdict, 'stack', 'judged again from its side');
    assert.is((await datapath.toPod(pod, packet(), 'outside')).verdict, 'stack');
    const policy = policyOf({ ingress: { isolated: true, identitySet: FIRST_SET + 60 } }, pod);
    setIdentity(datapath, 1, FIRST_SET + 60, CLASS);
    setIdentity(datapath, world, FIRST_SET + 60, CLASS + 1);
    setVerdict(datapath, { policy, class: CLASS, direction: 'ingress' }, { normal: allow(1, 11) });
    const node = await datapath.toPod(pod, udp({ from: address, to, sport: nextPort++ }), 'host');
    assert.is(node.verdict, 'stack');
    const onlyHost = await datapath.toPod(pod, udp({ from: address, to, sport: nextPort++ }), 'outside');
    assert.is(onlyHost.reason, 'POLICY_DENIED', 'a policy that lets in the node does not mean it');
    datapath.setEndpoint(pod, { policy: OPEN });
  }
});

test('by the veth of a pod an address of the node is that pod, masqueraded: both policies are asked', async () => {
  for (const [address, to] of [
    ['192.0.2.100', pod.ipv4],
    ['2001:db8::100', pod.ipv6],
  ] as const) {
    datapath.peer(address, { identity: 1, kind: 'node' });
    for (const one of [pod, local]) datapath.setEndpoint(one, { policy: OPEN });
    const packet = () => udp({ from: address, to, sport: nextPort++ });
    const asked = await datapath.toPod(pod, packet(), local);
    assert.equal([asked.verdict, asked.events[0]?.identity], ['stack', [PEER, 1001]]);
    policyOf({ egress: { isolated: true } }, local);
    assert.is((await datapath.toPod(pod, packet(), local)).reason, 'POLICY_DENIED');
  }
  datapath.setEndpoint(local, { policy: OPEN });
});

test('what comes back to a pod by its own veth from an address of the node is its own question (hostPort)', async () => {
  for (const [address, own] of [
    ['192.0.2.100', pod.ipv4],
    ['2001:db8::100', pod.ipv6],
  ] as const) {
    datapath.peer(address, { identity: 1, kind: 'node' });
    datapath.setEndpoint(local, { policy: OPEN });
    policyOf({ egress: { isolated: true }, ingress: { isolated: true } }, pod);
    const sport = nextPort++;
    const packet = () => udp({ from: address, to: own, sport, dport: 53 });
    const asked = await datapath.toPod(pod, packet(), pod);
    assert.equal([asked.verdict, asked.events[0]?.identity], ['stack', [1001, 1001]]);
    const answer = () => udp({ from: own, to: address, sport: 53, dport: sport });
    assert.is((await datapath.fromPod(pod, answer())).verdict, 'stack', 'the stack translates it back');
    datapath.bumpEpoch();
    assert.is((await datapath.fromPod(pod, answer())).verdict, 'stack');
    assert.is((await datapath.toPod(pod, packet(), pod)).verdict, 'stack');
    assert.is((await datapath.toPod(pod, packet(), local)).reason, 'HOST_SPOOF', 'nobody else follows');
  }
  datapath.setEndpoint(pod, { policy: OPEN });
});

test('a pod of this node comes by its own veth, and then both policies are asked', async () => {
  datapath.setEndpoint(pod, { policy: OPEN });
  for (const [from, to] of [
    [local.ipv4, pod.ipv4],
    [local.ipv6, pod.ipv6],
  ] as const) {
    datapath.setEndpoint(local, { policy: OPEN });
    const packet = () => udp({ from, to, sport: nextPort++ });
    assert.is((await datapath.toPod(pod, packet(), 'outside')).reason, 'HOST_SPOOF');
    assert.is((await datapath.toPod(pod, packet(), pod)).reason, 'HOST_SPOOF');
    assert.is((await datapath.toPod(pod, packet(), local)).verdict, 'stack');
    const egress = policyOf({ egress: { isolated: true } }, local);
    const denied = await datapath.toPod(pod, packet(), local);
    assert.equal([denied.reason, denied.events[0]?.direction], ['POLICY_DENIED', Direction.DIRECTION_EGRESS]);
    assert.equal(denied.events[0]?.policy, [0, egress]);
  }
  datapath.setEndpoint(local, { policy: OPEN });
});

test('what does not belong to the pod does not reach it', async () => {
  datapath.setEndpoint(pod, { policy: OPEN });
  const gone = [udp({ from: REMOTE[4], to: local.ipv4 }), udp({ from: REMOTE[6], to: local.ipv6 })];
  for (const packet of gone) assert.is((await datapath.toPod(pod, packet)).reason, 'DESTINATION_GONE');
  const multicast = [udp({ from: REMOTE[4], to: '224.0.0.1' }), udp({ from: REMOTE[6], to: 'ff02::1' })];
  for (const packet of multicast) assert.is((await datapath.toPod(pod, packet)).reason, 'MULTICAST');
  assert.is((await datapath.toPod(pod, udp({ from: REMOTE[4], to: pod.ipv4 }).vlan(3))).reason, 'UNSUPPORTED_L2');
});

test('a destination whose endpoint is gone, or is somebody else by now', async () => {
  const ghost = datapath.pod({ identity: 1003, policy: OPEN, ipv4: '10.9.0.200', ipv6: 'fd09::200' });
  const ask = (): Promise<Run>[] => [leave(ghost.ipv4), leave(ghost.ipv6)];
  for (const run of await Promise.all(ask())) assert.is(run.verdict, 'redirect');
  datapath.setEndpoint(ghost, { ipv4: 0x0a0900c9, ipv6: new Uint8Array(16).fill(7) });
  for (const run of await Promise.all(ask())) assert.is(run.reason, 'DESTINATION_GONE');
  datapath.setEndpoint(ghost, { ifindex: 0 });
  for (const run of await Promise.all(ask())) assert.is(run.reason, 'DESTINATION_GONE');
});

test('audit: the event says what would differ, and by which rule', async () => {
  const words = { isolated: false, auditIsolated: true, hasAudit: true, hasAny: true };
  const policy = policyOf({ ingress: words });
  const place = { policy, class: 0, direction: 'ingress', protocol: IPPROTO.tcp } as const;
  setVerdict(datapath, { ...place, port: 80 }, {}, { normal: allow(1, 101) });
  setVerdict(datapath, { ...place, port: 81 }, {}, { normal: deny(1, 102) });
  setVerdict(
    datapath,
    { ...place, port: 82 },
    { normal: deny(1, 103) },
    { admin: allow(1, 104), normal: deny(1, 103) },
  );
  const audit = async (port: number): Promise<unknown> => {
    const run = await enter(REMOTE[4], port);
    const event = run.events.find((one) => one.type === EventType.EVENT_AUDIT);
    const wouldDeny = ((event?.flags ?? 0) & EventFlags.EVENT_AUDIT_WOULD_DENY) !== 0;
    return [run.reason ?? 'pass', event && (wouldDeny ? 'would deny' : 'would allow'), event?.rule[0]];
  };
  assert.equal(await audit(80), ['pass', undefined, undefined]);
  assert.equal(await audit(81), ['pass', 'would deny', 102]);
  assert.equal(await audit(82), ['POLICY_DENY_RULE', 'would allow', 104]);
  assert.equal(await audit(83), ['pass', 'would deny', 0]);
  policyOf({ ingress: { ...words, hasAudit: false } });
  assert.equal(await audit(81), ['pass', undefined, undefined]);
});

test.run();
