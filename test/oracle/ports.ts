/** Ports of the three languages against one packet. */
import type { Case } from './effect.ts';
import type { PortName } from './scenario.ts';

export const NUMBERS: Readonly<Record<string, number>> = {
  ICMP: 1,
  IGMP: 2,
  IPIP: 4,
  TCP: 6,
  UDP: 17,
  IPV6: 41,
  GRE: 47,
  ESP: 50,
  AH: 51,
  ICMPv6: 58,
  VRRP: 112,
  SCTP: 132,
};

/** The pod that has the destination port: the subject on ingress, the peer on egress. */
function ownerPorts({ packet, subject, peer }: Case): readonly PortName[] {
  return packet.direction === 'ingress' ? subject.ports : (peer.pod?.ports ?? []);
}

export function matchesNamed(name: string, protocols: readonly string[], asked: Case): boolean {
  const { protocol, port } = asked.packet;
  return ownerPorts(asked).some(
    (own) =>
      own.name === name && own.port === port && NUMBERS[own.protocol] === protocol && protocols.includes(own.protocol),
  );
}

export function matchesRange(protocols: readonly string[], first: number, last: number, { packet }: Case): boolean {
  const right = protocols.some((name) => NUMBERS[name] === packet.protocol);
  return right && first <= packet.port && packet.port <= last;
}
