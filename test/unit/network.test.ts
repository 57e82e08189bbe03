/** agent/network: what is decided, and plans against a kernel of the test's own. */
import fc from 'fast-check';
import * as assert from 'uvu/assert';
import { type Address, familyOf, type Prefix, parsePrefix } from '../../agent/model/address.ts';
import type { NodeRecord } from '../../agent/model/object.ts';
import type { RecordAge } from '../../agent/model/record-age.ts';
import { type Desired, decide, tunnelMac } from '../../agent/network/desired.ts';
import { destinationOf, type Found } from '../../agent/network/found.ts';
import { ROUTE_PROTOCOL } from '../../agent/network/names.ts';
import type { NetworkSettings, Nodes } from '../../agent/network/network.ts';
import { type Operation, plan } from '../../agent/network/plan.ts';
import type { InterfaceAddress, Link, Route } from '../../native/index.ts';
import { suite } from '../kit/suite.ts';

const SETTINGS: NetworkSettings = {
  routingMode: 'native',
  tunnelPort: 8472,
  underlay: 'auto',
  uplinkDevices: '',
  masquerade: false,
  masqueradeExcludedCidrs: [],
  clusterPodCidrs: [],
  mtuBytes: 0,
};

/** The n-th node: 192.0.2.n, 2001:db8::n, pods in 10.244.n.0/24 and fd00:n::/64. */
function node(n: number, change: Partial<NodeRecord> = {}): NodeRecord {
  return {
    name: `node${String(n).padStart(3, '0')}`,
    addresses: [`192.0.2.${n}`, `2001:db8::${n.toString(16)}`] as Address[],
    podCidrs: [`10.244.${n}.0/24`, `fd00:${n.toString(16)}::/64`] as Prefix[],
    routerAddresses: [`10.244.${n}.1`, `fd00:${n.toString(16)}::1`] as Address[],
    ...change,
  };
}

const link = (index: number, name: string, more: Partial<Link> = {}): Link => ({
  index,
  name,
  mac: '02:00:00:00:00:01',
  mtu: 1500,
  up: true,
  kind: '',
  arp: true,
  flags: 0,
  txQueueLen: 1000,
  ...more,
});
const address = (index: number, text: string, prefixLength: number): InterfaceAddress => ({
  index,
  address: text as Address,
  prefixLength,
  scope: 0,
  flags: 0,
  tentative: false,
  deprecated: false,
});
const route = (dst: string, more: Partial<Route> = {}): Route => ({
  dst: dst as Route['dst'],
  scope: 'global',
  type: 'unicast',
  onlink: false,
  table: 254,
  protocol: 4,
  ...(dst === 'default6' || dst.includes(':') ? { metric: 1024 } : {}),
  ...more,
});

/** A node with one uplink, of its n-th address, and nothing of ours. */
function fresh(n: number, more: Partial<Found> = {}): Found {
  return {
    links: [link(1, 'lo', { mtu: 65_536 }), link(2, 'eth0')],
    addresses: [address(2, `192.0.2.${n}`, 24), address(2, `2001:db8::${n.toString(16)}`, 64)],
    routes: [
      route('192.0.2.0/24', { index: 2, protocol: 2, scope: 'link' }),
      route('2001:db8::/64', { index: 2, protocol: 2, metric: 256 }),
      route('default4', { index: 2, gateway: '192.0.2.254' as Address }),
      route('default6', { index: 2, gateway: '2001:db8::fe' as Address }),
    ],
    sysctls: new Map(),
    rules: 'absent',
    loadedRules: undefined,
    hasIpv6: true,
    ...more,
  };
}

/** A kernel in memory: what it refuses the real one refuses too (test/netns/network.test.ts runs the same plans there). */
class Kernel {
  found: Found;
  private nextIndex = 100;

  constructor(found: Found) {
    this.found = found;
  }

  run(operations: readonly Operation[]): void {
    for (const operation of operations) this.one(operation);
  }

  private device(name: string): Link {
    const device = this.found.links.find((one) => one.name === name);
    assert.ok(device, `there is a device ${name}`);
    return device;
  }

