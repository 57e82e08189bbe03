/** Services with real sockets: pods by from_pod, the node's own processes by the socket programs. */
import './own-network.ts';
import { mkdirSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import type { DatapathRows, NodeAttachment, ServiceRow } from '../../agent/datapath/datapath.ts';
import { cgroupDirectory } from '../../agent/datapath/program/cgroup.ts';
import { type Address, parseAddress } from '../../agent/model/address.ts';
import { closeFd, linkInfo, openPinned } from '../../native/index.ts';
import { command } from '../kit/command.ts';
import { privileged } from '../kit/privileged.ts';
import { suite } from '../kit/suite.ts';
import { Peer } from '../kit/traffic.ts';
import { until } from '../kit/until.ts';
import { allowAll, Rig, type RigPod } from './datapath-rig.ts';

const test = privileged(suite('Services'), 'root', 'btf', 'bpffs');
const VIP = { 4: '10.96.0.1', 6: 'fd96::1' } as const;
const NODE = { 4: '10.99.0.1', 6: 'fd99::1' } as const;
const FAMILIES = [4, 6] as const;
const at = (text: string): Address => parseAddress(text) as Address;
const own = (pod: RigPod, family: 4 | 6): Address => (family === 4 ? pod.ipv4 : pod.ipv6);

function service(
  protocol: 'TCP' | 'UDP',
  virtual: string,
  port: number,
  backends: readonly (readonly [string, number])[],
): ServiceRow {
  return {
    frontend: { address: at(virtual), protocol, port },
    backends: backends.map(([address, target]) => ({ address: at(address), port: target })),
    affinitySeconds: 0,
  };
}

let rig: Rig;
let client: RigPod;
let server: RigPod;
let rows: DatapathRows;
let cgroup: string;
let host: Peer;

/** A process of the node, or in a pod's namespace, that runs in the node's cgroup. */
const inCgroup = (words: readonly string[] = []): string[] => [
  'sh',
  '-c',
  `echo $$ > ${cgroup}/cgroup.procs && exec "$@"`,
  'sh',
  ...words,
];
const script = (prefix: readonly string[], text: string): Promise<string> =>
  command([...prefix, process.execPath, '-e', text]);

const attachment = (of: string | undefined): NodeAttachment => ({
  uplinks: [],
  tunnel: undefined,
  tunnelPort: 8472,
  cgroup: of,
  podCidrs: [],
  pathMtu: 0,
  masquerade: false,
  masqueradeExcluded: [],
});

test.before(async () => {
  rig = await Rig.start('service', { services: true });
  cgroup = join(await cgroupDirectory(''), rig.bed.name('group'));
  mkdirSync(cgroup);
  [client, server] = [await rig.pod(1), await rig.pod(2)];
  await server.peer.serveTcp(8080);
  await server.peer.serveUdp(5353);
  await client.peer.serveTcp(8080);
  const services = FAMILIES.flatMap((family) => [
    service('TCP', VIP[family], 80, [[own(server, family), 8080]]),
    service('UDP', VIP[family], 53, [[own(server, family), 5353]]),
    service('TCP', VIP[family], 81, [[own(client, family), 8080]]),
    service('TCP', VIP[family], 82, []),
    service('UDP', VIP[family], 82, []),
    service('TCP', VIP[family], 83, [[NODE[family], 8083]]),
  ]);
  const open = rig.rows([client, server], allowAll(20));
  const node = FAMILIES.map((family) => ({
    address: at(NODE[family]),
    identity: 1,
    endpoint: 0,
    kind: 'node' as const,
  }));
  rows = { ...open, peers: [...open.peers, ...node], services };
  await rig.datapath.replace(rows);
  await rig.datapath.attachNode?.(attachment(cgroup));
  host = await Peer.start(inCgroup());
  await host.serveTcp(8083);
});

test.after(async () => {
  await host?.close();
  await rig?.close();
  if (cgroup) await until(() => tryRemove(cgroup), { what: 'the cgroup to be empty' });
});

function tryRemove(directory: string): boolean {
  try {
    rmdirSync(directory);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ENOENT';
  }
}

for (const family of FAMILIES) {
  const vip = VIP[family];

  test(`IPv${family}: a pod reaches another, itself and the node through Services, and is refused at once elsewhere`, async () => {
    assert.is(await client.peer.tcp({ address: vip, port: 80 }), 'ok');
    assert.is(await client.peer.udp({ address: vip, port: 53 }), 'ok');
    assert.is(await client.peer.tcp({ address: vip, port: 81 }), 'ok', 'to itself');
    assert.is(await client.peer.tcp({ address: vip, port: 83 }), 'ok', 'to a process of the node');
    for (const port of [82, 4444]) {
      assert.is(await client.peer.tcp({ address: vip, port }), 'refused', `TCP ${port}`);
      assert.is(await client.peer.udp({ address: vip, port }), 'refused', `UDP ${port}`);
    }
  });

  test(`IPv${family}: long datagrams and long streams arrive whole`, async () => {
    const type = family === 4 ? 'udp4' : 'udp6';
    const answer = await script(
      ['nsenter', `--net=${client.netns.path}`],
      `const socket = require('node:dgram').createSocket('${type}');
       socket.on('message', (text, from) => { console.log(text.length, from.address, from.port); socket.close(); });
       socket.send(Buffer.alloc(4000, 7), 53, '${vip}');
       setTimeout(() => { console.log('nothing'); process.exit(); }, 3000).unref();`,
    );
    assert.is(answer.trim(), `4000 ${vip} 53`);
    const connection = await client.peer.open({ address: vip, port: 80 });
    assert.is(await client.peer.say(connection, 'x'.repeat(4 << 20), 10_000), 'ok');
    await client.peer.hangUp(connection);
  });

  test(`IPv${family}: the node's processes reach Services when they connect, and see what they asked for`, async () => {
    assert.is(await host.tcp({ address: vip, port: 80 }), 'ok');
    assert.is(await host.udp({ address: vip, port: 53 }), 'ok');
    assert.is(await host.tcp({ address: vip, port: 82 }), 'refused');
    assert.is(await host.tcp({ address: vip, port: 4444 }), 'refused');
    const mapped = family === 4 ? `::ffff:${vip}` : vip;
    for (const address of [vip, mapped]) {
      const peer = await script(
        inCgroup(),
        `const socket = require('node:net').connect(80, '${address}', () => {
           console.log(socket.remoteAddress, socket.remotePort); socket.destroy(); });`,
      );
      assert.is(peer.trim(), `${address} 80`);
      const from = await script(
        inCgroup(),
        `const socket = require('node:dgram').createSocket('${address.includes(':') ? 'udp6' : 'udp4'}');
         socket.on('message', (_, from) => { console.log(from.address, from.port); socket.close(); });
         socket.send('x', 53, '${address}');
         setTimeout(() => { console.log('nothing'); process.exit(); }, 3000).unref();`,
      );
      assert.is(from.trim(), `${address} 53`);
    }
  });
}

test('a process of a pod in that cgroup is not translated twice, and its flows show what it asked for', async () => {
  const peer = await Peer.start(inCgroup(['nsenter', `--net=${client.netns.path}`]));
  try {
    assert.is(await peer.tcp({ address: VIP[4], port: 80 }), 'ok');
    assert.is(await peer.tcp({ address: VIP[4], port: 82 }), 'refused');
  } finally {
    await peer.close();
  }
  const { drops } = rig.datapath.counters();
  assert.ok(
    drops.some(({ reason }) => reason === 'service_no_backend'),
    'from_pod refused it',
  );
});

test('rows are read back, a change writes what is new, and nothing is left behind', async () => {
  const sorted = (of: readonly ServiceRow[] = []) => of.map((row) => JSON.stringify(row)).sort();
  const frontend = (row: ServiceRow) => `${row.frontend.protocol} ${row.frontend.address} ${row.frontend.port}`;
  const shape = (of: readonly ServiceRow[] = []) =>
    sorted(
      of.map(({ affinitySeconds, backends, frontend: { address, port, protocol } }) => ({
        frontend: { address, protocol, port },
        backends,
        affinitySeconds,
      })),
    );
  assert.equal(shape((await rig.datapath.read()).services), shape(rows.services));
  assert.is((await rig.datapath.replace(rows)).operations, 0);
  const [first, ...others] = rows.services as [ServiceRow, ...ServiceRow[]];
  const changed = { ...first, backends: [...first.backends, { address: server.ipv4, port: 9 }] };
  await rig.datapath.replace({ ...rows, services: [changed, ...others] });
  assert.equal(shape((await rig.datapath.read()).services), shape([changed, ...others]), frontend(first));
  await rig.datapath.replace(rows);
  await until(() => entries('service_slots') === backends(rows.services), { what: 'old backends to be deleted' });
  assert.is(entries('service_members'), backends(rows.services));
});

const backends = (of: readonly ServiceRow[] = []): number => of.reduce((sum, row) => sum + row.backends.length, 0);

function entries(name: string): number {
  const map = rig.datapath.maps().find((one) => one.name === name);
  if (map === undefined) throw new Error(`nobody counts ${name}`);
  return map.entries;
}

test('the programs stay when the agent ends, the next one takes them over, and a new cgroup gets its own', async () => {
  const links = () => rig.pinnedLinks().filter((name) => name.startsWith('socket-'));
  assert.is(links().length, 8);
  await rig.restart();
  assert.is(await host.tcp({ address: VIP[4], port: 80 }), 'ok', 'before the next agent has said anything');
  await rig.datapath.replace(rows);
  const done = (await rig.datapath.attachNode?.(attachment(cgroup))) ?? [];
  assert.is(done.filter((line) => line.endsWith('replaced')).length, 8, done.join('; '));
  assert.equal(await rig.datapath.attachNode?.(attachment(cgroup)), []);
  assert.is(await host.tcp({ address: VIP[6], port: 80 }), 'ok');

  const other = `${cgroup}-2`;
  mkdirSync(other);
  try {
    await rig.datapath.attachNode?.(attachment(other));
    rmdirSync(other);
    mkdirSync(other);
    const pinned = openPinned(join(rig.options.config.pinDirectory, 'links', 'socket-connect4'));
    if (pinned?.kind !== 'link') throw new Error('the link is not pinned');
    await until(() => linkInfo(pinned).cgroupId === 0, { what: 'the link to lose its cgroup' });
    closeFd(pinned);
    const again = (await rig.datapath.attachNode?.(attachment(other))) ?? [];
    assert.is(again.filter((line) => line.endsWith('attached')).length, 8, again.join('; '));
  } finally {
    await rig.datapath.attachNode?.(attachment(cgroup));
    rmdirSync(other);
  }
  await rig.datapath.attachNode?.(attachment(undefined));
  assert.is(links().length, 0);
  assert.is.not(await host.tcp({ address: VIP[4], port: 80, timeoutMs: 300 }), 'ok');
});

test.run();
