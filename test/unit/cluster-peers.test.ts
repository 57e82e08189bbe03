/** A reused address never carries its old owner's identity, in whatever order what nodes say arrives; and what is told of it. */
import * as fc from 'fast-check';
import * as assert from 'uvu/assert';
import {
  type EndpointEntry,
  type IdentityObject,
  identityObject,
  type RecordObject,
  type SliceObject,
} from '../../agent/cluster/objects.ts';
import { createPeers, type Peers } from '../../agent/cluster/peers.ts';
import type { WatchChange } from '../../agent/kubernetes/watch.ts';
import type { Address } from '../../agent/model/address.ts';
import type { SourceChange } from '../../agent/model/object.ts';
import { CLAIM_RANK, createPeerTable, type PeerTable } from '../../agent/realize/peer-table.ts';
import { suite } from '../kit/suite.ts';

const CREATED = (second: number) => new Date(Date.UTC(2026, 0, 1, 0, 0, second)).toISOString();

function record(name: string, podCidrs: readonly string[], created = 0, uid = `uid-${name}-${created}`): RecordObject {
  return {
    metadata: { name, uid, creationTimestamp: CREATED(created) },
    spec: { addresses: ['192.0.2.1'], podCidrs, routerAddresses: [], identities: [] },
  };
}

function slice(name: string, node: string, endpoints: readonly EndpointEntry[]): SliceObject {
  return { metadata: { name }, spec: { node, endpoints } };
}

const entry = (uid: string, address: string, identity: number, since: number): EndpointEntry => ({
  ...{ addresses: [address], identity, namespace: 'shop', pod: uid, uid, since },
});
const upsert = <T>(object: T): WatchChange<T> => ({ type: 'upsert', object });
const gone = (name: string): WatchChange<never> => ({ type: 'delete', ref: { namespace: '', name, uid: '' } });

/** What the receiving table makes of the changes, as agent/realize does: a claim per slice and pod. */
function receiver() {
  const table = createPeerTable();
  const claimed = new Map<string, string[]>();
  return {
    table,
    take(changes: readonly SourceChange[]) {
      for (const change of changes) {
        const isSlice = (change.type === 'upsert' ? change.object.kind : change.kind) === 'WeirEndpointSlice';
        if (!isSlice) continue;
        const { name } = change.type === 'upsert' ? change.object.ref : change.ref;
        const endpoints =
          change.type === 'upsert' && change.object.kind === 'WeirEndpointSlice' ? change.object.value.endpoints : [];
        const owners = endpoints.map(({ uid }) => `${name}/${uid}`);
        for (const owner of claimed.get(name) ?? []) if (!owners.includes(owner)) table.withdraw(owner);
        claimed.set(name, owners);
        for (const { uid, addresses, identity } of endpoints) {
          const rows = addresses.map((address) => ({ address, identity, endpoint: 0, kind: 'pod' as const }));
          table.claim(`${name}/${uid}`, CLAIM_RANK.remotePod, rows);
        }
      }
    },
  };
}

const at = (table: PeerTable, address: string) => table.at(address as Address)?.identity;

function world() {
  const peers = createPeers('here');
  const { table, take } = receiver();
  return {
    peers,
    table,
    records: (...changes: WatchChange<RecordObject>[]) => take(peers.takeRecords(changes)),
    slices: (...changes: WatchChange<SliceObject>[]) => take(peers.takeSlices(changes)),
  };
}

const plain = suite('cluster: peers');

plain('an endpoint is told once its node’s record is there, and goes with either', () => {
  const { table, records, slices } = world();
  slices(upsert(slice('a-0', 'a', [entry('x', '10.0.1.5', 300, 1)])));
  assert.is(at(table, '10.0.1.5'), undefined, 'whose the address is, is not known yet');
  records(upsert(record('a', ['10.0.1.0/24'])));
  assert.is(at(table, '10.0.1.5'), 300);
  records(gone('a'));
  assert.is(at(table, '10.0.1.5'), undefined);
  records(upsert(record('a', ['10.0.1.0/24'])));
  slices(gone('a-0'));
  assert.is(at(table, '10.0.1.5'), undefined);
});