  private one(operation: Operation): void {
    const { links, addresses, routes } = this.found;
    switch (operation.kind) {
      case 'device.create': {
        const { name, kind, mac, mtu = 1500, port } = operation.device;
        assert.not.ok(
          links.some((one) => one.name === name),
          `${name} is free`,
        );
        this.nextIndex += 1;
        const vxlan = port === undefined ? {} : { vxlan: { external: true, learning: false, port } };
        this.set({
          links: [...links, link(this.nextIndex, name, { kind, mtu, up: false, ...(mac && { mac }), ...vxlan })],
        });
        break;
      }
      case 'device.set': {
        const device = this.device(operation.name);
        this.set({ links: links.map((one) => (one === device ? { ...one, ...operation.set } : one)) });
        break;
      }
      case 'device.delete': {
        const { index } = this.device(operation.name);
        this.set({
          links: links.filter((one) => one.index !== index),
          addresses: addresses.filter((one) => one.index !== index),
          routes: routes.filter((one) => one.index !== index),
          sysctls: new Map([...this.found.sysctls].filter(([key]) => !key.includes(`/${operation.name}/`))),
        });
        break;
      }
      case 'sysctl.set':
        this.device(operation.key.split('/')[3] as string);
        this.set({ sysctls: new Map([...this.found.sysctls, [operation.key, operation.value]]) });
        break;
      case 'address.add': {
        const { index } = this.device(operation.device);
        const others = addresses.filter((one) => one.index !== index || one.address !== operation.address);
        const deprecated = familyOf(operation.address) === 6;
        this.set({
          addresses: [...others, { ...address(index, operation.address, operation.prefixLength), deprecated }],
        });
        break;
      }
      case 'address.delete': {
        const { index } = this.device(operation.device);
        const isIt = (one: InterfaceAddress) =>
          one.index === index && one.address === operation.address && one.prefixLength === operation.prefixLength;
        assert.ok(addresses.some(isIt), `${operation.address} is there`);
        assert.not.ok(
          routes.some(({ source }) => source === operation.address),
          `${operation.address} is no route's source any more: the kernel would take the route along`,
        );
        this.set({ addresses: addresses.filter((one) => !isIt(one)) });
        break;
      }
      case 'route.set': {
        const { dst, type, device, gateway, source } = operation.route;
        const there = routes.find(
          (one) => destinationOf(one) === dst && (one.metric ?? 0) === (familyOf(dst) === 6 ? 1024 : 0),
        );
        assert.is(there !== undefined, operation.replace, `${dst}: replaced only if it is there`);
        assert.not.ok(there && there.protocol !== ROUTE_PROTOCOL, `${dst}: ours`);
        if (source !== undefined)
          assert.ok(
            addresses.some((one) => one.address === source),
            `${source} is local`,
          );
        const index = device === undefined ? {} : { index: this.device(device).index };
        const next = route(dst, {
          type,
          protocol: ROUTE_PROTOCOL,
          ...index,
          ...(gateway && { gateway }),
          ...(source && { source }),
        });
        this.set({ routes: [...routes.filter((one) => one !== there), next] });
        break;
      }
      case 'route.delete':
        assert.is(operation.route.protocol, ROUTE_PROTOCOL);
        assert.ok(routes.includes(operation.route), `${operation.route.dst} is there`);
        this.set({ routes: routes.filter((one) => one !== operation.route) });
        break;
      case 'rules.load':
        this.set({ rules: 'as loaded', loadedRules: operation.text });
        break;
      case 'rules.delete':
        this.set({ rules: 'absent', loadedRules: undefined });
        break;
    }
  }

  private set(change: Partial<Found>): void {
    this.found = { ...this.found, ...change };
  }
}

function reconcile(kernel: Kernel, settings: NetworkSettings, nodes: Nodes) {
  const decision = decide(settings, nodes, kernel.found);
  const operations = plan(decision.desired, kernel.found);
  kernel.run(operations);
  return { ...decision, operations };
}

/** All that is not ours. */
const foreign = ({ links, addresses, routes }: Found) => ({
  links: links.filter(({ name }) => !name.startsWith('weir-')),
  addresses: addresses.filter(({ index }) => index < 100),
  routes: routes.filter(({ protocol }) => protocol !== ROUTE_PROTOCOL),
});

/** The kernel has what is desired, looked at without the plan's own comparisons. */
/** Rules that this agent has not loaded itself. */
const ofAnAgentBefore = { rules: 'different', loadedRules: undefined } as const;

