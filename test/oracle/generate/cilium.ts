/** Random CiliumNetworkPolicies, clusterwide ones and CIDR groups, all valid but for some with a field that is refused. */

import type { Random } from '../../kit/random.ts';
import type { RawDocument } from '../scenario.ts';
import { LABELS, NAMESPACE_LABELS, NAMESPACES, NODE_LABELS, namespace, PORT_NAMES } from './cluster.ts';
import { block, blockWithExcept, choices, type KeyChoice, port, range, selector } from './peers.ts';

const ENTITIES = [
  'all',
  'world',
  'world-ipv4',
  'world-ipv6',
  'cluster',
  'cluster-mesh',
  'host',
  'remote-node',
  'kube-apiserver',
  'unmanaged',
  'init',
  'health',
  'ingress',
  'none',
];
const OWN_KEYS = [...choices(LABELS), ...choices(LABELS, 'k8s:'), ...choices(LABELS, 'any:')];
const ACCOUNT: KeyChoice = { key: 'io.cilium.k8s.policy.serviceaccount', values: ['default', 'builder'] };
const NAMESPACE_KEYS: KeyChoice[] = [
  { key: 'k8s:io.kubernetes.pod.namespace', values: NAMESPACES },
  { key: 'io.kubernetes.pod.namespace', values: NAMESPACES },
  ...choices(NAMESPACE_LABELS, 'k8s:io.cilium.k8s.namespace.labels.'),
];
const RESERVED_KEYS: KeyChoice[] = ['host', 'world', 'remote-node', 'unmanaged', 'kube-apiserver'].map((name) => ({
  key: `reserved:${name}`,
  values: [''],
}));

export function ciliumPolicy(random: Random, name: string): RawDocument {
  const clusterwide = random.chance(0.3);
  const specs = random.chance(0.85) ? { spec: spec(random) } : { specs: random.many(1, 3, () => spec(random)) };
  return {
    apiVersion: 'cilium.io/v2',
    kind: clusterwide ? 'CiliumClusterwideNetworkPolicy' : 'CiliumNetworkPolicy',
    metadata: { name, ...(clusterwide ? {} : { namespace: namespace(random) }) },
    ...specs,
  };
}

export function cidrGroup(random: Random, name: string): RawDocument {
  return {
    apiVersion: 'cilium.io/v2',
    kind: 'CiliumCIDRGroup',
    metadata: { name, labels: { role: random.pick(['partner', 'office']) } },
    spec: { externalCIDRs: random.many(0, 3, () => block(random)) },
  };
}

function spec(random: Random): object {
  const directions = random.some(['ingress', 'egress', 'ingressDeny', 'egressDeny'], 1, 3);
  const rules = directions.map((field) => {
    const direction = field.startsWith('ingress') ? 'ingress' : 'egress';
    const entries = random.many(random.chance(0.1) ? 0 : 1, 3, () => rule(random, direction, field.endsWith('Deny')));
    return [field, entries];
  });
  const chosen = random.chance(0.25) ? { enableDefaultDeny: defaultDeny(random) } : {};
  return { endpointSelector: selector(random, [...OWN_KEYS, ACCOUNT]), ...Object.fromEntries(rules), ...chosen };
}

function defaultDeny(random: Random): object {
  return Object.fromEntries(random.some(['ingress', 'egress'], 1, 2).map((name) => [name, random.chance(0.4)]));
}

function rule(random: Random, direction: 'ingress' | 'egress', deny: boolean): object {
  const who = random.chance(0.85) ? peers(random, direction) : {};
  const refused = !deny && random.chance(0.01);
  const what = random.chance(0.7) ? ports(random, refused) : {};
  if (refused && direction === 'egress' && random.chance(0.5)) return { toFQDNs: [{ matchName: 'example.com' }] };
  return { ...who, ...what };
}

function peers(random: Random, direction: 'ingress' | 'egress'): object {
  const prefix = direction === 'ingress' ? 'from' : 'to';
  const kinds = ['Endpoints', 'Endpoints', 'Endpoints', 'CIDR', 'CIDRSet', 'CIDRSet', 'Entities', 'Nodes'];
  const member = random.pick(direction === 'egress' ? [...kinds, 'Services'] : kinds);
  const least = random.chance(0.1) ? 0 : 1;
  return { [prefix + member]: random.many(least, least === 0 ? 0 : 3, () => peer(random, member)) };
}

function peer(random: Random, member: string): unknown {
  switch (member) {
    case 'Endpoints':
      return selector(random, endpointKeys(random));
    case 'CIDR':
      return random.chance(0.9) ? block(random) : (block(random).split('/')[0] as string);
    case 'CIDRSet':
      if (random.chance(0.75)) return blockWithExcept(random);
      return random.chance(0.5)
        ? { cidrGroupRef: random.pick(['group0', 'group1', 'nowhere']) }
        : { cidrGroupSelector: { matchLabels: { role: random.pick(['partner', 'office']) } } };
    case 'Entities':
      return random.pick(ENTITIES);
    case 'Nodes':
      return selector(random, choices(NODE_LABELS));
    default:
      return service(random);
  }
}

function endpointKeys(random: Random): KeyChoice[] {
  if (random.chance(0.1)) return RESERVED_KEYS;
  if (random.chance(0.35)) return [...OWN_KEYS, ...NAMESPACE_KEYS];
  return random.chance(0.1) ? [...OWN_KEYS, ...RESERVED_KEYS] : OWN_KEYS;
}

function service(random: Random): object {
  const place = random.chance(0.6) ? { namespace: namespace(random) } : {};
  return random.chance(0.6)
    ? { k8sService: { serviceName: random.pick(['service0', 'service1', 'service9']), ...place } }
    : { k8sServiceSelector: { selector: selector(random), ...place } };
}

function ports(random: Random, refused: boolean): object {
  if (random.chance(0.12))
    return { icmps: random.many(1, 2, () => ({ fields: random.many(0, 2, () => icmpField(random)) })) };
  const rules = refused ? { rules: { http: [{ method: 'GET' }] } } : {};
  return { toPorts: random.many(random.chance(0.1) ? 0 : 1, 2, () => ({ ...portBlock(random), ...rules })) };
}

function portBlock(random: Random): object {
  return random.chance(0.05) ? {} : { ports: random.many(random.chance(0.05) ? 0 : 1, 3, () => portEntry(random)) };
}

function portEntry(random: Random): object {
  if (random.chance(0.05)) return { protocol: random.pick(['GRE', 'VRRP', 'ESP']) };
  const protocol = random.chance(0.3) ? {} : { protocol: random.pick(['TCP', 'TCP', 'UDP', 'SCTP', 'ANY', 'tcp']) };
  if (random.chance(0.2)) return { port: random.pick([...PORT_NAMES, 'HTTP', 'nobody']), ...protocol };
  if (random.chance(0.1)) return { port: '0', ...protocol };
  if (random.chance(0.6)) return { port: String(port(random)), ...protocol };
  const { first, last } = range(random);
  return { port: String(first), endPort: last, ...protocol };
}

function icmpField(random: Random): object {
  const family = random.chance(0.5) ? { family: random.pick(['IPv4', 'IPv6']) } : {};
  const named = { type: random.pick(['EchoRequest', 'EchoReply', 'DestinationUnreachable']) };
  return { ...family, ...(random.chance(0.5) ? named : { type: random.pick([0, 3, 8, 128, 129, '8']) }) };
}
