/**
 * The guard on the uplink as XDP and as tc program: the same frames are refused, counted and told of by both. On devices it
 * is looked at in test/netns/uplink.test.ts.
 */
import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import * as assert from 'uvu/assert';
import {
  DropReason,
  dropReasonName,
  type FlowEvent,
  flowEvent,
  MAPS,
  type MapName,
  trafficCounter,
} from '../../agent/datapath/layout.gen.ts';
import { addressOf } from '../../agent/datapath/map/addresses.ts';
import { encodeRangeKey } from '../../agent/datapath/map/peer-rows.ts';
import { familyOf, type Prefix, parseAddress } from '../../agent/model/address.ts';
import { mapLookup, mapUpdate, openObject, ringConsumer, testRun } from '../../native/index.ts';
import { encodeWith, type KeyOf, paddedAddress, rawAddress, type ValueOf } from '../kit/datapath-rows.ts';
import { arp, ETHERTYPE, type Frame, IPPROTO, icmpEcho, type Packet, tcp, udp } from '../kit/packet.ts';
import { privileged } from '../kit/privileged.ts';
import { suite } from '../kit/suite.ts';
import { until } from '../kit/until.ts';

const BPF_FOLDER = fileURLToPath(new URL('../../bpf', import.meta.url));
const OBJECT = `${BPF_FOLDER}/build/uplink.bpf.o`;
const PORT = 8472;
/** DIRECTION_COUNT slots for each reason; ingress is the first. */
const DIRECTIONS = 2;

const NODE = { ipv4: '192.0.2.1', ipv6: '2001:db8::1' };
const NOBODY = { ipv4: '192.0.2.100', ipv6: '2001:db8::100' };
const HERE = { ipv4: '192.0.2.2', ipv6: '2001:db8::2' };
const v4 = (from: string, dport = PORT) => ({ from, to: HERE.ipv4, sport: 50_000, dport });
const v6 = (from: string, dport = PORT) => ({ from, to: HERE.ipv6, sport: 50_000, dport });

type Case = readonly [what: string, frame: Packet | Frame, reason?: 'deny_cidr' | 'host_spoof' | 'tunnel_forbidden'];
const CASES: readonly Case[] = [
  ['a denied range, IPv4', icmpEcho({ from: '198.51.100.7', to: HERE.ipv4 }), 'deny_cidr'],
  ['a denied range, IPv6', icmpEcho({ from: '2001:db8:1::7', to: HERE.ipv6 }), 'deny_cidr'],
  ['beside a denied range, IPv4', icmpEcho({ from: '198.51.101.7', to: HERE.ipv4 })],
  ['beside a denied range, IPv6', icmpEcho({ from: '2001:db8:2::7', to: HERE.ipv6 })],
  ['an address of a pod, IPv4', tcp(v4('10.61.2.9', 80)).syn(), 'host_spoof'],
  ['an address of a pod, IPv6', tcp(v6('fd61:0:0:2::9', 80)).syn(), 'host_spoof'],
  ['VXLAN of nobody, IPv4', udp(v4(NOBODY.ipv4)), 'tunnel_forbidden'],
  ['VXLAN of nobody, IPv6', udp(v6(NOBODY.ipv6)), 'tunnel_forbidden'],
  ['VXLAN of a node, IPv4', udp(v4(NODE.ipv4))],
  ['VXLAN of a node, IPv6', udp(v6(NODE.ipv6))],
  ['another port of UDP, IPv4', udp(v4(NOBODY.ipv4, PORT + 1))],
  ['another port of UDP, IPv6', udp(v6(NOBODY.ipv6, PORT + 1))],
  ['the port in TCP', tcp(v4(NOBODY.ipv4)).syn()],
  ['behind IPv4 options', udp(v4(NOBODY.ipv4)).options(1, 1, 1, 1), 'tunnel_forbidden'],
  ['behind extension headers', udp(v6(NOBODY.ipv6)).extension(0, 1, 4).extension(60, 1, 4), 'tunnel_forbidden'],
  ['behind AH', udp(v6(NOBODY.ipv6)).extension(IPPROTO.ah, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0), 'tunnel_forbidden'],
  [
    'a first fragment, IPv4',
    udp(v4(NOBODY.ipv4), 64).fragment({ id: 7, offset: 0, length: 32, more: true }),
    'tunnel_forbidden',
  ],
  [
    'a first fragment, IPv6',
    udp(v6(NOBODY.ipv6), 64).fragment({ id: 7, offset: 0, length: 32, more: true }),
    'tunnel_forbidden',
  ],
  ['a later fragment, IPv4', udp(v4(NOBODY.ipv4), 64).fragment({ id: 7, offset: 32, more: false })],
  ['a later fragment, IPv6', udp(v6(NOBODY.ipv6), 64).fragment({ id: 7, offset: 32, more: false })],
  ['behind a VLAN tag', udp(v6(NOBODY.ipv6)).vlan(5), 'tunnel_forbidden'],
  ['behind a service tag', icmpEcho({ from: '198.51.100.7', to: HERE.ipv4 }).vlan(5, ETHERTYPE.qinq), 'deny_cidr'],
  ['too short for a port', udp(v4(NOBODY.ipv4), 0).cut(4)],
  ['ARP', arp({ senderMac: '0a:00:00:00:00:01', senderIp: '198.51.100.7', targetIp: HERE.ipv4 })],
];