function assertIs({ links, addresses, routes, rules, loadedRules }: Found, desired: Desired): void {
  for (const device of desired.devices) {
    const there = links.find(({ name }) => name === device.name);
    const { kind, mtu = there?.mtu, port, mac = there?.mac } = device;
    assert.equal([there?.kind, there?.mtu, there?.vxlan?.port, there?.mac], [kind, mtu, port, mac]);
    assert.equal([there?.up, there?.arp], [true, false]);
    const own = addresses.filter(({ index }) => index === there?.index).map(({ address }) => address);
    for (const address of device.addresses) assert.ok(own.includes(address));
    if (desired.routesAreComplete) assert.is(own.length, device.addresses.length);
  }
  const ours = routes.filter(({ protocol }) => protocol === ROUTE_PROTOCOL);
  for (const { dst, type, device, gateway, source } of desired.routes) {
    const index = links.find(({ name }) => name === device)?.index;
    const same = ours.filter((one) => destinationOf(one) === dst);
    assert.equal(
      same.map((one) => [one.type, one.index, one.gateway, one.source]),
      [[type, index, gateway, source]],
    );
  }
  if (desired.routesAreComplete) assert.is(ours.length, desired.routes.length);
  if (!desired.routesAreComplete && rules === 'different' && loadedRules === undefined) return;
  assert.equal(
    [rules, loadedRules],
    desired.rules === undefined ? ['absent', undefined] : ['as loaded', desired.rules],
  );
}

const plans = suite('network: plans');

const settingsArbitrary = fc
  .record({
    routingMode: fc.constantFrom('none' as const, 'native' as const, 'tunnel' as const),
    tunnelPort: fc.constantFrom(8472, 4789),
    underlay: fc.constantFrom('auto' as const, 'ipv4' as const, 'ipv6' as const),
    masquerade: fc.boolean(),
    mtuBytes: fc.constantFrom(0, 1400),
  })
  .map((some): NetworkSettings => ({ ...SETTINGS, ...some }));
const nodesArbitrary = fc
  .uniqueArray(fc.integer({ min: 2, max: 9 }), { maxLength: 5 })
  .chain((numbers) => fc.tuple(...numbers.map((n) => nodeArbitrary(n))));
function nodeArbitrary(n: number): fc.Arbitrary<NodeRecord> {
  return fc
    .record({
      moved: fc.boolean(),
      ipv6: fc.boolean(),
      far: fc.boolean(),
      claims: fc.constantFrom(undefined, '10.244.1.0/25', '10.244.5.0/24', '0.0.0.0/0'),
    })
    .map(({ moved, ipv6, far, claims }) => {
      const first = far ? `203.0.113.${n}` : `192.0.2.${moved ? n + 100 : n}`;
      const { addresses, podCidrs } = node(n);
      return node(n, {
        addresses: [first as Address, ...(ipv6 ? addresses.slice(1) : [])],
        podCidrs: [...podCidrs, ...(claims === undefined ? [] : [parsePrefix(claims) as Prefix])],
      });
    });
}
const selfArbitrary = fc.constantFrom(
  node(1),
  node(1, { routerAddresses: ['10.244.1.2', 'fd00:1::2'] as Address[] }),
  node(1, { podCidrs: ['10.244.1.0/24'] as Prefix[], routerAddresses: ['10.244.1.1'] as Address[] }),
);
const harmArbitrary = fc.constantFrom<(found: Found) => Found>(
  (found) => found,
  (found) => ({ ...found, routes: found.routes.filter(({ protocol }) => protocol !== ROUTE_PROTOCOL) }),
  (found) => ({ ...found, routes: [...found.routes, route('10.66.0.0/16', { protocol: ROUTE_PROTOCOL, index: 2 })] }),
  (found) => ({
    ...found,
    routes: [...found.routes, route('10.244.3.0/24', { protocol: ROUTE_PROTOCOL, index: 2, metric: 7 })],
  }),
  (found) => ({ ...found, rules: 'different' }),
  (found) => ({
    ...found,
    links: found.links.map((one) => (one.name === 'weir-vxlan' ? { ...one, kind: 'bridge' } : one)),
  }),
  (found) => ({
    ...found,
    links: found.links.map((one) => (one.name === 'weir-router' ? { ...one, kind: 'bridge' } : one)),
  }),
  (found) => ({
    ...found,
    routes: found.routes.map((one) => (one.gateway === undefined ? one : { ...one, index: 1 })),
  }),
  (found) => ({ ...found, links: found.links.map((one) => (one.name === 'eth0' ? { ...one, mtu: 1400 } : one)) }),
  (found) => ({ ...found, sysctls: new Map() }),
);

