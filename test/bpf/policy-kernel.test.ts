/**
 * Random policies' rows in the kernel's maps, random packets through the programs, compared with the oracle: verdict, the
 * rule that decided, and what an audited policy would have changed. A fresh seed per run; `WEIR_SEED=n` repeats one.
 */
import * as assert from 'uvu/assert';
import { Direction, EventFlags, EventType } from '../../agent/datapath/layout.gen.ts';
import {
  encodeAddressClasses,
  encodeAddressClassKey,
  encodeIdentityClassKey,
  encodePolicy,
  encodeVerdict,
  encodeVerdictKey,
} from '../../agent/datapath/map/policy-rows.ts';
import type { PolicyRows } from '../../agent/model/verdict.ts';
import { DatapathFixture, type Run, type TestPod } from '../kit/datapath-fixture.ts';
import { type Packet as Frame, icmpEcho, ip, sctp, tcp, udp } from '../kit/packet.ts';
import { privileged } from '../kit/privileged.ts';
import { suite } from '../kit/suite.ts';
import { formatScenario } from '../oracle/format.ts';
import { generate } from '../oracle/generate/scenario.ts';
import { ask } from '../oracle/judge.ts';
import { type Packet, podNamed, type Scenario } from '../oracle/scenario.ts';
import { ruleName } from '../scenario/policy-agreement.ts';
import { buildWorld, type World } from '../scenario/policy-world.ts';

const PACKETS = 30;
const LONG = process.env.WEIR_TEST_LONG === '1';
const SCENARIOS = LONG ? 600 : 60;
const SEED = Number(process.env.WEIR_SEED ?? Math.floor(Math.random() * 2 ** 31));
/** Source ports and echo ids that no packet of a scenario has used before. */
const FIRST_PORT = 20_000;
/** TCP, UDP, SCTP, and echo by its id. */
const HAVE_PORTS = [6, 17, 132, 1, 58];

const test = privileged(suite('policy: kernel and oracle agree'), 'root');

test(`${SCENARIOS * PACKETS} random packets at most, seed ${SEED}`, async () => {
  using datapath = DatapathFixture.open();
  const endpoint = datapath.pod({ identity: 1, policy: 1 });
  let asked = 0;
  for (let i = 0; i < SCENARIOS; i++) {
    const scenario = generate(SEED + i, PACKETS);
    const world = buildWorld(scenario, SEED + i);
    write(datapath, world.rows);
    for (const [j, packet] of scenario.packets.filter(canBeSent).entries()) {
      asked += 1;
      // Without ports every packet between two addresses is the same connection.
      if (!HAVE_PORTS.includes(packet.protocol)) forgetConnections(datapath);
      const found = await send(datapath, endpoint, scenario, world, packet, FIRST_PORT + j);
      const wrong = difference(scenario, world, packet, found);
      if (wrong) {
        const least = { ...scenario, packets: [packet] };
        assert.unreachable(`seed ${SEED + i}: ${wrong}\n${formatScenario(least)}`);
      }
    }
    erase(datapath, world.rows);
    forgetConnections(datapath);
  }
  console.log(`policy kernel: seed ${SEED}, ${asked} packets`);
  assert.ok(asked > SCENARIOS * PACKETS * 0.5, `only ${asked} packets could be sent`);
});

function write(datapath: DatapathFixture, rows: PolicyRows): void {
  for (const row of rows.verdicts) datapath.put('verdicts', encodeVerdictKey(row), encodeVerdict(row));
  for (const row of rows.identityClasses) datapath.put('identity_class', encodeIdentityClassKey(row), row.classId);
  for (const row of rows.addressClasses) {
    datapath.put('address_class', encodeAddressClassKey(row), encodeAddressClasses(row));
  }
  for (const identity of rows.identities) datapath.put('identities', identity, 1);
  for (const row of rows.policies) datapath.put('policies', row.id, encodePolicy(row));
}

function erase(datapath: DatapathFixture, rows: PolicyRows): void {
  for (const row of rows.policies) datapath.delete('policies', row.id);
  for (const row of rows.verdicts) datapath.delete('verdicts', encodeVerdictKey(row));
  for (const row of rows.identityClasses) datapath.delete('identity_class', encodeIdentityClassKey(row));
  for (const row of rows.addressClasses) datapath.delete('address_class', encodeAddressClassKey(row));
  for (const identity of rows.identities) datapath.delete('identities', identity);
}

