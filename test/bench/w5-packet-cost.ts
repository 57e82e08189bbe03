/**
 * W5: what one packet costs, by BPF_PROG_TEST_RUN, over a program that does nothing. The packets go to a pod of another node: one
 * delivered here would come out with new MAC addresses, and the second of the repeated runs would be of another packet.
 */

import { openObject, type ProgramHandle, testRun } from '../../native/index.ts';
import { compileBpf } from '../kit/bpf-object.ts';
import { DatapathFixture, OUTSIDE_IFINDEX, type TestPod } from '../kit/datapath-fixture.ts';
import { allow, setIdentity, setPolicy, setVerdict } from '../kit/datapath-policy.ts';
import { fragments, IPPROTO, type Packet, tcp, udp } from '../kit/packet.ts';
import type { Bench } from './bench.ts';
import { type Figure, figureOf, type Goal, noiseOf } from './figure.ts';
import { contest, numbers } from './rounds.ts';

const EMPTY = 'SEC("tc") int empty(struct __sk_buff *skb) { return -1; }';
const GATEWAY_MAC = '0a:77:65:69:72:01';
/** Runs that one sample is the mean of. */
const REPEAT = 200_000;

/** Runs of one packet each, for what happens only once to a packet. */
const SINGLE_RUNS = 2000;

interface PacketCost {
  readonly metric: string;
  readonly sender: TestPod;
  readonly packet: Packet;
  /** A packet of its own for each of SINGLE_RUNS runs, by number, instead of many runs of `packet`. */
  readonly fresh?: (number: number) => Packet;
  /** Done once, so that there is a connection. */
  readonly before?: () => void;
  readonly verdict: number;
  readonly goal?: Goal;
}

export async function packetCost(bench: Bench): Promise<Figure[]> {
  const noLimit = { newConnectionsPerSecond: 1_000_000_000, newConnectionBurst: 1_000_000_000 };
  using datapath = DatapathFixture.open({ config: noLimit, maxEntries: { conntrack4: 65_536, conntrack6: 65_536 } });
  using source = compileBpf(EMPTY);
  const nothing = openObject(source.path);
  try {
    const empty = nothing.programs.empty;
    if (empty === undefined) throw new Error('the empty program is not there');
    const figures: Figure[] = [];
    for (const cost of packets(datapath)) figures.push(...(await measure(bench, datapath, empty, cost)));
    return figures;
  } finally {
    nothing.close();
  }
}

async function measure(
  bench: Bench,
  datapath: DatapathFixture,
  empty: ProgramHandle,
  cost: PacketCost,
): Promise<Figure[]> {
  const { metric, sender, packet, fresh, before, verdict, goal } = cost;
  before?.();
  const data = framed(sender, packet);
  let number = 0;
  const next = fresh === undefined ? undefined : () => framed(sender, fresh(number++));
  const ours = () =>
    next === undefined
      ? costOf(datapath, sender, data, verdict, REPEAT)
      : meanOf(SINGLE_RUNS, () => costOf(datapath, sender, next(), verdict, 1));
  const none = () =>
    next === undefined
      ? testRun(empty, { data, repeat: REPEAT }).durationNs
      : meanOf(SINGLE_RUNS, () => testRun(empty, { data }).durationNs);
  const result = await contest(
    {
      ours: { name: 'Weir', run: async () => ({ ns: ours() }) },
      baseline: { name: 'empty program', run: async () => ({ ns: none() }) },
    },
    bench.rounds,
  );
  const [first, second] = [numbers(result.baseline, 'ns'), numbers(result.again, 'ns')];
  const emptyNs = first.map((value, round) => (value + (second[round] ?? value)) / 2);
  const noise = noiseOf(first, second);
  const whole = figureOf(
    { workload: 'W5', metric, unit: 'ns', better: 'less' },
    { ours: numbers(result.ours, 'ns'), baseline: emptyNs, baselineName: 'empty program', noise },
  );
  const added = numbers(result.ours, 'ns').map((value, round) => value - (emptyNs[round] ?? 0));
  return goal === undefined ? [whole] : [whole, overEmpty(metric, added, emptyNs, noise, goal)];
}

