/** Weir under what container runtimes are built on: libcni 1.3 and cnitool, with the distribution's plugins behind it. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { tryCommand } from '../kit/command.ts';
import { type Attachment, Libcni, type LibcniAnswer, type LibcniVerb } from '../kit/libcni.ts';
import { NodeUnderTest } from '../kit/node.ts';
import { privileged } from '../kit/privileged.ts';
import { stockProgram } from '../kit/stock.ts';
import { suite } from '../kit/suite.ts';

const PLUGINS = '/usr/lib/cni';
const PODS = ['a', 'b'];
const MANIFESTS = {
  'pods.yaml': [
    'apiVersion: v1\nkind: Namespace\nmetadata: {name: default}\n',
    ...PODS.map(
      (name) => `apiVersion: v1\nkind: Pod\nmetadata: {name: ${name}, namespace: default, labels: {app: ${name}}}\n`,
    ),
  ].join('---\n'),
};
/** What the distribution's plugins 1.1 can; its portmap's CHECK fails for every pod, whoever wired it. */
const CHAIN = [
  { type: 'tuning', mtu: 1400, sysctl: { 'net.core.somaxconn': '500' } },
  { type: 'bandwidth', capabilities: { bandwidth: true } },
  { type: 'portmap', capabilities: { portMappings: true } },
  { type: 'loopback' },
];
const CAPABILITIES = {
  bandwidth: { ingressRate: 1e9, ingressBurst: 1e8, egressRate: 1e9, egressBurst: 1e8 },
  portMappings: [{ hostPort: 8080, containerPort: 80, protocol: 'tcp' }],
};

interface Bench {
  readonly node: NodeUnderTest;
  readonly libcni: Libcni;
}

async function bench(): Promise<Bench & AsyncDisposable> {
  const node = await NodeUnderTest.start('cnistock', { manifests: MANIFESTS });
  const libcni = new Libcni(node.netns, [join(node.folder, 'bin'), PLUGINS], join(node.folder, 'cni-cache'));
  return {
    node,
    libcni,
    async [Symbol.asyncDispose]() {
      libcni[Symbol.dispose]();
      await node.close();
    },
  };
}

function list(version: string | readonly string[], behind: readonly object[] = [], fields: object = {}): object {
  const versions = typeof version === 'string' ? { cniVersion: version } : { cniVersions: version };
  return { cniVersion: '0.3.1', ...versions, name: 'weir', plugins: [{ type: 'weir-cni', ...fields }, ...behind] };
}

function attachment(pod: string, netns: string, more: Partial<Attachment> = {}): Attachment {
  const Args = [
    ['IgnoreUnknown', '1'],
    ['K8S_POD_NAMESPACE', 'default'],
    ['K8S_POD_NAME', pod],
  ] as const;
  return { ContainerID: `${pod}-id`, NetNS: netns, IfName: 'eth0', Args, ...more };
}

const good = ({ error }: LibcniAnswer, what: string): void => assert.is(error, undefined, what);

const test = privileged(suite('weir-cni under libcni and cnitool'), 'root', 'btf', 'bpffs', 'stock');

test('every version alone: ADD, cached result, CHECK, ADD twice, DEL thrice', async () => {
  await using place = await bench();
  const { node, libcni } = place;
  for (const version of ['0.3.1', '0.4.0', '1.0.0', '1.1.0', ['0.4.0', '1.0.0', '1.1.0'], ['1.0.0', '9.9.9']]) {
    const netns = await node.bed.netns('a');
    const [asked, pod] = [list(version), attachment('a', netns.path)];
    const ask = (verb: LibcniVerb, runtime = pod) => libcni.ask(verb, asked, runtime);
    good(await ask('VALIDATE'), `${version} validate`);
    const added = await ask('ADD');
    good(added, `${version} ADD`);
    assert.equal((await ask('CACHED')).result, added.result);
    const { interfaces, ips } = added.result;
    for (const ip of ips) assert.is(interfaces[ip.interface].sandbox, netns.path);
    assert.is(ips.length, 2);
    // The version decides inside libcni: it asks no plugin of 0.3.1.
    if (version !== '0.3.1') good(await ask('CHECK'), `${version} CHECK`);
    assert.is((await ask('ADD')).code, 100);
    if (version !== '0.3.1') good(await ask('CHECK'), `${version} CHECK after a refused ADD`);
    good(await ask('DEL'), `${version} DEL`);
    good(await ask('DEL'), `${version} DEL again`);
    good(await ask('DEL', { ...pod, NetNS: '' }), `${version} DEL without a namespace`);
    await node.bed.removeNetns(netns);
  }
});

