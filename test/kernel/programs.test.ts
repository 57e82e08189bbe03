/**
 * The pod programs under the kernels they must run on: loaded, attached with clsact, and fed the same packets as here. Each
 * packet has the verdict it is meant to have, and everything a kernel answers equals what this one answers.
 */
import { fileURLToPath } from 'node:url';
import * as assert from 'uvu/assert';
import { dropReasonName, EventType, flowEvent, GATEWAY_MAC } from '../../agent/datapath/layout.gen.ts';
import { mapEntries } from '../../native/index.ts';
import { DatapathFixture, type TestPod } from '../kit/datapath-fixture.ts';
import { allow, setIdentity, setPolicy, setVerdict } from '../kit/datapath-policy.ts';
import { Testbed } from '../kit/netns.ts';
import {
  arp,
  Frame,
  fragments,
  IPPROTO,
  icmpEcho,
  icmpError,
  macText,
  neighbourSolicitation,
  type Packet,
  routerAdvertisement,
  tcp,
  udp,
} from '../kit/packet.ts';
import { privileged } from '../kit/privileged.ts';
import { suite } from '../kit/suite.ts';
import { Probe } from './boot.ts';
import { notFetched, OLD_KERNELS } from './kernels.ts';
import { type Answers, type Line, script } from './script.ts';

const OBJECT = fileURLToPath(new URL('../../bpf/build/pod.bpf.o', import.meta.url));
/** Debian's kernels, and the fixture's; the object's own sizes would not fit the machine. */
const SIZES = { conntrack4: 1024, conntrack6: 1024, fragments: 256 };
/** What the agent writes; the programs' own maps begin empty. */
const WRITTEN = [
  'endpoints',
  'policies',
  'verdicts',
  'identity_class',
  'address_class',
  'identities',
  'epoch',
  'peers',
  'ranges',
] as const;

const POLICY = { open: 16, server: 17 };
const SET = 5;
const CLIENT_CLASS = 7;
const ECHO_REQUEST = { 4: 8 << 8, 6: 128 << 8 };

interface World {
  readonly client: TestPod;
  readonly server: TestPod;
  readonly stranger: TestPod;
  /** A node's uplink: what comes in by it goes to the server's device. */
  readonly uplink: { readonly name: string; readonly ifindex: number };
  readonly rows: readonly Line[];
}

/** The client may reach the server on TCP 8080 and with echo requests; the server may start nothing. */
function makeWorld(datapath: DatapathFixture): World {
  setPolicy(datapath, POLICY.open, {});
  setPolicy(datapath, POLICY.server, { ingress: { isolated: true, identitySet: SET }, egress: { isolated: true } });
  setIdentity(datapath, 1001, SET, CLIENT_CLASS);
  for (const identity of [1002, 1003]) setIdentity(datapath, identity);
  const place = { policy: POLICY.server, class: CLIENT_CLASS, direction: 'ingress' } as const;
  setVerdict(datapath, { ...place, protocol: IPPROTO.tcp, port: 8080 }, { normal: allow(1, 501) });
  setVerdict(datapath, { ...place, protocol: IPPROTO.udp, port: 53 }, { normal: allow(1, 502) });
  setVerdict(datapath, { ...place, protocol: IPPROTO.icmp, port: ECHO_REQUEST[4] }, { normal: allow(1, 503) });
  setVerdict(datapath, { ...place, protocol: IPPROTO.icmpv6, port: ECHO_REQUEST[6] }, { normal: allow(1, 503) });
  const client = datapath.pod({ identity: 1001, policy: POLICY.open, ipv4: '10.9.0.2', ipv6: 'fd09::2' });
  const server = datapath.pod({ identity: 1002, policy: POLICY.server, ipv4: '10.9.0.3', ipv6: 'fd09::3' });
  const stranger = datapath.pod({ identity: 1003, policy: POLICY.open, ipv4: '10.9.0.4', ipv6: 'fd09::4' });
  // Clients of another node, to come in by the uplink.
  for (const address of ['10.9.1.2', 'fd09:1::2']) datapath.peer(address, { identity: 1001, kind: 'pod' });
  const rows = WRITTEN.flatMap((name): Line[] => {
    const { keys, values, count } = mapEntries(datapath.map(name));
    const [keySize, valueSize] = [keys.length / count, values.length / count];
    return Array.from({ length: count }, (_, i): Line => {
      const value = values.subarray(i * valueSize, (i + 1) * valueSize);
      return ['map', name, keys.subarray(i * keySize, (i + 1) * keySize), value];
    }).filter(([, , , value]) => name !== 'endpoints' || (value as Uint8Array).some((byte) => byte !== 0));
  });
  return { client, server, stranger, uplink: { name: 'uplink', ifindex: 2_000_000 }, rows };
}