function meanOf(count: number, run: () => number): number {
  let sum = 0;
  for (let i = 0; i < count; i++) sum += run();
  return sum / count;
}

/** What we add to the empty program: that is what the goal is about. */
function overEmpty(
  metric: string,
  added: readonly number[],
  empty: readonly number[],
  noise: number,
  goal: Goal,
): Figure {
  const described = { workload: 'W5', metric: `${metric}, over empty`, unit: 'ns', better: 'less', goal } as const;
  return figureOf(described, { ours: added, baseline: empty, baselineName: 'empty program', noise });
}

/** @throws when the last of the runs did not end as the first should have: then it was not this packet that was measured */
function costOf(datapath: DatapathFixture, sender: TestPod, data: Uint8Array, verdict: number, repeat: number): number {
  const { retval, ns } = datapath.runOnly('from_pod', sender, data, repeat);
  if (retval !== verdict) throw new Error(`verdict ${verdict} expected, got ${retval}`);
  return ns;
}

const STACK = -1;
const DROP = 2;
const REMOTE = { 4: '10.9.1.2', 6: 'fd09:1::2' } as const;

/** An isolated pod that may reach pods of one identity, elsewhere, on two ports. */
function packets(datapath: DatapathFixture): PacketCost[] {
  const [policy, set, classId, remote] = [17, 5, 7, 1002];
  setPolicy(datapath, policy, { egress: { isolated: true, identitySet: set }, ingress: { isolated: true } });
  setIdentity(datapath, remote, set, classId);
  const place = { policy, class: classId, direction: 'egress' } as const;
  setVerdict(datapath, { ...place, protocol: IPPROTO.tcp, port: 8080 }, { normal: allow(1, 501) });
  setVerdict(datapath, { ...place, protocol: IPPROTO.udp, port: 53 }, { normal: allow(1, 502) });
  const pod = datapath.pod({ identity: 1001, policy, ipv4: '10.9.0.2', ipv6: 'fd09::2' });
  for (const address of Object.values(REMOTE)) datapath.peer(address, { identity: remote, kind: 'pod' });

  const send = (packet: Packet) => void datapath.runOnly('from_pod', pod, framed(pod, packet));
  const receive = (packet: Packet) =>
    void datapath.runOnly('to_pod', pod, packet.between(GATEWAY_MAC, pod.mac).bytes(), 1, OUTSIDE_IFINDEX);
  const family = (number: 4 | 6, limitNs: number): PacketCost[] => {
    const own = number === 4 ? pod.ipv4 : pod.ipv6;
    const there = { from: own, to: REMOTE[number], sport: 40001, dport: 8080 };
    const back = { from: REMOTE[number], to: own, sport: 8080, dport: 40001 };
    const [first, later] = fragments(udp({ ...there, sport: 40002, dport: 53 }, 1000), 600) as [Packet, Packet];
    const name = (what: string) => `${what}, IPv${number}`;
    const handshake = () => {
      send(tcp(there).syn());
      receive(tcp(back).synAck());
      send(tcp(there).ack());
    };
    const shared = { sender: pod, verdict: STACK };
    return [
      {
        ...shared,
        metric: name('established'),
        packet: tcp(there).data(64),
        before: handshake,
        goal: { oursAtMost: limitNs },
      },
      {
        ...shared,
        metric: name('new'),
        packet: tcp(there).syn(),
        fresh: (n) => tcp({ ...there, sport: 1024 + (n % 38_000) }).syn(),
      },
      { ...shared, metric: name('denied'), packet: tcp({ ...there, dport: 8081 }).syn(), verdict: DROP },
      { ...shared, metric: name('later fragment'), packet: later, before: () => send(first) },
    ];
  };
  return [...family(4, 80), ...family(6, 100)];
}

function framed(sender: TestPod, packet: Packet): Uint8Array {
  return packet.between(sender.mac, GATEWAY_MAC).bytes();
}
