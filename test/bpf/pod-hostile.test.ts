/**
 * Random bytes, and right packets with wrong bytes: a pod never gets anything out that is not from its own addresses, and
 * nothing gets in where nothing may. The seed is printed; SEED=... repeats a run.
 */
import * as assert from 'uvu/assert';
import { formatAddress } from '../../agent/model/address.ts';
import { DatapathFixture } from '../kit/datapath-fixture.ts';
import { setPolicy } from '../kit/datapath-policy.ts';
import { IPPROTO, icmpEcho, icmpError, neighbourSolicitation, type Packet, sctp, tcp, udp } from '../kit/packet.ts';
import { privileged } from '../kit/privileged.ts';
import { random as seeded } from '../kit/random.ts';
import { suite } from '../kit/suite.ts';

const FRAMES = 20_000;
const GATEWAY_MAC = '0a:77:65:69:72:01';
const NEXT_PROGRAM = -1;
const DROP = 2;
const REDIRECT = 7;

const seed = Number(process.env.SEED ?? Date.now() % 2 ** 31);
const test = privileged(suite(`hostile frames (seed ${seed})`), 'root');
const datapath = DatapathFixture.open({ maxEntries: { events: 1 << 16 } });
setPolicy(datapath, 16, {});
setPolicy(datapath, 17, { ingress: { isolated: true } });
const pod = datapath.pod({ identity: 1001, policy: 16, ipv4: '10.9.0.2', ipv6: 'fd09::2' });
const closed = datapath.pod({ identity: 1002, policy: 17, ipv4: '10.9.0.3', ipv6: 'fd09::3' });
test.after(() => datapath[Symbol.dispose]());

function seeds(own: { ipv4: string; ipv6: string }, others: { ipv4: string; ipv6: string }, inward: boolean): Packet[] {
  return [4, 6].flatMap((family) => {
    const [mine, theirs] = family === 4 ? [own.ipv4, others.ipv4] : [own.ipv6, others.ipv6];
    const ends = inward ? { from: theirs, to: mine } : { from: mine, to: theirs };
    const plain = [
      tcp(ends).syn(),
      tcp(ends).data(),
      udp(ends),
      sctp(ends),
      icmpEcho(ends),
      icmpError({ ...ends, quoting: udp({ from: ends.to, to: ends.from }) }),
    ];
    const pieces = udp(ends, 300).fragment({ id: 3, offset: 0, length: 160, more: true });
    const more =
      family === 4
        ? [tcp(ends).syn().options(148, 4, 0, 0, 1, 1, 7, 7, 4, 0, 0, 0)]
        : [
            udp(ends).extension(IPPROTO.hopopts, 1, 4).extension(IPPROTO.dstopts, 1, 4),
            udp(ends).atomicFragment(4),
            neighbourSolicitation({ ...ends, target: 'fe80::1', mac: pod.mac }),
          ];
    return [...plain, pieces, ...more];
  });
}

/** A few bytes changed, or cut, mostly in the headers. */
function damage(frame: Uint8Array, random: (below: number) => number): Uint8Array {
  const out = frame.slice(0, random(4) === 0 ? 34 + random(Math.max(1, frame.length - 34)) : frame.length);
  for (let i = random(4); i >= 0; i--) {
    const at = random(Math.min(out.length, 110));
    out[at] = random(3) === 0 ? random(256) : (out[at] ?? 0) ^ (1 << random(8));
  }
  return out;
}

const sourceOf = (frame: Uint8Array): string => {
  const four = (((frame[12] ?? 0) << 8) | (frame[13] ?? 0)) === 0x0800;
  return formatAddress(four ? frame.slice(26, 30) : frame.slice(22, 38));
};

test('from a pod: what leaves it is from its own MAC and one of its own addresses', () => {
  const { int: random } = seeded(seed);
  const frames = seeds(pod, closed, false).map((packet) => packet.between(pod.mac, GATEWAY_MAC).bytes());
  let passed = 0;
  for (let i = 0; i < FRAMES; i++) {
    const frame = damage(frames[random(frames.length)] ?? new Uint8Array(60), random);
    const words = () => `frame ${i}: ${Buffer.from(frame).toString('hex')}`;
    const { retval } = unlessRefused(() => datapath.runOnly('from_pod', pod, frame));
    if (retval === DROP) continue;
    assert.ok(retval === NEXT_PROGRAM || retval === REDIRECT, `returned ${retval}: ${words()}`);
    const own = [pod.ipv4, pod.ipv6].includes(sourceOf(frame));
    /* its link-local addresses speak to the gateway only, which is answered */
    const answered = retval === REDIRECT && frame[20] === IPPROTO.icmpv6 && /^fe[89ab]/.test(sourceOf(frame));
    assert.ok(own || answered, `from ${sourceOf(frame)}: ${words()}`);
    assert.equal(
      frame.slice(6, 12),
      Uint8Array.from(pod.mac.split(':'), (part) => Number.parseInt(part, 16)),
      words(),
    );
    passed++;
  }
  assert.ok(passed > FRAMES / 20, `only ${passed} of ${FRAMES} passed: the damage is too great to test anything`);
});

test('to a pod that takes nothing: nothing arrives', () => {
  const { int: random } = seeded(seed + 1);
  const frames = seeds(closed, { ipv4: '192.0.2.7', ipv6: '2001:db8::7' }, true).map((packet) =>
    packet.between(GATEWAY_MAC, closed.mac).bytes(),
  );
  for (let i = 0; i < FRAMES; i++) {
    /* TCP in mid-stream may be the answer to what this pod opened, and passes (the entry was evicted) */
    const frame = damage(frames[random(frames.length)] ?? new Uint8Array(60), random);
    const { retval } = unlessRefused(() => datapath.runOnly('to_pod', closed, frame, 1, 1));
    if (retval === DROP) continue;
    const four = frame[12] === 0x08 && frame[13] === 0x00;
    assert.is(four ? frame[23] : nextHeader(frame), IPPROTO.tcp, `frame ${i}: ${Buffer.from(frame).toString('hex')}`);
  }
});

test('random bytes behind a right Ethernet header', () => {
  const { int: random } = seeded(seed + 2);
  const head = udp({ from: pod.ipv4, to: closed.ipv4 }).between(pod.mac, GATEWAY_MAC).bytes().slice(0, 12);
  for (let i = 0; i < FRAMES; i++) {
    const frame = Uint8Array.from({ length: 60 + random(200) }, () => random(256));
    frame.set(head);
    frame.set(
      [
        [0x08, 0x00],
        [0x86, 0xdd],
        [0x08, 0x06],
      ][random(3)] ?? [],
      12,
    );
    const { retval } = unlessRefused(() => datapath.runOnly('from_pod', pod, frame));
    assert.is(retval, DROP, Buffer.from(frame).toString('hex'));
  }
});

/** The kernel itself refuses some frames (too short for their header). */
function unlessRefused(run: () => { retval: number }): { retval: number } {
  try {
    return run();
  } catch (error) {
    if ((error as { code?: string }).code === 'EINVAL') return { retval: DROP };
    throw error;
  }
}

/** The transport protocol behind a chain of extension headers, as far as the frame goes. */
function nextHeader(frame: Uint8Array): number {
  let at = 54;
  let type = frame[20] ?? 59;
  while ([0, 44, 51, 60].includes(type) && at + 1 < frame.length) {
    const length = type === 44 ? 8 : type === 51 ? ((frame[at + 1] ?? 0) + 2) * 4 : ((frame[at + 1] ?? 0) + 1) * 8;
    type = frame[at] ?? 59;
    at += length;
  }
  return type;
}

test.run();
