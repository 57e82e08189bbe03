/** `toPorts` and `icmps` of Cilium's rules: schema, and what they match. Facts: reference policy-language.md, B4. */
import type { Path } from '../../model/object.ts';
import { type PortMatch, PROTOCOL } from '../rule.ts';
import { ICMP_TYPES } from './icmp-types.ts';
import type { Report } from './report.ts';
import { type Check, type Fields, found, list, object, type Schema, TEXT, UNSUPPORTED } from './schema.ts';

/** Protocols with ports. ANY, Cilium's default, is these three and nothing else. */
export const WITH_PORTS: Readonly<Record<string, readonly number[]>> = {
  TCP: [PROTOCOL.TCP],
  UDP: [PROTOCOL.UDP],
  SCTP: [PROTOCOL.SCTP],
  ANY: [PROTOCOL.TCP, PROTOCOL.UDP, PROTOCOL.SCTP],
};
/** Protocols without ports (Cilium's enable-extended-ip-protocols), by their IANA numbers. */
export const WITHOUT_PORTS: Readonly<Record<string, number>> = {
  IGMP: 2,
  IPIP: 4,
  IPV6: 41,
  GRE: 47,
  ESP: 50,
  AH: 51,
  VRRP: 112,
};
/** Most entries in `ports` and in `fields`. */
export const MAX_ENTRIES = 40;

const PORT: Schema = object(
  { port: TEXT, endPort: { type: 'integer', min: 0, max: 65535 }, protocol: { type: 'text', check: checkProtocol } },
  { check: checkPort },
);
const PORTS = list(PORT, { max: MAX_ENTRIES });
/** Deny rules know ports alone. */
export const DENY_TO_PORTS = list(object({ ports: PORTS }));
export const ALLOW_TO_PORTS = list(
  object({
    ports: PORTS,
    rules: UNSUPPORTED,
    listener: UNSUPPORTED,
    terminatingTLS: UNSUPPORTED,
    originatingTLS: UNSUPPORTED,
    serverNames: UNSUPPORTED,
  }),
);
export const ICMPS = list(
  object({
    fields: list(
      object(
        { family: { type: 'text', values: ['IPv4', 'IPv6'] }, type: { type: 'number-or-text' } },
        { required: ['type'], check: checkIcmpField },
      ),
      { max: MAX_ENTRIES },
    ),
  }),
);

interface RawPort {
  readonly port?: string;
  readonly endPort?: number;
  readonly protocol?: string;
}
interface RawIcmpField {
  readonly family?: string;
  readonly type: number | string;
}

/** What the blocks of one rule match together. A block without ports matches nothing. */
export function toPortsMatches(blocks: readonly { readonly ports?: readonly RawPort[] }[]): PortMatch[] {
  return blocks.flatMap((block) => block.ports ?? []).flatMap(portMatches);
}

export function icmpsMatches(blocks: readonly { readonly fields?: readonly RawIcmpField[] }[]): PortMatch[] {
  return blocks
    .flatMap((block) => block.fields ?? [])
    .map((field) => {
      const first = (icmpType(field) as number) << 8;
      const protocol = field.family === 'IPv6' ? PROTOCOL.ICMPv6 : PROTOCOL.ICMP;
      return { type: 'range', protocol, first, last: first | 255 };
    });
}

function portMatches(raw: RawPort): PortMatch[] {
  const protocol = (raw.protocol ?? 'ANY').toUpperCase();
  const portless = WITHOUT_PORTS[protocol];
  if (portless !== undefined) return [{ type: 'range', protocol: portless, first: 0, last: 65535 }];
  const protocols = WITH_PORTS[protocol] ?? [];
  const port = readPort(raw.port ?? '');
  if (typeof port === 'string') return [{ type: 'named', name: port, protocols }];
  const first = port ?? 0;
  const last = first === 0 ? 65535 : raw.endPort || first;
  return protocols.map((number) => ({ type: 'range', protocol: number, first, last }));
}

