/** Random clusters: few names and values, so that selectors meet labels and ports meet ports. */

import type { Random } from '../../kit/random.ts';
import type { NodeSpec, PodSpec, PortName, Scenario, ServiceSpec } from '../scenario.ts';

export const LABELS: Readonly<Record<string, readonly string[]>> = {
  app: ['frontend', 'backend'],
  env: ['prod'],
  'app.kubernetes.io/part-of': ['shop'],
};
export const NAMESPACES = ['default', 'database', 'other'];
export const NAMESPACE_LABELS: Readonly<Record<string, readonly string[]>> = { env: ['prod', 'dev'], team: ['a', 'b'] };
export const NODE_LABELS: Readonly<Record<string, readonly string[]>> = {
  zone: ['east', 'west'],
  role: ['edge', 'core'],
};
export const PORT_NAMES = ['http', 'dns', 'metrics'];
export const PORTS = [1, 53, 80, 443, 1024, 8080, 8081, 5432, 32768, 65535];

/** Mostly the first, so that documents and pods meet. */
export function namespace(random: Random): string {
  return random.chance(0.6) ? 'default' : random.pick(NAMESPACES);
}

export function labels(random: Random, from: Readonly<Record<string, readonly string[]>>): Record<string, string> {
  const keys = random.some(Object.keys(from), 0, Object.keys(from).length);
  return Object.fromEntries(keys.map((key) => [key, random.pick(from[key] as string[])]));
}

export function cluster(random: Random): Pick<Scenario, 'namespaces' | 'pods' | 'nodes' | 'services'> {
  const names = NAMESPACES.slice(0, random.chance(0.5) ? 1 : 3);
  const namespaces = names.map((name) => ({
    name,
    labels: { 'kubernetes.io/metadata.name': name, ...labels(random, NAMESPACE_LABELS) },
  }));
  const pods = random.many(2, 7, (i) => pod(random, random.chance(0.5) ? 'default' : random.pick(names), i));
  const nodes = random.many(1, 3, (i) => node(random, i));
  const services = random.many(0, 2, (i): ServiceSpec => {
    const selector = random.chance(0.8) ? { selector: labels(random, LABELS) } : {};
    return { namespace: random.pick(names), name: `service${i}`, labels: labels(random, LABELS), ...selector };
  });
  return { namespaces, pods: samePortsPerIdentity(pods), nodes, services };
}

function pod(random: Random, namespace: string, i: number): PodSpec {
  const net = random.int(3);
  return {
    namespace,
    name: `pod${i}`,
    labels: labels(random, LABELS),
    serviceAccount: random.chance(0.8) ? 'default' : 'builder',
    ports: portNames(random),
    ipv4: `10.0.${net}.${i + 1}`,
    ipv6: `fd00:0:0:${net}::${(i + 1).toString(16)}`,
  };
}

/** A name may stand for a TCP and a UDP port, but for one port only in each. */
function portNames(random: Random): PortName[] {
  return random.some(PORT_NAMES, 0, 2).flatMap((name) => {
    const protocols = random.some(['TCP', 'UDP', 'SCTP'] as const, 1, 2);
    return protocols.map((protocol) => ({ name, protocol, port: random.pick(PORTS) }));
  });
}

/** Egress by port name is decided per identity (see agent/policy/README.md): pods of one identity have the same ports here. */
function samePortsPerIdentity(pods: readonly PodSpec[]): PodSpec[] {
  const ports = new Map<string, readonly PortName[]>();
  return pods.map((one) => {
    const key = JSON.stringify([one.namespace, one.serviceAccount, Object.entries(one.labels).sort()]);
    const known = ports.get(key) ?? one.ports;
    ports.set(key, known);
    return { ...one, ports: known };
  });
}

function node(random: Random, i: number): NodeSpec {
  return {
    name: `node${i}`,
    labels: labels(random, NODE_LABELS),
    ipv4: `192.168.0.${i + 1}`,
    ipv6: `fd01::${i + 1}`,
  };
}
