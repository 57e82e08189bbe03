/** Services in Debian's kernels: the socket programs load, and from_pod translates byte for byte as it does here. */
import { fileURLToPath } from 'node:url';
import * as assert from 'uvu/assert';
import { GATEWAY_MAC } from '../../agent/datapath/layout.gen.ts';
import { mapEntries } from '../../native/index.ts';
import { DatapathFixture, type TestPod } from '../kit/datapath-fixture.ts';
import { setIdentity, setPolicy } from '../kit/datapath-policy.ts';
import { setService } from '../kit/datapath-service.ts';
import { Testbed } from '../kit/netns.ts';
import { fragments, icmpError, macText, type Packet, tcp, udp } from '../kit/packet.ts';
import { privileged } from '../kit/privileged.ts';
import { suite } from '../kit/suite.ts';
import { Probe } from './boot.ts';
import { notFetched, OLD_KERNELS } from './kernels.ts';
import { type Answers, type Line, script } from './script.ts';

const object = (name: string): string => fileURLToPath(new URL(`../../bpf/build/${name}.bpf.o`, import.meta.url));
const SIZES = { conntrack4: 1024, conntrack6: 1024, fragments: 256 };
const WRITTEN = [
  'endpoints',
  'policies',
  'identities',
  'peers',
  'services',
  'service_slots',
  'service_members',
] as const;
const OPEN = 16;

interface World {
  readonly client: TestPod;
  readonly server: TestPod;
  readonly rows: readonly Line[];
}

function makeWorld(datapath: DatapathFixture): World {
  setPolicy(datapath, OPEN, {});
  for (const identity of [1001, 1002]) setIdentity(datapath, identity);
  const client = datapath.pod({ identity: 1001, policy: OPEN, ipv4: '10.9.0.2', ipv6: 'fd09::2' });
  const server = datapath.pod({ identity: 1002, policy: OPEN, ipv4: '10.9.0.3', ipv6: 'fd09::3' });
  for (const [vip, of] of [
    ['10.96.0.1', 'ipv4'],
    ['fd96::1', 'ipv6'],
  ] as const) {
    setService(datapath, 'tcp', vip, 80, [[server[of], 8080]]);
    setService(datapath, 'udp', vip, 53, [[server[of], 5353]]);
    setService(datapath, 'tcp', vip, 81, [[client[of], 8080]]);
    setService(datapath, 'tcp', vip, 82, []);
    setService(datapath, 'udp', vip, 82, []);
  }
  const rows = WRITTEN.flatMap((name): Line[] => {
    const { keys, values, count } = mapEntries(datapath.map(name));
    const [keySize, valueSize] = [keys.length / count, values.length / count];
    return Array.from({ length: count }, (_, i): Line => {
      const value = values.subarray(i * valueSize, (i + 1) * valueSize);
      return ['map', name, keys.subarray(i * keySize, (i + 1) * keySize), value];
    }).filter(([, , , value]) => name !== 'endpoints' || (value as Uint8Array).some((byte) => byte !== 0));
  });
  return { client, server, rows };
}

/** In this order: answers follow what they answer. */
function packets({ client, server }: World): [TestPod, Packet][] {
  return (['ipv4', 'ipv6'] as const).flatMap((of): [TestPod, Packet][] => {
    const [vip, hairpin] = of === 'ipv4' ? ['10.96.0.1', '169.254.42.1'] : ['fd96::1', '100::42:1'];
    const asked = { from: client[of], to: vip, sport: 40001, dport: 80 };
    const back = { from: server[of], to: client[of], sport: 8080, dport: 40001 };
    const datagram = { from: client[of], to: vip, sport: 40002, dport: 53 };
    const reply = { from: server[of], to: client[of], sport: 5353, dport: 40002 };
    const atBackend = udp({ ...datagram, to: server[of], dport: 5353 });
    const itself = { from: client[of], to: vip, sport: 40003, dport: 81 };
    return [
      [client, tcp(asked).syn()],
      [server, tcp(back).synAck()],
      [client, tcp(asked).data(500)],
      [server, tcp(back).data(501)],
      ...fragments(udp(datagram, 2000), 800, 77).map((piece): [TestPod, Packet] => [client, piece]),
      ...fragments(udp(reply, 2000), 800, 78).map((piece): [TestPod, Packet] => [server, piece]),
      [server, icmpError({ from: server[of], to: client[of], quoting: atBackend })],
      [client, tcp(itself).syn()],
      [client, tcp({ from: client[of], to: hairpin, sport: 8080, dport: 40003 }).synAck()],
      [client, tcp({ ...asked, dport: 82 }).syn()],
      [client, udp({ ...asked, dport: 82 })],
      [client, tcp({ ...asked, dport: 4444 }).syn()],
    ];
  });
}

function scriptFor(world: World): string {
  const gateway = macText(GATEWAY_MAC);
  return script([
    ['open', object('pod')],
    ...Object.entries(SIZES).map(([map, entries]): Line => ['size', map, entries]),
    ['load'],
    ...world.rows,
    ...[world.client, world.server].map((pod): Line => ['link', `pod${pod.id}`, pod.ifindex]),
    ...packets(world).map(
      ([sender, packet], number): Line => [
        'run',
        `packet${number}`,
        'from_pod',
        sender.ifindex,
        packet.between(sender.mac, gateway).bytes(),
      ],
    ),
  ]);
}

/** `refusesByName`: with the helper that Linux 5.10 has not. */
const sockets = (refusesByName: boolean): string =>
  script([
    ['open', object('socket')],
    ...(refusesByName ? ([['rodata', 'config_refuses_by_name', Uint8Array.of(1, 0, 0, 0)]] as Line[]) : []),
    ['load'],
  ]);

const test = privileged(suite('Services in old kernels'), 'root', 'btf', 'qemu');
let datapath: DatapathFixture;
let world: World;
let probe: Probe;
let here: Answers;

test.before(async () => {
  datapath = DatapathFixture.open();
  world = makeWorld(datapath);
  probe = await Probe.build();
  await using bed = await Testbed.open('service');
  here = await probe.here(await bed.netns(), scriptFor(world));
});
test.after(async () => {
  await probe.remove();
  datapath[Symbol.dispose]();
});

const outcomes = (answers: Answers): string[] =>
  packets(world).map(([, packet], number) => {
    const run = answers.runs.get(`packet${number}`);
    return `${packet}: ${run?.retval} ${run?.frame.toString('hex')}`;
  });

test('this kernel translates every packet', () => {
  assert.equal(here.failures, []);
  const retvals = packets(world).map((_, number) => here.runs.get(`packet${number}`)?.retval);
  assert.equal([...new Set(retvals)], [7], 'delivered, or answered');
});

for (const { release, folder } of OLD_KERNELS) {
  const absent = notFetched();
  if (absent !== undefined) test.skip(`Linux ${release}`, absent);
  else
    test(`Linux ${release} loads the programs of sockets, and translates byte for byte as this kernel does`, async () => {
      const answers = await probe.in(folder, scriptFor(world), [object('pod')]);
      assert.ok(answers.kernel.startsWith(`${release}.`), answers.kernel);
      assert.equal(answers.failures, []);
      assert.equal(outcomes(answers), outcomes(here));
      const loaded = await probe.in(folder, sockets(release !== '5.10'), [object('socket')]);
      assert.equal(loaded.failures, []);
    });
}

test.run();
