/** Other nodes, their pods, and API servers as claims on addresses. */
import * as assert from 'uvu/assert';
import { type Address, type Prefix, parseAddress, parsePrefix } from '../../agent/model/address.ts';
import { OUTSIDE_API_SERVER, RESERVED_IDENTITIES } from '../../agent/model/identity.ts';
import type { Labels } from '../../agent/model/labels.ts';
import type { Node, PublishedEndpoint } from '../../agent/model/object.ts';
import { createNamedPorts } from '../../agent/realize/named-ports.ts';
import { createNodeTable } from '../../agent/realize/node-table.ts';
import { createPeerTable } from '../../agent/realize/peer-table.ts';
import { createRangeTable } from '../../agent/realize/range-table.ts';
import { createRemoteEndpoints } from '../../agent/realize/remote-endpoints.ts';
import { suite } from '../kit/suite.ts';

const test = suite('realize: other nodes and their pods');
const at = (text: string): Address => parseAddress(text) as Address;

const node = (index: number, family: 4 | 6 | 'both' = 'both'): Node => ({
  name: `n${index}`,
  labels: {},
  addresses: [`192.0.2.${index}`, `2001:db8::${index}`].slice(family === 6 ? 1 : 0, family === 4 ? 1 : 2).map(at),
  podCidrs: [parsePrefix(`10.1.${index}.0/24`) as Prefix, parsePrefix(`fd00:1:${index}::/64`) as Prefix],
});

function build({ tunnel = true } = {}) {
  const peers = createPeerTable();
  const ranges = createRangeTable();
  const labels: Labels[] = [];
  const changes = { count: 0 };
  const nodes = createNodeTable({
    nodeName: 'n1',
    peers,
    ranges,
    tunnel,
    underlay: 'auto',
    setHostLabels: (now) => labels.push(now),
    onNumber: (name) => remote.renumber(name),
    onChange() {
      changes.count += 1;
    },
  });
  const remote = createRemoteEndpoints({
    nodeName: 'n1',
    peers,
    namedPorts: createNamedPorts(() => {}),
    numberOf: nodes.numberOf,
  });
  return { peers, ranges, nodes, remote, labels, changes };
}

const endpoint = (uid: string, address: string, identity: number): PublishedEndpoint => ({
  addresses: [at(address)],
  identity,
  namespace: 'default',
  pod: uid,
  uid,
  namedPorts: [],
  workload: undefined,
});

test('whoever looks after routes hears of what moves them, and of nothing else', () => {
  const { nodes, changes } = build();
  const told = (change: () => void): number => {
    const before = changes.count;
    change();
    return changes.count - before;
  };
  const { labels: _, ...record } = { ...node(2), routerAddresses: ['10.1.2.1', 'fd00:1:2::1'].map(at) };
  assert.is(
    told(() => nodes.upsert(node(2))),
    1,
    'it joins',
  );
  assert.is(
    told(() => nodes.upsert({ ...node(2), labels: { new: 'label' } })),
    0,
    'a label of its',
  );
  assert.is(
    told(() => nodes.upsertRecord(record)),
    0,
    'its agent says the same',
  );
  assert.is(
    told(() => nodes.upsertRecord({ ...record, routerAddresses: [at('10.1.2.9')] })),
    1,
    'its router',
  );
  assert.is(
    told(() => nodes.upsert(node(2, 4))),
    1,
    'it loses an address',
  );
  assert.is(
    told(() => nodes.remove('n2')),
    1,
    'known by its agent alone, with another address',
  );
  assert.is(
    told(() => nodes.removeRecord('n2')),
    1,
    'it leaves',
  );
});

test('what was a pod’s of a node that went is nobody’s, not the world’s, until another node has it', () => {
  const { nodes, ranges } = build();
  const held = () => ranges.rows().map(({ prefix, node = 0 }) => `${prefix} ${node}`);
  nodes.upsert(node(1));
  nodes.upsert(node(2, 4));
  assert.equal(held(), ['10.1.2.0/24 1', 'fd00:1:2::/64 1']);
  nodes.remove('n2');
  assert.equal(held(), ['10.1.2.0/24 0', 'fd00:1:2::/64 0']);
  assert.ok(ranges.rows().every(({ kind, identity }) => kind === 'pod' && identity === RESERVED_IDENTITIES.unmanaged));
  nodes.upsert({ ...node(3), podCidrs: node(2).podCidrs });
  assert.equal(held(), ['10.1.2.0/24 2', 'fd00:1:2::/64 2'], 'given to another');
  nodes.upsert(node(3));
  assert.equal(held().sort(), ['10.1.2.0/24 0', '10.1.3.0/24 2', 'fd00:1:2::/64 0', 'fd00:1:3::/64 2']);
  for (let i = 0; i < 1100; i++) {
    const podCidrs = [parsePrefix(`10.${2 + (i >> 8)}.${i & 255}.0/24`) as Prefix];
    nodes.upsert({ ...node(4), podCidrs });
  }
  nodes.remove('n4');
  assert.is(held().length, 1024 + 2, 'the last ones');
});

