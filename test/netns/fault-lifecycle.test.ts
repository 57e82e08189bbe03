/** Faults 10, 15, 17, 19 and 21: pods that come too early, go without a word, or get the address of another. */
import { readdir } from 'node:fs/promises';
import * as assert from 'uvu/assert';
import type { Netns } from '../kit/netns.ts';
import { NodeUnderTest, type PodUnderTest } from '../kit/node.ts';
import { suite } from '../kit/suite.ts';
import { until } from '../kit/until.ts';

/** Six usable addresses; the first is the router's. */
const SMALL = ['--pod-cidr-v4=10.244.0.0/29', '--pod-wait-ms=2000'];
const ROOM = 5;
const SILENCE_MS = 300;
const PORT = 8080;

const pod = (name: string, app: string): string =>
  `apiVersion: v1\nkind: Pod\nmetadata: { name: ${name}, namespace: default, labels: { app: ${app} } }\n---\n`;
const policy = `apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: { name: server, namespace: default }
spec:
  endpointSelector: { matchLabels: { app: server } }
  ingress: [{ fromEndpoints: [{ matchLabels: { app: friend } }] }]
---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: { name: walled, namespace: default }
spec:
  endpointSelector: { matchLabels: { app: walled } }
  egressDeny: [{ toEntities: [all] }]
`;
const PODS = [
  pod('server', 'server'),
  pod('open', 'open'),
  pod('friend', 'friend'),
  pod('foe', 'foe'),
  ...Array.from({ length: 8 }, (_, i) => pod(`walled-${i}`, 'walled')),
].join('');

const test = suite('pods that come and go as they should not');
let node: NodeUnderTest;
let server: PodUnderTest;
let open: PodUnderTest;
test.before(async () => {
  node = await NodeUnderTest.start('faultlc', {
    manifests: { 'pods.yaml': PODS, 'policy.yaml': policy },
    flags: SMALL,
  });
  server = await node.addPod('default', 'server');
  open = await node.addPod('default', 'open');
  for (const { peer } of [server, open]) await Promise.all([peer.serveTcp(PORT), peer.serveUdp(PORT)]);
});
test.after(() => node?.close());

interface Endpoints {
  readonly endpoints: readonly { readonly id: number; readonly podName: string; readonly hostInterface: string }[];
}
const endpoints = async (): Promise<string[]> =>
  (await node.getJson<Endpoints>('/v1/endpoints')).endpoints.map(({ podName }) => podName).sort();

/** Policy first, then interface, record and address: each goes a moment after the one before. */
async function isFreed(name: string): Promise<void> {
  let left = '';
  const free = async (): Promise<boolean> => {
    const known = await endpoints();
    const records = await readdir(`${node.folder}/state/endpoints`);
    const links = JSON.parse(await node.netns.ip('-j link show')) as { ifname: string }[];
    const interfaces = links.filter(({ ifname }) => ifname.startsWith('weir')).length;
    left = `endpoints ${known}, ${records.length} records, ${interfaces} interfaces`;
    return !known.includes(name) && records.length === known.length && interfaces === known.length;
  };
  await until(free, { what: `${name} to be reclaimed, with record and interface`, detail: () => left });
}

/** What a pod in a hurry does: 50 datagrams, the first one the moment there is a way. Resolves once it tries; `sent` when it is done. */
async function hurry(netns: Netns, to: string): Promise<{ readonly sent: Promise<number> }> {
  const script = `import socket,time
s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)
print('trying',flush=True)
n=0
while n<50:
  try:
    s.sendto(b'early',('${to}',${PORT})); n+=1
  except OSError: pass
  time.sleep(0.0005)
print(n)`;
  const child = node.bed.spawn(['python3', '-c', script], netns);
  let said = '';
  child.stdout?.on('data', (chunk: Buffer) => {
    said += chunk;
  });
  const sent = new Promise<number>((resolve) => child.on('close', () => resolve(Number(said.split('\n')[1]))));
  await until(() => said !== '', { what: 'the datagrams to be tried', everyMs: 1 });
  return { sent };
}

const call = (netns: Netns, containerId: string, name: string) => ({
  containerId,
  netns: netns.path,
  interfaceName: 'eth0',
  args: `IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=${name}`,
});
const datagrams = async (pod: PodUnderTest): Promise<number> => (await pod.peer.served()).datagrams;

test('no packet of an isolated pod leaves before its policy is in force; an allowed one leaves once ADD has answered', async () => {
  const before = await datagrams(open);
  for (let round = 0; round < 3; round++) {
    const netns = await node.bed.netns('hurried');
    const { sent } = await hurry(netns, open.ipv4);
    const request = call(netns, `hurried-${round}`, 'walled-0');
    assert.is((await node.cni({ command: 'ADD', ...request })).code, 0);
    assert.is(await sent, 50);
    assert.is((await node.cni({ command: 'DEL', ...request })).code, 0);
    await node.bed.removeNetns(netns);
  }
  assert.is(await datagrams(open), before);
  const friend = await node.addPod('default', 'friend');
  assert.is(await friend.peer.tcp({ address: server.ipv4, port: PORT }), 'ok', 'the first SYN after ADD');
  await node.removePod(friend);
});

