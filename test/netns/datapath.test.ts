/** The datapath on the real kernel: pods wired, judged, cut off, and kept through restarts. */

import * as assert from 'uvu/assert';
import { MAPS } from '../../agent/datapath/layout.gen.ts';
import { openFds } from '../../native/index.ts';
import { privileged } from '../kit/privileged.ts';
import { suite } from '../kit/suite.ts';
import { allowAll, denyIngress, Rig } from './datapath-rig.ts';

for (const mode of ['tcx', 'clsact'] as const) {
  const test = privileged(
    suite(`datapath with ${mode}`),
    'root',
    'btf',
    'bpffs',
    ...(mode === 'tcx' ? (['tcx'] as const) : []),
  );

  let rig: Rig;
  test.before(async () => {
    rig = await Rig.start(`dp${mode}`, { attachMode: mode });
  });
  test.after(() => rig.close());

  test('pods talk over both families when nothing isolates them, and are denied when something does', async () => {
    const [a, b] = [await rig.pod(1), await rig.pod(2)];
    await b.peer.serveTcp(80);
    assert.is(await a.peer.tcp({ address: b.ipv4, port: 80, timeoutMs: 200 }), 'timeout', 'no policy yet');
    await rig.datapath.replace(rig.rows([a, b], allowAll(20)));
    for (const address of [b.ipv4, b.ipv6]) {
      assert.is(await a.peer.tcp({ address, port: 80 }), 'ok', address);
      assert.ok(await rig.pingFromNode(address), `the node reaches ${address}`);
    }
    const result = await rig.datapath.replace(rig.rows([a, b], denyIngress(21)));
    assert.ok(result.epochBumped);
    for (const address of [b.ipv4, b.ipv6]) {
      assert.is(await a.peer.tcp({ address, port: 80, timeoutMs: 200 }), 'timeout', address);
    }
    const { drops } = rig.datapath.counters();
    const packetsFor = (reason: string) => drops.find((drop) => drop.reason === reason)?.count.packets ?? 0;
    assert.ok(packetsFor('policy_denied') >= 2, JSON.stringify(drops));
    assert.ok(packetsFor('unknown_endpoint') >= 1, JSON.stringify(drops));
  });

  test('restarts lose no packet of an open connection, whatever numbers the policies have', async () => {
    const [a, b] = [await rig.pod(3), await rig.pod(4)];
    await b.peer.serveUdp(53);
    await rig.datapath.replace(rig.rows([a, b], allowAll(30)));
    const ticker = await a.peer.startTicker('udp', { address: b.ipv4, port: 53 }, 1);
    for (let start = 1; start <= 2; start++) {
      await rig.restart();
      const { firstPolicy } = await rig.datapath.firstNumbers();
      assert.is(firstPolicy, 30 + start);
      const result = await rig.datapath.replace(rig.rows([a, b], allowAll(firstPolicy)));
      assert.ok(result.epochBumped, 'pointers were switched');
    }
    const { sent, received, ended } = await a.peer.stopTicker(ticker);
    assert.is(ended, undefined);
    assert.ok(sent > 100, `${sent} sent`);
    assert.is(received, sent);
    assert.equal(
      (await rig.datapath.read()).endpoints.map(({ policy }) => policy),
      [32, 32],
    );
  });

  test('an open connection ends when its policy does, and the pod of another is not touched', async () => {
    const [a, b, c] = [await rig.pod(5), await rig.pod(6), await rig.pod(7)];
    for (const pod of [b, c]) await pod.peer.serveTcp(80);
    const open = rig.rows([a, b, c], allowAll(40));
    await rig.datapath.replace(open);
    const toB = await a.peer.open({ address: b.ipv4, port: 80 });
    const toC = await a.peer.open({ address: c.ipv6, port: 80 });
    await rig.datapath.replace({
      ...open,
      policy: { ...open.policy, policies: [allowAll(40), denyIngress(41)] },
      endpoints: open.endpoints.map((row) => (row.id === b.wiring.id ? { ...row, policy: 41 } : row)),
    });
    assert.is(await a.peer.say(toB, 'still there?', 300), 'timeout');
    assert.is(await a.peer.say(toC, 'still there?'), 'ok');
  });

  test.run();
}

const test = privileged(suite('datapath'), 'root', 'btf', 'bpffs');

test('what was written is read back, also by the next agent', async () => {
  await using rig = await Rig.start('dpread');
  const pod = await rig.pod(7);
  const rows = rig.rows([pod], allowAll(20));
  await rig.datapath.replace(rows);
  const read = async () => {
    const found = await rig.datapath.read();
    return { ...found, peers: found.peers.toSorted((x, y) => x.address.localeCompare(y.address)) };
  };
  assert.equal(await read(), rows);
  await rig.restart();
  assert.equal(await read(), rows);
  const again = await rig.datapath.replace(rows);
  assert.equal(again, { epochBumped: false, operations: 0, lockedDown: [] });
  assert.is(rig.datapath.unreadableRows, 0);
  for (const { name, capacity } of rig.datapath.maps()) {
    assert.is(capacity, MAPS[name as keyof typeof MAPS].maxEntries, name);
  }
});