test('a node is remote-node at its addresses, and at its router addresses through the tunnel', () => {
  const { nodes, peers, ranges } = build();
  nodes.upsert(node(1));
  nodes.upsert(node(2));
  assert.is(peers.at(at('192.0.2.1'))?.identity, 1);
  assert.equal(peers.at(at('192.0.2.2')), { address: '192.0.2.2', identity: 6, endpoint: 0, kind: 'node' });
  assert.equal(peers.at(at('10.1.2.1')), { address: '10.1.2.1', identity: 6, endpoint: 0, kind: 'node', node: 1 });
  assert.is(peers.at(at('fd00:1:2::1'))?.node, 1);
  assert.equal(ranges.rows(), [
    { prefix: '10.1.2.0/24', identity: 3, kind: 'pod', node: 1 },
    { prefix: 'fd00:1:2::/64', identity: 3, kind: 'pod', node: 1 },
  ]);
  assert.equal(nodes.rows(), [{ number: 1, address: '192.0.2.2', sources: ['192.0.2.2', '2001:db8::2'] }]);
});

test("the tunnel has the family of this node's first address, also when that is known last", () => {
  const { nodes } = build();
  nodes.upsert(node(2));
  assert.is(nodes.rows()[0]?.address, '192.0.2.2');
  nodes.upsert(node(1, 6));
  assert.is(nodes.rows()[0]?.address, '2001:db8::2');
});

test('without a tunnel nothing leads through one', () => {
  const { nodes, peers, ranges } = build({ tunnel: false });
  nodes.upsert(node(2));
  assert.equal(nodes.rows(), []);
  assert.is(peers.at(at('10.1.2.1'))?.node, undefined);
  assert.is(ranges.rows()[0]?.node, undefined);
});

test('pods that were published before their node are led through its tunnel once it is known', () => {
  const { nodes, peers, remote } = build();
  remote.upsert('n2-1', { node: 'n2', endpoints: [endpoint('a', '10.1.2.7', 300)] });
  assert.is(peers.at(at('10.1.2.7'))?.node, undefined);
  nodes.upsert(node(2));
  assert.is(peers.at(at('10.1.2.7'))?.node, 1);
  nodes.remove('n2');
  assert.is(peers.at(at('10.1.2.7'))?.node, undefined);
  assert.is(peers.at(at('192.0.2.2')), undefined);
});

test('a number given up is not the next one given', () => {
  const { nodes } = build();
  nodes.upsert(node(2));
  nodes.remove('n2');
  nodes.upsert(node(3));
  assert.is(nodes.numberOf('n3'), 2);
});

test("a slice of this node's own pods is not believed: this node knows better", () => {
  const { remote, peers } = build();
  remote.upsert('n1-1', { node: 'n1', endpoints: [endpoint('a', '10.1.1.7', 300)] });
  assert.is(peers.at(at('10.1.1.7')), undefined);
});

test('an address that changes hands within a slice, or between two, is the new owner’s at once', () => {
  const { remote, peers } = build();
  remote.upsert('n2-1', { node: 'n2', endpoints: [endpoint('a', '10.1.2.7', 300)] });
  peers.take();
  remote.upsert('n2-2', { node: 'n2', endpoints: [endpoint('b', '10.1.2.7', 301)] });
  assert.is(peers.at(at('10.1.2.7'))?.identity, 301);
  remote.upsert('n2-1', { node: 'n2', endpoints: [] });
  assert.is(peers.at(at('10.1.2.7'))?.identity, 301);
  remote.upsert('n2-2', { node: 'n2', endpoints: [endpoint('c', '10.1.2.7', 302)] });
  assert.equal(
    peers.take().set.map((row) => row.identity),
    [302],
  );
  remote.remove('n2-2');
  assert.equal(peers.take(), { set: [], remove: ['10.1.2.7'] });
});

