/** Random NetworkPolicies and cluster-wide policies of policy.networking.k8s.io, all valid. */

import type { Random } from '../../kit/random.ts';
import type { RawDocument } from '../scenario.ts';
import { NAMESPACE_LABELS, NAMESPACES, NODE_LABELS, namespace, PORT_NAMES } from './cluster.ts';
import { block, blockWithExcept, choices, port, range, selector } from './peers.ts';

const NAMESPACE_CHOICES = [...choices(NAMESPACE_LABELS), { key: 'kubernetes.io/metadata.name', values: NAMESPACES }];

export function networkPolicy(random: Random, name: string): RawDocument {
  const directions = random.some(['ingress', 'egress'], 0, 2) as ('ingress' | 'egress')[];
  const rules = directions.map((direction) => [direction, random.many(0, 3, () => rule(random, direction))]);
  const types = random.chance(0.6) ? { policyTypes: random.some(['Ingress', 'Egress'], 0, 2) } : {};
  return {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: { name, namespace: namespace(random) },
    spec: { ...(random.chance(0.95) ? { podSelector: selector(random) } : {}), ...types, ...Object.fromEntries(rules) },
  };
}

function rule(random: Random, direction: 'ingress' | 'egress'): object {
  const who = random.chance(0.85)
    ? { [direction === 'ingress' ? 'from' : 'to']: random.many(0, 3, () => peer(random)) }
    : {};
  const what = random.chance(0.7) ? { ports: random.many(0, 3, () => portEntry(random)) } : {};
  return { ...who, ...what };
}

function peer(random: Random): object {
  if (random.chance(0.35)) return { ipBlock: blockWithExcept(random) };
  const pods = { podSelector: selector(random) };
  const namespaces = { namespaceSelector: selector(random, NAMESPACE_CHOICES) };
  return random.pick([pods, namespaces, { ...pods, ...namespaces }]);
}

function portEntry(random: Random): object {
  const protocol = random.chance(0.4) ? {} : { protocol: random.pick(['TCP', 'UDP', 'SCTP']) };
  if (random.chance(0.1)) return protocol;
  if (random.chance(0.2)) return { port: random.pick([...PORT_NAMES, 'nobody']), ...protocol };
  if (random.chance(0.6)) return { port: port(random), ...protocol };
  const { first, last } = range(random);
  return { port: first, endPort: last, ...protocol };
}

/** `priority` must differ from that of every other policy of the tier: what equal ones do is not defined. */
export function clusterPolicy(random: Random, name: string, priority: number): RawDocument {
  const kind = random.pick(['ClusterNetworkPolicy', 'ClusterNetworkPolicy', 'AdminNetworkPolicy']);
  const old = kind !== 'ClusterNetworkPolicy';
  const tier = old ? {} : { tier: random.pick(['Admin', 'Baseline']) };
  const directions = random.some(['ingress', 'egress'], 1, 2) as ('ingress' | 'egress')[];
  const rules = directions.map((direction) => [
    direction,
    random.many(1, 4, () => clusterRule(random, direction, old, false)),
  ]);
  return {
    apiVersion: `policy.networking.k8s.io/${old ? 'v1alpha1' : 'v1alpha2'}`,
    kind,
    metadata: { name },
    spec: { ...tier, priority, subject: pods(random), ...Object.fromEntries(rules) },
  };
}

/** There is only one, and it is called default. */
export function baselinePolicy(random: Random): RawDocument {
  const rules = (['ingress', 'egress'] as const).map((direction) => [
    direction,
    random.many(0, 3, () => clusterRule(random, direction, true, true)),
  ]);
  return {
    apiVersion: 'policy.networking.k8s.io/v1alpha1',
    kind: 'BaselineAdminNetworkPolicy',
    metadata: { name: 'default' },
    spec: { subject: pods(random), ...Object.fromEntries(rules) },
  };
}

function pods(random: Random): object {
  if (random.chance(0.5)) return { namespaces: selector(random, NAMESPACE_CHOICES) };
  const where = random.chance(0.8) ? { namespaceSelector: selector(random, NAMESPACE_CHOICES) } : {};
  return { pods: { ...where, podSelector: selector(random) } };
}

function clusterRule(random: Random, direction: 'ingress' | 'egress', old: boolean, baseline: boolean): object {
  const allow = old ? 'Allow' : 'Accept';
  const action = random.pick(baseline ? [allow, 'Deny'] : [allow, 'Deny', 'Pass']);
  const addresses = direction === 'egress' && random.chance(0.4);
  const peers = random.many(1, 3, () => (addresses ? addressPeer(random) : pods(random)));
  // Nodes and networks have no port names, so the specification forbids these together.
  const what = random.chance(0.6) ? portEntries(random, old, !addresses) : {};
  return { action, [direction === 'ingress' ? 'from' : 'to']: peers, ...what };
}

function addressPeer(random: Random): object {
  if (random.chance(0.25)) return { nodes: selector(random, choices(NODE_LABELS)) };
  return { networks: random.many(1, 3, () => block(random)) };
}

function portEntries(random: Random, old: boolean, names: boolean): object {
  return old
    ? { ports: random.many(0, 3, () => oldPort(random, names)) }
    : { protocols: random.many(1, 3, () => newPort(random, names)) };
}

function newPort(random: Random, names: boolean): object {
  if (names && random.chance(0.2)) return { destinationNamedPort: random.pick([...PORT_NAMES, 'nobody']) };
  const { first, last } = range(random);
  const destinationPort =
    first < last && random.chance(0.5) ? { range: { start: first, end: last } } : { number: first };
  return { [random.pick(['tcp', 'udp', 'sctp'])]: { destinationPort } };
}

function oldPort(random: Random, names: boolean): object {
  if (names && random.chance(0.2)) return { namedPort: random.pick([...PORT_NAMES, 'nobody']) };
  const { first, last } = range(random);
  const protocol = random.chance(0.8) ? { protocol: random.pick(['TCP', 'UDP', 'SCTP']) } : {};
  if (first < last && random.chance(0.5)) return { portRange: { ...protocol, start: first, end: last } };
  return { portNumber: { ...protocol, port: first } };
}
