/** `protocols` of ClusterNetworkPolicy v1alpha2 and `ports` of its v1alpha1 forerunners. */
import type { Path } from '../../model/object.ts';
import { type PortMatch, PROTOCOL } from '../rule.ts';
import type { Report } from './report.ts';
import { type Fields, list, object, type Schema, TEXT } from './schema.ts';

const NUMBER: Schema = { type: 'integer', min: 1, max: 65535 };
const PROTOCOL_NAME: Schema = { type: 'text', values: ['TCP', 'UDP', 'SCTP'] };

interface Range {
  readonly start: number;
  readonly end: number;
}
function checkRange(fields: Fields, path: Path, report: Report): void {
  const { start, end } = fields as unknown as Range;
  if (start >= end) report.error('out-of-range', path, `expected start below end, found ${start} and ${end}`);
}

const DESTINATION = object(
  {
    destinationPort: object(
      {
        number: NUMBER,
        range: object({ start: NUMBER, end: NUMBER }, { required: ['start', 'end'], check: checkRange }),
      },
      { oneOf: true },
    ),
  },
  { required: ['destinationPort'] },
);
export const CNP_PROTOCOLS = list(
  object({ tcp: DESTINATION, udp: DESTINATION, sctp: DESTINATION, destinationNamedPort: TEXT }, { oneOf: true }),
  { min: 1, max: 25 },
);
export const ANP_PORTS = list(
  object(
    {
      portNumber: object({ protocol: PROTOCOL_NAME, port: NUMBER }, { required: ['port'] }),
      namedPort: TEXT,
      portRange: object(
        { protocol: PROTOCOL_NAME, start: NUMBER, end: NUMBER },
        { required: ['start', 'end'], check: checkRange },
      ),
    },
    { oneOf: true },
  ),
  { max: 100 },
);

type ProtocolName = 'TCP' | 'UDP' | 'SCTP';
interface RawProtocol {
  readonly tcp?: RawDestination;
  readonly udp?: RawDestination;
  readonly sctp?: RawDestination;
  readonly destinationNamedPort?: string;
}
interface RawDestination {
  readonly destinationPort: { readonly number?: number; readonly range?: Range };
}
interface RawPort {
  readonly portNumber?: { readonly protocol?: ProtocolName; readonly port: number };
  readonly namedPort?: string;
  readonly portRange?: { readonly protocol?: ProtocolName } & Range;
}

/** What a rule of either dialect matches above L3; undefined: everything. An empty `ports` is no `ports`. */
export function portsOf(rule: Fields): PortMatch[] | undefined {
  if (rule.protocols) return (rule.protocols as RawProtocol[]).map(protocolMatch);
  const ports = (rule.ports ?? []) as RawPort[];
  return ports.length === 0 ? undefined : ports.map(portMatch);
}

function protocolMatch(raw: RawProtocol): PortMatch {
  if (raw.destinationNamedPort !== undefined) return named(raw.destinationNamedPort);
  const name = raw.tcp ? 'TCP' : raw.udp ? 'UDP' : 'SCTP';
  const { number, range } = (raw.tcp ?? raw.udp ?? raw.sctp)?.destinationPort ?? {};
  return span(name, range?.start ?? (number as number), range?.end ?? (number as number));
}

function portMatch({ portNumber, namedPort, portRange }: RawPort): PortMatch {
  if (namedPort !== undefined) return named(namedPort);
  if (portRange) return span(portRange.protocol, portRange.start, portRange.end);
  return span(portNumber?.protocol, portNumber?.port as number, portNumber?.port as number);
}

function named(name: string): PortMatch {
  return { type: 'named', name, protocols: [PROTOCOL.TCP, PROTOCOL.UDP, PROTOCOL.SCTP] };
}

function span(protocol: ProtocolName = 'TCP', first: number, last: number): PortMatch {
  return { type: 'range', protocol: PROTOCOL[protocol], first, last };
}
