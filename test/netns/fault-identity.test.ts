/** Faults 22, 24 and 25: labels that flicker, labels that pretend, and senders nobody knows. */
import { setTimeout as sleep } from 'node:timers/promises';
import * as assert from 'uvu/assert';
import { NodeUnderTest, type PodUnderTest } from '../kit/node.ts';
import { suite } from '../kit/suite.ts';
import { until } from '../kit/until.ts';

const SILENCE_MS = 300;
const test = suite('who is who');
let node: NodeUnderTest;
let pods: Record<string, PodUnderTest>;

type Colour = 'red' | 'blue';
const namespaces = (team: Colour): string =>
  ['default', 'other', 'team']
    .map((name) => {
      const labels = name === 'team' ? `, labels: { team: ${team} }` : '';
      return `apiVersion: v1\nkind: Namespace\nmetadata: { name: ${name}${labels} }\n---\n`;
    })
    .join('');
const pod = (namespace: string, name: string, labels: string): string =>
  `apiVersion: v1\nkind: Pod\nmetadata: { name: ${name}, namespace: ${namespace}, labels: { ${labels} } }\n---\n`;
const flicker = (colour: Colour): string => pod('default', 'flicker', `app: flicker, colour: ${colour}`);

const SERVERS = ['own', 'absent', 'nobody', 'block', 'standard', 'host', 'world', 'colours'] as const;
const fixedPods = [
  pod('default', 'a', 'app: a'),
  pod('default', 'b', 'app: b'),
  pod('default', 'c', 'app: c'),
  pod('team', 'member', 'app: member'),
  // As near as a user can come to being in another namespace.
  pod('other', 'pretender', 'app: a, io.kubernetes.pod.namespace: default, io.cilium.k8s.policy.cluster: default'),
  ...SERVERS.map((name) => pod('default', name, `app: ${name}`)),
].join('');

const cilium = (name: string, selector: string, ingress: string): string => `apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: { name: ${name}, namespace: default }
spec:
  endpointSelector: { matchLabels: { ${selector} } }
  ingress: ${ingress}
---
`;
const standard = (name: string, from: string): string => `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: ${name}, namespace: default }
spec:
  podSelector: { matchLabels: { app: ${name} } }
  ingress: [{ from: ${from} }]
---
`;
const on = (port: number): string => `toPorts: [{ ports: [{ port: "${port}", protocol: UDP }] }]`;
const inTeam = (colour: Colour): string => `{ "k8s:io.cilium.k8s.namespace.labels.team": ${colour} }`;
const policies = [
  cilium('red', 'app: flicker, colour: red', '[{ fromEndpoints: [{ matchLabels: { app: a } }] }]'),
  cilium('blue', 'app: flicker, colour: blue', '[{ fromEndpoints: [{ matchLabels: { app: b } }] }]'),
  cilium(
    'colours',
    'app: colours',
    `[{ fromEndpoints: [{ matchLabels: { colour: red } }], ${on(8081)} },
      { fromEndpoints: [{ matchLabels: { colour: blue } }], ${on(8082)} },
      { fromEndpoints: [{ matchLabels: ${inTeam('red')} }], ${on(8084)} },
      { fromEndpoints: [{ matchLabels: ${inTeam('blue')} }], ${on(8085)} }]`,
  ),
  cilium('own', 'app: own', '[{ fromEndpoints: [{}] }]'),
  cilium(
    'absent',
    'app: absent',
    '[{ fromEndpoints: [{ matchExpressions: [{ key: io.kubernetes.pod.namespace, operator: DoesNotExist }] }] }]',
  ),
  cilium('nobody', 'app: nobody', '[{ fromEndpoints: [] }]'),
  standard('block', '[{ ipBlock: { cidr: 192.0.2.0/24 } }]'),
  standard('standard', '[{ podSelector: {} }]'),
  cilium('host', 'app: host', '[{ fromEntities: [host] }, { fromEndpoints: [{}] }]'),
  cilium('world', 'app: world', '[{ fromEntities: [world] }]'),
].join('');

test.before(async () => {
  node = await NodeUnderTest.start('faultid', {
    manifests: {
      'namespaces.yaml': namespaces('red'),
      'fixed.yaml': fixedPods,
      'flicker.yaml': flicker('red'),
      'policies.yaml': policies,
    },
  });
  const wired: Record<string, PodUnderTest> = {};
  for (const name of ['flicker', 'a', 'b', 'c', ...SERVERS]) wired[name] = await node.addPod('default', name);
  wired.member = await node.addPod('team', 'member');
  wired.pretender = await node.addPod('other', 'pretender');
  for (const name of ['flicker', ...SERVERS]) await wired[name]?.peer.serveTcp(80);
  for (const port of [8081, 8082, 8083, 8084, 8085]) await wired.colours?.peer.serveUdp(port);
  await wired.flicker?.peer.serveUdp(8080);
  pods = wired;
});
test.after(() => node?.close());