function forgetConnections(datapath: DatapathFixture): void {
  for (const { key } of datapath.connections()) {
    if (typeof key.lowAddress === 'number') datapath.delete('conntrack4', key as never);
    else datapath.delete('conntrack6', key as never);
  }
}

/** A pod does not meet its own veth on the way to itself; ICMP other than a request is judged by what it belongs to. */
function canBeSent({ subject, peer, family, protocol, port }: Packet): boolean {
  if (peer.type === 'pod' && peer.pod === subject) return false;
  if (protocol === 1 || protocol === 58)
    return port >> 8 === (family === 4 ? 8 : 128) && (protocol === 1) === (family === 4);
  return protocol !== 2;
}

/** The one real endpoint plays the subject; the peer is elsewhere, as the map of peers says. */
async function send(
  datapath: DatapathFixture,
  endpoint: TestPod,
  scenario: Scenario,
  world: World,
  packet: Packet,
  sport: number,
): Promise<Run> {
  const { ipv4, ipv6 } = podNamed(scenario, packet.subject);
  const subject = { ...endpoint, ipv4, ipv6 };
  const { policy, peer } = world.question(packet);
  const own = world.question({ ...packet, peer: { type: 'pod', pod: packet.subject } }).peer.identity;
  datapath.setEndpoint(subject, { identity: own, policy });
  for (const address of [ipv4, ipv6]) datapath.peer(address, { identity: own, endpoint: endpoint.id, kind: 'pod' });
  datapath.peer(peer.address, peer);
  const mine = packet.family === 4 ? ipv4 : ipv6;
  const [from, to] = packet.direction === 'ingress' ? [peer.address, mine] : [mine, peer.address];
  const frame = frameOf(packet, { from, to }, sport);
  if (packet.direction === 'egress') return datapath.fromPod(subject, frame);
  return datapath.toPod(subject, frame, peer.identity === 1 ? 'host' : 'outside');
}

function frameOf({ protocol, port }: Packet, ends: { from: string; to: string }, sport: number): Frame {
  if (protocol === 6) return tcp({ ...ends, sport, dport: port }).syn();
  if (protocol === 17) return udp({ ...ends, sport, dport: port });
  if (protocol === 132) return sctp({ ...ends, sport, dport: port });
  if (protocol === 1 || protocol === 58) return icmpEcho({ ...ends, id: sport });
  return ip({ ...ends, protocol });
}

const DENIED = ['POLICY_DENIED', 'POLICY_DENY_RULE', 'IDENTITY_UNKNOWN'];

/** What kernel and oracle say differently, in words; undefined if they agree. */
function difference(scenario: Scenario, { engine }: World, packet: Packet, run: Run): string | undefined {
  if (run.reason !== undefined && !DENIED.includes(run.reason)) return `the packet was dropped for ${run.reason}`;
  const verdict = run.reason === undefined ? 'allowed' : 'denied';
  const expected = ask(scenario, packet, false);
  if (verdict !== expected.verdict) return `kernel says ${verdict} (${run.reason}), oracle says ${expected.verdict}`;

  const direction = packet.direction === 'ingress' ? Direction.DIRECTION_INGRESS : Direction.DIRECTION_EGRESS;
  const decided = run.events.find(({ type }) => type === EventType.EVENT_NEW || type === EventType.EVENT_DROP);
  const rule = decided?.rule[direction] || undefined;
  const name = rule === undefined ? undefined : ruleName(engine.rule(rule));
  const named =
    name === undefined ? expected.rules.every((one) => one === 'local host') : expected.rules.includes(name);
  if (!named) return `kernel names ${name}, oracle ${expected.rules.join(' or ') || 'no rule'}`;

  const audit = run.events.find(({ type }) => type === EventType.EVENT_AUDIT);
  const would = audit && (audit.flags & EventFlags.EVENT_AUDIT_WOULD_DENY ? 'denied' : 'allowed');
  const audited = ask(scenario, packet, true).verdict;
  return (would ?? verdict) === audited ? undefined : `kernel's audit says ${would}, oracle's ${audited}`;
}

test.run();
