/** Names of ICMP messages as gopacket writes them, which Hubble uses in its summaries and metrics. */

/** A type without `codes` makes no use of its code. */
interface Kind {
  readonly name: string;
  /** By code. */
  readonly codes?: readonly string[];
}

/** "EchoRequest", "DestinationUnreachable(Port)", "TimeExceeded(Code: 9)", "99(3)". */
export function icmpText(family: 4 | 6, type: number, code: number): string {
  const kind = (family === 4 ? IPV4 : IPV6)[type];
  if (kind === undefined) return `${type}(${code})`;
  const { name, codes } = kind;
  if (codes === undefined && code === 0) return name;
  return `${name}(${codes?.[code] ?? `Code: ${code}`})`;
}

const EXPIRED_IN_PIECES = 'FragmentReassemblyTimeExceeded';

const IPV4: Readonly<Record<number, Kind>> = {
  0: { name: 'EchoReply' },
  3: {
    name: 'DestinationUnreachable',
    codes: [
      ...['Net', 'Host', 'Protocol', 'Port', 'FragmentationNeeded', 'SourceRoutingFailed', 'NetUnknown', 'HostUnknown'],
      ...['SourceIsolated', 'NetAdminProhibited', 'HostAdminProhibited', 'NetTOS', 'HostTOS', 'CommAdminProhibited'],
      ...['HostPrecedence', 'PrecedenceCutoff'],
    ],
  },
  4: { name: 'SourceQuench' },
  5: { name: 'Redirect', codes: ['Net', 'Host', 'TOS+Net', 'TOS+Host'] },
  8: { name: 'EchoRequest' },
  9: { name: 'RouterAdvertisement' },
  10: { name: 'RouterSolicitation' },
  11: { name: 'TimeExceeded', codes: ['TTLExceeded', EXPIRED_IN_PIECES] },
  12: { name: 'ParameterProblem', codes: ['PointerIndicatesError', 'MissingOption', 'BadLength'] },
  13: { name: 'TimestampRequest' },
  14: { name: 'TimestampReply' },
  15: { name: 'InfoRequest' },
  16: { name: 'InfoReply' },
  17: { name: 'AddressMaskRequest' },
  18: { name: 'AddressMaskReply' },
};

const IPV6: Readonly<Record<number, Kind>> = {
  1: {
    name: 'DestinationUnreachable',
    codes: [
      ...['NoRouteToDst', 'AdminProhibited', 'BeyondScopeOfSrc', 'AddressUnreachable', 'PortUnreachable'],
      ...['SrcAddressFailedPolicy', 'RejectRouteToDst'],
    ],
  },
  2: { name: 'PacketTooBig' },
  3: { name: 'TimeExceeded', codes: ['HopLimitExceeded', EXPIRED_IN_PIECES] },
  4: {
    name: 'ParameterProblem',
    codes: ['ErroneousHeaderField', 'UnrecognizedNextHeader', 'UnrecognizedIPv6Option'],
  },
  128: { name: 'EchoRequest' },
  129: { name: 'EchoReply' },
  133: { name: 'RouterSolicitation' },
  134: { name: 'RouterAdvertisement' },
  135: { name: 'NeighborSolicitation' },
  136: { name: 'NeighborAdvertisement' },
  137: { name: 'Redirect' },
};
