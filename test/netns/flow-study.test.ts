/** What a day's traffic is good for: sums, a record, policies made from it and proven on the wire; all of it over a restart. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import type { ServiceMapAnswer, StatsAnswer } from '../../agent/api/traffic.ts';
import { type Guide, startGuide } from '../kit/guide.ts';
import { suite } from '../kit/suite.ts';
import { until } from '../kit/until.ts';

const test = suite('a study of flows');
let guide: Guide;
let record = '';

test.before(async () => {
  guide = await startGuide('study');
  const { node } = guide;
  record = join(node.folder, 'flows.jsonl');
  await node.removeManifest('backend-policy.yaml');
  await until(async () => (await node.getJson<{ policies: unknown[] }>('/v1/policies')).policies.length === 0, {
    what: 'the policy to be gone',
  });
});
test.after(() => guide?.node.close());

/** The usual traffic: web to its backend over both families, the backend to its database. */
async function usual(): Promise<string[]> {
  const { frontend, backend, postgres } = guide.pods;
  return Promise.all([
    frontend.peer.tcp({ address: backend.ipv4, port: 8080 }),
    frontend.peer.tcp({ address: backend.ipv6, port: 8080 }),
    backend.peer.tcp({ address: postgres.ipv4, port: 5432 }),
  ]);
}

/** What nobody did: other ports, other peers, other directions. */
async function unusual(): Promise<string[]> {
  const { frontend, backend, stranger, postgres, otherFrontend } = guide.pods;
  const timeoutMs = 300;
  return Promise.all([
    frontend.peer.tcp({ address: backend.ipv4, port: 8081, timeoutMs }),
    stranger.peer.tcp({ address: backend.ipv4, port: 8080, timeoutMs }),
    otherFrontend.peer.tcp({ address: backend.ipv4, port: 8080, timeoutMs }),
    frontend.peer.tcp({ address: postgres.ipv4, port: 5432, timeoutMs }),
    postgres.peer.tcp({ address: backend.ipv4, port: 8080, timeoutMs }),
    backend.peer.tcp({ address: frontend.ipv4, port: 8080, timeoutMs }),
  ]);
}

interface Policies {
  readonly policies: readonly { readonly kind: string; readonly status: string; readonly realized: boolean }[];
}
const isInForce = (wanted: string) => (policy: Policies['policies'][number]) =>
  policy.kind === wanted && policy.status === 'valid' && policy.realized;

test('sums tell who talks to whom', async () => {
  assert.equal(await usual(), ['ok', 'ok', 'ok']);
  const wanted = 'default/frontend default/backend 8080 2';
  const stats = await until(
    async () => {
      const answer = await guide.node.getJson<StatsAnswer>('/v1/flows/stats');
      const rows = answer.pairs.map(({ from, to, port, connections }) => `${from} ${to} ${port} ${connections}`);
      return rows.includes(wanted) ? answer : undefined;
    },
    { what: wanted },
  );
  assert.ok(stats.pairs.every(({ bytes }) => bytes > 0));
  const map = await guide.node.getJson<ServiceMapAnswer>('/v1/service-map');
  assert.ok(
    map.edges.some(({ to, port }) => to.startsWith('database/postgres') && port === 5432),
    JSON.stringify(map.edges),
  );
  const { code, stdout } = await guide.node.weir('flows', 'top', '--port', '8080');
  assert.is(code, 0);
  assert.match(stdout, /default\/frontend +default\/backend +8080\/TCP +2 /);
});

test('a record holds what observe shows, and replays', async () => {
  const { node } = guide;
  const recorded = await node.weir('flows', 'record', record, '--type', 'new');
  assert.is(recorded.code, 0, recorded.stderr);
  const lines = (await readFile(record, 'utf8')).trim().split('\n');
  assert.match(recorded.stderr, `${lines.length} flows written`);
  const replayed = await node.weir('flows', 'replay', record);
  const observed = await node.weir('observe', '--all', '--type', 'new');
  assert.is(replayed.stdout, observed.stdout);
  assert.ok(replayed.stdout.split('\n').length > 3);
});

test('policies from flows, put in force, allow what was recorded and deny the rest', async () => {
  const { node } = guide;
  const made = await node.weir('policy', 'from-flows', '--flows', record);
  assert.is(made.code, 0, made.stderr);
  assert.match(made.stdout, /# \d+ events?, last \S+: default\/frontend -> default\/backend 8080\/TCP/);
  const alive = await node.weir('policy', 'from-flows', '--since', '1h', '--namespace', 'default');
  assert.is(alive.code, 0, alive.stderr);
  assert.not.match(alive.stdout, /^ {2}namespace: database$/m);
  await node.writeManifest('seen.yaml', made.stdout);
  const wanted = made.stdout.match(/^kind: CiliumNetworkPolicy$/gm)?.length ?? 0;
  assert.ok(wanted >= 3);
  await until(
    async () => {
      const { policies } = await node.getJson<Policies>('/v1/policies');
      return policies.length === wanted && policies.every(isInForce('CiliumNetworkPolicy'));
    },
    { what: 'the policies to be in force' },
  );
  assert.equal(await usual(), ['ok', 'ok', 'ok']);
  assert.equal(await unusual(), Array(6).fill('timeout'));
});

test('the same as NetworkPolicies, in place of them', async () => {
  const { node } = guide;
  const made = await node.weir('policy', 'from-flows', '--kind', 'NetworkPolicy', '--flows', record);
  assert.is(made.code, 0, made.stderr + made.stdout);
  assert.match(made.stdout, /# \d+ events?, last \S+: default\/frontend -> default\/backend 8080\/TCP/);
  assert.not.match(made.stdout, 'CiliumNetworkPolicy');
  await node.writeManifest('seen.yaml', made.stdout);
  const wanted = made.stdout.match(/^kind: NetworkPolicy$/gm)?.length ?? 0;
  assert.ok(wanted >= 3);
  await until(
    async () => {
      const { policies } = await node.getJson<Policies>('/v1/policies');
      return policies.length === wanted && policies.every(isInForce('NetworkPolicy'));
    },
    { what: 'the NetworkPolicies to be in force', detail: () => node.log() },
  );
  assert.equal(await usual(), ['ok', 'ok', 'ok']);
  assert.equal(await unusual(), Array(6).fill('timeout'));
  const { backend, frontend } = guide.pods;
  assert.is(await frontend.netns.ping(backend.ipv4, 300), false, 'of ICMP nothing was recorded');
});

test('what is dropped then is told, never allowed', async () => {
  const made = await guide.node.weir('policy', 'from-flows', '--since', '1h');
  assert.is(made.code, 0, made.stderr);
  assert.match(made.stderr, /dropped flows are told at the top, and not allowed/);
  assert.match(made.stdout, /^# DROPPED while this was recorded, and not allowed here:$/m);
  assert.match(made.stdout, /^# {3}\d events?, last \S+: default\/stranger -> default\/backend 8080\/TCP$/m);
  const allowed = made.stdout.split('\n').filter((line) => !line.trimStart().startsWith('#'));
  assert.not.match(allowed.join('\n'), '8081');
});

test.run();
