/** What wiring makes, undoes, refuses and repairs, on the real kernel. */

import * as assert from 'uvu/assert';
import { ifindexOf } from '../../agent/datapath/map/addresses.ts';
import { WeirError } from '../../agent/errors.ts';
import {
  closeFd,
  detachClsact,
  type LinkHandle,
  linkDelete,
  linkDetach,
  linkGet,
  linkList,
  linkSet,
  openPinned,
  queryTcx,
  routeList,
  sysctlGet,
  unpin,
} from '../../native/index.ts';
import { command } from '../kit/command.ts';
import { privileged } from '../kit/privileged.ts';
import { suite } from '../kit/suite.ts';
import { allowAll, Rig } from './datapath-rig.ts';

const thrownBy = async (work: Promise<unknown>): Promise<WeirError> => {
  const error = await work.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  assert.instance(error, WeirError);
  return error as WeirError;
};

const test = privileged(suite('datapath wiring'), 'root', 'btf', 'bpffs');

test('the pod has its addresses, gateway and routes; the node has routes and no address', async () => {
  await using rig = await Rig.start('wire');
  const { netns, wiring } = await rig.pod(1, { withPeer: false });
  const show = async (what: string): Promise<string> => (await netns.ip(what)).replace(/\s+/g, ' ').trim();
  assert.is(await show('-4 -br addr show eth0'), `eth0@if${ifindexOf(1)} UP 10.7.0.1/32`);
  assert.match(await show('-6 addr show eth0 scope global'), /inet6 fd07::1\/128 scope global nodad valid_lft forever/);
  assert.match(await show('link show eth0'), /link\/ether 0a:00:00:00:07:01 .*link-netns/);
  assert.is(
    await show('-4 route'),
    'default via 169.254.1.1 dev eth0 proto static onlink 169.254.1.1 dev eth0 proto static scope link',
  );
  assert.match(await show('-6 route show default'), /^default via fe80::1 dev eth0 proto static metric 1024 onlink/);
  const neighbours = (await netns.ip('neigh show nud permanent')).trim().split('\n');
  assert.equal(neighbours.map((line) => line.replace(/\s+/g, ' ').trim()).sort(), [
    '169.254.1.1 dev eth0 lladdr 0a:77:65:69:72:01 PERMANENT',
    'fe80::1 dev eth0 lladdr 0a:77:65:69:72:01 PERMANENT',
  ]);
  assert.is(await sysctlGet({ key: 'net/ipv6/conf/eth0/accept_ra', netns: netns.path }), '0');

  const host = await linkGet({ name: wiring.hostInterface });
  assert.is(host?.index, ifindexOf(1));
  assert.is(host?.mac, '0a:77:65:69:72:01');
  assert.is(
    await command(['ip', '-br', 'addr', 'show', 'dev', wiring.hostInterface]).then(
      (text) => text.trim().split(/\s+/).length,
    ),
    2,
    'no address',
  );
  const routes = (await routeList({})).filter(({ index, dst }) => index === ifindexOf(1) && !dst.startsWith('ff00'));
  assert.equal(routes.map(({ dst }) => dst).sort(), ['10.7.0.1/32', 'fd07::1/128']);
  assert.is(await sysctlGet({ key: 'net/ipv4/ip_forward' }), '1');
  assert.is(await sysctlGet({ key: 'net/ipv6/conf/all/forwarding' }), '1');
  assert.equal(await rig.datapath.check(wiring), []);
});

test("the pod's MTU is that of the default route's device, or what is asked for", async () => {
  await using rig = await Rig.start('mtu');
  assert.is((await linkGet({ name: (await rig.pod(1, { withPeer: false })).wiring.hostInterface }))?.mtu, 1500);
  await command('ip link add uplink mtu 8900 type veth peer name uplink-peer mtu 8900'.split(' '));
  for (const name of ['uplink', 'uplink-peer']) await command(['ip', 'link', 'set', name, 'up']);
  await command(['ip', 'route', 'add', 'default', 'dev', 'uplink']);
  await rig.datapath.repair([]);
  assert.is((await linkGet({ name: (await rig.pod(2, { withPeer: false })).wiring.hostInterface }))?.mtu, 8900);
  const small = await rig.pod(3, { withPeer: false, mtu: 1400 });
  assert.is((await linkGet({ name: 'eth0', netns: small.netns.path }))?.mtu, 1400);
  await linkDelete({ name: 'uplink' });
});

