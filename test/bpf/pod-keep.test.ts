/** `weir.dev/established: keep` in the programs: what is established outlives a denial that says so, and nothing else does. */
import * as assert from 'uvu/assert';
import { ConntrackFlags, EventType } from '../../agent/datapath/layout.gen.ts';
import { type Connection, DatapathFixture, type Run, type TestPod } from '../kit/datapath-fixture.ts';
import { allow, deny, denyKeep, setIdentity, setPolicy, setVerdict } from '../kit/datapath-policy.ts';
import { tcp } from '../kit/packet.ts';
import { privileged } from '../kit/privileged.ts';
import { suite } from '../kit/suite.ts';

const OPEN = 16;
/** Default deny that keeps, by direction. */
const KEEPS_IN = 17;
const KEEPS_OUT = 18;
/** The same without. */
const ENDS_IN = 19;
/** A deny rule that keeps; one that does not. */
const RULE_KEEPS_IN = 20;
const RULE_ENDS_IN = 21;

const test = privileged(suite('established connections that are kept'), 'root');
const datapath = DatapathFixture.open();
setPolicy(datapath, OPEN, { ingress: { isolated: true, hasAny: true } });
setVerdict(datapath, { policy: OPEN, class: 0, direction: 'ingress' }, { normal: allow(1, 160) });
setPolicy(datapath, KEEPS_IN, { ingress: { isolated: true, keepsEstablished: true } });
setPolicy(datapath, KEEPS_OUT, { egress: { isolated: true, keepsEstablished: true } });
setPolicy(datapath, ENDS_IN, { ingress: { isolated: true } });
setPolicy(datapath, RULE_KEEPS_IN, { ingress: { hasDeny: true, hasAny: true } });
setVerdict(datapath, { policy: RULE_KEEPS_IN, class: 0, direction: 'ingress' }, { normal: denyKeep(1, 200) });
setPolicy(datapath, RULE_ENDS_IN, { ingress: { hasDeny: true, hasAny: true } });
setVerdict(datapath, { policy: RULE_ENDS_IN, class: 0, direction: 'ingress' }, { normal: deny(1, 210) });
for (const identity of [9, 10, 1001, 1002, 1003]) setIdentity(datapath, identity);
const client = datapath.pod({ identity: 1001, policy: OPEN, ipv4: '10.9.0.2', ipv6: 'fd09::2' });
const server = datapath.pod({ identity: 1002, policy: OPEN, ipv4: '10.9.0.3', ipv6: 'fd09::3' });
test.after(() => datapath[Symbol.dispose]());
test.before.each(() => {
  point(client, OPEN);
  point(server, OPEN);
});

function point(pod: TestPod, policy: number): void {
  datapath.setEndpoint(pod, { policy });
  datapath.bumpEpoch();
}

let nextPort = 30000;

for (const family of [4, 6] as const) {
  const at = (pod: TestPod): string => (family === 4 ? pod.ipv4 : pod.ipv6);

  /** A connection of the client to the server; `answered`: the server has said something. */
  async function talk({ answered = true } = {}) {
    const sport = nextPort++;
    const there = tcp({ from: at(client), to: at(server), sport, dport: 80 });
    const back = tcp({ from: at(server), to: at(client), sport: 80, dport: sport });
    await datapath.fromPod(client, there.syn());
    if (answered) {
      await datapath.fromPod(server, back.synAck());
      await datapath.fromPod(client, there.ack());
    }
    const entry = (): Connection['entry'] => {
      const found = datapath.connections().find(({ key }) => key.lowPort === sport || key.highPort === sport);
      assert.ok(found);
      return found.entry;
    };
    return {
      entry,
      send: (): Promise<Run> => datapath.fromPod(client, answered ? there.data() : there.syn()),
      answer: (): Promise<Run> => datapath.fromPod(server, back.data()),
    };
  }
  const opens = (): Promise<Run> =>
    datapath.fromPod(client, tcp({ from: at(client), to: at(server), sport: nextPort++, dport: 80 }).syn());

  for (const [what, pod, policy, reason] of [
    ['default deny at the responder', server, KEEPS_IN, 'POLICY_DENIED'],
    ['default deny at the initiator', client, KEEPS_OUT, 'POLICY_DENIED'],
    ['a deny rule', server, RULE_KEEPS_IN, 'POLICY_DENY_RULE'],
  ] as const) {
    test(`IPv${family}: ${what} that keeps: the established goes on, the new is denied`, async () => {
      const t = await talk();
      const { rule } = t.entry();
      point(pod, policy);
      for (let epoch = 0; epoch < 3; epoch++) {
        assert.is((await t.send()).verdict, 'redirect');
        assert.is((await t.answer()).verdict, 'redirect');
        assert.not(t.entry().flags & ConntrackFlags.CONNTRACK_REVOKED);
        assert.equal(t.entry().rule, rule, 'what allowed it stays named');
        datapath.bumpEpoch();
      }
      assert.is((await opens()).reason, reason);
    });
  }

  for (const [what, policy] of [
    ['default deny', ENDS_IN],
    ['a deny rule', RULE_ENDS_IN],
  ] as const) {
    test(`IPv${family}: ${what} without the annotation ends it, also when it had been kept`, async () => {
      const t = await talk();
      point(server, KEEPS_IN);
      assert.is((await t.send()).verdict, 'redirect');
      point(server, policy);
      assert.is((await t.send()).reason, 'POLICY_REVOKED');
      point(server, KEEPS_IN);
      assert.is((await t.send()).reason, 'POLICY_REVOKED', 'what has ended is not established');
    });
  }

  test(`IPv${family}: both ends are asked: one that keeps does not speak for the other`, async () => {
    const t = await talk();
    point(client, KEEPS_OUT);
    point(server, ENDS_IN);
    const run = await t.send();
    const dropped = run.events.find(({ type }) => type === EventType.EVENT_DROP);
    assert.equal([run.reason, dropped?.direction], ['POLICY_REVOKED', 0]);
  });

  test(`IPv${family}: what nobody has answered is not established`, async () => {
    const t = await talk({ answered: false });
    point(server, KEEPS_IN);
    assert.is((await t.send()).reason, 'POLICY_REVOKED');
  });

  test(`IPv${family}: the next pod at the address inherits nothing`, async () => {
    const t = await talk();
    const heir = datapath.pod({ identity: 1003, policy: KEEPS_IN, [`ipv${family}`]: at(server) });
    datapath.bumpEpoch();
    assert.is((await t.send()).reason, 'POLICY_REVOKED');
    datapath.peer(at(server), { identity: 1002, endpoint: server.id, kind: 'pod' });
    assert.ok(heir);
  });

  test(`IPv${family}: a policy that is not there yet, or not compiled for the peer, is no judgement`, async () => {
    const t = await talk();
    setPolicy(datapath, 22, { ingress: { isolated: true, identitySet: 90 } });
    datapath.delete('identities', 1001);
    point(server, 22);
    assert.is((await t.send()).reason, 'IDENTITY_UNKNOWN');
    point(server, 4000);
    assert.is((await t.send()).reason, 'NO_POLICY');
    setIdentity(datapath, 1001);
    point(server, KEEPS_IN);
    assert.is((await t.send()).verdict, 'redirect');
  });
}

test.run();