test('a pod that the source does not know yet: nothing leaves it while ADD waits, and ADD fails in time, naming it', async () => {
  const before = await datagrams(open);
  const netns = await node.bed.netns('unknown');
  const { sent } = await hurry(netns, open.ipv4);
  const started = performance.now();
  const answer = await node.cni({ command: 'ADD', ...call(netns, 'unknown', 'nobody') });
  assert.is(answer.json?.code, 11);
  assert.match(answer.stdout, /default\/nobody/);
  assert.ok(performance.now() - started < 5000);
  assert.is(await sent, 50, 'all while ADD waited');
  assert.is(await datagrams(open), before);
  assert.not.match(await netns.ip('-o link show'), /eth0/);
  assert.equal(await endpoints(), ['open', 'server']);
});

test('a namespace that vanishes without a DEL is reclaimed: address, record, interface, policy', async () => {
  const foe = await node.addPod('default', 'foe');
  await forceDelete(foe);
  await isFreed('foe');
  assert.is((await delOf(foe)).code, 0, 'a DEL that comes after all succeeds');
});

test('an interface that somebody deletes, and a namespace that goes while the agent is away', async () => {
  const foe = await node.addPod('default', 'foe');
  const { endpoints: list } = await node.getJson<Endpoints>('/v1/endpoints');
  await node.netns.ip(`link del ${list.find(({ podName }) => podName === 'foe')?.hostInterface}`);
  await isFreed('foe');
  await node.removePod(foe);

  const friend = await node.addPod('default', 'friend');
  await node.stopAgent('SIGTERM');
  await forceDelete(friend);
  await node.startAgent();
  assert.equal(await endpoints(), ['open', 'server']);
  await isFreed('friend');
  const told = node.log().match(/dropped/g) ?? [];
  assert.is(told.length, 1, `said once, not for ever:\n${node.log()}`);
});

test('no address left: ADD says how many are used, and works again when one is free', async () => {
  const added: PodUnderTest[] = [];
  for (let i = 0; i < ROOM - 2; i++) added.push(await node.addPod('default', `walled-${i}`));
  const netns = await node.bed.netns('toomany');
  const request = call(netns, 'toomany', 'walled-7');
  const full = await node.cni({ command: 'ADD', ...request });
  assert.is(full.json?.code, 102, full.stdout);
  assert.match(full.stdout, /\b5\b/, 'the number of addresses');
  assert.not.match(await netns.ip('-o link show'), /eth0/);
  const [first] = added;
  await node.removePod(first as PodUnderTest);
  const now = await node.cni({ command: 'ADD', ...request });
  assert.is(now.code, 0, now.stdout);
  const ips = (now.json?.ips ?? []) as { address: string }[];
  assert.ok(
    ips.some(({ address }) => address === `${first?.ipv4}/32`),
    'the one that was freed',
  );
  assert.is((await node.cni({ command: 'DEL', ...request })).code, 0);
  await node.bed.removeNetns(netns);
  for (const pod of added.slice(1)) await node.removePod(pod);
});

test('the address of a pod that may is given to one that may not: it may not, from the first packet on', async () => {
  const others = [await node.addPod('default', 'walled-1'), await node.addPod('default', 'walled-2')];
  const friend = await node.addPod('default', 'friend');
  const target = { address: server.ipv4, port: PORT, timeoutMs: SILENCE_MS };
  assert.is(await friend.peer.tcp(target), 'ok');
  const kept = await friend.peer.open({ ...target, sourcePort: 5555 });
  assert.is(await friend.peer.say(kept, 'hello'), 'ok');
  await node.removePod(friend); // its connection is still in the table
  const before = (await server.peer.served()).connections;
  const foe = await node.addPod('default', 'foe');
  assert.is(foe.ipv4, friend.ipv4, 'the only one left');
  assert.is(await foe.peer.tcp({ ...target, sourcePort: 5555 }), 'timeout');
  assert.is(await foe.peer.tcp(target), 'timeout');
  assert.is((await server.peer.served()).connections, before);
  // The old pod's manifest goes only now: whose address it was does not matter any more.
  const marker = policy.split('---\n')[0]?.replaceAll('server', 'marker');
  await node.writeManifest('pods.yaml', PODS.replace(pod('friend', 'friend'), '') + marker); // one change
  await until(async () => (await node.get('/v1/policies')).body.includes('"marker"'), { what: 'its end to be known' });
  assert.is(await foe.peer.tcp(target), 'timeout');
  assert.is(
    await open.peer.tcp({ address: foe.ipv4, port: 1, timeoutMs: SILENCE_MS }),
    'refused',
    'it is reached as before',
  );
  await node.writeManifest('pods.yaml', PODS);
  await node.removePod(foe);
  for (const pod of others) await node.removePod(pod);
});

async function forceDelete(pod: PodUnderTest): Promise<void> {
  await pod.peer.close();
  await node.bed.removeNetns(pod.netns);
  node.pods.splice(node.pods.indexOf(pod), 1);
}

function delOf(pod: PodUnderTest) {
  return node.cni({ command: 'DEL', containerId: pod.containerId, netns: '', interfaceName: 'eth0' });
}

test.run();