interface Case {
  readonly name: string;
  readonly sender: TestPod;
  readonly packet: Packet | Frame;
  /** Of from_pod, for what a pod sends to another: delivered, to the node's stack, answered or ignored, or a drop reason. */
  readonly expected: 'redirect' | 'stack' | 'consumed' | `drop ${string}`;
}

/** In this order: later ones depend on the connections of earlier ones. */
function cases({ client, server, stranger }: World): Case[] {
  const inFamily = (family: 4 | 6): Case[] => {
    const of = (pod: TestPod) => (family === 4 ? pod.ipv4 : pod.ipv6);
    const outside = family === 4 ? '192.0.2.7' : '2001:db8::7';
    const there = { from: of(client), to: of(server), sport: 40001, dport: 8080 };
    const back = { from: of(server), to: of(client), sport: 8080, dport: 40001 };
    const datagram = udp({ from: of(client), to: of(server), sport: 40002, dport: 53 }, 300);
    const [first, second] = fragments(datagram, 200, 4000 + family) as [Packet, Packet];
    const [, orphan] = fragments(datagram, 200, 5000 + family) as [Packet, Packet];
    const list: Omit<Case, 'name'>[] = [
      { sender: client, packet: tcp(there).syn(), expected: 'redirect' },
      { sender: server, packet: tcp(back).synAck(), expected: 'redirect' },
      { sender: client, packet: tcp(there).ack(), expected: 'redirect' },
      { sender: client, packet: tcp(there).data(100), expected: 'redirect' },
      { sender: server, packet: tcp(back).data(100), expected: 'redirect' },
      { sender: client, packet: tcp({ ...there, dport: 8081 }).syn(), expected: 'drop POLICY_DENIED' },
      { sender: stranger, packet: tcp({ ...there, from: of(stranger) }).syn(), expected: 'drop POLICY_DENIED' },
      { sender: server, packet: tcp({ ...back, sport: 40003 }).syn(), expected: 'drop POLICY_DENIED' },
      { sender: client, packet: tcp({ ...there, from: of(stranger) }).syn(), expected: 'drop SOURCE_ADDRESS' },
      { sender: client, packet: tcp(there).syn().fromMac('0a:58:ff:ff:ff:ff'), expected: 'drop SOURCE_MAC' },
      { sender: client, packet: tcp({ ...there, to: outside }).syn(), expected: 'stack' },
      { sender: client, packet: first, expected: 'redirect' },
      { sender: client, packet: second, expected: 'redirect' },
      { sender: client, packet: orphan, expected: 'drop FRAGMENT_NO_FIRST' },
      { sender: client, packet: icmpEcho({ from: of(client), to: of(server) }), expected: 'redirect' },
      { sender: server, packet: icmpEcho({ from: of(server), to: of(client) }).reply(), expected: 'redirect' },
      {
        sender: server,
        packet: icmpError({ from: of(server), to: of(client), quoting: tcp(there).data(100) }),
        expected: 'redirect',
      },
      { sender: client, packet: tcp(there).data(8).cut(4), expected: 'drop MALFORMED' },
    ];
    return list.map((one) => ({ ...one, name: one.packet.toString() }));
  };
  const question = arp({ senderMac: client.mac, senderIp: client.ipv4, targetIp: '169.254.1.1' });
  const claim = arp({ operation: 'reply', senderMac: client.mac, senderIp: server.ipv4, targetIp: '169.254.1.1' });
  const solicitation = neighbourSolicitation({
    from: client.ipv6,
    to: 'ff02::1:ff00:1',
    target: 'fe80::1',
    mac: client.mac,
  });
  const only: Omit<Case, 'name'>[] = [
    { sender: client, packet: question, expected: 'redirect' },
    { sender: client, packet: claim, expected: 'drop ARP_SPOOF' },
    { sender: client, packet: solicitation, expected: 'redirect' },
    {
      sender: client,
      packet: routerAdvertisement({ from: 'fe80::2', to: 'ff02::1' }),
      expected: 'drop ROUTER_ADVERTISEMENT',
    },
    {
      sender: client,
      packet: tcp({ from: client.ipv6, to: server.ipv6, sport: 9 }).syn().extension(IPPROTO.dstopts),
      expected: 'redirect',
    },
    {
      sender: client,
      packet: tcp({ from: client.ipv4, to: server.ipv4, sport: 9 }).syn().options(1, 1, 1),
      expected: 'redirect',
    },
  ];
  return [...inFamily(4), ...inFamily(6), ...only.map((one) => ({ ...one, name: one.packet.toString() }))];
}

