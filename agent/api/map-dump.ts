/**
 * The kernel's tables as rows of words, for people who want to see what is in force and not what should be. Numbers of
 * policies, identities and endpoints are those of the other resources. Pure.
 */
import type { ConnectionRow, DatapathRows } from '../datapath/datapath.ts';
import { CLASS_ANY, type Direction, TIERS, type TierVerdict, type VerdictRow } from '../model/verdict.ts';

export const MAP_NAMES = ['ct', 'ipcache', 'policy', 'services'] as const;
export type MapName = (typeof MAP_NAMES)[number];

/** Column -> what stands there. All rows of a map have the same columns. */
export type MapLine = Readonly<Record<string, string>>;

/** IP protocol numbers with a name. */
const PROTOCOLS: Readonly<Record<number, string>> = { 1: 'ICMP', 6: 'TCP', 17: 'UDP', 58: 'ICMPv6', 132: 'SCTP' };
const WITHOUT_PORTS: readonly number[] = [1, 58];

/** Who is at which address: those known exactly, then ranges. */
export function ipcacheLines({ peers, ranges }: Pick<DatapathRows, 'peers' | 'ranges'>): MapLine[] {
  const line = (address: string, identity: number, kind: string, endpoint = 0, node = 0): MapLine => ({
    address,
    identity: String(identity),
    kind,
    endpoint: endpoint === 0 ? '' : String(endpoint),
    tunnel: node === 0 ? '' : `node ${node}`,
  });
  return [
    ...peers.map((peer) => line(peer.address, peer.identity, peer.kind, peer.endpoint, peer.node)),
    ...ranges.map((range) => line(range.prefix, range.identity, range.kind, 0, range.node)),
  ];
}

export function serviceLines({ services = [] }: Pick<DatapathRows, 'services'>): MapLine[] {
  return services.map(({ frontend, backends, affinitySeconds }) => ({
    frontend: `${withPort(frontend.address, frontend.port)}/${frontend.protocol}`,
    backends: backends.map(({ address, port }) => withPort(address, port)).join(' '),
    affinity: affinitySeconds === 0 ? '' : `${affinitySeconds} s`,
  }));
}

/** What each policy isolates, then its verdicts: per class of peers, protocol and port. */
export function policyLines({ policy, endpoints }: Pick<DatapathRows, 'policy' | 'endpoints'>): MapLine[] {
  const users = Map.groupBy(endpoints, (endpoint) => endpoint.policy);
  const empty = { endpoints: '', peers: '', ports: '', verdict: '', precedence: '', rule: '' };
  const headers = policy.policies.flatMap((row) =>
    (['ingress', 'egress'] as const).map((direction) => ({
      ...empty,
      policy: String(row.id),
      direction,
      endpoints: (users.get(row.id) ?? []).map(({ id }) => id).join(' '),
      verdict: row[direction].isolated ? 'deny what nothing allows' : 'allow what nothing denies',
    })),
  );
  const verdicts = policy.verdicts.flatMap((row) =>
    row.enforced.flatMap((verdict, tier) =>
      verdict === undefined ? [] : [{ ...empty, ...verdictLine(row, verdict, TIERS[tier] ?? '') }],
    ),
  );
  const key = (line: { policy: string; direction: string }) => [Number(line.policy), line.direction] as const;
  return [...headers, ...verdicts]
    .map((line) => ({ line, key: key(line) }))
    .sort((a, b) => a.key[0] - b.key[0] || (a.key[1] < b.key[1] ? -1 : a.key[1] > b.key[1] ? 1 : 0))
    .map(({ line }) => columns(line));
}

/** In the order in which they are read. */
function columns({ policy, direction, endpoints, peers, ports, verdict, precedence, rule }: Record<string, string>) {
  return { policy, direction, endpoints, peers, ports, verdict, precedence, rule } as MapLine;
}

function verdictLine(row: VerdictRow, { action, precedence, rule }: TierVerdict, tier: string) {
  return {
    policy: String(row.policy),
    direction: row.direction satisfies Direction,
    peers: row.classId === CLASS_ANY ? 'all' : `class ${row.classId}`,
    ports: ports(row),
    verdict: tier === 'normal' ? action : `${action} (${tier})`,
    precedence: String(precedence),
    rule: String(rule),
  };
}

/** "TCP 80", "TCP 8080-8087", "UDP", "all". */
function ports({ protocol, port, portBits }: VerdictRow): string {
  if (protocol === undefined) return 'all';
  const name = PROTOCOLS[protocol] ?? String(protocol);
  if (portBits === 0) return name;
  if (WITHOUT_PORTS.includes(protocol)) return `${name} type ${port >> 8}`;
  const last = port + 2 ** (16 - portBits) - 1;
  return `${name} ${port === last ? port : `${port}-${last}`}`;
}

export function connectionLines(connections: readonly ConnectionRow[]): MapLine[] {
  return connections.map((one) => {
    const hasPorts = !WITHOUT_PORTS.includes(one.protocol);
    const end = ({ address, port }: ConnectionRow['initiator']): string =>
      hasPorts ? withPort(address, port) : address;
    return {
      protocol: PROTOCOLS[one.protocol] ?? String(one.protocol),
      initiator: end(one.initiator),
      responder: end(one.responder),
      identities: `${one.initiator.identity} -> ${one.responder.identity}`,
      sent: `${one.initiator.packets} packets, ${one.initiator.bytes} bytes`,
      answered: `${one.responder.packets} packets, ${one.responder.bytes} bytes`,
      age: `${Math.round(one.ageSeconds)} s`,
      epoch: String(one.epoch),
    };
  });
}

function withPort(address: string, port: number): string {
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
}