plans('whatever was there and whatever is wanted: carried out without a refusal, then nothing is left to do', () => {
  const round = fc.tuple(
    settingsArbitrary,
    selfArbitrary,
    fc.option(nodesArbitrary, { nil: undefined }),
    harmArbitrary,
  );
  fc.assert(
    fc.property(fc.array(round, { minLength: 1, maxLength: 5 }), (rounds) => {
      const kernel = new Kernel(fresh(1, { routes: [...fresh(1).routes, route('10.244.4.0/24', { index: 2 })] }));
      for (const [settings, self, others, harm] of rounds) {
        kernel.found = harm(kernel.found);
        const before = foreign(kernel.found);
        const { desired } = reconcile(kernel, settings, { self, others });
        assert.equal(foreign(kernel.found), before, 'what is not ours is as it was');
        assert.equal(reconcile(kernel, settings, { self, others }).operations, []);
        assertIs(kernel.found, desired);
      }
    }),
    { numRuns: 2000, includeErrorInReport: true },
  );
});

plans('a node that changes its address is reached all the time: its route is replaced in one step', () => {
  const kernel = new Kernel(fresh(1));
  reconcile(kernel, SETTINGS, { self: node(1), others: [node(2)] });
  const moved = node(2, { addresses: ['192.0.2.77', '2001:db8::2'] as Address[] });
  const { operations } = reconcile(kernel, SETTINGS, { self: node(1), others: [moved] });
  assert.equal(
    operations.map(
      (operation) =>
        operation.kind === 'route.set' && [operation.route.dst, operation.route.gateway, operation.replace],
    ),
    [['10.244.2.0/24', '192.0.2.77', true]],
  );
});

plans('from native to tunnel and back each route is replaced, never missing', () => {
  const kernel = new Kernel(fresh(1));
  const nodes = { self: node(1), others: [node(2)] };
  for (const routingMode of ['native', 'tunnel', 'native'] as const) {
    const { operations } = reconcile(kernel, { ...SETTINGS, routingMode }, nodes);
    assert.not.ok(operations.some(({ kind }) => kind === 'route.delete'));
  }
  assert.not.ok(kernel.found.links.some(({ name }) => name === 'weir-vxlan'));
});

plans('before the other nodes are all known, routes to them stay, and rules about their pods', () => {
  const kernel = new Kernel(fresh(1));
  reconcile(kernel, SETTINGS, { self: node(1), others: [node(2), node(3)] });
  kernel.found = { ...kernel.found, ...ofAnAgentBefore };
  assert.equal(reconcile(kernel, SETTINGS, { self: node(1), others: undefined }).operations, []);
  const { operations } = reconcile(kernel, SETTINGS, { self: node(1), others: [node(2), node(3)] });
  assert.equal(
    operations.map(({ kind }) => kind),
    ['rules.load'],
  );
});
plans.run();

const decisions = suite('network: decisions');
const codes = (settings: Partial<NetworkSettings>, nodes: Nodes, found = fresh(1)) =>
  decide({ ...SETTINGS, ...settings }, nodes, found).problems.map(({ code }) => code);

for (const [what, expected, others] of [
  ['nothing', [], [node(2)]],
  ['this node among the others', [], [node(1), node(2)]],
  [
    'a node without an address of the family',
    ['node-without-address'],
    [node(2, { addresses: ['192.0.2.2'] as Address[] })],
  ],
  [
    'a node behind a router',
    ['node-not-adjacent', 'node-without-address'],
    [node(2, { addresses: ['203.0.113.2'] as Address[] })],
  ],
  ['two nodes with one pod CIDR', ['pod-cidr-taken'], [node(2), node(3, { podCidrs: ['10.244.2.0/24'] as Prefix[] })]],
  ['a node that claims pods of this one', ['pod-cidr-taken'], [node(2, { podCidrs: ['10.244.1.128/25'] as Prefix[] })]],
  ['a node that claims everything', ['pod-cidr-taken'], [node(2, { podCidrs: ['0.0.0.0/0'] as Prefix[] })]],
  [
    "a node that claims the nodes' network",
    ['pod-cidr-too-wide'],
    [node(2, { podCidrs: ['192.0.2.0/24'] as Prefix[] })],
  ],
] as const) {
  decisions(`problems of ${what}`, () => assert.equal(codes({}, { self: node(1), others }), [...expected]));
}

