/** native/: wiring of a pod by netlink, in one namespace and in another, and what the kernel says when it refuses. */
import { mkdtempSync, readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import * as native from '../../native/index.ts';
import { type Netns, Testbed } from '../kit/netns.ts';
import { privileged } from '../kit/privileged.ts';
import { suite } from '../kit/suite.ts';

const HOST_MAC = '0a:77:65:69:72:01';
const POD_MAC = '02:00:00:00:00:05';
const POD4 = '10.99.77.5';
const POD6 = 'fd99:77::5';
/** Far from what agents use, and from other runs of this file. */
const INDEX = 2 ** 29 + process.pid * 16;

interface State {
  bed: Testbed;
  pod: Netns;
  host: string;
}
const state = {} as State;
const test = privileged(suite('native netlink', state), 'root');

test.before.each(async () => {
  state.bed = await Testbed.open('native-netlink');
  state.pod = await state.bed.netns('pod');
  state.host = state.bed.linkName();
});
test.after.each(async () => {
  await native.linkDelete({ name: state.host });
  await state.bed.close();
});

const refusal = async (work: Promise<unknown>): Promise<native.KernelError> => {
  try {
    await work;
  } catch (error) {
    if (error instanceof native.KernelError) return error;
    throw error;
  }
  throw new Error('it was accepted');
};

/** Both halves of what CNI ADD does. */
async function wire(): Promise<{ index: number; peerIndex: number }> {
  const { host, pod } = state;
  const [veth] = await native.batch(undefined, [
    {
      op: 'linkCreateVeth',
      name: host,
      index: INDEX,
      mac: HOST_MAC,
      mtu: 1400,
      peer: { name: 'eth0', netns: pod.path, mac: POD_MAC, mtu: 1400 },
    },
    { op: 'sysctlSet', key: `net/ipv6/conf/${host}/accept_ra`, value: '0' },
    { op: 'linkSet', index: INDEX, addrGenMode: 'none', up: true },
    { op: 'routeAdd', dst: `${POD4}/32`, index: INDEX },
    { op: 'routeAdd', dst: `${POD6}/128`, index: INDEX },
    { op: 'neighbourAdd', index: INDEX, address: POD4, mac: POD_MAC, permanent: true },
    { op: 'neighbourAdd', index: INDEX, address: POD6, mac: POD_MAC, permanent: true },
  ]);
  const index = veth.peerIndex;
  await native.batch(pod.path, [
    { op: 'linkSet', index, up: true },
    { op: 'addressAdd', index, address: POD4, prefixLength: 32 },
    { op: 'addressAdd', index, address: POD6, prefixLength: 128, nodad: true },
    { op: 'neighbourAdd', index, address: '169.254.1.1', mac: HOST_MAC, permanent: true },
    { op: 'neighbourAdd', index, address: 'fe80::1', mac: HOST_MAC, permanent: true },
    { op: 'routeAdd', dst: 'default4', gateway: '169.254.1.1', index, onlink: true, source: POD4, mtu: 1380 },
    { op: 'routeAdd', dst: 'default6', gateway: 'fe80::1', index, onlink: true, source: POD6 },
  ]);
  return veth;
}

test('a pod is wired in two batches and everything is found as it was asked for', async () => {
  const { host, pod } = state;
  const { index, peerIndex } = await wire();
  assert.is(index, INDEX);

  const link = await native.linkGet({ name: host });
  assert.ok(link);
  assert.equal(
    { ...link, flags: 0, peerNetnsId: 0 },
    {
      index,
      name: host,
      mac: HOST_MAC,
      mtu: 1400,
      up: true,
      kind: 'veth',
      peerIndex,
      peerNetnsId: 0,
      flags: 0,
      arp: true,
      txQueueLen: 1000,
    },
  );
  const peer = await native.linkGet({ index: peerIndex, netns: pod.path });
  assert.equal([peer?.name, peer?.mac, peer?.up, peer?.peerIndex], ['eth0', POD_MAC, true, index]);
  assert.equal(await native.addressList({ index }), [], 'no fe80 address on the host side');

  const addresses = (await native.addressList({ index: peerIndex, netns: pod.path })).filter(
    ({ scope }) => scope === 0,
  );
  assert.equal(
    addresses.map(({ address, prefixLength, tentative }) => [address, prefixLength, tentative]),
    [
      [POD4, 32, false],
      [POD6, 128, false],
    ],
  );
  const defaults = (await native.routeList({ netns: pod.path, table: 254 })).filter(({ dst }) =>
    dst.startsWith('default'),
  );
  assert.equal(
    defaults.map(({ dst, gateway, onlink, source, mtu }) => [dst, gateway, onlink, source, mtu]),
    [
      ['default4', '169.254.1.1', true, POD4, 1380],
      ['default6', 'fe80::1', true, POD6, undefined],
    ],
  );
  const neighbours = await native.neighbourList({ index: peerIndex, netns: pod.path });
  assert.equal(
    neighbours.filter(({ permanent }) => permanent).map(({ address, mac }) => [address, mac]),
    [
      ['169.254.1.1', HOST_MAC],
      ['fe80::1', HOST_MAC],
    ],
  );
  const routes = (await native.routeList({})).filter((route) => route.index === index && route.protocol === 4);
  assert.equal(
    routes.map(({ dst, scope }) => [dst, scope]),
    [
      [`${POD4}/32`, 'link'],
      [`${POD6}/128`, 'global'],
    ],
  );
});

test('what is deleted twice is false the second time', async () => {
  const { host, pod } = state;
  const { index, peerIndex } = await wire();
  const twice = async (work: () => Promise<boolean>) => assert.equal([await work(), await work()], [true, false]);
  await twice(() => native.neighbourDelete({ index, address: POD4 }));
  await twice(() => native.routeDelete({ dst: `${POD4}/32`, index }));
  await twice(() => native.routeDelete({ dst: `${POD6}/128`, index }));
  await twice(() => native.addressDelete({ index: peerIndex, address: POD4, prefixLength: 32, netns: pod.path }));
  await twice(() => native.linkDelete({ index }));
  assert.is(await native.linkGet({ name: host }), undefined);
  assert.is(await native.linkGet({ name: 'eth0', netns: pod.path }), undefined);
});

test("a batch ends at the operation that fails and says which, and why in the kernel's words", async () => {
  const { host, pod } = state;
  const error = await refusal(
    native.batch(pod.path, [
      { op: 'linkSet', index: 1, up: true },
      { op: 'routeAdd', dst: '10.1.0.0/16', gateway: '192.0.2.1' },
      { op: 'routeAdd', dst: '10.2.0.0/16', type: 'blackhole' },
    ]),
  );
  assert.equal([error.index, error.code, error.operation], [1, 'ENETUNREACH', 'route add 10.1.0.0/16']);
  assert.is(error.log, 'Nexthop has invalid gateway');
  assert.match(
    error.message,
    /^route add 10\.1\.0\.0\/16: ENETUNREACH \(Network is unreachable\): Nexthop has invalid gateway$/,
  );
  assert.not(
    (await native.routeList({ netns: pod.path })).some(({ dst }) => dst === '10.2.0.0/16'),
    'the third was done',
  );

  await wire();
  assert.is(
    (await refusal(native.linkCreateVeth({ name: host, peer: { name: 'eth1', netns: pod.path } }))).code,
    'EEXIST',
  );
  assert.is(
    (await refusal(native.linkCreateVeth({ name: state.bed.linkName(), peer: { name: 'eth0', netns: pod.path } })))
      .code,
    'EEXIST',
  );
  assert.is((await refusal(native.sysctlGet({ key: 'net/ipv4/no_such_thing' }))).code, 'ENOENT');
  assert.is(
    (await refusal(native.sysctlSet({ key: 'net/ipv4/ip_forward', value: 'much', netns: pod.path }))).code,
    'EINVAL',
  );
});

test('arguments that make no sense are refused before anything is done', async () => {
  const { pod } = state;
  const message = (work: () => Promise<unknown>) =>
    work().then(
      () => 'accepted',
      (error: Error) => error.message,
    );
  const index = 1;
  assert.match(
    await message(() => native.addressAdd({ index, address: '10.0.0.256', prefixLength: 32 })),
    /"10\.0\.0\.256" is no IP address/,
  );
  assert.match(
    await message(() => native.addressAdd({ index, address: '10.0.0.1', prefixLength: 33 })),
    /prefixLength of 10\.0\.0\.1 must be 0 to 32/,
  );
  assert.match(await message(() => native.linkSet({ index: 0, up: true })), /index must be 1 to 2\^31-1/);
  assert.match(await message(() => native.linkGet({ name: 'a name that is long' })), /is no interface name/);
  assert.match(
    await message(() => native.neighbourAdd({ index, address: '::1', mac: '0a:77', permanent: true })),
    /is no MAC address/,
  );
  assert.match(
    await message(() => native.routeAdd({ dst: '10.0.0.0/8', gateway: 'fe80::1' })),
    /gateway fe80::1 is of another family/,
  );
  assert.match(await message(() => native.sysctlSet({ key: '../../etc/passwd', value: '' })), /is no key such as/);
  assert.match(
    await message(() => native.sysctlSet({ key: 'net/../../../etc/passwd', value: '' })),
    /is no key such as/,
  );
  const done = await message(() =>
    native.batch(pod.path, [
      { op: 'routeAdd', dst: '10.5.0.0/16', type: 'blackhole' },
      { op: 'linkSet', index: -1 },
    ]),
  );
  assert.match(done, /index must be/);
  assert.not((await native.routeList({ netns: pod.path })).some(({ dst }) => dst === '10.5.0.0/16'));
});

test('a namespace is told from a file that looks like one', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'wt-native-'));
  const file = join(folder, 'netns');
  writeFileSync(file, '');
  try {
    assert.is(await native.netnsExists(state.pod.path), true);
    assert.is(await native.netnsExists(file), false);
    assert.is(await native.netnsExists(`${file}/under`), false);
    assert.is(await native.netnsExists('/run/netns/wt-no-such'), false);
    assert.equal(await native.netnsId(state.pod.path), await native.netnsId(state.pod.path));
    assert.not.equal(await native.netnsId(state.pod.path), await native.netnsId('/proc/self/ns/net'));
    assert.is((await refusal(native.linkList({ netns: file }))).code, 'EINVAL');
    assert.match(
      (await refusal(native.linkList({ netns: '/run/netns/wt-no-such' }))).message,
      /^enter network namespace \/run\/netns\/wt-no-such: ENOENT/,
    );
    assert.match(
      (await refusal(native.linkCreateVeth({ name: state.host, peer: { name: 'eth0', netns: '/no' } }))).message,
      /namespace of the peer, \/no/,
    );
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('settings are those of the namespace, whichever threads work at the same time; this one never moves', async () => {
  const own = readlinkSync('/proc/self/ns/net');
  const key = 'net/ipv4/ip_default_ttl';
  const ownValue = readFileSync(`/proc/sys/${key}`, 'utf8').trim();
  const pods = await Promise.all(['a', 'b', 'c', 'd'].map((name) => state.bed.netns(name)));
  await Promise.all(pods.map(({ path }, i) => native.sysctlSet({ key, value: String(100 + i), netns: path })));
  const everyone = Array.from({ length: 40 }, (_, i) => i).map(async (i) => {
    const netns = pods[i % 5]?.path; // each fifth: our own
    const value = await native.sysctlGet({ key, netns });
    assert.is(value, netns === undefined ? ownValue : String(100 + (i % 5)));
    const names = (await native.linkList({ netns })).map(({ name }) => name);
    assert.is(names.length === 1, netns !== undefined, `${names}`);
    assert.is(readlinkSync('/proc/self/ns/net'), own);
  });
  await Promise.all(everyone);
  assert.is(readFileSync(`/proc/sys/${key}`, 'utf8').trim(), ownValue);
});

test('routes of all kinds come back as they went in', async () => {
  const netns = state.pod.path;
  await native.linkCreate({ kind: 'bridge', name: 'bridge0', index: 55, mtu: 1234, up: true, netns });
  await native.addressAdd({ index: 55, address: '10.5.0.1', prefixLength: 24, netns });
  const routes: native.RouteAdd[] = [
    { dst: '10.6.0.0/16', type: 'blackhole' },
    { dst: 'fd06::/32', type: 'unreachable', metric: 9 },
    { dst: '10.7.0.0/16', gateway: '10.5.0.9', metric: 7, mtu: 1000 },
    { dst: '10.8.0.0/16', index: 55, table: 1000 },
  ];
  for (const route of routes) await native.routeAdd({ ...route, netns });
  assert.is((await refusal(native.routeAdd({ dst: '10.6.0.0/16', type: 'blackhole', netns }))).code, 'EEXIST');
  await native.routeAdd({ dst: '10.7.0.0/16', gateway: '10.5.0.8', metric: 7, replace: true, netns });
  const found = (await native.routeList({ netns })).filter(({ protocol }) => protocol === 4);
  assert.equal(
    found.map(({ dst, type, gateway, metric, mtu, table }) => [dst, type, gateway, metric, mtu, table]),
    [
      ['10.8.0.0/16', 'unicast', undefined, undefined, undefined, 1000],
      ['10.6.0.0/16', 'blackhole', undefined, undefined, undefined, 254],
      ['10.7.0.0/16', 'unicast', '10.5.0.8', 7, undefined, 254],
      ['fd06::/32', 'unreachable', undefined, 9, undefined, 254],
    ],
  );
  const [bridge] = (await native.linkList({ netns })).filter(({ kind }) => kind === 'bridge');
  assert.equal([bridge?.index, bridge?.mtu, bridge?.up], [55, 1234, true]);
});

test('bridge and vxlan devices, names and addresses can be changed', async () => {
  const netns = state.pod.path;
  const { index: bridge } = await native.linkCreate({ kind: 'bridge', name: 'br0', netns });
  const { index } = await native.linkCreate({
    kind: 'vxlan',
    name: 'vx0',
    vxlan: { external: true, port: 8472, learning: false },
    netns,
  });
  await native.linkSet({ index, name: 'tunnel', mac: POD_MAC, mtu: 1450, master: bridge, netns });
  const link = await native.linkGet({ name: 'tunnel', netns });
  assert.equal([link?.index, link?.kind, link?.mac, link?.mtu], [index, 'vxlan', POD_MAC, 1450]);
  const detail = await state.pod.ip('-d link show tunnel');
  assert.match(detail, /vxlan external .*dstport 8472 .*nolearning/s);
  assert.match(detail, /master br0/);
});

test('a dump of a thousand routes is complete', async () => {
  const netns = state.pod.path;
  const ops = Array.from({ length: 1000 }, (_, i) => ({
    op: 'routeAdd' as const,
    dst: `10.${i >> 8}.${i & 255}.0/24`,
    type: 'blackhole' as const,
  }));
  await native.batch(netns, ops);
  assert.is((await native.routeList({ family: 4, netns, table: 254 })).length, 1000);
});

test('no descriptor stays open, whether work succeeds or fails', async () => {
  const { pod, host } = state;
  const work = async () => {
    const { index } = await wire();
    await refusal(native.linkCreateVeth({ name: host, peer: { name: 'eth0', netns: pod.path } }));
    await native
      .batch(pod.path, [
        { op: 'linkCreateVeth', name: 'x', peer: { name: 'y', netns: pod.path } },
        { op: 'linkSet', index: -1 },
      ])
      .then(
        () => assert.unreachable(),
        (error) => assert.instance(error, RangeError),
      );
    await refusal(native.sysctlGet({ key: 'net/none', netns: pod.path }));
    await native.linkDelete({ index });
  };
  await Promise.all(Array.from({ length: 12 }, () => native.linkList({}))); // each worker keeps one socket of its own
  const before = native.openFds();
  for (let i = 0; i < 20; i++) await work();
  assert.ok(native.openFds() - before <= 2, `${native.openFds() - before} descriptors more`);
});

test.run();