plain('the later pod has the address, whichever slice comes first, and the earlier one again when it goes', () => {
  for (const order of [0, 1]) {
    const { table, records, slices } = world();
    records(upsert(record('a', ['10.0.1.0/24', 'fd00:1::/64'])));
    const both = [
      upsert(slice('a-0', 'a', [entry('old', '10.0.1.5', 300, 1)])),
      upsert(slice('a-1', 'a', [entry('new', '10.0.1.5', 400, 2)])),
    ];
    for (const change of order === 0 ? both : both.reverse()) slices(change);
    assert.is(at(table, '10.0.1.5'), 400);
    slices(gone('a-1'));
    assert.is(at(table, '10.0.1.5'), 300);
  }
});

plain('a node speaks for its own pod CIDRs only', () => {
  const { table, records, slices } = world();
  records(upsert(record('a', ['10.0.1.0/24'])), upsert(record('b', ['10.0.2.0/24'])));
  slices(upsert(slice('b-0', 'b', [entry('x', '10.0.1.5', 300, 9), entry('y', '192.168.0.1', 300, 9)])));
  assert.is(at(table, '10.0.1.5'), undefined);
  assert.is(at(table, '192.168.0.1'), undefined);
});

plain('no slice makes a pod the host, a node, an API server or the world', () => {
  for (const [identity, expected] of [
    ...[0, 1, 2, 6, 7, 8, 9, 10, 255].map((number) => [number, 3] as const),
    ...[3, 4, 5, 256, 65535].map((number) => [number, number] as const),
  ]) {
    const { table, records, slices } = world();
    records(upsert(record('a', ['10.1.0.0/24'])));
    slices(upsert(slice('a-0', 'a', [entry('x', '10.1.0.5', identity, 1)])));
    assert.is(at(table, '10.1.0.5'), expected, `${identity}`);
  }
});

plain('a pod CIDR that another node has now: the younger record has it, also while it says nothing', () => {
  const { table, records, slices } = world();
  records(upsert(record('a', ['10.0.1.0/24'], 1)));
  slices(upsert(slice('a-0', 'a', [entry('x', '10.0.1.5', 300, 99)])));
  assert.is(at(table, '10.0.1.5'), 300);
  records(upsert(record('b', ['10.0.0.0/16'], 2)));
  assert.is(at(table, '10.0.1.5'), undefined, 'a is on its way out, and its pods with it');
  slices(upsert(slice('b-0', 'b', [entry('y', '10.0.1.5', 400, 1)])));
  assert.is(at(table, '10.0.1.5'), 400);
  records(gone('b'));
  assert.is(at(table, '10.0.1.5'), 300);
});

plain('this node’s slices are not told', () => {
  const peers = createPeers('here');
  peers.takeRecords([upsert(record('here', ['10.0.1.0/24']))]);
  assert.equal(peers.takeSlices([upsert(slice('here-0', 'here', [entry('x', '10.0.1.5', 300, 1)]))]), []);
});

plain('what is as it was is not told again', () => {
  const peers = createPeers('here');
  peers.takeRecords([upsert(record('a', ['10.0.1.0/24']))]);
  const one = slice('a-0', 'a', [entry('x', '10.0.1.5', 300, 1)]);
  assert.is(peers.takeSlices([upsert(one)]).length, 1);
  assert.equal(peers.takeSlices([upsert(one)]), []);
});

