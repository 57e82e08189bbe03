/** The port of a question: "8080", "8080/TCP", "http", "dns/UDP", "8/ICMP", "EchoRequest/ICMP". */
import { WeirError } from '../../errors.ts';
import type { Family } from '../../model/address.ts';
import { didYouMean } from '../../model/did-you-mean.ts';
import type { NamedPort } from '../../model/object.ts';
import { ICMP_TYPES } from '../parse/icmp-types.ts';
import { PROTOCOL } from '../rule.ts';

const PROTOCOLS = ['TCP', 'UDP', 'SCTP', 'ICMP', 'ICMPv4', 'ICMPv6'] as const;
type AskedProtocol = (typeof PROTOCOLS)[number];
/** Names as Hubble writes them. */
export type TargetProtocol = 'TCP' | 'UDP' | 'SCTP' | 'ICMPv4' | 'ICMPv6';

export interface PortQuestion {
  /** A port number, a port's name, or an ICMP type by number or name, as asked. */
  readonly port: number | string;
  /** Undefined: whatever protocol the port of that name has. ICMP by name: that of the family. */
  readonly protocol: AskedProtocol | undefined;
}

/** What the packet carries. */
export interface Target {
  readonly protocol: TargetProtocol;
  /** Destination port; of ICMP the type. Host order. */
  readonly number: number;
}

/** Reads the text of a --port; throws BAD_REQUEST with what was expected. */
export function readPort(text: string): PortQuestion {
  const slash = text.indexOf('/');
  const written = slash < 0 ? text : text.slice(0, slash);
  const protocol = slash < 0 ? undefined : readProtocol(text.slice(slash + 1), text);
  const icmp = protocol?.startsWith('ICMP') ?? false;
  if (/^[0-9]{1,5}$/.test(written)) {
    const number = Number(written);
    const [least, most] = icmp ? [0, 255] : [1, 65535];
    if (number < least || number > most) throw wrong(text, `a number from ${least} to ${most}`);
    return { port: number, protocol: protocol === 'ICMP' ? 'ICMPv4' : (protocol ?? 'TCP') };
  }
  if (icmp) {
    const types = Object.keys(protocol === 'ICMPv6' ? ICMP_TYPES.IPv6 : ICMP_TYPES.IPv4);
    const known = types.includes(written) || (protocol === 'ICMP' && Object.hasOwn(ICMP_TYPES.IPv6, written));
    if (!known) throw wrong(text, `a type of ${protocol}, by number or name`, didYouMean(written, types));
    return { port: written, protocol };
  }
  if (!/^(?=.*[a-z])[a-z0-9]+(-[a-z0-9]+)*$/.test(written) || written.length > 15) {
    throw wrong(text, 'a port like 8080, 8080/TCP, a port name like http, or a type like 8/ICMP');
  }
  return { port: written, protocol };
}

function readProtocol(written: string, text: string): AskedProtocol {
  const protocol = PROTOCOLS.find((name) => name.toLowerCase() === written.toLowerCase());
  if (!protocol) throw wrong(text, `one of ${PROTOCOLS.join(', ')} behind the "/"`, didYouMean(written, PROTOCOLS));
  return protocol;
}

function wrong(text: string, expected: string, hint = ''): WeirError {
  return new WeirError('BAD_REQUEST', 'read a port', `port: expected ${expected}, got "${text}"${hint}`);
}

/** How people write it. */
export function formatPort({ port, protocol }: PortQuestion): string {
  return protocol === undefined ? String(port) : `${port}/${protocol}`;
}

/**
 * What is sent to somebody with these port names.
 * - no-such-port: it has no port of that name, so there is nothing to send to
 * - other-family: the question is about packets that this family does not have
 */
export function resolvePort(
  { port, protocol }: PortQuestion,
  ports: readonly NamedPort[],
  family: Family,
): Target | 'no-such-port' | 'other-family' {
  const familyIcmp = family === 4 ? 'ICMPv4' : 'ICMPv6';
  if (protocol === 'ICMP' || protocol === 'ICMPv4' || protocol === 'ICMPv6') {
    const number = typeof port === 'number' ? port : ICMP_TYPES[family === 4 ? 'IPv4' : 'IPv6'][port];
    if ((protocol !== 'ICMP' && protocol !== familyIcmp) || number === undefined) return 'other-family';
    return { protocol: familyIcmp, number };
  }
  if (typeof port === 'number') return { protocol: protocol ?? 'TCP', number: port };
  const named = ports.filter((own) => own.name === port && (protocol === undefined || own.protocol === protocol));
  const first = named.find((own) => own.protocol === 'TCP') ?? named[0];
  return first ? { protocol: first.protocol, number: first.port } : 'no-such-port';
}

/** As the policy tables have it: IP protocol number, and destination port or ICMP type << 8. */
export function targetKey({ protocol, number }: Target): { readonly protocol: number; readonly port: number } {
  if (protocol === 'ICMPv4') return { protocol: PROTOCOL.ICMP, port: number << 8 };
  if (protocol === 'ICMPv6') return { protocol: PROTOCOL.ICMPv6, port: number << 8 };
  return { protocol: PROTOCOL[protocol], port: number };
}
