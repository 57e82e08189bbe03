/**
 * Three isolated pods, a world and tens of thousands of random packets, with new epochs and forged origins in between: nothing gets through that the one allowed relation (client -> server, three ports) does not account for. The
 * model knows no connection table, only what has passed. The seed is printed; SEED=... repeats a run.
 */
import * as assert from 'uvu/assert';
import { DatapathFixture, OUTSIDE_IFINDEX, type TestPod } from '../kit/datapath-fixture.ts';
import { allow, setIdentity, setPolicy, setVerdict } from '../kit/datapath-policy.ts';
import { IPPROTO, icmpEcho, icmpError, ip, type Packet, TCP, tcp, udp } from '../kit/packet.ts';
import { privileged } from '../kit/privileged.ts';
import { random as seeded } from '../kit/random.ts';
import { suite } from '../kit/suite.ts';

const PACKETS = 40_000;
const GATEWAY_MAC = '0a:77:65:69:72:01';
const [NEXT_PROGRAM, REDIRECT] = [-1, 7];
const CLIENT = 16;
const SERVER = 17;
const CLOSED = 18;
const SET = 60;

const seed = Number(process.env.SEED ?? Date.now() % 2 ** 31);
const test = privileged(suite(`adversary: random conversations (seed ${seed})`), 'root');
const datapath = DatapathFixture.open({ maxEntries: { events: 1 << 16, conntrack4: 64, conntrack6: 64 } });
const both = { isolated: true, identitySet: SET };
setPolicy(datapath, CLIENT, { ingress: both, egress: both });
setPolicy(datapath, SERVER, { ingress: both, egress: both });
setPolicy(datapath, CLOSED, { ingress: { isolated: true }, egress: { isolated: true } });
for (const identity of [1, 9, 10, 1003]) setIdentity(datapath, identity);
setIdentity(datapath, 1001, SET, 1);
setIdentity(datapath, 1002, SET, 2);
for (const [policy, peer, direction] of [
  [CLIENT, 2, 'egress'],
  [SERVER, 1, 'ingress'],
] as const) {
  const at = { policy, class: peer, direction };
  setVerdict(datapath, { ...at, protocol: IPPROTO.tcp, port: 80 }, { normal: allow(1, 1) });
  setVerdict(datapath, { ...at, protocol: IPPROTO.udp, port: 53 }, { normal: allow(1, 2) });
  setVerdict(datapath, { ...at, protocol: IPPROTO.icmp, port: 8 << 8 }, { normal: allow(1, 3) });
  setVerdict(datapath, { ...at, protocol: IPPROTO.icmpv6, port: 128 << 8 }, { normal: allow(1, 3) });
}
const client = datapath.pod({ identity: 1001, policy: CLIENT, ipv4: '10.9.0.2', ipv6: 'fd09::2' });
const server = datapath.pod({ identity: 1002, policy: SERVER, ipv4: '10.9.0.3', ipv6: 'fd09::3' });
const stranger = datapath.pod({ identity: 1003, policy: CLOSED, ipv4: '10.9.0.4', ipv6: 'fd09::4' });
const pods = [client, server, stranger];
const WORLD = { ipv4: '192.0.2.7', ipv6: '2001:db8::7' };
test.after(() => datapath[Symbol.dispose]());

const { int: random } = seeded(seed);
const one = <T>(of: readonly T[]): T => of[random(of.length)] as T;
type Host = TestPod | typeof WORLD;

/** What a packet says it is. */
interface Claim {
  readonly from: Host;
  readonly to: Host;
  readonly kind: 'tcp' | 'udp' | 'request' | 'reply' | 'error' | 'other';
  readonly sport: number;
  readonly dport: number;
  readonly flags: number;
  readonly packet: Packet;
  /** Of an error: what it quotes. */
  readonly quoted?: Claim;
  readonly piece?: 'first' | 'later';
  readonly pieceOf?: number;
}

function claim(family: 'ipv4' | 'ipv6', from: Host, to: Host, mayQuote = true): Claim {
  const ends = { from: from[family], to: to[family] };
  const kind = one([
    'tcp',
    'tcp',
    'tcp',
    'udp',
    'udp',
    'request',
    'reply',
    mayQuote ? 'error' : 'udp',
    'other',
  ] as const);
  // Bound for the allowed ports, or from them, as often as not.
  const [well, any] = [kind === 'udp' ? 53 : 80, 1000 + random(3)];
  const [sport, dport] = one([
    [any, well],
    [well, any],
    [well, well],
    [any, any],
  ] as const);
  const base = { from, to, kind, sport, dport, flags: 0 };
  const id = 1 + random(3); // 0 would stand for "no port" at both ends
  switch (kind) {
    case 'tcp': {
      const flags = one([
        TCP.syn,
        TCP.syn | TCP.ack,
        TCP.ack,
        TCP.ack | TCP.psh,
        TCP.fin | TCP.ack,
        TCP.rst,
        TCP.fin,
        0,
      ]);
      const packet = tcp({ ...ends, sport, dport })
        .data(random(2) * 24)
        .flags(flags);
      return { ...base, flags, packet };
    }
    case 'udp':
      return { ...base, packet: udp({ ...ends, sport, dport }, 32) };
    case 'request':
      return { ...base, sport: id, dport: 0, packet: icmpEcho({ ...ends, id }) };
    case 'reply':
      return { ...base, sport: 0, dport: id, packet: icmpEcho({ ...ends, id }).reply() };
    case 'error': {
      const quoted = claim(family, one([to, to, ...pods]), one([from, from, ...pods]), false);
      return { ...base, quoted, packet: icmpError({ ...ends, quoting: quoted.packet }) };
    }
    case 'other':
      return { ...base, packet: ip({ ...ends, protocol: one([IPPROTO.gre, IPPROTO.esp, 4, 41, 255]) }) };
  }
}