test('unwiring leaves nothing, and may be done twice', async () => {
  for (const attachMode of ['tcx', 'clsact'] as const) {
    await using rig = await Rig.start('unwire', { attachMode });
    const links = (await linkList({})).length;
    const pod = await rig.pod(1, { withPeer: false });
    await rig.datapath.replace(rig.rows([pod], allowAll(20)));
    for (let i = 0; i < 2; i++) {
      await rig.datapath.unwire(pod.wiring);
      assert.is((await linkList({})).length, links);
      assert.equal(rig.pinnedLinks(), []);
      assert.is(await linkGet({ name: 'eth0', netns: pod.netns.path }), undefined);
      assert.equal((await rig.datapath.read()).endpoints, [], 'its slot is free');
    }
  }
});

test('a failed step undoes the ones before it', async () => {
  await using rig = await Rig.start('undo');
  const { netns, wiring } = await rig.pod(1, { withPeer: false });
  await rig.datapath.unwire(wiring);
  // The far end comes to stand in the namespace, but this address cannot be routed there.
  await netns.ip('route add unreachable 169.254.1.1/32');
  const error = await thrownBy(rig.datapath.wire(wiring));
  assert.is(error.code, 'WIRING_FAILED');
  assert.match(error.details, /route add 169\.254\.1\.1\/32: EEXIST/);
  assert.is(await linkGet({ name: wiring.hostInterface }), undefined);
  assert.is(await linkGet({ name: 'eth0', netns: netns.path }), undefined);
  assert.equal(rig.pinnedLinks(), []);
});

test('an interface the pod has already is an error; the node is not touched', async () => {
  await using rig = await Rig.start('exists');
  const { netns, wiring } = await rig.pod(1, { withPeer: false });
  const links = await linkList({});
  const error = await thrownBy(rig.datapath.wire({ ...wiring, id: 2, hostInterface: 'weirt2' }));
  assert.is(error.code, 'ENDPOINT_EXISTS');
  assert.match(error.message, /has an interface eth0 already/);
  assert.equal(
    (await linkList({})).map(({ name }) => name),
    links.map(({ name }) => name),
  );
  assert.ok(await linkGet({ name: 'eth0', netns: netns.path }));
});

test('a namespace that is not there is an error with its path', async () => {
  await using rig = await Rig.start('nons');
  const { wiring } = await rig.pod(1, { withPeer: false });
  const error = await thrownBy(
    rig.datapath.wire({ ...wiring, id: 2, hostInterface: 'weirt2', netns: '/run/netns/wt-none' }),
  );
  assert.is(error.code, 'WIRING_FAILED');
  assert.match(error.details, /\/run\/netns\/wt-none/);
});

test('what an earlier pod left behind makes way; what is not ours does not', async () => {
  await using rig = await Rig.start('stale');
  const { wiring } = await rig.pod(1, { withPeer: false });
  const heir = await rig.pod(1, { withPeer: false, hostInterface: 'weirheir' });
  assert.is(await linkGet({ name: wiring.hostInterface }), undefined);
  assert.equal(await rig.datapath.check(heir.wiring), []);

  await command(`ip link add foreign index ${ifindexOf(2)} type veth peer name foreign-peer`.split(' '));
  const error = await thrownBy(rig.pod(2, { withPeer: false }));
  assert.is(error.code, 'WIRING_FAILED');
  assert.match(error.message, /interface index 1048578 is taken by foreign, which is not one of ours/);
  assert.ok(await linkGet({ name: 'foreign' }));
  await linkDelete({ name: 'foreign' });
});

