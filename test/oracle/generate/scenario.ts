/** Random scenarios: a cluster, documents of all languages, and packets aimed at what the documents speak of. */

import { type Random, random as seeded } from '../../kit/random.ts';
import { NUMBERS } from '../ports.ts';
import { type Packet, type PeerSpec, type PortName, podNamed, type RawDocument, type Scenario } from '../scenario.ts';
import { cidrGroup, ciliumPolicy } from './cilium.ts';
import { cluster, PORTS } from './cluster.ts';
import { baselinePolicy, clusterPolicy, networkPolicy } from './kubernetes.ts';

const NOW = Date.parse('2026-06-01T12:00:00Z');

export function generate(seed: number, packets: number): Scenario {
  const random = seeded(seed);
  const base = cluster(random);
  const documents = [
    ...random.many(0, 2, (i) => cidrGroup(random, `group${i}`)),
    ...random.many(2, 7, (i) => annotated(random, policy(random, i))),
    ...(random.chance(0.1) ? [baselinePolicy(random)] : []),
  ];
  const enforcement: Scenario['enforcement'] = random.chance(0.94) ? 'default' : random.pick(['always', 'never']);
  const scenario: Scenario = { ...base, documents, enforcement, now: NOW, packets: [] };
  const ports = [...PORTS, ...numbersIn(documents)];
  return { ...scenario, packets: random.many(packets, packets, () => packet(random, scenario, ports)) };
}

function policy(random: Random, i: number): RawDocument {
  const name = `policy${i}`;
  const kind = random.int(10);
  if (kind < 5) return ciliumPolicy(random, name);
  if (kind < 8) return networkPolicy(random, name);
  return clusterPolicy(random, name, 10 * i + random.int(10));
}

function annotated(random: Random, document: RawDocument): RawDocument {
  const annotations: Record<string, string> = {};
  if (random.chance(0.15)) annotations['weir.dev/audit'] = random.pick(['true', 'true', 'true', 'false']);
  if (random.chance(0.05)) annotations['weir.dev/audit-until'] = time(random);
  if (random.chance(0.07)) annotations['weir.dev/expires-at'] = time(random);
  return { ...document, metadata: { ...document.metadata, annotations } };
}

function time(random: Random): string {
  return random.pick([
    '2026-06-01T11:59:59Z',
    '2026-06-01T12:00:00Z',
    '2026-06-01T13:00:00+02:00',
    '2027-01-01T00:00:00Z',
    'soon',
  ]);
}

function packet(random: Random, scenario: Scenario, ports: readonly number[]): Packet {
  const { pods } = scenario;
  const subject = random.pick(pods);
  const family = random.pick([4, 6] as const);
  const direction = random.pick(['ingress', 'egress'] as const);
  const to = peer(random, scenario);
  const named = direction === 'ingress' ? subject.ports : to.type === 'pod' ? podNamed(scenario, to.pod).ports : [];
  const aim =
    named.length > 0 && random.chance(0.3) ? aimAt(random, random.pick(named)) : transport(random, family, ports);
  return { direction, subject: `${subject.namespace}/${subject.name}`, peer: to, family, ...aim };
}

function peer(random: Random, { pods, nodes }: Scenario): PeerSpec {
  const kind = random.int(20);
  if (kind < 12) {
    const pod = random.pick(pods);
    return { type: 'pod', pod: `${pod.namespace}/${pod.name}` };
  }
  if (kind < 14) return { type: 'node', node: random.pick(nodes).name };
  if (kind < 15) return { type: 'unmanaged', ipv4: random.pick(['10.0.1.200', '10.0.2.200']), ipv6: 'fd00:0:0:1::200' };
  return { type: 'outside', ...random.pick(OUTSIDE), apiServer: random.chance(0.1) };
}

const OUTSIDE = [
  { ipv4: '203.0.113.7', ipv6: '2001:db8::7' },
  { ipv4: '203.0.113.200', ipv6: '2001:db8:0:1::1' },
  { ipv4: '10.9.0.1', ipv6: 'fd02::1' },
  { ipv4: '10.0.1.5', ipv6: 'fd00:0:0:1::5' },
  { ipv4: '198.51.100.1', ipv6: '2a00::1' },
];

function transport(random: Random, family: 4 | 6, ports: readonly number[]): Pick<Packet, 'protocol' | 'port'> {
  const kind = random.int(20);
  if (kind < 2) {
    const protocol = random.chance(0.9) === (family === 4) ? 1 : 58;
    return { protocol, port: random.pick([0, 3, 8, 128, 129]) * 256 + random.int(3) };
  }
  if (kind < 3) return { protocol: random.pick([47, 50, 112, 2]), port: 0 };
  const near = random.pick(ports) + random.pick([0, 0, 0, 0, -1, 1]);
  return { protocol: random.pick([6, 6, 6, 6, 17, 17, 132]), port: Math.min(65535, Math.max(0, near)) };
}

/** Mostly the port itself, sometimes the same number of another protocol. */
function aimAt(random: Random, { protocol, port }: PortName): Pick<Packet, 'protocol' | 'port'> {
  return { protocol: random.chance(0.8) ? (NUMBERS[protocol] as number) : random.pick([6, 17, 132]), port };
}

/** Every number a document mentions that could be a port. */
function numbersIn(value: unknown): number[] {
  if (typeof value === 'number') return value >= 0 && value <= 65535 ? [value] : [];
  if (typeof value === 'string') return /^\d{1,5}$/.test(value) ? numbersIn(Number(value)) : [];
  if (typeof value !== 'object' || value === null) return [];
  return Object.values(value).flatMap(numbersIn);
}
