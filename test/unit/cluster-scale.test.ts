/**
 * One agent's share of 5,000 pods on 100 nodes: what it keeps, how much of it a change touches; and, for
 * whoever reads it, how long that takes. The bound is wide: it finds what grows with pods x nodes.
 */
import * as assert from 'uvu/assert';
import { identityObject, type RecordObject, SLICE_SIZE, type SliceObject } from '../../agent/cluster/objects.ts';
import { createPeers } from '../../agent/cluster/peers.ts';
import type { WatchChange } from '../../agent/kubernetes/watch.ts';
import type { SourceChange } from '../../agent/model/object.ts';
import { heldBytes } from '../kit/memory.ts';
import { suite } from '../kit/suite.ts';

const NODE_COUNT = 100;
const PODS_PER_NODE = 50;
const IDENTITY_COUNT = 500;

const upsert = <T>(object: T): WatchChange<T> => ({ type: 'upsert', object });

function recordOf(node: number): RecordObject {
  const podCidrs = [`10.${node}.0.0/24`, `fd00:${node.toString(16)}::/64`];
  return {
    metadata: { name: `node-${node}`, uid: `uid-${node}`, creationTimestamp: '2026-01-01T00:00:00Z' },
    spec: { addresses: [`192.0.2.${node}`], podCidrs, routerAddresses: [], identities: [] },
  };
}

function sliceOf(node: number, first: number, count: number, identityOffset = 0): SliceObject {
  const endpoints = Array.from({ length: count }, (_, i) => {
    const pod = first + i;
    return {
      addresses: [`10.${node}.0.${pod + 2}`, `fd00:${node.toString(16)}::${(pod + 2).toString(16)}`],
      identity: 256 + ((node * PODS_PER_NODE + pod + identityOffset) % IDENTITY_COUNT),
      ...{ namespace: 'shop', pod: `web-6d4b75cb6d-${node}-${pod}`, uid: `0b4f4e5c-1f8e-4d3a-9c59-${node}-${pod}` },
      ...{ since: 1_800_000_000_000 + pod, namedPorts: [{ name: 'http', protocol: 'TCP' as const, port: 8080 }] },
      workload: { kind: 'Deployment', name: 'web' },
    };
  });
  return { metadata: { name: `node-${node}-${first}` }, spec: { node: `node-${node}`, endpoints } };
}

const test = suite('cluster: 5,000 pods on 100 nodes');
test('are kept in few MiB, and one change touches one slice', () => {
  // As text, so that what the API client hands over is not counted twice.
  const records = JSON.stringify(Array.from({ length: NODE_COUNT }, (_, node) => recordOf(node)));
  const slices = JSON.stringify(
    Array.from({ length: NODE_COUNT }, (_, node) => [
      sliceOf(node, 0, SLICE_SIZE),
      sliceOf(node, SLICE_SIZE, PODS_PER_NODE - SLICE_SIZE),
    ]).flat(),
  );
  const identities = JSON.stringify(
    Array.from({ length: IDENTITY_COUNT }, (_, i) => identityObject(256 + i, new Map([['k8s:app', `app-${i}`]]))),
  );
  const before = heldBytes();
  const peers = createPeers('node-0');
  const started = performance.now();
  const told: SourceChange[] = [
    ...peers.takeIdentities(JSON.parse(identities).map(upsert)),
    ...peers.takeRecords(JSON.parse(records).map(upsert)),
    ...peers.takeSlices(JSON.parse(slices).map(upsert)),
  ];
  const firstMs = performance.now() - started;
  const published = told.flatMap((change) =>
    change.type === 'upsert' && change.object.kind === 'WeirEndpointSlice' ? change.object.value.endpoints : [],
  );
  assert.is(published.length, (NODE_COUNT - 1) * PODS_PER_NODE, 'all but those of this node');
  const keptMiB = (heldBytes() - before) / 2 ** 20;

  const times: number[] = [];
  for (let node = 1; node < NODE_COUNT; node++) {
    const at = performance.now();
    const changes = peers.takeSlices([upsert(sliceOf(node, 0, SLICE_SIZE, 1))]);
    times.push(performance.now() - at);
    assert.is(changes.length, 1);
  }
  times.sort((a, b) => a - b);
  const [median, p99] = [times[49] as number, times[97] as number];
  const joining = performance.now();
  peers.takeRecords([upsert({ ...recordOf(0), metadata: { name: 'node-100', uid: 'u', creationTimestamp: '2026-02-01T00:00:00Z' }, spec: { ...recordOf(0).spec, podCidrs: ['10.200.0.0/24'] } })]); // biome-ignore format: one object
  const joinMs = performance.now() - joining;
  console.log(
    `first lists ${firstMs.toFixed(0)} ms, kept ${keptMiB.toFixed(1)} MiB; one slice changes: median ${median.toFixed(2)} ms, p99 ${p99.toFixed(2)} ms; a node joins: ${joinMs.toFixed(2)} ms`,
  );
  assert.ok(keptMiB < 24, `keeps ${keptMiB} MiB`);
  assert.ok(told.length > 0);
});
test.run();
