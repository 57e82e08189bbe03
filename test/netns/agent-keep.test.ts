/** `weir.dev/established` on a real node: an edit that denies a running connection, with the annotation and without. */
import * as assert from 'uvu/assert';
import { NodeUnderTest, type PodUnderTest } from '../kit/node.ts';
import { suite } from '../kit/suite.ts';
import { until } from '../kit/until.ts';

const test = suite('established connections on a real node');
let node: NodeUnderTest;
let client: PodUnderTest;
let server: PodUnderTest;

const pod = (name: string): string => `
apiVersion: v1
kind: Pod
metadata: { name: ${name}, namespace: default, labels: { app: ${name} } }
---`;

/** Isolates the server; `from` may open connections. */
const policy = (from: string, annotations = ''): string => `
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: { name: server, namespace: default, annotations: { ${annotations} } }
spec:
  endpointSelector: { matchLabels: { app: server } }
  ingress: [{ fromEndpoints: [{ matchLabels: { app: ${from} } }] }]
`;

test.before(async () => {
  const manifests = { 'pods.yaml': pod('client') + pod('server'), 'policy.yaml': policy('client') };
  node = await NodeUnderTest.start('keep', { manifests });
  [client, server] = [await node.addPod('default', 'client'), await node.addPod('default', 'server')];
  await Promise.all([server.peer.serveTcp(80), server.peer.serveUdp(53)]);
});
test.after(() => node?.close());

const SILENCE_MS = 300;

async function edit(from: string, annotations?: string): Promise<void> {
  await node.writeManifest('policy.yaml', policy(from, annotations));
  for (const address of [server.ipv4, server.ipv6]) {
    const wanted = from === 'client' ? 'ok' : 'timeout';
    const opens = () => client.peer.tcp({ address, port: 80, timeoutMs: SILENCE_MS });
    await until(async () => (await opens()) === wanted, { what: `new connections from ${from} only` });
  }
}

/** Numbered messages on one open connection. Does every message sent from now on come back? */
async function goesOn(ticker: number): Promise<boolean> {
  const before = await client.peer.tickerStats(ticker);
  await until(async () => (await client.peer.tickerStats(ticker)).sent >= before.sent + 20, {
    what: '20 more messages',
  });
  const stats = await client.peer.stopTicker(ticker, SILENCE_MS);
  return stats.received > before.received + 10;
}

const tickers = (): Promise<number[]> =>
  Promise.all(
    [server.ipv4, server.ipv6].flatMap((address) => [
      client.peer.startTicker('tcp', { address, port: 80 }, 5),
      client.peer.startTicker('udp', { address, port: 53 }, 5),
    ]),
  );

for (const [annotations, goes] of [
  ["weir.dev/established: 'keep'", true],
  ["weir.dev/established: 'reset'", false],
  ['', false],
] as const) {
  const title = `${annotations === '' ? 'no annotation' : annotations}: connections ${goes ? 'go on' : 'end'}`;
  test(`${title} when an edit denies them; new ones are denied`, async () => {
    await edit('client');
    const open = await tickers();
    for (const ticker of open) {
      await until(async () => (await client.peer.tickerStats(ticker)).received > 5, { what: 'the first answers' });
    }
    await edit('nobody', annotations);
    for (const ticker of open) assert.is(await goesOn(ticker), goes);
  });
}

test.run();