const the = (name: string): PodUnderTest => pods[name] as PodUnderTest;
const udp = (from: string, to: string, port: number) =>
  the(from).peer.udp({ address: the(to).ipv4, port, timeoutMs: SILENCE_MS });

test('labels of a pod and of a namespace that flip a hundred times a second: converges, and nobody slips through', async () => {
  const identities = async (): Promise<number> =>
    (await node.getJson<{ identities: unknown[] }>('/v1/identities')).identities.length;
  const before = await identities();
  const forbidden = [
    { from: 'c', to: 'flicker', port: 8080 },
    { from: 'flicker', to: 'colours', port: 8083 },
    { from: 'member', to: 'colours', port: 8083 },
  ];
  const tickers = await Promise.all(
    forbidden.map(({ from, to, port }, i) =>
      the(from).peer.startTicker('udp', { address: i === 1 ? the(to).ipv6 : the(to).ipv4, port }, 1),
    ),
  );
  const colours: Colour[] = ['blue', 'red'];
  for (let flip = 0; flip < 200; flip++) {
    const colour = colours[flip % 2] as Colour;
    await node.writeManifest('flicker.yaml', flicker(colour));
    await node.writeManifest('namespaces.yaml', namespaces(colour));
    await sleep(8); // the pace of the flips
  }
  for (const colour of ['red', 'blue'] as const) {
    const [yes, no] = colour === 'red' ? ['a', 'b'] : ['b', 'a'];
    const [mine, others] = colour === 'red' ? [8081, 8082] : [8082, 8081];
    await node.writeManifest('flicker.yaml', flicker(colour));
    await node.writeManifest('namespaces.yaml', namespaces(colour));
    await until(async () => (await udp(yes, 'flicker', 8080)) === 'ok', { what: `${yes} to be let in` });
    await until(async () => (await udp(no, 'flicker', 8080)) === 'timeout', { what: `${no} to be shut out` });
    await until(async () => (await udp('flicker', 'colours', mine)) === 'ok', { what: `a ${colour} pod` });
    assert.is(await udp('flicker', 'colours', others), 'timeout');
    await until(async () => (await udp('member', 'colours', mine + 3)) === 'ok', { what: `a ${colour} team` });
    assert.is(await udp('member', 'colours', others + 3), 'timeout');
  }
  for (const [i, ticker] of tickers.entries()) {
    const { sent, received } = await the(forbidden[i]?.from ?? '').peer.stopTicker(ticker);
    assert.ok(sent > 500, `${sent} were sent`);
    assert.is(received, 0);
  }
  assert.ok((await identities()) <= before + 2, 'two more sets of labels are two more numbers');
});

test('no label and no selector reaches over the wall of a namespace', async () => {
  const connect = (from: string, to: string, family: 'ipv4' | 'ipv6') =>
    the(from).peer.tcp({ address: the(to)[family], port: 80, timeoutMs: SILENCE_MS });
  for (const family of ['ipv4', 'ipv6'] as const) {
    for (const server of ['own', 'absent', 'nobody', 'block', 'standard', 'host']) {
      assert.is(await connect('pretender', server, family), 'timeout', `pretender -> ${server} ${family}`);
    }
    for (const server of ['own', 'standard', 'host'])
      assert.is(await connect('a', server, family), 'ok', `a -> ${server}`);
    for (const server of ['nobody', 'block'])
      assert.is(await connect('a', server, family), 'timeout', `a -> ${server}`);
  }
});

test('a sender nobody knows is the world, one in the pod range is nobody: neither is the host or a pod', async () => {
  const world = await node.bed.peer(node.world);
  const from = async (source: string, to: string): Promise<string> => {
    await node.world.ip(`route replace ${the(to).ipv4}/32 via 198.51.100.1 src ${source}`);
    return world.tcp({ address: the(to).ipv4, port: 80, timeoutMs: SILENCE_MS });
  };
  await node.world.ip('address add 203.0.113.9/32 dev lo');
  await node.world.ip('address add 10.244.0.200/32 dev lo');
  assert.is(await from('203.0.113.9', 'host'), 'timeout');
  assert.is(await from('203.0.113.9', 'world'), 'ok');
  assert.is(await from('10.244.0.200', 'host'), 'timeout');
  assert.is(await from('10.244.0.200', 'world'), 'timeout');
  interface Flows {
    readonly flows: readonly { readonly source: { readonly identity: number; readonly labels: readonly string[] } }[];
  }
  for (const [source, label] of [
    ['203.0.113.9', 'reserved:world-ipv4'],
    ['10.244.0.200', 'reserved:unmanaged'],
  ] as const) {
    const flow = await until(
      async () => (await node.getJson<Flows>(`/v1/flows?from_ip=${source}&verdict=DROPPED&last=1`)).flows[0],
      { what: `the drop of ${source}` },
    );
    assert.ok(flow.source.labels.includes(label), flow.source.labels.join());
  }
});

test.run();
