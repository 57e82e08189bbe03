/** Faults 2, 4, 5, 8 and 36: what restarts must never do, whatever changes meanwhile. */
import { execFileSync } from 'node:child_process';
import { rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import * as assert from 'uvu/assert';
import { type Guide, startGuide } from '../kit/guide.ts';
import { repositoryFile } from '../kit/node.ts';
import { suite } from '../kit/suite.ts';
import { until } from '../kit/until.ts';

const test = suite('restarts among changes');
let guide: Guide;
test.before(async () => {
  guide = await startGuide('faultre');
});
test.after(() => guide?.node.close());

const SILENCE_MS = 300;

/** Datagrams that no version of the policy allows: the backend must never see one of them. */
async function watchForLeaks(): Promise<() => Promise<void>> {
  const { stranger, backend } = guide.pods;
  const before = (await backend.peer.served()).datagrams;
  const tickers = await Promise.all(
    [backend.ipv4, backend.ipv6].map((address) => stranger.peer.startTicker('udp', { address, port: 8080 }, 1)),
  );
  return async () => {
    const stats = await Promise.all(tickers.map((ticker) => stranger.peer.stopTicker(ticker)));
    assert.ok(
      stats.every(({ sent }) => sent > 100),
      'enough was tried',
    );
    assert.is((await backend.peer.served()).datagrams - before, 0, 'nothing leaked');
  };
}

/** The guide's policy with these ports in the place of 8080. */
function allowing(ports: readonly number[]): string {
  const list = ports.map((port) => `            - port: "${port}"\n              protocol: TCP`).join('\n');
  return guide.policy.replace(/ {12}- port: "8080"\n {14}protocol: TCP/, list);
}

test('killed in a burst of policy changes: the newest is in force in the end, and nothing between is open', async () => {
  const { node, pods } = guide;
  const { frontend, backend } = pods;
  const noLeak = await watchForLeaks();
  const talk = await frontend.peer.startTicker('tcp', { address: backend.ipv4, port: 8080 }, 2);
  let writing = true;
  let written = 0;
  const burst = (async () => {
    while (writing) {
      written += 1;
      await node.writeManifest('backend-policy.yaml', allowing([8080, 20_000 + (written % 40)]));
      await sleep(2);
    }
  })();
  for (let round = 0; round < 3; round++) {
    await node.stopAgent('SIGKILL');
    await node.startAgent();
  }
  writing = false;
  await burst;
  assert.ok(written > 100, `${written} versions were written`);
  await node.writeManifest('backend-policy.yaml', allowing([8080, 8081]));
  const target = { address: backend.ipv6, port: 8081, timeoutMs: SILENCE_MS };
  await until(async () => (await frontend.peer.tcp(target)) === 'ok', { what: 'the newest version to be in force' });
  const { desired, realized } = (await node.getJson<{ revision: { desired: number; realized: number } }>('/v1/status'))
    .revision;
  assert.is(realized, desired);
  const stats = await frontend.peer.stopTicker(talk, 500);
  assert.is(stats.ended, undefined, 'the connection that every version allows was never cut');
  assert.is(stats.received, stats.sent);
  await noLeak();
  await node.writeManifest('backend-policy.yaml', guide.policy);
  await until(async () => (await frontend.peer.tcp(target)) === 'timeout', { what: 'the first version again' });
});

test('started before its manifests are there: not ready, and what was in force stays', async () => {
  const { node, pods } = guide;
  const { frontend, backend, stranger } = pods;
  const talk = await frontend.peer.startTicker('tcp', { address: backend.ipv6, port: 8080 }, 5);
  const noLeak = await watchForLeaks();
  await node.stopAgent('SIGTERM');
  const away = `${node.manifests}.away`;
  await rename(node.manifests, away);
  await node.launchAgent();
  await until(async () => (await node.get('/healthz').catch(() => ({ status: 0 }))).status === 503, {
    what: 'the agent to say that it is not ready',
  });
  const { received } = await frontend.peer.tickerStats(talk);
  await until(async () => (await frontend.peer.tickerStats(talk)).received > received + 20, { what: 'more traffic' });
  assert.is(await frontend.peer.tcp({ address: backend.ipv4, port: 8080 }), 'ok', 'new connections too');
  assert.is(await stranger.peer.tcp({ address: backend.ipv4, port: 8080, timeoutMs: SILENCE_MS }), 'timeout');
  assert.is((await node.cni({ command: 'STATUS' })).json?.code, 50);
  await rename(away, node.manifests);
  await node.ready();
  assert.is(await frontend.peer.tcp({ address: backend.ipv4, port: 8080 }), 'ok');
  await noLeak();
  const stats = await frontend.peer.stopTicker(talk, 500);
  assert.is(stats.ended, undefined);
  assert.is(stats.received, stats.sent);
});

test('cut off in the middle while the agent was away: the last good version is in force', async () => {
  const { node, pods } = guide;
  const { frontend, backend } = pods;
  const noLeak = await watchForLeaks();
  await node.stopAgent('SIGTERM');
  const whole = await repositoryFile('demo/manifests/pods.yaml');
  await writeFile(join(node.manifests, 'pods.yaml'), whole.slice(0, whole.lastIndexOf('}')));
  await writeFile(
    join(node.manifests, 'backend-policy.yaml'),
    guide.policy.slice(0, guide.policy.indexOf('"8080"') + 3),
  );
  await node.startAgent();
  assert.is(await frontend.peer.tcp({ address: backend.ipv4, port: 8080 }), 'ok');
  assert.is(await frontend.peer.tcp({ address: backend.ipv4, port: 8081, timeoutMs: SILENCE_MS }), 'timeout');
  const { problems } = await node.getJson<{ problems: { place: string }[] }>('/v1/status');
  for (const name of ['pods.yaml', 'backend-policy.yaml']) {
    assert.ok(
      problems.some(({ place }) => place.endsWith(name)),
      `${name} is reported`,
    );
  }
  await noLeak();
  await node.writeManifest('pods.yaml', whole);
  await node.writeManifest('backend-policy.yaml', guide.policy);
  await until(async () => (await node.getJson<{ problems: [] }>('/v1/status')).problems.length === 0, {
    what: 'a clean status',
  });
});

test('identities keep their numbers over a restart and when a policy elsewhere goes', async () => {
  const { node } = guide;
  const numbers = async () => {
    const { identities } = await node.getJson<{ identities: { id: number; labels: string[] }[] }>('/v1/identities');
    return identities.map(({ id, labels }) => `${id} ${labels.join()}`).sort();
  };
  const elsewhere = `apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: { name: elsewhere, namespace: other }
spec:
  endpointSelector: {}
  egress: [{ toCIDR: [192.0.2.0/24, "2001:db8:2::/48"] }]
`;
  await node.writeManifest('elsewhere.yaml', elsewhere);
  await until(async () => (await node.get('/v1/policies')).body.includes('"elsewhere"'), { what: 'the policy' });
  const before = await numbers();
  assert.ok(before.length >= 5, before.join('\n'));
  await node.removeManifest('elsewhere.yaml');
  await until(async () => !(await node.get('/v1/policies')).body.includes('"elsewhere"'), { what: 'it to go' });
  assert.equal(await numbers(), before);
  await node.stopAgent('SIGKILL');
  await node.startAgent();
  assert.equal(await numbers(), before);
});

test('programs that the kernel refuses: the agent says why and ends, the old ones go on', async () => {
  const { node, pods } = guide;
  const { frontend, backend } = pods;
  const talk = await frontend.peer.startTicker('tcp', { address: backend.ipv4, port: 8080 }, 5);
  const noLeak = await watchForLeaks();
  await node.stopAgent('SIGTERM');
  const object = await refusedObject(node.folder);
  // In a mount namespace of its own, so that the object is another one for this agent only.
  const mount = 'mount --bind "$0" bpf/build/pod.bpf.o && exec "$@"';
  const { code, stderr } = await node.runAgent(['unshare', '--mount', 'sh', '-c', mount, object]);
  assert.is(code, 1);
  assert.match(stderr, /KERNEL_UNSUPPORTED/);
  assert.match(stderr, /the kernel does not take the programs/);
  assert.match(stderr, /invalid mem access/, "the verifier's own words");
  const { received } = await frontend.peer.tickerStats(talk);
  await until(async () => (await frontend.peer.tickerStats(talk)).received > received + 20, { what: 'more traffic' });
  await node.startAgent();
  const stats = await frontend.peer.stopTicker(talk, 500);
  assert.is(stats.ended, undefined);
  assert.is(stats.received, stats.sent);
  await noLeak();
});

/** Today's programs and one more, which reads from nowhere. */
async function refusedObject(folder: string): Promise<string> {
  const [source, object] = [join(folder, 'refused.bpf.c'), join(folder, 'refused.bpf.o')];
  const text = `#include "pod.bpf.c"
SEC("tc")
int refused(struct __sk_buff *ctx)
{
	return *(volatile int *)(long)ctx->mark;
}
`;
  await writeFile(source, text);
  const root = new URL('../../', import.meta.url).pathname;
  const machine = execFileSync('gcc', ['-print-multiarch'], { encoding: 'utf8' }).trim();
  const flags = ['-target', 'bpf', '-mcpu=v3', '-g', '-O2', '-std=gnu11', '-I.', '-Iabi', `-I/usr/include/${machine}`];
  execFileSync('clang', [...flags, '-c', source, '-o', object], { cwd: join(root, 'bpf') });
  await rm(source);
  return object;
}

test.run();