test('of a slice that changed, only the endpoints that are other objects now are claimed', () => {
  const { remote, peers } = build();
  const [a, b] = [endpoint('a', '10.1.2.7', 300), endpoint('b', '10.1.2.8', 300)];
  remote.upsert('n2-1', { node: 'n2', endpoints: [a, b] });
  const before = peers.revision;
  remote.upsert('n2-1', { node: 'n2', endpoints: [a, endpoint('b', '10.1.2.8', 301)] });
  assert.is(peers.revision, before + 1);
  assert.is(peers.at(at('10.1.2.8'))?.identity, 301);
  remote.upsert('n2-1', { node: 'n2', endpoints: [a, endpoint('b', '10.1.2.9', 300)] });
  assert.is(peers.at(at('10.1.2.8')), undefined);
  assert.is(peers.at(at('10.1.2.9'))?.identity, 300);
});

test('both interfaces of a pod are its own, and go one by one', () => {
  const { remote, peers } = build();
  const both = [endpoint('a', '10.1.2.7', 300), endpoint('a', '10.1.2.8', 300)];
  remote.upsert('n2-1', { node: 'n2', endpoints: both });
  assert.is(peers.at(at('10.1.2.7'))?.identity, 300);
  assert.is(peers.at(at('10.1.2.8'))?.identity, 300);
  remote.upsert('n2-1', { node: 'n2', endpoints: both.slice(1) });
  assert.is(peers.at(at('10.1.2.7')), undefined);
  assert.is(peers.at(at('10.1.2.8'))?.identity, 300);
});

test('an API server is where it runs: this node, another one, or outside', () => {
  const { nodes, peers, labels } = build();
  nodes.upsert(node(2));
  nodes.setLocalAddresses([at('192.0.2.1')]);
  nodes.setApiServers(['192.0.2.1', '192.0.2.2', '198.51.100.9'].map(at));
  assert.equal(peers.at(at('192.0.2.2')), { address: '192.0.2.2', identity: 7, endpoint: 0, kind: 'node' });
  assert.equal(peers.at(at('198.51.100.9')), {
    address: '198.51.100.9',
    identity: OUTSIDE_API_SERVER,
    endpoint: 0,
    kind: 'outside',
  });
  assert.ok(labels.at(-1)?.has('reserved:kube-apiserver'));
  nodes.setApiServers([]);
  assert.is(peers.at(at('192.0.2.2'))?.identity, 6);
  assert.is(peers.at(at('198.51.100.9')), undefined);
  assert.not.ok(labels.at(-1)?.has('reserved:kube-apiserver'));
});

test('an API server on another node speaks to pods elsewhere from the node its router addresses', () => {
  const { nodes, peers } = build();
  nodes.upsert(node(1));
  nodes.upsert(node(2));
  nodes.upsert(node(3));
  const router = (index: number) => peers.at(at(`10.1.${index}.1`));
  nodes.setApiServers([at('192.0.2.2')]);
  const number = nodes.numberOf('n2');
  assert.ok(number > 0);
  assert.equal(router(2), { address: '10.1.2.1', identity: 7, endpoint: 0, kind: 'node', node: number });
  assert.is(peers.at(at('fd00:1:2::1'))?.identity, 7);
  assert.is(router(3)?.identity, 6);
  nodes.upsert({ ...node(2), podCidrs: [parsePrefix('10.1.4.0/24') as Prefix] });
  assert.equal([router(2)?.identity, router(4)?.identity], [undefined, 7], 'wherever its pods are');
  nodes.setApiServers([at('192.0.2.3')]);
  assert.equal([router(3)?.identity, router(4)?.identity], [7, 6]);
  nodes.setApiServers([at('192.0.2.1')]);
  assert.equal([router(1)?.identity, router(3)?.identity], [1, 6], 'this node is itself');
});

test('an address of pods is no API server, whichever EndpointSlice says so and whenever', () => {
  const { nodes, peers, remote } = build();
  nodes.upsert(node(1));
  nodes.setApiServers([at('192.0.2.2'), at('10.1.2.7'), at('10.1.3.7')]);
  nodes.upsert(node(2));
  remote.upsert('n2-1', { node: 'n2', endpoints: [endpoint('a', '10.1.2.7', 300)] });
  assert.is(peers.at(at('192.0.2.2'))?.identity, 7);
  assert.equal(peers.at(at('10.1.2.7')), { address: '10.1.2.7', identity: 300, endpoint: 0, kind: 'pod', node: 1 });
  assert.is(peers.at(at('10.1.3.7'))?.identity, OUTSIDE_API_SERVER, 'of no node so far');
  nodes.upsert(node(3));
  assert.is(peers.at(at('10.1.3.7')), undefined);
  nodes.remove('n2');
  assert.is(peers.at(at('192.0.2.2'))?.identity, OUTSIDE_API_SERVER);
});

test.run();