test('a policy that does not fit the kernel locks its pods down until there is room', async () => {
  await using rig = await Rig.start('dpfull', { maxEntries: { verdicts: 2 } });
  const [a, b] = [await rig.pod(1), await rig.pod(2)];
  await b.peer.serveTcp(80);
  const rows = rig.rows([a, b], allowAll(20));
  const verdict = (port: number) => ({
    policy: 20,
    classId: 5,
    direction: 'ingress' as const,
    protocol: 6,
    port,
    portBits: 16,
    enforced: [undefined, { action: 'deny', precedence: 1, rule: 1 }, undefined] as const,
    audited: [undefined, undefined, undefined] as const,
  });
  const many = { ...rows, policy: { ...rows.policy, verdicts: [1, 2, 3].map(verdict) } };
  const result = await rig.datapath.replace(many);
  assert.equal(
    result.lockedDown.map(({ policy }) => policy),
    [20],
  );
  assert.match(result.lockedDown[0]?.cause.message ?? '', /verdict\.set: .*(ENOSPC|E2BIG)/);
  assert.is(await a.peer.tcp({ address: b.ipv4, port: 80, timeoutMs: 200 }), 'timeout');
  assert.equal((await rig.datapath.read()).policy.verdicts, [], 'nothing half-written stays');
  const fewer = await rig.datapath.replace({ ...rows, policy: { ...rows.policy, verdicts: [verdict(1)] } });
  assert.equal(fewer.lockedDown, []);
  assert.is(await a.peer.tcp({ address: b.ipv4, port: 80 }), 'ok');
});

test('a map of another shape is filled anew before the programs are switched, and its old pin goes', async () => {
  await using rig = await Rig.start('dpshape');
  const [a, b] = [await rig.pod(1), await rig.pod(2)];
  await b.peer.serveUdp(53);
  await rig.datapath.replace(rig.rows([a, b], allowAll(20)));
  const ticker = await a.peer.startTicker('udp', { address: b.ipv4, port: 53 }, 2);
  await rig.restart({ maxEntries: { peers: 4096 } });
  assert.equal((await rig.datapath.read()).peers, []);
  await rig.datapath.replace(rig.rows([a, b], allowAll(20)));
  assert.is(await b.peer.served().then(({ datagrams }) => datagrams > 0), true);
  const { sent, received } = await a.peer.stopTicker(ticker);
  assert.is(received, sent);
  assert.is(rig.datapath.maps().find(({ name }) => name === 'peers')?.capacity, 4096);
  assert.equal(
    rig.pinnedMaps().filter((name) => name.startsWith('peers')),
    ['peers_v2'],
  );
});

test('expired connections are deleted, counted and reported with their totals', async () => {
  await using rig = await Rig.start('dpsweep');
  const [a, b] = [await rig.pod(1), await rig.pod(2)];
  await b.peer.serveUdp(53);
  await rig.datapath.replace(rig.rows([a, b], allowAll(20)));
  const events = rig.events();
  for (const address of [b.ipv4, b.ipv6]) assert.is(await a.peer.udp({ address, port: 53 }), 'ok');
  assert.is(await rig.datapath.collectConnections(), 0, 'nothing has expired yet');
  const filled = () =>
    rig.datapath
      .maps()
      .filter(({ name }) => name.startsWith('conntrack'))
      .map(({ entries }) => entries);
  assert.equal(filled(), [1, 1]);
  rig.expireConnections();
  assert.is(await rig.datapath.collectConnections(), 2);
  assert.equal(filled(), [0, 0]);
  const ends = events.of('EVENT_END');
  assert.equal(
    ends.map(({ destination, destinationPort }) => `${destination} ${destinationPort}`),
    [`${b.ipv4} 53`, `${b.ipv6} 53`],
  );
  for (const { identity, endpoint, packets, flags, created, time } of ends) {
    assert.equal(identity, [a.identity, b.identity]);
    assert.equal(endpoint, [1, 2]);
    assert.equal(packets, [1n, 1n]);
    assert.is(flags, 4, 'EVENT_EXPIRED');
    assert.ok(created > 0n && created < time);
  }
  await events.until('EVENT_NEW', 2);
});

test('a datapath that is closed leaves no descriptor open', async () => {
  await using rig = await Rig.start('dpfds');
  await rig.restart();
  const before = openFds();
  await rig.restart();
  const pod = await rig.pod(1, { withPeer: false });
  await rig.datapath.check(pod.wiring);
  await rig.datapath.repair([pod.wiring]);
  await rig.datapath.unwire(pod.wiring);
  assert.is(openFds(), before);
});

test.run();
