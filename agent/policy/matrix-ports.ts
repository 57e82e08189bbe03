/** Which ports a matrix asks about when nobody says: those that the policies and the pods speak of. */
import { type PortMatch, PROTOCOL } from './rule.ts';
import { formatPort, type PortQuestion } from './workbench/port.ts';
import type { Workbench } from './workbench/workbench.ts';

const NAMES: Readonly<Record<number, PortQuestion['protocol']>> = {
  [PROTOCOL.TCP]: 'TCP',
  [PROTOCOL.UDP]: 'UDP',
  [PROTOCOL.SCTP]: 'SCTP',
  [PROTOCOL.ICMP]: 'ICMPv4',
  [PROTOCOL.ICMPv6]: 'ICMPv6',
};

/**
 * Named container ports of the pods by number; numbers, names and ICMP types in the policies, of a range its first and
 * last port. 80/TCP if all that is nothing.
 */
export function defaultPorts(bench: Workbench): PortQuestion[] {
  const found = new Map<string, PortQuestion>();
  const add = (question: PortQuestion): unknown => found.set(formatPort(question), question);
  for (const { namedPorts } of bench.pods) {
    for (const { port, protocol } of namedPorts) add({ port, protocol });
  }
  const specs = bench
    .tracer()
    .documents.all()
    .flatMap(({ inForce }) => inForce?.specs ?? []);
  for (const rule of specs.flatMap(({ rules }) => rules)) {
    for (const port of rule.ports ?? []) for (const question of questionsOf(port)) add(question);
  }
  if (found.size === 0) add({ port: 80, protocol: 'TCP' });
  return [...found.values()].sort(byNumber);
}

function questionsOf(port: PortMatch): PortQuestion[] {
  if (port.type === 'named') return [{ port: port.name, protocol: undefined }];
  const protocol = NAMES[port.protocol];
  const everyPort = port.first === 0 && port.last === 65535;
  if (protocol === undefined || everyPort) return [];
  if (protocol.startsWith('ICMP')) return [{ port: port.first >> 8, protocol }];
  return [...new Set([port.first, port.last])].map((number) => ({ port: number, protocol }));
}

/** Numbers first, then names. */
function byNumber(a: PortQuestion, b: PortQuestion): number {
  const rank = ({ port }: PortQuestion): number => (typeof port === 'number' ? port : 65536);
  return rank(a) - rank(b) || (formatPort(a) < formatPort(b) ? -1 : 1);
}