decisions('of two nodes with one pod CIDR the younger has it, whatever their names', () => {
  const podCidrs = ['10.244.2.0/24'] as Prefix[];
  const [early, late] = ['2026-06-01T12:00:00Z', '2026-06-01T12:00:01Z'];
  const gatewayOf = (...others: NodeRecord[]) =>
    decide(SETTINGS, { self: node(1), others }, fresh(1)).desired.routes.find(({ dst }) => dst === '10.244.2.0/24')
      ?.gateway;
  const two = (age?: RecordAge) => node(2, { podCidrs, age });
  const three = (age?: RecordAge) => node(3, { podCidrs, age });
  for (const [second, third, gateway] of [
    [{ created: early, uid: 'b' }, { created: late, uid: 'a' }, '192.0.2.3'],
    [{ created: late, uid: 'a' }, { created: early, uid: 'b' }, '192.0.2.2'],
    [{ created: late, uid: 'a' }, { created: late, uid: 'b' }, '192.0.2.3'],
    [undefined, { created: early, uid: 'a' }, '192.0.2.3'],
    [undefined, undefined, '192.0.2.2'],
  ] as const) {
    assert.is(gatewayOf(two(second), three(third)), gateway);
    assert.is(gatewayOf(three(third), two(second)), gateway);
  }
});

decisions('a node is reached by that of its addresses which is on a network of this node', () => {
  const two = node(2, { addresses: ['203.0.113.2', '192.0.2.2', '2001:db8::2'] as Address[] });
  const { desired, problems } = decide(SETTINGS, { self: node(1), others: [two] }, fresh(1));
  assert.equal(problems, []);
  assert.is(desired.routes.find(({ dst }) => dst === '10.244.2.0/24')?.gateway, '192.0.2.2');
});

decisions('a more specific way by a gateway means that the address is not on this network', () => {
  const found = fresh(1);
  const routes = [...found.routes, route('192.0.2.2/32', { index: 2, gateway: '192.0.2.254' as Address })];
  assert.equal(codes({}, { self: node(1), others: [node(2)] }, { ...found, routes }), ['node-not-adjacent']);
});

for (const [what, settings, self, devices, mtu] of [
  ['the devices with its addresses', {}, node(1), ['eth0'], 1500],
  ['the devices that are named', { uplinkDevices: 'eth1,eth0' }, node(1), ['eth1', 'eth0'], 1400],
  [
    'the default routes, for a node whose addresses are on loopback',
    {},
    node(1, { addresses: ['192.0.2.200'] as Address[] }),
    ['eth0'],
    1500,
  ],
] as const) {
  decisions(`uplinks are ${what}`, () => {
    const found = fresh(1);
    const links = [...found.links, link(3, 'eth1', { mtu: 1400 })];
    const addresses = [...found.addresses, address(1, '192.0.2.200', 32)];
    const { attachment } = decide({ ...SETTINGS, ...settings }, { self, others: [] }, { ...found, links, addresses });
    assert.equal([attachment.uplinks, attachment.pathMtu], [[...devices], mtu]);
  });
}
decisions('an uplink that is named and missing is told', () =>
  assert.equal(codes({ uplinkDevices: 'eth0,eth7' }, { self: node(1), others: [] }), ['uplink-missing']),
);

