/** Maps that are renewed or lost between two agents: the old programs keep all of the old ones until all new ones are full. */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import type { DatapathRows } from '../../agent/datapath/datapath.ts';
import { privileged } from '../kit/privileged.ts';
import { suite } from '../kit/suite.ts';
import { allowAll, denyIngress, OPEN, Rig, type RigPod } from './datapath-rig.ts';

const test = privileged(suite('adversary: maps of a datapath'), 'root');
const TOGETHER = [
  'address_class',
  'endpoints',
  'identities',
  'identity_class',
  'peers',
  'policies',
  'ranges',
  'verdicts',
];

/** Everything is open but one port, which a rule denies. */
function denyPort(rig: Rig, pods: readonly RigPod[], port: number): DatapathRows {
  const rows = rig.rows(pods, { ...allowAll(20), ingress: { ...OPEN, hasDeny: true, hasAny: true } });
  const deny = [undefined, { action: 'deny', precedence: 1, rule: 7 }, undefined] as const;
  const verdict = {
    policy: 20,
    classId: 0,
    direction: 'ingress' as const,
    protocol: 6,
    port,
    portBits: 16,
    enforced: deny,
    audited: deny,
  };
  return { ...rows, policy: { ...rows.policy, verdicts: [verdict] } };
}

test('a denied port stays denied while a table of another shape, or one somebody unpinned, is filled again', async () => {
  await using rig = await Rig.start('advmaps');
  const [a, b] = [await rig.pod(1), await rig.pod(2)];
  await b.peer.serveTcp(80);
  await b.peer.serveTcp(81);
  const rows = denyPort(rig, [a, b], 80);
  const holds = async (when: string): Promise<void> => {
    for (const address of [b.ipv4, b.ipv6]) {
      assert.is(await a.peer.tcp({ address, port: 80, timeoutMs: 200 }), 'timeout', when);
      assert.is(await a.peer.tcp({ address, port: 81 }), 'ok', when);
    }
  };
  await rig.datapath.replace(rows);
  await holds('at first');

  await rig.restart({ maxEntries: { verdicts: 4096 } });
  await holds('before the new table is filled');
  await rig.datapath.replace(rows);
  await holds('after');
  const pinned = (): string[] => rig.pinnedMaps().filter((name) => TOGETHER.includes(name.replace(/_v\d+$/, '')));
  assert.equal(
    pinned().sort(),
    TOGETHER.map((name) => `${name}_v2`),
  );

  rmSync(join(rig.options.config.pinDirectory, 'maps/verdicts_v2'));
  await rig.restart({ maxEntries: { verdicts: 4096 } });
  await holds('without the pin of a table');
  await rig.datapath.replace(rows);
  await holds('and when it is back');
  assert.is(new Set(pinned().map((name) => /_v\d+$/.exec(name)?.[0])).size, 1, 'all of one version');
});

test('what old maps allowed is judged again by the new ones', async () => {
  await using rig = await Rig.start('advrenew');
  const [a, b] = [await rig.pod(1), await rig.pod(2)];
  await b.peer.serveUdp(53);
  await rig.datapath.replace(rig.rows([a, b], allowAll(20)));
  const ticker = await a.peer.startTicker('udp', { address: b.ipv4, port: 53 }, 2);
  await rig.restart({ maxEntries: { peers: 4096 } });
  await rig.datapath.replace(rig.rows([a, b], denyIngress(30)));
  const served = async (): Promise<number> => (await b.peer.served()).datagrams;
  const before = await served();
  assert.is(await a.peer.udp({ address: b.ipv4, port: 53, timeoutMs: 200 }), 'timeout');
  await a.peer.stopTicker(ticker);
  assert.is(await served(), before);
});

test.run();