for (const { program, pass, drop } of [
  { program: 'guard_uplink', pass: 2, drop: 1 }, // enum xdp_action
  { program: 'guarded_uplink', pass: -1, drop: 2 }, // TCX_NEXT, TCX_DROP
]) {
  const test = privileged(suite(`the guard, ${program}`), 'root');

  test('refuses what nobody may send, counts and tells it', async () => {
    execFileSync('make', ['-s', '-C', BPF_FOLDER]);
    await using object = opened();
    fill(object.put);
    const expected: string[] = [];
    for (const [what, frame, reason] of CASES) {
      const before = object.dropped(reason);
      const bytes =
        'between' in frame ? frame.between('0a:00:00:00:00:01', '0a:00:00:00:00:02').bytes() : frame.bytes();
      assert.is(testRun(object.program(program), { data: bytes }).retval, reason ? drop : pass, what);
      if (reason === undefined) continue;
      assert.is(object.dropped(reason), before + 1, `${what}: counted`);
      expected.push(`${reason} ${(frame as Packet).parts.from} ${(frame as Packet).parts.to}`);
    }
    await until(() => object.events.length >= expected.length, { what: `${expected.length} events` });
    assert.equal(
      object.events.map(
        ({ reason, source, destination, family }) =>
          `${nameOf(reason)} ${addressOf(source, family)} ${addressOf(destination, family)}`,
      ),
      expected,
    );
  });

  test.run();
}

const nameOf = (reason: number): string => (dropReasonName[reason] ?? '').slice('DROP_'.length).toLowerCase();

type Put = <N extends MapName>(name: N, key: KeyOf<N>, value: ValueOf<N>) => void;

function fill(put: Put): void {
  const { DROP_DENY_CIDR, DROP_HOST_SPOOF } = DropReason;
  for (const [prefix, reason] of [
    ['198.51.100.0/24', DROP_DENY_CIDR],
    ['2001:db8:1::/48', DROP_DENY_CIDR],
    ['10.61.2.0/24', DROP_HOST_SPOOF],
    ['fd61:0:0:2::/64', DROP_HOST_SPOOF],
  ] as const) {
    put('refused_sources', encodeRangeKey(prefix as Prefix), reason);
  }
  for (const address of [NODE.ipv4, NODE.ipv6]) {
    const parsed = parseAddress(address);
    if (parsed === undefined) throw new TypeError(address);
    put('tunnel_sources', { family: familyOf(parsed), address: paddedAddress(address) }, 1);
  }
  put('node_state', 0, {
    ...{ tunnelIfindex: 9, pathMtu: 1450, flags: 0, tunnelPort: PORT },
    ...{ podIpv4: new DataView(rawAddress('10.61.2.0').buffer).getUint32(0), podIpv4Mask: 0xffffff00 },
    ...{ podIpv6: new Uint8Array(16), podIpv6Mask: new Uint8Array(16) },
  });
}

function opened() {
  const object = openObject(OBJECT, { maxEntries: { conntrack4: 1024, conntrack6: 1024, fragments: 256 } });
  const map = (name: MapName) => {
    const found = object.maps[name];
    if (found) return found;
    throw new Error(`the object has no map ${name}`);
  };
  const events: FlowEvent[] = [];
  const options = { recordSize: flowEvent.size, maxQueuedRecords: 1024, maxBatchRecords: 64, maxDelayMs: 0 };
  const ring = ringConsumer(map('events'), options, (records, count) => {
    for (let i = 0; i < count; i++) events.push(flowEvent.decode(records, i * flowEvent.size));
  });
  return {
    events,
    program(name: string) {
      const found = object.programs[name];
      if (found) return found;
      throw new Error(`the object has no program ${name}`);
    },
    put: ((name, key, value) => {
      mapUpdate(map(name), encodeWith(MAPS[name].key, key), encodeWith(MAPS[name].value, value));
    }) as Put,
    /** Packets of the reason, of all CPUs. */
    dropped(reason = ''): number {
      const index = DropReason[`DROP_${reason.toUpperCase()}` as keyof typeof DropReason] ?? 0;
      const perCpu = mapLookup(map('drops'), encodeWith('__u32', index * DIRECTIONS)) ?? new Uint8Array(0);
      let sum = 0;
      for (let at = 0; at < perCpu.length; at += trafficCounter.size)
        sum += Number(trafficCounter.decode(perCpu, at).packets);
      return sum;
    },
    async [Symbol.asyncDispose](): Promise<void> {
      await ring.stop();
      object.close();
    },
  };
}