/** One in four TCP or UDP packets comes in pieces. */
function inPieces(whole: Claim): Claim {
  if ((whole.kind !== 'tcp' && whole.kind !== 'udp') || random(4) > 0) return whole;
  const pieceOf = random(3);
  const first = random(2) === 0;
  const slice = first ? { offset: 0, length: 24, more: true } : { offset: 24, more: false };
  return {
    ...whole,
    piece: first ? 'first' : 'later',
    pieceOf,
    packet: whole.packet.fragment({ id: pieceOf, ...slice }),
  };
}

/** What has passed from client to server so far, as text; and first pieces that have passed in any direction. */
class Model {
  readonly #opened = new Set<string>();
  readonly #pieces = new Set<string>();
  readonly #family: string;

  constructor(family: string) {
    this.#family = family;
  }

  /** May it have passed? Everything the relation could explain, given what passed before. */
  explains(of: Claim): boolean {
    const { from, to, kind, sport, dport, flags } = of;
    if (kind === 'error') return of.quoted !== undefined && of.quoted.from === to && this.#isKnown(of.quoted, from);
    if (of.piece === 'later') return this.#pieces.has(this.#piece(of));
    if (from === client && to === server) {
      return (kind === 'tcp' && dport === 80) || (kind === 'udp' && dport === 53) || kind === 'request';
    }
    if (from !== server || to !== client) return false;
    if (kind === 'tcp') {
      const midStream = (flags & (TCP.syn | TCP.rst | TCP.ack)) === TCP.ack;
      return sport === 80 && (midStream || this.#opened.has(`tcp ${dport} 80`));
    }
    if (kind === 'udp') return sport === 53 && this.#opened.has(`udp ${dport} 53`);
    return kind === 'reply' && this.#opened.has(`request ${dport} 0`);
  }

  passed(of: Claim): void {
    const { from, to, kind, sport, dport } = of;
    if (of.piece === 'first') this.#pieces.add(this.#piece(of));
    if (of.piece === 'later' || kind === 'error') return;
    if (from === client && to === server) this.#opened.add(`${kind} ${sport} ${dport}`);
    // A server's acknowledgement that passed is taken for the middle of a connection.
    if (from === server && kind === 'tcp') this.#opened.add(`tcp ${dport} 80`);
  }

  #piece({ from, to, kind, pieceOf }: Claim): string {
    return `${from[this.#family as 'ipv4']} ${to[this.#family as 'ipv4']} ${kind} ${pieceOf}`;
  }

  /** Whoever reports, a pod speaks only for what was sent to itself. */
  #isKnown({ from, to, kind, sport, dport }: Claim, reporter: Host): boolean {
    if (reporter !== WORLD && reporter !== to) return false;
    if (from === client && to === server) return this.#opened.has(`${kind} ${sport} ${dport}`);
    if (from !== server || to !== client) return false;
    return this.#opened.has(`${kind === 'reply' ? 'request' : kind} ${dport} ${sport}`);
  }
}

for (const family of ['ipv4', 'ipv6'] as const) {
  test(`${family}: only what client and server may say to each other`, () => {
    const model = new Model(family);
    const counts = { passed: 0, dropped: 0 };
    for (let i = 0; i < PACKETS; i++) {
      const now = random(1000);
      if (now < 10) datapath.bumpEpoch();
      const of = inPieces(claim(family, one([...pods, client, server, WORLD]), one([...pods, client, server, WORLD])));
      const { from, to, packet } = of;
      const forged = random(10) === 0;
      let run: { retval: number };
      if (from !== WORLD) {
        const sender = forged ? one(pods.filter((pod) => pod !== from)) : (from as TestPod);
        run = datapath.runOnly('from_pod', sender, packet.between(sender.mac, GATEWAY_MAC).bytes());
      } else if (to !== WORLD) {
        run = inward(to as TestPod, packet);
      } else continue;
      const through = run.retval === NEXT_PROGRAM || run.retval === REDIRECT;
      if (through)
        assert.ok(!(forged && from !== WORLD) && model.explains(of), `packet ${i} of seed ${seed}: ${packet}`);
      if (through) model.passed(of);
      counts[through ? 'passed' : 'dropped'] += 1;
      // The same from outside, with a pod's address: never, whatever has passed before.
      if (from !== WORLD && to !== WORLD && of.kind !== 'error') {
        assert.is(inward(to as TestPod, packet).retval, 2, `from outside, packet ${i} of seed ${seed}: ${packet}`);
      }
    }
    assert.ok(counts.passed > PACKETS / 50, `${counts.passed} passed`);
    assert.ok(counts.dropped > PACKETS / 4, `${counts.dropped} dropped`);
  });
}

function inward(pod: TestPod, packet: Packet): { retval: number } {
  return datapath.runOnly('to_pod', pod, packet.between(GATEWAY_MAC, pod.mac).bytes(), 1, OUTSIDE_IFINDEX);
}

test.run();