plain('of a slice that changed, the endpoints that did not are the same objects', () => {
  const peers = createPeers('here');
  peers.takeRecords([upsert(record('a', ['10.0.1.0/24']))]);
  const endpointsOf = (...entries: ReturnType<typeof entry>[]) => {
    const [change] = peers.takeSlices([upsert(slice('a-0', 'a', entries))]);
    if (change?.type !== 'upsert' || change.object.kind !== 'WeirEndpointSlice') throw new Error('no slice was told');
    return change.object.value.endpoints;
  };
  const before = endpointsOf(entry('x', '10.0.1.5', 300, 1), entry('y', '10.0.1.6', 300, 2));
  const grown = endpointsOf(
    ...[entry('x', '10.0.1.5', 300, 1), entry('y', '10.0.1.6', 300, 2), entry('z', '10.0.1.7', 300, 3)],
  );
  assert.ok(grown[0] === before[0] && grown[1] === before[1]);
  const other = endpointsOf(entry('x', '10.0.1.5', 301, 1), entry('y', '10.0.1.8', 300, 2));
  assert.equal(
    other.map(({ identity, addresses }) => [identity, ...addresses]),
    [
      [301, '10.0.1.5'],
      [300, '10.0.1.8'],
    ],
  );
});
plain.run();

const numbers = suite('cluster: identities of others');
const told = (peers: Peers, ...changes: WatchChange<IdentityObject>[]) =>
  peers
    .takeIdentities(changes)
    .map((change) =>
      change.type === 'upsert' && change.object.kind === 'WeirIdentity'
        ? `${change.object.value.number} ${[...change.object.value.labels.values()].join()}`
        : `- ${change.type === 'delete' ? change.ref.name.slice(0, 4) : ''}`,
    );
const identity = (number: number, app: string) => identityObject(number, new Map([['k8s:app', app]]));

numbers('are told with their labels', () => {
  assert.equal(told(createPeers('here'), upsert(identity(300, 'web'))), ['300 web']);
});
numbers('two with one number: neither, until one of them goes', () => {
  const peers = createPeers('here');
  const [a, b] = [identity(300, 'a'), identity(300, 'b')];
  told(peers, upsert(a));
  const both = told(peers, upsert(b));
  assert.is(both.length, 2);
  assert.ok(both.every((text) => text.startsWith('- ')));
  assert.match(peers.problems().join('\n'), /has its number 300 too/);
  assert.equal(told(peers, gone(a.metadata.name)), [`- ${a.metadata.name.slice(0, 4)}`, '300 b']);
  assert.equal(peers.problems(), []);
});
numbers('a name that is not that of the labels is ignored and said', () => {
  const peers = createPeers('here');
  const forged = { ...identity(300, 'a'), metadata: { name: 'f'.repeat(40) } };
  assert.equal(told(peers, upsert(forged)), ['- ffff']);
  assert.match(peers.problems()[0] ?? '', /its name is not that of its labels/);
});
numbers.run();

/**
 * Lives of a cluster: nodes come and go and get each other's CIDRs, pods come and go and get each other's addresses. Each
 * node's writes, and each kind's events, arrive in order or not at all for a while; slices of one node, and records, in any.
 */
const STEPS = fc.array(
  fc.oneof(
    fc.record({ do: fc.constant('pod' as const), node: fc.nat(1), address: fc.nat(3), slice: fc.nat(1) }),
    fc.record({ do: fc.constant('kill' as const), node: fc.nat(1), address: fc.nat(3), slice: fc.nat(1) }),
    fc.record({ do: fc.constant('node' as const), node: fc.nat(1), address: fc.nat(1), slice: fc.nat(1) }),
  ),
  { maxLength: 30 },
);

