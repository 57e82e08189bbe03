/** The guide's policy on a real node: every attempt of its truth table, and what the API says of each. */
import * as assert from 'uvu/assert';
import { TRUTH_TABLE } from '../../demo/truth-table.ts';
import { GUIDE_PORTS, type Guide, startGuide } from '../kit/guide.ts';
import { WORLD } from '../kit/node.ts';
import { suite } from '../kit/suite.ts';
import type { Peer } from '../kit/traffic.ts';
import { until } from '../kit/until.ts';

const test = suite('the guide on one node');
let guide: Guide;
let world: Peer;

test.before(async () => {
  guide = await startGuide('guide');
  world = await guide.node.bed.peer(guide.node.world);
  await Promise.all(GUIDE_PORTS.map((port) => world.serveTcp(port)));
});
test.after(() => guide?.node.close());

const SILENCE_MS = 400;

function party(name: string): { peer: Peer; ipv4: string; ipv6: string; ping: (to: string) => Promise<boolean> } {
  if (name === 'world') return { peer: world, ...WORLD, ping: (to) => guide.node.world.ping(to, SILENCE_MS) };
  const pod = guide.node.pods.find(({ namespace, name: own }) => `${namespace}/${own}` === name);
  if (!pod) throw new Error(`no pod ${name}`);
  return { peer: pod.peer, ipv4: pod.ipv4, ipv6: pod.ipv6, ping: (to) => pod.netns.ping(to, SILENCE_MS) };
}

for (const { from, to, protocol, port, allowed, because } of TRUTH_TABLE) {
  for (const family of ['ipv4', 'ipv6'] as const) {
    test(`${from} -> ${to} ${protocol} ${port} ${family}: ${allowed ? 'allowed' : 'denied'}, ${because}`, async () => {
      const target = { address: party(to)[family], port, timeoutMs: SILENCE_MS };
      const { peer, ping } = party(from);
      const passed =
        protocol === 'ICMP'
          ? await ping(target.address)
          : (await (protocol === 'TCP' ? peer.tcp(target) : peer.udp(target))) === 'ok';
      assert.is(passed, allowed);
    });
  }
}

interface Flows {
  readonly flows: readonly {
    readonly verdict: string;
    readonly source: { readonly pod_name?: string; readonly namespace?: string; readonly labels?: string[] };
    readonly destination: { readonly pod_name?: string };
    readonly weir: {
      readonly rule?: { readonly place: string; readonly line?: number; readonly description: string };
      readonly isolatedBy?: readonly { readonly name: string }[];
    };
  }[];
}

test('an allowed flow names the rule with file and line; a default-deny drop names the policy that isolates', async () => {
  await party('default/frontend').peer.tcp({ address: party('default/backend').ipv4, port: 8080 });
  const query = 'from_pod=default/frontend&to_pod=default/backend&to_port=8080&protocol=TCP';
  const forwarded = await until(
    async () => (await guide.node.getJson<Flows>(`/v1/flows?${query}&verdict=FORWARDED&last=1`)).flows[0],
    { what: 'the flow' },
  );
  assert.match(forwarded.weir.rule?.place ?? '', /backend-policy\.yaml$/);
  assert.type(forwarded.weir.rule?.line, 'number');
  assert.match(forwarded.weir.rule?.description ?? '', /ingress\[0\].*default\/backend-policy/);
  const dropped = await until(
    async () =>
      (await guide.node.getJson<Flows>('/v1/flows?from_pod=default/stranger&to_port=8080&verdict=DROPPED&last=1'))
        .flows[0],
    { what: 'the drop' },
  );
  assert.equal(
    dropped.weir.isolatedBy?.map(({ name }) => name),
    ['backend-policy'],
  );
  assert.ok(dropped.source.labels?.includes('k8s:app=stranger'));
});

test('the kubelet is local: the node itself reaches an isolated pod, another machine does not', async () => {
  const node = await guide.node.bed.peer(guide.node.netns);
  assert.is(await node.tcp({ address: party('default/backend').ipv4, port: 8081 }), 'ok');
  assert.is(await node.tcp({ address: party('default/backend').ipv6, port: 8081 }), 'ok');
  assert.is(await world.tcp({ address: party('default/backend').ipv4, port: 8081, timeoutMs: SILENCE_MS }), 'timeout');
});

test('a change of the policy reaches a connection that is open, and its way back too', async () => {
  const { peer } = party('default/frontend');
  const ticker = await peer.startTicker('tcp', { address: party('default/backend').ipv6, port: 8080 }, 5);
  await until(async () => (await peer.tickerStats(ticker)).received > 3, { what: 'the connection to talk' });
  await guide.node.writeManifest('backend-policy.yaml', guide.policy.replace('"8080"', '"9090"'));
  await until(async () => (await peer.tickerStats(ticker)).silentMs > 300, { what: 'silence' });
  await guide.node.writeManifest('backend-policy.yaml', guide.policy);
  const { received } = await peer.tickerStats(ticker);
  await until(async () => (await peer.tickerStats(ticker)).received > received, {
    what: 'the connection to talk again',
  });
  const stats = await peer.stopTicker(ticker);
  assert.is(stats.ended, undefined, 'never reset');
});

test('a broken file keeps the previous version in force and is reported with file, line and field', async () => {
  const original = await (await import('../kit/node.ts')).repositoryFile(
    'test/fixtures/seed/cilium-backend-policy.yaml',
  );
  await guide.node.writeManifest('backend-policy.yaml', original);
  interface Status {
    readonly problems: readonly { readonly message: string; readonly line?: number; readonly place: string }[];
  }
  const problem = await until(
    async () =>
      (await guide.node.getJson<Status>('/v1/status')).problems.find(({ message }) =>
        message.includes('toPorts[0].port: did you mean toPorts[0].ports[].port?'),
      ),
    { what: 'the problem to be reported' },
  );
  assert.match(problem.place, /backend-policy\.yaml$/);
  assert.is(problem.line, 14);
  const backend = party('default/backend');
  assert.is(await party('default/frontend').peer.tcp({ address: backend.ipv4, port: 8080 }), 'ok');
  const denied = { address: backend.ipv4, port: 8080, timeoutMs: SILENCE_MS };
  assert.is(await party('default/stranger').peer.tcp(denied), 'timeout');
  await guide.node.writeManifest('backend-policy.yaml', guide.policy);
  await until(async () => (await guide.node.getJson<Status>('/v1/status')).problems.length === 0, {
    what: 'a clean status',
  });
});

test('a pod whose labels change is judged by its new ones at once', async () => {
  const pods = await (await import('../kit/node.ts')).repositoryFile('demo/manifests/pods.yaml');
  await guide.node.writeManifest('pods.yaml', pods.replace('app: stranger', 'app: frontend'));
  const backend = party('default/backend');
  await until(
    async () =>
      (await party('default/stranger').peer.tcp({ address: backend.ipv4, port: 8080, timeoutMs: 200 })) === 'ok',
    { what: 'the relabelled pod to be let in' },
  );
  await guide.node.writeManifest('pods.yaml', pods);
  await until(
    async () =>
      (await party('default/stranger').peer.tcp({ address: backend.ipv4, port: 8080, timeoutMs: 200 })) === 'timeout',
    { what: 'the stranger to be shut out again' },
  );
});

test.run();
