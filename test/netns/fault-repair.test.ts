/** Fault 37: other software takes the programs off the interfaces, or wipes their pins. */
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { closeFd, linkDetach, openPinned } from '../../native/index.ts';
import { type Guide, startGuide } from '../kit/guide.ts';
import { privileged } from '../kit/privileged.ts';
import { suite } from '../kit/suite.ts';
import { until } from '../kit/until.ts';

const SILENCE_MS = 300;
/** The agent looks every two seconds. */
const REPAIRED_MS = 5000;

async function guideHolds({ pods }: Guide): Promise<void> {
  const { frontend, backend, stranger } = pods;
  const hold = async (address: string): Promise<void> => {
    const [allowed, otherPort, otherPod] = await Promise.all([
      frontend.peer.tcp({ address, port: 8080 }),
      frontend.peer.tcp({ address, port: 8081, timeoutMs: SILENCE_MS }),
      stranger.peer.tcp({ address, port: 8080, timeoutMs: SILENCE_MS }),
    ]);
    assert.equal([allowed, otherPort, otherPod], ['ok', 'timeout', 'timeout'], address);
  };
  await Promise.all([hold(backend.ipv4), hold(backend.ipv6)]);
}

/** Datagrams that the policy forbids, from now on; how many arrived. */
async function leaks({ pods }: Guide): Promise<() => Promise<number>> {
  const { stranger, backend } = pods;
  const before = (await backend.peer.served()).datagrams;
  const ticker = await stranger.peer.startTicker('udp', { address: backend.ipv4, port: 8080 }, 1);
  return async () => {
    const { sent } = await stranger.peer.stopTicker(ticker);
    assert.ok(sent > 100, 'enough was tried');
    return (await backend.peer.served()).datagrams - before;
  };
}

async function links({ node }: Guide): Promise<string[]> {
  return (await readdir(join(node.pinFolder, 'links')).catch(() => [])).sort();
}

async function hostInterfaces({ node }: Guide): Promise<string[]> {
  const all = JSON.parse(await node.netns.ip('-j link show')) as { ifname: string }[];
  return all.map(({ ifname }) => ifname).filter((name) => name.startsWith('weir'));
}

const tcx = privileged(suite('tcx links that others take away'), 'root', 'btf', 'bpffs', 'tcx');
let guide: Guide;
tcx.before(async () => {
  guide = await startGuide('faultrp');
});
tcx.after(() => guide?.node.close());

tcx(
  'all pins wiped while the agent runs: no packet is unjudged meanwhile, and the next agent finds them again',
  async () => {
    const { node } = guide;
    const before = { links: await links(guide), maps: await readdir(join(node.pinFolder, 'maps')) };
    const leaked = await leaks(guide);
    const { frontend, backend } = guide.pods;
    const talk = await frontend.peer.startTicker('tcp', { address: backend.ipv4, port: 8080 }, 5);
    await rm(node.pinFolder, { recursive: true });
    await until(async () => (await links(guide)).join() === before.links.join(), {
      what: 'the links to be pinned again',
      timeoutMs: REPAIRED_MS,
    });
    await until(
      async () =>
        (await readdir(join(node.pinFolder, 'maps')).catch(() => [])).sort().join() === before.maps.sort().join(),
      { what: 'the maps to be pinned again', timeoutMs: REPAIRED_MS },
    );
    assert.is(await leaked(), 0);
    await guideHolds(guide);

    await node.stopAgent('SIGKILL');
    await node.startAgent();
    await guideHolds(guide);
    // Not only as before: what changes now must reach the pods.
    await node.writeManifest('backend-policy.yaml', guide.policy.replace('"8080"', '"8081"'));
    const target = { address: backend.ipv4, timeoutMs: SILENCE_MS };
    await until(async () => (await frontend.peer.tcp({ ...target, port: 8081 })) === 'ok', {
      what: 'a change in force',
    });
    await node.writeManifest('backend-policy.yaml', guide.policy);
    await until(async () => (await frontend.peer.tcp({ ...target, port: 8081 })) === 'timeout', { what: 'and back' });
    assert.is((await frontend.peer.stopTicker(talk, 500)).ended, undefined);
  },
);

tcx('links detached by hand: put back within seconds, and told', async () => {
  const { node } = guide;
  for (const name of await links(guide)) {
    const link = openPinned(join(node.pinFolder, 'links', name));
    if (link?.kind !== 'link') throw new Error(`${name} holds no link`);
    linkDetach(link);
    closeFd(link);
  }
  const { stranger, backend } = guide.pods;
  const closed = { address: backend.ipv4, port: 8080, timeoutMs: SILENCE_MS };
  await until(async () => (await stranger.peer.tcp(closed)) === 'timeout', {
    what: 'the pods to be judged again',
    timeoutMs: REPAIRED_MS,
  });
  await guideHolds(guide);
  await until(() => node.log().includes('program detached'), { what: 'a word in the log' });
});

tcx('pins wiped while the agent is away: the next one puts its programs on every pod, and a change reaches them', () =>
  wipedWhileAway(guide),
);
tcx.run();

const clsact = privileged(suite('clsact filters that others take away'), 'root', 'btf', 'bpffs');
let older: Guide;
clsact.before(async () => {
  older = await startGuide('faultrc', ['--attach-mode=clsact']);
});
clsact.after(() => older?.node.close());

clsact('tc qdisc del on every pod: put back within seconds, and told', async () => {
  await guideHolds(older);
  for (const name of await hostInterfaces(older)) {
    await older.node.netns.run(['tc', 'qdisc', 'del', 'dev', name, 'clsact']);
  }
  const { stranger, backend } = older.pods;
  const closed = { address: backend.ipv4, port: 8080, timeoutMs: SILENCE_MS };
  await until(async () => (await stranger.peer.tcp(closed)) === 'timeout', {
    what: 'the pods to be judged again',
    timeoutMs: REPAIRED_MS,
  });
  await guideHolds(older);
  await until(() => older.node.log().includes('program detached'), { what: 'a word in the log' });
});
clsact(
  'maps wiped while the agent is away: the next one puts its programs on every pod, and a change reaches them',
  () => wipedWhileAway(older),
);
clsact.run();

/** All of it, and the maps alone: then the programs are still there but obey tables that nobody can write any more. */
async function wipedWhileAway({ node, pods, policy }: Guide): Promise<void> {
  const { frontend, backend } = pods;
  for (const what of ['.', 'maps']) {
    await node.stopAgent('SIGKILL');
    await rm(join(node.pinFolder, what), { recursive: true });
    await node.startAgent();
    await guideHolds({ node, pods, policy });
    await node.writeManifest('backend-policy.yaml', policy.replace('"8080"', '"8081"'));
    const target = { address: backend.ipv6, timeoutMs: SILENCE_MS };
    const outcome = (port: number) => frontend.peer.tcp({ ...target, port });
    await until(async () => (await outcome(8081)) === 'ok', { what: 'a change in force' });
    await until(async () => (await outcome(8080)) === 'timeout', { what: 'its other half' });
    await node.writeManifest('backend-policy.yaml', policy);
    await until(async () => (await outcome(8081)) === 'timeout', { what: 'the change back' });
  }
}
