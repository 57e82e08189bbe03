/** Fault 18: what the agent keeps on disk is damaged while it is away, or the disk is full. */
import { readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { command } from '../kit/command.ts';
import { type Guide, startGuide } from '../kit/guide.ts';
import { suite } from '../kit/suite.ts';
import { until } from '../kit/until.ts';

const test = suite('damaged state and a full disk');
let guide: Guide;
let state = '';
test.before(async () => {
  guide = await startGuide('faultst');
  state = join(guide.node.folder, 'state');
});
test.after(async () => {
  await guide?.node.stopAgent('SIGKILL');
  await unmount();
  await guide?.node.close();
});

interface Status {
  readonly problems: readonly { readonly message: string; readonly place: string }[];
}
interface Endpoints {
  readonly endpoints: readonly { readonly id: number; readonly podName: string; readonly identity: number }[];
}

/** The guide's most telling rows, with traffic. */
async function guideHolds(): Promise<void> {
  const { frontend, backend, stranger, postgres } = guide.pods;
  const denied = { port: 8080, timeoutMs: 300 };
  assert.is(await frontend.peer.tcp({ address: backend.ipv4, port: 8080 }), 'ok');
  assert.is(await backend.peer.tcp({ address: postgres.ipv6, port: 5432 }), 'ok');
  assert.is(await stranger.peer.tcp({ address: backend.ipv4, ...denied }), 'timeout');
  assert.is(await stranger.peer.tcp({ address: backend.ipv6, ...denied }), 'timeout');
}

async function stateFiles(): Promise<string[]> {
  const entries = await readdir(state, { recursive: true, withFileTypes: true });
  return entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
}

async function endpoints(): Promise<string[]> {
  const { endpoints } = await guide.node.getJson<Endpoints>('/v1/endpoints');
  return endpoints.map(({ id, podName, identity }) => `${id} ${podName} ${identity}`);
}

const withoutIdentity = (row: string): string => row.replace(/ \d+$/, '');

test('one flipped bit in each of its files: all is told, and every pod and verdict is as before', async () => {
  const { node } = guide;
  const before = await endpoints();
  await node.stopAgent('SIGTERM');
  const files = await stateFiles();
  for (const kind of ['endpoints/', 'identities.journal', 'policies.last-valid', 'manifests/']) {
    assert.ok(
      files.some((file) => file.includes(kind)),
      `${kind} among ${files}`,
    );
  }
  for (const file of files) {
    const bytes = await readFile(file);
    const middle = Math.floor(bytes.length / 3);
    bytes[middle] = (bytes[middle] ?? 0) ^ 0x10;
    await writeFile(file, bytes);
  }
  await node.startAgent();
  await guideHolds();
  const now = await endpoints();
  assert.equal(now.map(withoutIdentity), before.map(withoutIdentity), 'nobody lost its endpoint');
  const renumbered = now.filter((row) => !before.includes(row));
  assert.ok(renumbered.length <= 1, `at most the identity whose line was hit has a new number: ${renumbered}`);
  const { problems } = await node.getJson<Status>('/v1/status');
  for (const place of ['identities.journal', 'policies.last-valid', 'endpoints/']) {
    assert.ok(
      problems.some((problem) => `${problem.place} ${problem.message}`.includes(place)),
      `${place} is told of: ${JSON.stringify(problems)}`,
    );
  }
  await node.stopAgent('SIGTERM');
  await node.startAgent();
  const { problems: after } = await node.getJson<Status>('/v1/status');
  assert.equal(after, [], 'what could be read was written anew');
});

test('every file cut to nothing: pods without a record are taken off the network, never left unjudged', async () => {
  const { node, pods } = guide;
  await node.stopAgent('SIGKILL');
  for (const file of await stateFiles()) await truncate(file, 0);
  await node.startAgent();
  assert.equal(await endpoints(), []);
  const { stranger, backend } = pods;
  assert.is.not(await stranger.peer.tcp({ address: backend.ipv4, port: 8080, timeoutMs: 300 }), 'ok');
  const links = JSON.parse(await node.netns.ip('-j link show')) as { ifname: string }[];
  assert.equal(
    links.filter(({ ifname }) => ifname.startsWith('weir')).map(({ ifname }) => ifname),
    [],
  );
  assert.ok((await node.getJson<Status>('/v1/status')).problems.length > 0);
  for (const pod of [...node.pods]) await node.removePod(pod); // succeeds, as DEL always does
  const again = await node.addPod('default', 'frontend');
  assert.is(await again.netns.ping(again.ipv4), true);
  await node.removePod(again);
});

test('a full disk: pods that run are not touched, ADD fails with the cause, a restart works, and room is enough to recover', async () => {
  const { node } = guide;
  await node.stopAgent('SIGTERM');
  await rm(state, { recursive: true });
  await command(['mkdir', state]);
  await command(['mount', '-t', 'tmpfs', '-o', 'size=256k,mode=700', `wt-full-${process.pid}`, state]);
  await node.startAgent();
  const pods = {
    frontend: await node.addPod('default', 'frontend'),
    backend: await node.addPod('default', 'backend'),
    stranger: await node.addPod('default', 'stranger'),
    postgres: await node.addPod('database', 'postgres'),
    otherFrontend: await node.addPod('other', 'frontend'),
  };
  for (const port of [8080, 5432])
    await Promise.all([pods.backend.peer.serveTcp(port), pods.postgres.peer.serveTcp(port)]);
  guide = { ...guide, pods };
  await guideHolds();

  await command(['dd', 'if=/dev/zero', `of=${join(state, 'filler')}`, 'bs=4k', 'status=none']).catch(() => {}); // until it is full
  const netns = await node.bed.netns('late');
  const call = {
    containerId: 'late',
    netns: netns.path,
    interfaceName: 'eth0',
    args: 'IgnoreUnknown=1;K8S_POD_NAMESPACE=other;K8S_POD_NAME=frontend',
  };
  const refused = await node.cni({ command: 'ADD', ...call });
  assert.is(refused.json?.code, 103, refused.stdout);
  assert.match(refused.stdout, /ENOSPC/);
  assert.not.match(await netns.ip('-o link show'), /eth0/);
  assert.equal((await endpoints()).length, 5);
  await guideHolds();

  await node.stopAgent('SIGKILL');
  await node.startAgent();
  await guideHolds();
  assert.equal((await endpoints()).length, 5);
  assert.is((await node.cni({ command: 'ADD', ...call })).json?.code, 103);

  await rm(join(state, 'filler'));
  const added = await until(
    async () => {
      const answer = await node.cni({ command: 'ADD', ...call });
      return answer.code === 0 && answer;
    },
    { what: 'an ADD to succeed' },
  );
  assert.is(added.code, 0);
  assert.is((await node.cni({ command: 'DEL', ...call })).code, 0);
  await guideHolds();
});

async function unmount(): Promise<void> {
  if ((await readFile('/proc/self/mountinfo', 'utf8')).includes(` ${state} `)) await command(['umount', state]);
}

test.run();