test('plugins behind it use its result, and its CHECK lets them change what they may', async () => {
  await using place = await bench();
  const { node, libcni } = place;
  const client = await node.addPod('default', 'b');
  for (const version of ['0.3.1', '0.4.0', '1.0.0']) {
    const netns = await node.bed.netns('a');
    const pod = attachment('a', netns.path, { CapabilityArgs: CAPABILITIES });
    const all = list(version, CHAIN, { mtu: 1450 });
    const added = await libcni.ask('ADD', all, pod);
    good(added, `${version} ADD`);
    const address = added.result.ips[0].address.replace(/\/.*/, '');
    const server = await node.bed.peer(netns);
    await server.serveTcp(80);
    assert.is(await client.peer.tcp({ address, port: 80 }), 'ok', 'through bandwidth and the smaller MTU');
    const viaHost = await (await node.bed.peer(node.world)).tcp({ address: '198.51.100.1', port: 8080 });
    assert.is(viaHost, 'ok', "through portmap's rules");
    await server.close();
    const withoutPortmap = list(
      version,
      CHAIN.filter(({ type }) => type !== 'portmap'),
      { mtu: 1450 },
    );
    if (version !== '0.3.1') good(await libcni.ask('CHECK', withoutPortmap, pod), `${version} CHECK`);
    good(await libcni.ask('DEL', all, pod), `${version} DEL`);
    await node.bed.removeNetns(netns);
  }
});

test('GC: what is listed stays; null is an empty list; no list says nothing', async () => {
  await using place = await bench();
  const { node, libcni } = place;
  const netns = await node.bed.netns('a');
  const [asked, pod] = [list('1.1.0'), attachment('a', netns.path)];
  const endpoints = async () => JSON.parse((await node.get('/v1/endpoints')).body).endpoints.length;
  good(await libcni.ask('STATUS', asked), 'STATUS');
  good(await libcni.ask('ADD', asked, pod), 'ADD');
  const listed = [{ containerID: pod.ContainerID, ifname: pod.IfName }];
  good(await libcni.ask('GC', asked, undefined, listed), 'GC with a list');
  good(await libcni.ask('CHECK', asked, pod), 'CHECK after GC');
  const raw = (config: object) => node.cni({ command: 'GC', config: { name: 'weir', ...config } });
  assert.is((await raw({})).code, 0);
  assert.is(await endpoints(), 1);
  assert.is((await raw({ 'cni.dev/valid-attachments': null })).code, 0);
  assert.is(await endpoints(), 0);
  good(await libcni.ask('DEL', asked, pod), 'DEL of what GC took');
});

test('a pod may have a second interface', async () => {
  await using place = await bench();
  const { node, libcni } = place;
  const peer = await node.addPod('default', 'b');
  const netns = await node.bed.netns('a');
  const both = ['eth0', 'net1'].map((IfName) => attachment('a', netns.path, { IfName }));
  for (const one of both) good(await libcni.ask('ADD', list('1.1.0'), one), `ADD ${one.IfName}`);
  for (const one of both) good(await libcni.ask('CHECK', list('1.1.0'), one), `CHECK ${one.IfName}`);
  for (const { IfName } of both) {
    const ping = await tryCommand(netns.enter(['ping', '-c1', '-W5', '-I', IfName, peer.ipv4]));
    assert.is(ping.code, 0, `${IfName}: ${ping.stdout}`);
  }
  for (const one of both.reverse()) good(await libcni.ask('DEL', list('1.1.0'), one), `DEL ${one.IfName}`);
});

test('cnitool: status, add, check, gc, del', async () => {
  await using place = await bench();
  const { node } = place;
  const netns = await node.bed.netns('a');
  const folder = join(node.folder, 'net.d');
  mkdirSync(folder);
  writeFileSync(join(folder, '10-weir.conflist'), JSON.stringify(list('1.1.0')));
  const env = {
    CNI_PATH: `${join(node.folder, 'bin')}:${PLUGINS}`,
    NETCONFPATH: folder,
    CNI_ARGS: 'K8S_POD_NAMESPACE=default;K8S_POD_NAME=a',
  };
  for (const verb of ['status', 'add', 'check', 'del', 'del', 'add', 'gc', 'gc', 'del']) {
    const { code, stderr } = await tryCommand(node.netns.enter([stockProgram('cnitool'), verb, 'weir', netns.path]), {
      env,
    });
    assert.is(code, 0, `cnitool ${verb}: ${stderr}`);
  }
  assert.equal(JSON.parse((await node.get('/v1/endpoints')).body).endpoints, []);
});
test.run();