test('check names what is missing', async () => {
  await using rig = await Rig.start('check');
  const { netns, wiring } = await rig.pod(1, { withPeer: false });
  await netns.ip('addr del 10.7.0.1/32 dev eth0'); // and with the last address all IPv4 routes
  await command(['ip', 'route', 'del', '10.7.0.1/32']);
  unpin(rig.linkPin(1, 'egress'));
  assert.equal(await rig.datapath.check(wiring), [
    'egress of weirt1: pin missing',
    'the node has no route to 10.7.0.1 by weirt1',
    'interface eth0 lacks the address 10.7.0.1/32',
    'the pod has no IPv4 default route by eth0',
  ]);
  await linkSet({ index: ifindexOf(1), name: 'else', up: false });
  assert.match((await rig.datapath.check(wiring))[0] ?? '', /the node has no interface weirt1 with index 1048577/);
});

test('tcx links that were wiped, unpinned or overtaken are put back, and the pods are judged again', async () => {
  await using rig = await Rig.start('repair', { attachMode: 'tcx' });
  const [a, b] = [await rig.pod(1), await rig.pod(2)];
  await b.peer.serveTcp(80);
  await rig.datapath.replace(rig.rows([a, b], allowAll(20)));
  const targets = [a.wiring, b.wiring];
  assert.equal(await rig.datapath.repair(targets), []);

  const link = openPinned(rig.linkPin(1, 'ingress'));
  if (link?.kind !== 'link') throw new Error('the pin holds no link');
  linkDetach(link satisfies LinkHandle);
  closeFd(link);
  unpin(rig.linkPin(2, 'egress'));
  const repairs = await rig.datapath.repair(targets);
  assert.equal(repairs, [
    { endpoint: 1, what: 'program detached', repaired: true },
    { endpoint: 2, what: 'pin missing', repaired: true },
  ]);
  assert.equal(await rig.datapath.repair(targets), []);
  assert.is(await a.peer.tcp({ address: b.ipv4, port: 80 }), 'ok');

  await rig.overtake(1);
  assert.equal(await rig.datapath.repair(targets), [{ endpoint: 1, what: 'program detached', repaired: true }]);
  assert.is(queryTcx(ifindexOf(1), 'ingress').length, 2, 'the other program stays, behind ours');
});

test('a clsact filter that was deleted is put back', async () => {
  await using rig = await Rig.start('repairc', { attachMode: 'clsact' });
  const { wiring } = await rig.pod(1, { withPeer: false });
  assert.equal(await rig.datapath.repair([wiring]), []);
  assert.ok(detachClsact(ifindexOf(1), 'egress', { priority: 1, handle: 1 }));
  assert.equal(await rig.datapath.repair([wiring]), [{ endpoint: 1, what: 'program detached', repaired: true }]);
  await command(['tc', 'qdisc', 'del', 'dev', wiring.hostInterface, 'clsact']);
  assert.is((await rig.datapath.repair([wiring])).length, 2);
  assert.equal(await rig.datapath.repair([wiring]), []);
});

test('a device that is gone is told, not repaired, and the pod can be wired again', async () => {
  await using rig = await Rig.start('gone');
  const { wiring, netns } = await rig.pod(1, { withPeer: false });
  await linkDelete({ name: wiring.hostInterface });
  assert.equal(await rig.datapath.repair([wiring]), [{ endpoint: 1, what: 'device gone', repaired: false }]);
  assert.equal(rig.datapath.unattached(), [1]);
  await rig.datapath.unwire(wiring);
  await rig.datapath.wire({ ...wiring, netns: netns.path });
  assert.equal(await rig.datapath.check(wiring), []);
});

test('many pods are wired at once, each in a few milliseconds', async () => {
  await using rig = await Rig.start('many');
  const ids = Array.from({ length: 24 }, (_, i) => i + 1);
  const netnses = await Promise.all(ids.map((id) => rig.bed.netns(`m${id}`)));
  const took: number[] = [];
  const next = ids.values();
  const lane = async (): Promise<void> => {
    for (const id of next) {
      const start = performance.now();
      await rig.datapath.wire({ ...rig.wiring(id), netns: netnses[id - 1]?.path ?? '' });
      took.push(performance.now() - start);
    }
  };
  await Promise.all([lane(), lane(), lane(), lane()]);
  took.sort((a, b) => a - b);
  console.log(`wire, 4 at once: median ${took[12]?.toFixed(1)} ms, worst ${took.at(-1)?.toFixed(1)} ms`);
  assert.is(rig.pinnedLinks().length, 2 * ids.length);
});

test.run();
