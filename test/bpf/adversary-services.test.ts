/** Services against who would use them to get past policy, or to break what others have. */
import * as assert from 'uvu/assert';
import { DatapathFixture } from '../kit/datapath-fixture.ts';
import { allow, setIdentity, setPolicy, setVerdict } from '../kit/datapath-policy.ts';
import { rawAddress } from '../kit/datapath-rows.ts';
import { removeService, removeVirtualAddress, setService } from '../kit/datapath-service.ts';
import { icmpEcho, tcp, udp } from '../kit/packet.ts';
import { privileged } from '../kit/privileged.ts';
import { suite } from '../kit/suite.ts';

const OPEN = 16;
/** Egress to the world and to nobody else. */
const TO_WORLD = 17;
const WORLD = { 4: 9, 6: 10 } as const;

const test = privileged(suite('Services, attacked'), 'root');
const datapath = DatapathFixture.open();
setPolicy(datapath, OPEN, {});
setPolicy(datapath, TO_WORLD, { egress: { isolated: true, identitySet: 5 } });
for (const identity of [1001, 1002]) setIdentity(datapath, identity);
for (const family of [4, 6] as const) setIdentity(datapath, WORLD[family], 5, 7);
setVerdict(datapath, { policy: TO_WORLD, class: 7, direction: 'egress' }, { normal: allow(1, 1) });
test.after(() => datapath[Symbol.dispose]());

for (const family of [4, 6] as const) {
  const [vip, backend] = family === 4 ? ['10.96.1.1', '10.9.2.9'] : ['fd96:1::1', 'fd09:2::9'];
  const client = datapath.pod({ identity: 1001, policy: OPEN, ipv4: '10.9.2.2', ipv6: 'fd09:2::2' });
  const from = family === 4 ? client.ipv4 : client.ipv6;
  datapath.peer(backend, { identity: 1002, kind: 'pod' });

  test(`IPv${family}: a Service that is gone leads nowhere, and opens no way to its backends`, async () => {
    const ends = { from, to: vip, sport: 20001, dport: 53 };
    const direct = { from, to: backend, sport: 20001, dport: 5353 };
    setService(datapath, 'udp', vip, 53, [[backend, 5353]]);
    assert.is((await datapath.fromPod(client, udp(ends))).verdict, 'stack');
    removeService(datapath, 'udp', vip, 53);
    removeVirtualAddress(datapath, vip);
    datapath.setEndpoint(client, { policy: TO_WORLD });
    datapath.bumpEpoch();
    assert.is((await datapath.fromPod(client, udp(ends))).verdict, 'stack', 'an address of the world');
    const run = await datapath.fromPod(client, udp(direct));
    assert.equal([run.verdict, run.reason], ['drop', 'POLICY_DENIED'], 'its backend is not of the world');
    datapath.setEndpoint(client, { policy: OPEN });
    datapath.bumpEpoch();
  });

  test(`IPv${family}: from outside, a virtual address is a spoof: it neither takes a port nor ends what a client has`, async () => {
    setService(datapath, 'tcp', vip, 80, [[backend, 8080]]);
    setService(datapath, 'udp', vip, 53, [[backend, 5353]]);
    const asked = tcp({ from, to: vip, sport: 20002, dport: 80 });
    const forged = tcp({ from: vip, to: from, sport: 80, dport: 20002 });
    assert.is((await datapath.toPod(client, forged.syn())).reason, 'HOST_SPOOF', 'before the client asks');
    const first = await datapath.fromPod(client, asked.syn());
    assert.is((await datapath.toPod(client, forged.syn())).reason, 'HOST_SPOOF');
    assert.is((await datapath.toPod(client, forged.ack())).reason, 'HOST_SPOOF');
    const next = await datapath.fromPod(client, asked.ack());
    for (const run of [first, next]) {
      assert.is(run.verdict, 'stack');
      assert.equal(destinationOf(run.data, family), rawAddress(backend));
    }
    const datagram = udp({ from: vip, to: from, sport: 53, dport: 20003 });
    assert.is((await datapath.toPod(client, datagram)).reason, 'HOST_SPOOF');
    assert.is((await datapath.toPod(client, icmpEcho({ from: vip, to: from }))).reason, 'HOST_SPOOF');
    removeService(datapath, 'tcp', vip, 80);
    removeService(datapath, 'udp', vip, 53);
    removeVirtualAddress(datapath, vip);
    assert.is((await datapath.toPod(client, datagram)).verdict, 'stack', "nobody's any more");
  });
}

test('a Service whose endpoints somebody wrote by hand leads where a pod may send by itself', async () => {
  const client = datapath.pod({ identity: 1001, policy: OPEN, ipv4: '10.9.2.3' });
  for (const [backend, reason, sport] of [
    ['127.0.0.1', 'MALFORMED', 1],
    ['239.1.1.1', 'MULTICAST', 2],
    ['255.255.255.255', 'MULTICAST', 3],
  ] as const) {
    setService(datapath, 'udp', '10.96.1.2', 53, [[backend, 53]]);
    const run = await datapath.fromPod(client, udp({ from: client.ipv4, to: '10.96.1.2', sport, dport: 53 }));
    assert.equal([run.verdict, run.reason], ['drop', reason], backend);
  }
});

function destinationOf(frame: Uint8Array, family: 4 | 6): Uint8Array {
  return family === 4 ? frame.subarray(30, 34) : frame.subarray(38, 54);
}

test.run();
