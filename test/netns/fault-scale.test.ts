/** Faults 40 and 41: policies that are wrong, very many, or very large; the others go on. */
import { readFile } from 'node:fs/promises';
import * as assert from 'uvu/assert';
import { type Guide, startGuide } from '../kit/guide.ts';
import { suite } from '../kit/suite.ts';
import { until } from '../kit/until.ts';

const test = suite('many and large policies');
let guide: Guide;
test.before(async () => {
  guide = await startGuide('faultsc');
});
test.after(() => guide?.node.close());

const SILENCE_MS = 300;
const POLICIES = 10_000;
const PER_FILE = 500;
const CIDRS = 10_000;
/** About twice what was measured: what is kept of a policy is its document, its rules and where they stand. */
const POLICIES_MIB = 600;

const policy = (name: string, app: string, rules: string): string => `apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: { name: ${name}, namespace: default }
spec:
  endpointSelector: { matchLabels: { app: ${app} } }
${rules}`;

async function guideHolds(): Promise<void> {
  const { frontend, backend, stranger } = guide.pods;
  assert.is(await frontend.peer.tcp({ address: backend.ipv4, port: 8080 }), 'ok');
  assert.is(await frontend.peer.tcp({ address: backend.ipv6, port: 8081, timeoutMs: SILENCE_MS }), 'timeout');
  assert.is(await stranger.peer.tcp({ address: backend.ipv4, port: 8080, timeoutMs: SILENCE_MS }), 'timeout');
}

async function metric(name: string): Promise<number> {
  const { body } = await guide.node.get('/metrics');
  const row = body.split('\n').find((line) => line.startsWith(name));
  return Number(row?.split(' ').at(-1));
}

/** Resident memory of the agent, MiB. */
async function memoryMiB(): Promise<number> {
  const status = await readFile(`/proc/${guide.node.agentPid}/status`, 'utf8');
  return Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1]) / 1024;
}

test('an invalid policy isolates what it selects, or keeps its last valid version; counted, and nobody else is touched', async () => {
  const { node, pods } = guide;
  const { frontend, stranger } = pods;
  const target = { address: stranger.ipv4, port: 8080, timeoutMs: SILENCE_MS };
  assert.is(await frontend.peer.tcp(target), 'ok');
  const wrong =
    '  ingress: [{ fromEndpoints: [{ matchLabels: { app: frontend } }], toPort: [{ ports: [{ port: "8080" }] }] }]';
  await node.writeManifest('wrong.yaml', policy('wrong', 'stranger', wrong));
  await until(async () => (await frontend.peer.tcp(target)) === 'timeout', { what: 'what it selects to be isolated' });
  assert.is(await metric('weir_policies{status="isolating"}'), 1);
  await guideHolds();
  await node.writeManifest('wrong.yaml', policy('wrong', 'stranger', wrong.replace('toPort:', 'toPorts:')));
  await until(async () => (await frontend.peer.tcp(target)) === 'ok', { what: 'its corrected version' });
  await node.writeManifest('wrong.yaml', policy('wrong', 'stranger', wrong));
  await until(async () => (await metric('weir_policies{status="kept-previous"}')) === 1, { what: 'the status' });
  assert.is(await frontend.peer.tcp(target), 'ok', 'the corrected version stays in force');
  assert.is(await frontend.peer.tcp({ ...target, port: 8081 }), 'timeout');
  await guideHolds();
  await node.removeManifest('wrong.yaml');
  await until(async () => (await frontend.peer.tcp({ ...target, port: 8081 })) === 'ok', { what: 'it to be gone' });
});

