/**
 * What an event costs the program that makes it: one packet of an established connection by BPF_PROG_TEST_RUN, told of each
 * time, over the same packet in silence. Of all that W10 measures this is what other work on the machine disturbs least.
 */
import { DatapathFixture } from '../kit/datapath-fixture.ts';
import { allow, setIdentity, setPolicy, setVerdict } from '../kit/datapath-policy.ts';
import { IPPROTO, type Packet, tcp } from '../kit/packet.ts';
import { until } from '../kit/until.ts';
import type { Bench } from './bench.ts';
import { type Figure, figureOf, noiseOf } from './figure.ts';
import { contest, numbers } from './rounds.ts';

const GATEWAY_MAC = '0a:77:65:69:72:01';
const REMOTE = '10.9.1.2';
/** Packets of one sample: their events find room in the ring whether or not somebody reads meanwhile. */
const REPEAT = 10_000;
/** Samples of a round; the least disturbed counts. */
const SAMPLES = 20;

export async function eventCost(bench: Bench): Promise<Figure> {
  using telling = DatapathFixture.open({ config: { reportIntervalSeconds: 0 } });
  using silent = DatapathFixture.open({ config: { reportIntervalSeconds: 3600 } });
  const ours = established(telling, REPEAT);
  const baseline = established(silent, 0);
  const result = await contest(
    { ours: { name: 'an event', run: ours }, baseline: { name: 'silent', run: baseline } },
    bench.rounds,
  );
  const [before, after] = [numbers(result.baseline, 'ns'), numbers(result.again, 'ns')];
  return figureOf(
    { workload: 'W10', metric: 'program, established packet with an event', unit: 'ns', better: 'less' },
    { ours: numbers(result.ours, 'ns'), baseline: before, baselineName: 'without', noise: noiseOf(before, after) },
  );
}

/**
 * A pod with a connection to a pod elsewhere; the run is of its next packets, which make so many events: it was these that were
 * paid for, and not a ring without room.
 */
function established(datapath: DatapathFixture, events: number): () => Promise<{ ns: number }> {
  const [policy, set, classId, identity] = [17, 5, 7, 1002];
  setPolicy(datapath, policy, { egress: { isolated: true, identitySet: set }, ingress: { isolated: false } });
  setIdentity(datapath, identity, set, classId);
  const place = { policy, class: classId, direction: 'egress', protocol: IPPROTO.tcp, port: 8080 } as const;
  setVerdict(datapath, place, { normal: allow(1, 501) });
  const pod = datapath.pod({ identity: 1001, policy, ipv4: '10.9.0.2', ipv6: 'fd09::2' });
  datapath.peer(REMOTE, { identity, kind: 'pod' });
  const there = tcp({ from: pod.ipv4, to: REMOTE, sport: 40_001, dport: 8080 });
  const framed = (packet: Packet) => packet.between(pod.mac, GATEWAY_MAC).bytes();
  datapath.runOnly('from_pod', pod, framed(there.syn()));
  datapath.runOnly('from_pod', pod, framed(there.ack()));
  const data = framed(there.data(64));
  return async () => {
    let ns = Number.POSITIVE_INFINITY;
    for (let i = 0; i < SAMPLES; i++) {
      const before = datapath.eventsReceived;
      ns = Math.min(ns, datapath.runOnly('from_pod', pod, data, REPEAT).ns);
      await until(() => datapath.eventsReceived >= before + events, { what: `${events} events`, everyMs: 1 });
    }
    return { ns };
  };
}