/** Through real devices and clsact filters: from another node to the server, in by the uplink. */
function arrivals({ server }: World): { name: string; packet: Packet; expected: 'delivered' | `drop ${string}` }[] {
  return [
    { from: '10.9.1.2', to: server.ipv4 },
    { from: 'fd09:1::2', to: server.ipv6 },
  ].flatMap((ends) => [
    {
      name: `${ends.from} to an allowed port`,
      packet: tcp({ ...ends, dport: 8080 }).syn(),
      expected: 'delivered' as const,
    },
    { name: `${ends.from} goes on`, packet: tcp({ ...ends, dport: 8080 }).data(10), expected: 'delivered' as const },
    {
      name: `${ends.from} to another port`,
      packet: tcp({ ...ends, dport: 8081 }).syn(),
      expected: 'drop POLICY_DENIED' as const,
    },
  ]);
}

function scriptFor(world: World): string {
  const { client, server, stranger, uplink, rows } = world;
  const links = [client, server, stranger].map((pod): Line => ['link', `pod${pod.id}`, pod.ifindex]);
  const frame = (packet: Packet | Frame, fromMac: string, toMac: string) =>
    packet instanceof Frame ? packet.bytes() : packet.between(fromMac, toMac).bytes();
  const gateway = macText(GATEWAY_MAC);
  return script([
    ['open', OBJECT],
    ...Object.entries(SIZES).map(([map, entries]): Line => ['size', map, entries]),
    ['load'],
    ...rows,
    ...links,
    ...cases(world).flatMap(({ sender, packet }, number): Line[] => [
      ['run', `case${number}`, 'from_pod', sender.ifindex, frame(packet, sender.mac, gateway)],
      ['events', 'events'],
    ]),
    ['slot', 'to_pod_slot', 'to_pod'],
    ['link', uplink.name, uplink.ifindex],
    ['redirect', uplink.name, server.ifindex],
    ['clsact', `pod${server.id}`, 'egress', 'stub_to_pod'],
    ...arrivals(world).flatMap(({ packet }, number): Line[] => [
      ['send', `${uplink.name}p`, frame(packet, gateway, server.mac)],
      ['note', `arrival${number}`],
      ['received', `pod${server.id}p`],
      ['events', 'events'],
    ]),
    ['sums', 'drops'],
  ]);
}

