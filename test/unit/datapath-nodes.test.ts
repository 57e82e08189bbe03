/** Nodes of the tunnel as rows: the order of their writes, their form in the kernel, and what the programs know of their own. */
import * as assert from 'uvu/assert';
import type { DatapathRows, NodeAttachment, NodeRow } from '../../agent/datapath/datapath.ts';
import { NodeFlags } from '../../agent/datapath/layout.gen.ts';
import { decodeTunnelNode, encodeNodeState, encodeTunnelNode } from '../../agent/datapath/map/peer-rows.ts';
import { changesOf, difference, NO_POLICY_ROWS, NO_ROWS } from '../../agent/datapath/plan/changes.ts';
import { heldIn } from '../../agent/datapath/plan/held.ts';
import { plan } from '../../agent/datapath/plan/plan.ts';
import type { Address, Prefix } from '../../agent/model/address.ts';
import { suite } from '../kit/suite.ts';

const test = suite('nodes of the tunnel');

const address = (text: string) => text as Address;
const prefix = (text: string) => text as Prefix;
const node: NodeRow = {
  number: 3,
  address: address('192.0.2.3'),
  sources: [address('2001:db8::3'), address('192.0.2.3'), address('192.0.2.3')],
};
const rows: DatapathRows = {
  policy: NO_POLICY_ROWS,
  endpoints: [],
  peers: [{ address: address('10.61.3.5'), identity: 300, endpoint: 0, kind: 'pod', node: 3 }],
  ranges: [{ prefix: prefix('10.61.3.0/24'), identity: 3, kind: 'pod', node: 3 }],
  nodes: [node],
};
const kinds = (from: DatapathRows, to: DatapathRows): string[] =>
  plan(difference(from, to), heldIn(from)).ops.map(({ kind }) => kind);

test('a node is known before an address names it, and as long as one does', () => {
  assert.equal(kinds(NO_ROWS, rows), ['node.set', 'peer.set', 'range.set', 'epoch.bump']);
  assert.equal(kinds(rows, NO_ROWS), ['peer.delete', 'range.delete', 'node.delete', 'epoch.bump']);
});

test('a node that says the same in another order is the same, one that has moved is not', () => {
  const held: DatapathRows = { ...rows, nodes: [{ ...node, sources: node.sources.toSorted().slice(1) }] };
  assert.equal(difference(held, rows).nodes, { set: [], remove: [] });
  const moved = { ...node, address: address('192.0.2.9') };
  assert.equal(kinds(held, { ...rows, nodes: [moved] }), ['node.set'], 'where packets go changes no verdict');
});

test('an address behind another node is judged again; "node: 0" and none are the same', () => {
  const [peer] = rows.peers;
  assert.ok(peer);
  const held = { ...rows, nodes: [] };
  assert.equal(kinds(held, { ...held, peers: [{ ...peer, node: 4 }] }), ['peer.set', 'epoch.bump']);
  const { node: _three, ...local } = peer;
  const without = { ...held, peers: [local] };
  assert.equal(kinds(without, { ...held, peers: [{ ...peer, node: 0 }] }), []);
  const delta = { setEndpoints: [], removeEndpoints: [], setRanges: [], removeRanges: [], removePeers: [] };
  const policy = { set: NO_POLICY_ROWS, remove: { ...NO_POLICY_ROWS, policies: [], verdicts: [] } };
  const changes = changesOf({ ...delta, policy: policy as never, setPeers: [{ ...peer, node: 0 }] });
  assert.equal(changes.peers.set, [local]);
  assert.equal(changes.nodes, { set: [], remove: [] });
});

test('where a node is survives the way into the kernel and back; a number that is none is refused', () => {
  for (const at of [address('192.0.2.3'), address('2001:db8::3')]) {
    assert.is(decodeTunnelNode(encodeTunnelNode({ number: 4095, address: at })), at);
  }
  assert.is(decodeTunnelNode({ family: 0, address: new Uint8Array(16) }), undefined);
  for (const number of [0, 4096, 1.5]) {
    assert.throws(() => encodeTunnelNode({ ...node, number }), `node number ${number}: expected 1 to 4095`);
  }
});

test('what the programs know of their own node', () => {
  const attachment: NodeAttachment = {
    uplinks: ['eth0'],
    tunnel: 'weir-vxlan',
    tunnelPort: 8472,
    cgroup: undefined,
    podCidrs: [prefix('10.61.16.0/20'), prefix('fd61:0:0:1::/64')],
    pathMtu: 1450,
    masquerade: true,
    masqueradeExcluded: [],
  };
  const state = encodeNodeState(attachment, 7);
  assert.is(state.tunnelIfindex, 7);
  assert.is(state.tunnelPort, 8472);
  assert.is(state.flags, NodeFlags.NODE_MASQUERADES);
  assert.is(state.podIpv4, 0x0a3d1000);
  assert.is(state.podIpv4Mask, 0xfffff000);
  assert.equal([...state.podIpv6Mask], [...Array(8).fill(255), ...Array(8).fill(0)]);
  const alone = encodeNodeState({ ...attachment, tunnel: undefined, podCidrs: [], masquerade: false }, 0);
  assert.is(alone.tunnelPort, 0, 'without a device no port is special');
  assert.is(alone.podIpv4Mask + alone.flags, 0);
  const odd = encodeNodeState({ ...attachment, podCidrs: [prefix('0.0.0.0/0'), prefix('fd61::/61')] }, 7);
  assert.is(odd.podIpv4Mask, 0);
  assert.equal([...odd.podIpv6Mask].slice(6, 9), [255, 0xf8, 0]);
  const two = [prefix('10.61.1.0/24'), prefix('10.61.2.0/24')];
  assert.throws(() => encodeNodeState({ ...attachment, podCidrs: two }, 7), /two IPv4 pod CIDRs/);
});

test.run();
