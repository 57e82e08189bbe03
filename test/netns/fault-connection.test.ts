/** Faults 11, 35, 42 and 43: what becomes of open connections when a policy, an MTU or the clock changes under them. */
import * as assert from 'uvu/assert';
import { type Guide, startGuide } from '../kit/guide.ts';
import { WORLD } from '../kit/node.ts';
import { suite } from '../kit/suite.ts';
import { until } from '../kit/until.ts';

const test = suite('open connections');
let guide: Guide;

/** Loaded into the agent: every SIGUSR2 sets its wall clock one step on, a year ahead first and then a year back. */
const JUMPING_CLOCK = `
const Real = Date, YEAR = 366 * 864e5, steps = [YEAR, -YEAR, 0];
let shift = 0;
globalThis.Date = class extends Real {
  constructor(...given) { given.length === 0 ? super(Real.now() + shift) : super(...given); }
  static now() { return Real.now() + shift; }
};
process.on('SIGUSR2', () => { shift = steps.shift() ?? 0; });`;

test.before(async () => {
  process.env.NODE_OPTIONS = `--import=data:text/javascript,${encodeURIComponent(JUMPING_CLOCK)}`;
  guide = await startGuide('faultcn');
});
test.after(() => guide?.node.close());

const SILENCE_MS = 300;

interface Flows {
  readonly flows: readonly object[];
}
const policy = (name: string, app: string, from: string): string => `apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: { name: ${name}, namespace: default }
spec:
  endpointSelector: { matchLabels: { app: ${app} } }
  ingress: [{ fromEndpoints: [{ matchLabels: { app: ${from} } }] }]
`;

test('isolated while connections are open: those nobody allows end at once and visibly, the others and replies go on', async () => {
  const { node, pods } = guide;
  const { stranger, frontend, postgres } = pods;
  for (const family of ['ipv4', 'ipv6'] as const) {
    const allowed = await frontend.peer.open({ address: stranger[family], port: 8080 });
    const denied = await postgres.peer.open({ address: stranger[family], port: 8080 });
    const outwards = await stranger.peer.open({ address: postgres[family], port: 8080 });
    for (const [peer, connection] of [
      [frontend.peer, allowed],
      [postgres.peer, denied],
      [stranger.peer, outwards],
    ] as const)
      assert.is(await peer.say(connection, 'before'), 'ok');
    await node.writeManifest('isolate.yaml', policy('isolate', 'stranger', 'frontend'));
    const shut = { address: stranger[family], port: 8080, timeoutMs: SILENCE_MS };
    await until(async () => (await postgres.peer.tcp(shut)) === 'timeout', { what: 'the isolation' });
    assert.is(
      await postgres.peer.say(denied, 'after', SILENCE_MS),
      'timeout',
      'its SYN was allowed, it is not any more',
    );
    assert.is(await frontend.peer.say(allowed, 'after'), 'ok');
    assert.is(await stranger.peer.say(outwards, 'after'), 'ok', 'replies to what the pod itself opened');
    const revoked = await until(
      async () =>
        (await node.getJson<Flows>(`/v1/flows?from_pod=database/postgres&drop_reason=policy_revoked&last=1`)).flows[0],
      { what: 'the event' },
    );
    assert.ok(revoked);
    await node.removeManifest('isolate.yaml');
    await until(async () => (await postgres.peer.tcp(shut)) === 'ok', { what: 'the isolation to end' });
  }
});

test('the wall clock jumps a year ahead and back: connections, identities, policies and ADD do not care', async () => {
  const { node, pods } = guide;
  const { frontend, backend } = pods;
  const talk = await frontend.peer.startTicker('tcp', { address: backend.ipv4, port: 8080 }, 5);
  const uptime = async (): Promise<number> =>
    (await node.getJson<{ uptimeSeconds: number }>('/v1/status')).uptimeSeconds;
  const identities = async () => (await node.getJson<{ identities: { id: number }[] }>('/v1/identities')).identities;
  const before = await identities();
  const target = { address: backend.ipv6, timeoutMs: SILENCE_MS };
  for (const jumped of [(s: number) => s > 1e7, (s: number) => s === 0, (s: number) => s > 0 && s < 1e4]) {
    process.kill(node.agentPid, 'SIGUSR2');
    await until(async () => jumped(await uptime()), { what: 'the clock to jump' });
    const { received } = await frontend.peer.tickerStats(talk);
    await until(async () => (await frontend.peer.tickerStats(talk)).received > received + 50, { what: 'more traffic' });
    await node.writeManifest(
      'backend-policy.yaml',
      guide.policy.replace('"8080"', '"8080"\n              endPort: 8081'),
    );
    await until(async () => (await frontend.peer.tcp({ ...target, port: 8081 })) === 'ok', { what: 'a policy change' });
    await node.writeManifest('backend-policy.yaml', guide.policy);
    await until(async () => (await frontend.peer.tcp({ ...target, port: 8081 })) === 'timeout', {
      what: 'and another',
    });
    const pod = await node.addPod('other', 'frontend');
    await node.removePod(pod);
  }
  assert.equal(await identities(), before);
  const stats = await frontend.peer.stopTicker(talk, 500);
  assert.is(stats.ended, undefined);
  assert.is(stats.received, stats.sent);
});

test('a path that takes less than the pod believes: the router’s word reaches the pod through its policy', async () => {
  const { node, pods } = guide;
  const world = await node.bed.peer(node.world);
  await world.serveTcp(9000);
  // The isolated pod may talk to this one machine outside, and only by TCP.
  const toWorld = `apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: { name: outside, namespace: default }
spec:
  endpointSelector: { matchLabels: { app: backend } }
  egress: [{ toCIDR: [${WORLD.ipv4}/32, "${WORLD.ipv6}/128"], toPorts: [{ ports: [{ port: "9000", protocol: TCP }] }] }]
`;
  await node.writeManifest('outside.yaml', toWorld);
  const { peer, netns } = pods.backend;
  for (const family of ['ipv4', 'ipv6'] as const) {
    const target = { address: WORLD[family], port: 9000 };
    await until(async () => (await peer.tcp({ ...target, timeoutMs: SILENCE_MS })) === 'ok', { what: 'the way out' });
    const connection = await peer.open(target);
    assert.is(await peer.say(connection, 'x'.repeat(5000)), 'ok');
    await node.netns.ip('link set uplink mtu 1300');
    await node.world.ip('link set eth0 mtu 1300');
    assert.is(await peer.say(connection, 'x'.repeat(5000), 5000), 'ok', `${family}: the open connection learns it`);
    assert.match(await netns.ip(`route get ${target.address}`), /mtu 1300/);
    await peer.hangUp(connection);
    await node.netns.ip('link set uplink mtu 1500');
    await node.world.ip('link set eth0 mtu 1500');
  }
  await node.netns.ip('link set uplink mtu 1400');
  await node.removePod(pods.otherFrontend);
  const fresh = await until(
    async () => {
      const pod = await node.addPod('other', 'frontend');
      const isNew = (await pod.netns.ip('-o link show eth0')).includes('mtu 1400');
      if (!isNew) await node.removePod(pod);
      return isNew && pod;
    },
    { what: "a new pod to have the uplink's MTU", everyMs: 500 },
  );
  await node.removePod(fresh);
});

test.run();
