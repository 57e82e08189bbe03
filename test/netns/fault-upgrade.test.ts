/** Fault 6: an agent whose maps have another layout, and then the old one again. */
import * as assert from 'uvu/assert';
import { privileged } from '../kit/privileged.ts';
import { suite } from '../kit/suite.ts';
import { allowAll, denyIngress, endpointRow, Rig } from './datapath-rig.ts';

const test = privileged(suite('another layout of maps'), 'root', 'btf', 'bpffs');

test('forward and back: what is in force stays until the new maps are full, open connections survive, old pins go', async () => {
  await using rig = await Rig.start('faultup');
  const [client, open, closed] = [await rig.pod(1), await rig.pod(2), await rig.pod(3)];
  for (const { peer } of [open, closed]) await Promise.all([peer.serveTcp(80), peer.serveUdp(80)]);
  const all = rig.rows([client, open, closed], allowAll(20));
  const rows = {
    ...all,
    policy: { ...all.policy, policies: [allowAll(20), denyIngress(21)] },
    endpoints: [endpointRow(client, 20), endpointRow(open, 20), endpointRow(closed, 21)],
  };
  await rig.datapath.replace(rows);
  const tcp = await client.peer.startTicker('tcp', { address: open.ipv4, port: 80 }, 2);
  const leak = await client.peer.startTicker('udp', { address: closed.ipv6, port: 80 }, 2);
  const asBefore = async (): Promise<void> => {
    assert.is(await client.peer.tcp({ address: open.ipv6, port: 80 }), 'ok');
    assert.is(await client.peer.tcp({ address: closed.ipv4, port: 80, timeoutMs: 200 }), 'timeout');
  };
  const layouts = [{ peers: 4096, verdicts: 8192, policies: 1024 }, {}, { endpoints: 1024 }, {}];
  for (const maxEntries of layouts) {
    await rig.restart({ maxEntries });
    await asBefore(); // by the old programs, or at once by programs with the same maps
    await rig.datapath.replace(rows);
    await asBefore();
    const names = rig.pinnedMaps().map((name) => name.replace(/_v\d+$/, ''));
    assert.is(new Set(names).size, names.length, `one version of each map: ${rig.pinnedMaps()}`);
  }
  const talked = await client.peer.stopTicker(tcp, 500);
  assert.is(talked.ended, undefined);
  assert.is(talked.received, talked.sent);
  assert.is((await client.peer.stopTicker(leak)).received, 0);
  assert.is((await closed.peer.served()).datagrams, 0);
});

test.run();