for (const [settings, pathMtu, podMtu, problem] of [
  [{ routingMode: 'native' }, 1500, 1500, undefined],
  [{ routingMode: 'tunnel' }, 1450, 1450, undefined],
  [{ routingMode: 'tunnel', underlay: 'ipv6' }, 1430, 1430, undefined],
  [{ routingMode: 'tunnel', mtuBytes: 1400 }, 1450, 1400, undefined],
  [{ routingMode: 'tunnel', mtuBytes: 1500 }, 1450, 1500, 'mtu-too-large'],
] as const) {
  decisions(`MTU of ${JSON.stringify(settings)}`, () => {
    const decision = decide({ ...SETTINGS, ...settings }, { self: node(1), others: [] }, fresh(1));
    assert.equal([decision.attachment.pathMtu, decision.podMtu], [pathMtu, podMtu]);
    assert.equal(
      decision.problems.map(({ code }) => code),
      problem === undefined ? [] : [problem],
    );
  });
}

decisions('without routing nothing is made but the way to nowhere for pods that are gone', () => {
  const { desired } = decide({ ...SETTINGS, routingMode: 'none' }, { self: node(1), others: [node(2)] }, fresh(1));
  assert.equal([desired.devices, desired.rules], [[], undefined]);
  assert.equal(
    desired.routes.map(({ dst, type }) => [dst, type]),
    [
      ['10.244.1.0/24', 'blackhole'],
      ['fd00:1::/64', 'blackhole'],
    ],
  );
});

decisions('MACs of tunnel devices are unicast, local, and of the node alone', () => {
  const macs = Array.from({ length: 5000 }, (_, n) => tunnelMac(`node${n}`));
  assert.is(new Set(macs).size, macs.length);
  for (const mac of macs) assert.match(mac, /^[0-9a-f][26ae](:[0-9a-f]{2}){5}$/);
  assert.is(tunnelMac('node1'), tunnelMac('node1'));
});

decisions('rules name each prefix once, and no family without pods', () => {
  const self = node(1, { podCidrs: ['10.244.1.0/24'] as Prefix[], routerAddresses: ['10.244.1.1'] as Address[] });
  const { desired } = decide({ ...SETTINGS, masquerade: true }, { self, others: [node(2), node(3)] }, fresh(1));
  const text = desired.rules ?? '';
  assert.match(text, /elements = \{ 10\.244\.1\.0\/24, 10\.244\.2\.0\/24, 10\.244\.3\.0\/24 \}/);
  assert.match(text, /meta mark & 0x1000000 == 0x1000000 masquerade fully-random/);
  assert.not.match(text, /ip6|pods6/);
  const named = decide(
    { ...SETTINGS, clusterPodCidrs: ['10.244.0.0/16' as Prefix] },
    { self, others: [node(2)] },
    fresh(1),
  );
  assert.match(named.desired.rules ?? '', /elements = \{ 10\.244\.0\.0\/16, 10\.244\.1\.0\/24 \}/);
  assert.not.match(named.desired.rules ?? '', /masquerade/);
});

decisions('5,000 nodes are decided and planned in bounded time', () => {
  const others = Array.from({ length: 5000 }, (_, i): NodeRecord => {
    const [high, low] = [i >> 8, i & 255];
    return {
      name: `n${i}`,
      addresses: [`192.0.2.${2 + (i % 250)}`, `2001:db8::${(i + 2).toString(16)}`] as Address[],
      podCidrs: [`10.${high + 1}.${low}.0/24`, `fd00:${(i + 2).toString(16)}::/64`] as Prefix[],
      routerAddresses: [],
    };
  });
  const self = node(1, { podCidrs: ['10.244.1.0/24', 'fd01::/64'] as Prefix[] });
  const kernel = new Kernel(fresh(1));
  const { desired } = decide(SETTINGS, { self, others }, kernel.found);
  const routes = desired.routes.map(({ dst, type, gateway, source }): Route => {
    const index = type === 'unicast' ? { index: 2 } : {};
    return route(dst, {
      type,
      protocol: ROUTE_PROTOCOL,
      ...index,
      ...(gateway && { gateway }),
      ...(source && { source }),
    });
  });
  const found = { ...kernel.found, routes: [...kernel.found.routes, ...routes] };
  const began = performance.now();
  const operations = plan(decide(SETTINGS, { self, others }, found).desired, found);
  const ms = performance.now() - began;
  assert.equal(
    operations.filter(({ kind }) => kind.startsWith('route')),
    [],
  );
  assert.ok(ms < 10_000, `${ms.toFixed()} ms`);
});
decisions.run();