/** An IANA service name: up to 15 letters, digits and single hyphens, a letter among them (RFC 6335, 5.1). */
function isServiceName(text: string): boolean {
  return /^[A-Za-z0-9]+(-[A-Za-z0-9]+)*$/.test(text) && /[A-Za-z]/.test(text) && text.length <= 15;
}

/** A number, a name in lower case, or undefined for neither. A leading 0 means octal, as in Cilium (Go's base 0). */
function readPort(text: string): number | string | undefined {
  if (isServiceName(text)) return text.toLowerCase();
  if (!/^[0-9]+$/.test(text)) return undefined;
  if (/^0[0-9]/.test(text) && !/^[0-7]+$/.test(text)) return undefined;
  const value = Number.parseInt(text, /^0[0-9]/.test(text) ? 8 : 10);
  return value <= 65535 ? value : undefined;
}

function checkProtocol(text: string, path: Path, report: Report): void {
  const protocol = text.toUpperCase();
  if (protocol in WITH_PORTS || protocol in WITHOUT_PORTS) return;
  const expected = [...Object.keys(WITH_PORTS), ...Object.keys(WITHOUT_PORTS)].join(', ');
  const hint = protocol.startsWith('ICMP') ? '; ICMP is written in icmps, beside toPorts in a rule of its own' : '';
  report.error('unknown-value', path, `expected one of ${expected}, found ${found(text)}${hint}`);
}

function checkPort(fields: Fields, path: Path, report: Report): void {
  const raw = fields as RawPort;
  const protocol = (raw.protocol ?? 'ANY').toUpperCase();
  if (protocol in WITHOUT_PORTS) {
    if ((raw.port ?? '0') !== '0') report.error('unexpected-field', [...path, 'port'], `${protocol} has no ports`);
    if (raw.endPort) report.error('unexpected-field', [...path, 'endPort'], `${protocol} has no ports`);
    return;
  }
  if (raw.port === undefined) {
    report.error('missing-field', path, 'port is missing; "0" means every port');
    return;
  }
  const port = readPort(raw.port);
  if (port === undefined) {
    const expected = 'a number from 0 to 65535 or a port name';
    report.error('bad-port', [...path, 'port'], `expected ${expected}, found ${found(raw.port)}`);
    return;
  }
  if (/^0[0-9]/.test(raw.port)) {
    report.warning('octal-port', [...path, 'port'], `"${raw.port}" begins with 0 and is read as octal: ${port}`);
  }
  if (!raw.endPort) return;
  if (typeof port === 'string') report.error('unexpected-field', [...path, 'endPort'], 'a port name takes no endPort');
  else if (port === 0)
    report.error('unexpected-field', [...path, 'endPort'], 'port "0" is every port and takes no endPort');
  else if (raw.endPort < port) {
    report.error('out-of-range', [...path, 'endPort'], `expected ${port} (port) or more, found ${raw.endPort}`);
  }
}

/** The type's number, 0 to 255; undefined if it is none of its family. */
function icmpType(field: RawIcmpField): number | undefined {
  const names = ICMP_TYPES[field.family === 'IPv6' ? 'IPv6' : 'IPv4'];
  const text = String(field.type);
  const number = /^(0|[1-9][0-9]{0,2})$/.test(text) ? Number(text) : names[text];
  return number !== undefined && number <= 255 ? number : undefined;
}

function checkIcmpField(fields: Fields, path: Path, report: Report): void {
  const field = fields as unknown as RawIcmpField;
  if (icmpType(field) !== undefined) return;
  const family = field.family ?? 'IPv4';
  const names = Object.keys(ICMP_TYPES[family === 'IPv6' ? 'IPv6' : 'IPv4']).join(', ');
  const expected = `0 to 255 or, for ${family}, one of ${names}`;
  report.error('bad-icmp-type', [...path, 'type'], `expected ${expected}; found ${found(field.type)}`);
}

/** toPorts and icmps are written in separate rules. */
export const checkNotBoth: Check<Fields> = (rule, path, report) => {
  if ((rule.icmps as unknown[] | undefined)?.length && (rule.toPorts as unknown[] | undefined)?.length) {
    report.error('not-exactly-one', path, 'icmps and toPorts cannot stand in one rule; write two rules');
  }
};