const property = suite('cluster: reused addresses');
property('in any order of arrival the table says what is so, and on the way never an owner of before', () => {
  void fc.assert(
    fc.property(STEPS, fc.infiniteStream(fc.nat(99)), (steps, dice) => {
      let clock = 0;
      const cidrs = new Map<number, { readonly cidr: number; readonly created: number }>();
      /** node/slice -> its entries as the API server has them. */
      const slices = new Map<string, EndpointEntry[]>();
      /** The last version of each object that is to arrive: watches tell the newest of an object, objects in any order. */
      const pending: { readonly key: string; readonly tell: () => void }[] = [];
      const truth = new Map<string, number>();
      const { table, records, slices: takeSlices } = world();
      const say = (key: string, tell: () => void) => {
        const before = pending.findIndex((one) => one.key === key);
        if (before >= 0) pending.splice(before, 1);
        pending.push({ key, tell });
      };
      const sayNode = (node: number) => {
        const now = cidrs.get(node);
        const name = `n${node}`;
        say(name, () => records(now ? upsert(record(name, [`10.0.${now.cidr}.0/24`], now.created)) : gone(name)));
      };
      const saySlice = (node: number, n: number) => {
        const name = `n${node}-${n}`;
        const entries = [...(slices.get(name) ?? [])];
        say(name, () => takeSlices(entries.length > 0 ? upsert(slice(name, `n${node}`, entries)) : gone(name)));
      };
      const addressOf = (node: number, n: number) => `10.0.${cidrs.get(node)?.cidr}.${n}`;
      const former = new Map<string, Set<number>>();
      const retire = (address: string) => {
        const identity = truth.get(address);
        if (identity === undefined) return;
        former.set(address, (former.get(address) ?? new Set()).add(identity));
        truth.delete(address);
      };
      let nextIdentity = 256;
      for (const step of steps) {
        clock++;
        const { node } = step;
        if (step.do === 'node') {
          if (cidrs.has(node)) {
            // Gone, and its slices with it, sooner or later.
            for (const n of [0, 1]) {
              for (const { addresses } of slices.get(`n${node}-${n}`) ?? []) for (const one of addresses) retire(one);
              slices.delete(`n${node}-${n}`);
              saySlice(node, n);
            }
            cidrs.delete(node);
          } else {
            const taken = [...cidrs.values()].map(({ cidr }) => cidr);
            const cidr = [step.address, 1 - step.address].find((one) => !taken.includes(one)) as number;
            cidrs.set(node, { cidr, created: clock });
          }
          sayNode(node);
        } else if (cidrs.has(node)) {
          const address = addressOf(node, step.address);
          for (const n of [0, 1]) {
            const name = `n${node}-${n}`;
            const left = (slices.get(name) ?? []).filter(({ addresses }) => addresses[0] !== address);
            if (left.length === (slices.get(name) ?? []).length) continue;
            retire(address);
            slices.set(name, left);
            saySlice(node, n);
          }
          if (step.do === 'pod') {
            const name = `n${node}-${step.slice}`;
            const identity = nextIdentity++;
            truth.set(address, identity);
            slices.set(name, [...(slices.get(name) ?? []), entry(`pod-${identity}`, address, identity, clock)]);
            saySlice(node, step.slice);
          }
        }
        // Some of what is on its way arrives, in any order.
        while (pending.length > 0 && (dice.next().value as number) < 50) {
          const [one] = pending.splice((dice.next().value as number) % pending.length, 1);
          one?.tell();
          for (const [owned, identity] of truth) {
            const name = [...slices].find(([, entries]) => entries.some((e) => e.identity === identity))?.[0] as string;
            const [owner = ''] = name.split('-');
            const isKnown = !pending.some(({ key }) => key === name || key === owner);
            // Once the new owner's own entry and record have arrived, nothing said earlier about the address counts.
            if (isKnown) assert.is(at(table, owned), identity, `${owned} is ${identity}'s`);
          }
        }
      }
      for (const one of pending.splice(0)) one.tell();
      for (const node of [0, 1, 2])
        for (const n of [0, 1, 2, 3]) {
          const address = `10.0.${node}.${n}`;
          assert.is(at(table, address), truth.get(address), address);
        }
    }),
    { numRuns: 500 },
  );
});
property.run();
