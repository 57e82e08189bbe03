/** Differences between two sets of manifests: pairs, and flows that were recorded. */
import * as assert from 'uvu/assert';
import type { Address } from '../../agent/model/address.ts';
import { diffPairs, onlyIn } from '../../agent/policy/diff.ts';
import { diffFlows, type RecordedFlow, type RecordedSide } from '../../agent/policy/diff-flows.ts';
import { readPort } from '../../agent/policy/workbench/port.ts';
import { suite } from '../kit/suite.ts';
import { BACKEND_POLICY, bench, CLUSTER, pod } from './questions-cluster.ts';

const test = suite('policy diff');
const before = bench(CLUSTER + BACKEND_POLICY);
const after = bench(CLUSTER + BACKEND_POLICY.replace('"8080"', '"9090"'));

function pairs(ports: readonly string[], peers: readonly string[] = []) {
  return [...diffPairs(before, after, { ports: ports.map(readPort), peers })];
}

test('pairs that change verdict, with the reasons of both', () => {
  const changes = pairs(['8080', '9090']);
  assert.equal(
    changes.map((one) => `${one.from} ${one.to} ${one.port}/${one.protocol} ${one.family} ${one.old} ${one.new}`),
    [
      'default/frontend default/backend 8080/TCP IPv4 allowed denied',
      'default/frontend default/backend 8080/TCP IPv6 allowed denied',
      'default/frontend default/backend 9090/TCP IPv4 denied allowed',
      'default/frontend default/backend 9090/TCP IPv6 denied allowed',
    ],
  );
  assert.match(
    changes[0]?.oldReasons.join() ?? '',
    /allowed by ingress\[0\] of CiliumNetworkPolicy default\/backend-policy/,
  );
  assert.match(changes[0]?.newReasons.join() ?? '', /denied by default/);
});

test('the same manifests differ in nothing; a port name that moves is a change', () => {
  assert.equal(
    [...diffPairs(before, before, { ports: ['8080', 'http', '8/ICMP'].map(readPort), peers: ['entity:host'] })],
    [],
  );
  const moved = bench(CLUSTER.replace('containerPort: 8080', 'containerPort: 80') + BACKEND_POLICY);
  const changes = [...diffPairs(before, moved, { ports: [readPort('http')], peers: [] })];
  assert.equal(
    changes.map(({ from, to, port, new: verdict }) => `${from} ${to} ${port} ${verdict}`)[0],
    'default/frontend default/backend http denied',
  );
});

test('peers are asked about on both sides', () => {
  const open = bench(CLUSTER);
  const changes = [...diffPairs(open, before, { ports: [readPort('80')], peers: ['ip:203.0.113.7', 'entity:host'] })];
  const strangers = changes.filter(({ from, to }) => from.startsWith('ip:') || to.startsWith('ip:'));
  assert.equal(
    strangers.map(({ from, to }) => `${from} ${to}`),
    ['default/backend ip:203.0.113.7', 'ip:203.0.113.7 default/backend'],
  );
  // the node reaches its pods in either, but backend does not reach the node
  assert.equal(
    changes.filter(({ from }) => from === 'entity:host'),
    [],
  );
  assert.ok(changes.some(({ to }) => to === 'entity:host'));
});

test('pods that only one of them has', () => {
  const more = bench(`${CLUSTER}${pod('default', 'new', 'app: new', [])}`);
  assert.equal([onlyIn(more, before), onlyIn(before, more)], [['default/new'], []]);
});

const FRONTEND: RecordedSide = { pod: 'default/frontend', address: '10.0.0.1' as Address, labels: [] };
const BACKEND: RecordedSide = { pod: 'default/backend', address: '10.0.0.2' as Address, labels: [] };
/** A pod of then, known by what its flows said. */
const GONE: RecordedSide = {
  pod: 'default/frontend-0',
  address: '10.0.0.200' as Address,
  labels: ['k8s:app=frontend', 'k8s:io.kubernetes.pod.namespace=default'],
};
const WORLD: RecordedSide = { pod: undefined, address: '203.0.113.7' as Address, labels: ['reserved:world'] };
const HOST: RecordedSide = { pod: undefined, address: '10.0.0.254' as Address, labels: ['reserved:host'] };

function flow(from: RecordedSide, number: number, verdict: RecordedFlow['verdict']): RecordedFlow {
  return { from, to: BACKEND, target: { protocol: 'TCP', number }, verdict };
}

test('recorded flows that would change verdict, counted by what became of them', () => {
  const changes = diffFlows(before, after, [
    flow(FRONTEND, 8080, 'FORWARDED'),
    flow(FRONTEND, 8080, 'FORWARDED'),
    flow(GONE, 9090, 'DROPPED'),
    flow(WORLD, 8080, 'DROPPED'),
    flow(HOST, 8080, 'FORWARDED'),
    flow(FRONTEND, 1, 'DROPPED'),
  ]);
  assert.equal(changes, [
    {
      from: 'default/frontend',
      to: 'default/backend',
      port: 8080,
      protocol: 'TCP',
      family: 'IPv4',
      old: 'allowed',
      new: 'denied',
      recorded: { FORWARDED: 2 },
    },
    {
      from: 'default/frontend-0',
      to: 'default/backend',
      port: 9090,
      protocol: 'TCP',
      family: 'IPv4',
      old: 'denied',
      new: 'allowed',
      recorded: { DROPPED: 1 },
    },
  ]);
});

test('an address stands for whoever has it: a stranger, the host, an entity', () => {
  const allow = (rule: string) =>
    bench(`${CLUSTER}${BACKEND_POLICY.replace('fromEndpoints: [{matchLabels: {app: frontend}}]', rule)}`);
  const asked = [flow(WORLD, 8080, 'DROPPED'), flow(GONE, 8080, 'FORWARDED')];
  assert.equal(
    diffFlows(before, allow('fromCIDR: [203.0.113.0/24]'), asked).map(({ from, new: verdict }) => `${from} ${verdict}`),
    ['ip:203.0.113.7 allowed', 'default/frontend-0 denied'],
  );
  const api: RecordedSide = { pod: undefined, address: '203.0.113.9' as Address, labels: ['reserved:kube-apiserver'] };
  assert.is(diffFlows(before, allow('fromEntities: [kube-apiserver]'), [flow(api, 8080, 'DROPPED')]).length, 1);
  assert.is(diffFlows(before, allow('fromEntities: [world]'), [flow(api, 8080, 'DROPPED')]).length, 0);
});

test.run();