test(`${POLICIES} policies: in force within a bound, the guide holds meanwhile, and all goes again`, async () => {
  const { node, pods } = guide;
  const { frontend, backend, stranger } = pods;
  const talk = await frontend.peer.startTicker('tcp', { address: backend.ipv4, port: 8080 }, 20);
  const before = await memoryMiB();
  const started = performance.now();
  const files = Array.from({ length: POLICIES / PER_FILE }, (_, file) => `many-${file}.yaml`);
  for (const [file, name] of files.entries()) {
    const documents = Array.from({ length: PER_FILE }, (_, i) => {
      const number = file * PER_FILE + i;
      // One in a hundred is about a pod of this node.
      const app = number % 100 === 0 ? 'stranger' : `app-${number}`;
      const peer = `  ingress: [{ fromEndpoints: [{ matchLabels: { app: peer-${number} } }] }]\n`;
      return policy(`many-${number}`, app, peer);
    });
    await node.writeManifest(name, documents.join('---\n'));
  }
  const shut = { address: stranger.ipv4, port: 8080, timeoutMs: SILENCE_MS };
  await until(async () => (await metric('weir_policies{status="valid"}')) === POLICIES + 1, {
    what: 'all to be known',
    timeoutMs: 60_000,
    everyMs: 200,
  });
  await until(async () => (await frontend.peer.tcp(shut)) === 'timeout', { what: 'the last to be in force' });
  const seconds = (performance.now() - started) / 1000;
  const grown = (await memoryMiB()) - before;
  console.log(`${POLICIES} policies: ${seconds.toFixed(1)} s, ${grown.toFixed(0)} MiB`);
  assert.ok(grown < POLICIES_MIB, `${grown} MiB`);
  await guideHolds();
  const changed = performance.now();
  await node.writeManifest(
    'backend-policy.yaml',
    guide.policy.replace('"8080"', '"8080"\n              endPort: 8081'),
  );
  const flipped = { address: backend.ipv4, port: 8081, timeoutMs: SILENCE_MS };
  await until(async () => (await frontend.peer.tcp(flipped)) === 'ok', { what: 'one change among them' });
  console.log(`one change among them: ${(performance.now() - changed).toFixed(0)} ms`);
  await node.writeManifest('backend-policy.yaml', guide.policy);
  for (const name of files) await node.removeManifest(name);
  await until(async () => (await metric('weir_policies{status="valid"}')) === 1, {
    what: 'all to be gone',
    timeoutMs: 30_000,
    everyMs: 100,
  });
  await until(async () => (await frontend.peer.tcp(shut)) === 'ok', { what: 'the pod to be open again' });
  const stats = await frontend.peer.stopTicker(talk, 500);
  assert.is(stats.ended, undefined);
  assert.is(stats.received, stats.sent);
});

test(`one policy with ${CIDRS} CIDRs: in force within a bound, each of them right, and gone without a trace`, async () => {
  const { node, pods } = guide;
  const { stranger, frontend } = pods;
  interface Status {
    readonly maps: readonly { readonly name: string; readonly entries: number }[];
  }
  const addressClasses = async (): Promise<number> =>
    (await node.getJson<Status>('/v1/status')).maps.find(({ name }) => name === 'address_class')?.entries ?? -1;
  const world = await node.bed.peer(node.world);
  await world.serveTcp(8080);
  const before = await addressClasses();
  const started = performance.now();
  const far = Array.from({ length: CIDRS - 1 }, (_, i) => `"10.${100 + (i >> 8)}.${i & 255}.0/24"`);
  const list = [...far.slice(0, CIDRS / 2), '"198.51.100.2/32"', ...far.slice(CIDRS / 2)].join(', ');
  await node.writeManifest('large.yaml', policy('large', 'stranger', `  egress: [{ toCIDR: [${list}] }]\n`));
  await until(async () => (await addressClasses()) >= before + CIDRS, {
    what: 'every CIDR to be there',
    timeoutMs: 30_000,
  });
  console.log(`${CIDRS} CIDRs: ${((performance.now() - started) / 1000).toFixed(1)} s`);
  assert.is(await stranger.peer.tcp({ address: '198.51.100.2', port: 8080 }), 'ok');
  assert.is(await stranger.peer.tcp({ address: frontend.ipv4, port: 8080, timeoutMs: SILENCE_MS }), 'timeout');
  await guideHolds();
  await node.removeManifest('large.yaml');
  await until(async () => (await addressClasses()) === before, { what: 'every entry to be gone', timeoutMs: 30_000 });
  assert.is(await stranger.peer.tcp({ address: frontend.ipv4, port: 8080 }), 'ok');
});

test.run();
