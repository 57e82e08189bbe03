/**
 * The programs of uplink and tunnel under the kernels they must run on: loaded, attached (XDP by a link, tc as clsact
 * filters), and each asked one question. What they decide is the business of test/netns.
 */
import { fileURLToPath } from 'node:url';
import * as assert from 'uvu/assert';
import { DropReason, dropReasonName, flowEvent, MAPS } from '../../agent/datapath/layout.gen.ts';
import { encodeRangeKey } from '../../agent/datapath/map/peer-rows.ts';
import type { Prefix } from '../../agent/model/address.ts';
import { encodeWith } from '../kit/datapath-rows.ts';
import { Testbed } from '../kit/netns.ts';
import { icmpEcho, type Packet, udp } from '../kit/packet.ts';
import { privileged } from '../kit/privileged.ts';
import { suite } from '../kit/suite.ts';
import { Probe } from './boot.ts';
import { notFetched, OLD_KERNELS } from './kernels.ts';
import { type Answers, type Line, script } from './script.ts';

const objectOf = (name: string): string => fileURLToPath(new URL(`../../bpf/build/${name}.bpf.o`, import.meta.url));
const [TUNNEL, UPLINK] = [objectOf('tunnel'), objectOf('uplink')];
const SIZES = { conntrack4: 1024, conntrack6: 1024, fragments: 256 };
const DEVICE = 'node0';

const bytes = (packet: Packet): Uint8Array => packet.between('0a:00:00:00:00:01', '0a:00:00:00:00:02').bytes();
const refused = (prefix: string): Line => [
  'map',
  'refused_sources',
  encodeWith(MAPS.refused_sources.key, encodeRangeKey(prefix as Prefix)),
  encodeWith(MAPS.refused_sources.value, DropReason.DROP_DENY_CIDR),
];

const FRAMES = [
  icmpEcho({ from: '198.51.100.7', to: '192.0.2.2' }),
  icmpEcho({ from: '2001:db8:1::7', to: '2001:db8::2' }),
  udp({ from: '2001:db8:1::7', to: '2001:db8::2', dport: 8472 }).extension(0, 1, 4),
];

const load = (object: string): Line[] => [
  ['open', object],
  ...Object.entries(SIZES).map(([map, entries]): Line => ['size', map, entries]),
  ['load'],
];

const SCRIPT = script([
  ...load(UPLINK),
  refused('198.51.100.0/24'),
  refused('2001:db8:1::/48'),
  ['link', DEVICE, 1_500_000],
  ['xdp', DEVICE, 'guard_uplink'],
  ['clsact', DEVICE, 'ingress', 'from_uplink'],
  ...FRAMES.map((packet): Line => ['send', `${DEVICE}p`, bytes(packet)]),
  ['events', 'events'],
  ['link', 'node2', 1_500_002],
  ['clsact', 'node2', 'ingress', 'guarded_uplink'],
  ...FRAMES.map((packet): Line => ['send', 'node2p', bytes(packet)]),
  ['events', 'events'],
  ...load(TUNNEL),
  ['link', 'node1', 1_500_001],
  ['clsact', 'node1', 'ingress', 'from_tunnel'],
  ['clsact', 'node1', 'egress', 'to_tunnel'],
  ['send', 'node1p', bytes(icmpEcho({ from: '198.51.100.7', to: '192.0.2.2' }))],
  ['events', 'events'],
]);

function check(answers: Answers): void {
  assert.equal(answers.failures, []);
  const programs = answers.lines.filter((line) => line.startsWith('program ')).map((line) => line.slice(8));
  assert.equal(programs.sort(), ['from_tunnel', 'from_uplink', 'guard_uplink', 'guarded_uplink', 'to_tunnel']);
  const reasons = answers.events.map((event) => dropReasonName[flowEvent.decode(event).reason]);
  // The last frame has no tunnel key.
  assert.equal(reasons, [...FRAMES, ...FRAMES].map(() => 'DROP_DENY_CIDR').concat('DROP_TUNNEL_FORBIDDEN'));
}

const test = privileged(suite("the node's programs in old kernels"), 'root', 'btf', 'qemu');
let probe: Probe;
test.before(async () => {
  probe = await Probe.build();
});
test.after(() => probe.remove());

test('this kernel', async () => {
  await using bed = await Testbed.open('nodeprog');
  check(await probe.here(await bed.netns(), SCRIPT));
});

for (const { release, folder } of OLD_KERNELS) {
  const absent = notFetched();
  if (absent !== undefined) test.skip(`Linux ${release}`, absent);
  else
    test(`Linux ${release}`, async () => {
      const answers = await probe.in(folder, SCRIPT, [TUNNEL, UPLINK]);
      assert.ok(answers.kernel.startsWith(`${release}.`), answers.kernel);
      check(answers);
    });
}

test.run();
