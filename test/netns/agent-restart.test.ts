/** Faults 1, 2, 7 and 14 (docs/faults.md): the agent dies or is away, the datapath and the pods are not. */
import { readdir } from 'node:fs/promises';
import * as assert from 'uvu/assert';
import { type Guide, startGuide } from '../kit/guide.ts';
import { suite } from '../kit/suite.ts';
import { until } from '../kit/until.ts';

const test = suite('the agent restarts');
let guide: Guide;
test.before(async () => {
  guide = await startGuide('restart');
});
test.after(() => guide?.node.close());

const denied = { port: 8080, timeoutMs: 300 } as const;

test('killed under traffic: no reset, nothing lost, nothing leaked, before and after the restart', async () => {
  const { node, pods } = guide;
  const { frontend, backend, stranger } = pods;
  const tcp = await frontend.peer.startTicker('tcp', { address: backend.ipv4, port: 8080 }, 2);
  const udp = await frontend.peer.startTicker('udp', { address: stranger.ipv6, port: 8080 }, 2);
  const leak = await stranger.peer.startTicker('udp', { address: backend.ipv4, port: 8080 }, 2);
  for (let round = 0; round < 3; round++) {
    await node.stopAgent('SIGKILL');
    const { received } = await frontend.peer.tickerStats(tcp);
    await until(async () => (await frontend.peer.tickerStats(tcp)).received > received + 20, {
      what: 'traffic without an agent',
    });
    assert.is(await stranger.peer.tcp({ address: backend.ipv4, ...denied }), 'timeout');
    assert.is(await stranger.peer.tcp({ address: backend.ipv6, ...denied }), 'timeout');
    await node.startAgent();
  }
  const talked = await frontend.peer.stopTicker(tcp, 500);
  assert.is(talked.ended, undefined);
  assert.is(talked.received, talked.sent);
  const datagrams = await frontend.peer.stopTicker(udp, 500);
  assert.is(datagrams.received, datagrams.sent);
  assert.is((await stranger.peer.stopTicker(leak)).received, 0);
  assert.is(await frontend.peer.tcp({ address: backend.ipv6, port: 8080 }), 'ok');
  const { length } = await node
    .getJson<unknown[]>('/v1/endpoints')
    .then((answer) => (Array.isArray(answer) ? answer : (answer as { endpoints: unknown[] }).endpoints));
  assert.is(length, 5);
});

test('away: ADD says "try again" in bounded time, STATUS 50, DEL is kept and applied once the agent is back', async () => {
  const { node, pods } = guide;
  await node.stopAgent('SIGTERM');
  const netns = await node.bed.netns('late');
  const started = performance.now();
  const add = await node.cni({
    command: 'ADD',
    containerId: 'late',
    netns: netns.path,
    interfaceName: 'eth0',
    args: 'IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=frontend',
  });
  assert.is(add.json?.code, 11);
  assert.ok(performance.now() - started < 30_000);
  assert.is((await node.cni({ command: 'STATUS' })).json?.code, 50);
  const address = pods.otherFrontend.ipv4;
  await node.removePod(pods.otherFrontend);
  assert.is((await readdir(`${node.folder}/state/cni-queue`)).length, 1);
  await node.startAgent();
  assert.equal(await readdir(`${node.folder}/state/cni-queue`), []);
  const { body } = await node.get('/v1/endpoints');
  assert.not.match(body, new RegExp(`"${address.replaceAll('.', '\\.')}"`));
});

test('a second agent on the same state directory ends and names the first', async () => {
  const { node } = guide;
  const first = node.agentPid;
  const { code, stderr } = await node.runAgent();
  assert.is(code, 1);
  assert.match(stderr, new RegExp(`pid ${first}`));
});

test.run();