/** Each line without what a clock says, events in words. */
function comparable(answers: Answers): string[] {
  return answers.lines.map((line) => {
    if (!line.startsWith('event ')) return line;
    const { time: _time, created: _created, ...event } = flowEvent.decode(Buffer.from(line.slice(6), 'hex'));
    return JSON.stringify(event, (_key, value) => (typeof value === 'bigint' ? String(value) : value));
  });
}

/** The first few lines that are not the same. */
function differences(ones: readonly string[], others: readonly string[]): string[] {
  const length = Math.max(ones.length, others.length);
  return Array.from({ length }, (_, i) => (ones[i] === others[i] ? '' : `${ones[i]} but here ${others[i]}`))
    .filter((line) => line !== '')
    .slice(0, 3);
}

/** The lines between `ran NAME` or `note NAME` and the next such. */
function after(answers: Answers, name: string): string[] {
  const start = answers.lines.findIndex((line) => line.startsWith(`ran ${name} `) || line === `note ${name}`);
  const rest = answers.lines.slice(start + 1);
  const end = rest.findIndex((line) => /^(ran|note|sum) /.test(line));
  return end === -1 ? rest : rest.slice(0, end);
}

/** "drop REASON" when the events behind a packet say so. */
function dropIn(lines: readonly string[]): string | undefined {
  const events = lines
    .filter((line) => line.startsWith('event '))
    .map((line) => flowEvent.decode(Buffer.from(line.slice(6), 'hex')));
  const drop = events.find((event) => event.type === EventType.EVENT_DROP);
  return drop && `drop ${dropReasonName[drop.reason]?.slice('DROP_'.length)}`;
}

function verdictOf(answers: Answers, name: string): string {
  const retval = answers.runs.get(name)?.retval;
  const drop = dropIn(after(answers, name));
  if (drop !== undefined) return drop;
  return retval === 7 ? 'redirect' : retval === -1 ? 'stack' : retval === 2 ? 'consumed' : `retval ${retval}`;
}

function check(world: World, answers: Answers): void {
  assert.equal(answers.failures, []);
  const verdicts = cases(world).map(({ name }, number) => `${name}: ${verdictOf(answers, `case${number}`)}`);
  assert.equal(
    verdicts,
    cases(world).map(({ name, expected }) => `${name}: ${expected}`),
  );
  let delivered = 0;
  const arrived = arrivals(world).map(({ name }, number) => {
    const lines = after(answers, `arrival${number}`);
    const count = Number(lines.find((line) => line.startsWith('received '))?.split(' ')[2]);
    const verdict = count === delivered + 1 ? 'delivered' : (dropIn(lines) ?? 'nothing');
    delivered = count;
    return `${name}: ${verdict}`;
  });
  assert.equal(
    arrived,
    arrivals(world).map(({ name, expected }) => `${name}: ${expected}`),
  );
}

const test = privileged(suite('the pod programs in old kernels'), 'root', 'btf', 'qemu');
let datapath: DatapathFixture;
let world: World;
let probe: Probe;
let here: Answers;

test.before(async () => {
  datapath = DatapathFixture.open();
  world = makeWorld(datapath);
  probe = await Probe.build();
  await using bed = await Testbed.open('programs');
  here = await probe.here(await bed.netns(), scriptFor(world));
});
test.after(async () => {
  await probe.remove();
  datapath[Symbol.dispose]();
});

test('this kernel gives every packet its verdict', () => check(world, here));

for (const { release, folder } of OLD_KERNELS) {
  const absent = notFetched();
  if (absent !== undefined) test.skip(`Linux ${release}`, absent);
  else
    test(`Linux ${release} loads, attaches, and judges every packet as this kernel does`, async () => {
      const answers = await probe.in(folder, scriptFor(world), [OBJECT]);
      assert.ok(answers.kernel.startsWith(`${release}.`), answers.kernel);
      check(world, answers);
      assert.equal(differences(comparable(answers), comparable(here)), []);
    });
}

test.run();
