/** The filters of `weir observe`: Hubble's flags, and the fields of GET /v1/flows they stand for. */
import { didYouMean } from '../../model/did-you-mean.ts';
import { type Flag, NOT, notName } from '../../run/flags.ts';
import type { Query } from '../client.ts';
import { type FlagValues, UsageError } from '../command.ts';

/** Filters that may be about either side of a flow, its source (--from-X) or its destination (--to-X). */
const SIDED: readonly (Flag & { readonly field: string })[] = [
  {
    name: 'pod',
    value: '[NAMESPACE/]PREFIX',
    field: 'pod',
    sentence: 'Pods whose name starts so; "ns/" for all of a namespace',
  },
  { name: 'namespace', short: 'n', value: 'NAMESPACE', field: 'namespace', sentence: 'Pods of a namespace' },
  {
    name: 'label',
    short: 'l',
    value: 'SELECTOR',
    field: 'label',
    sentence: 'Labels: "app=web", "tier in (a,b)", "!debug"',
  },
  {
    name: 'service',
    value: '[NAMESPACE/]PREFIX',
    field: 'service',
    sentence: 'Services that connections go through, by the start of their names; "ns/" for all of a namespace',
  },
  { name: 'workload', value: '[KIND/]NAME', field: 'workload', sentence: 'Pods of a Deployment or the like' },
  { name: 'ip', value: 'ADDRESS|CIDR', field: 'ip', sentence: 'Addresses' },
  { name: 'port', value: 'PORT', field: 'port', sentence: 'TCP, UDP or SCTP ports' },
  {
    name: 'identity',
    value: 'ID|NAME',
    field: 'identity',
    sentence: 'Security identities: a number, or host, world, ...',
  },
];
const SIDES = [
  { flag: '', field: '', words: 'on either side' },
  { flag: 'from-', field: 'from_', words: "of the packet's sender" },
  { flag: 'to-', field: 'to_', words: "of the packet's receiver" },
] as const;

const PLAIN: readonly (Flag & { readonly field: string; readonly upper?: boolean })[] = [
  { name: 'verdict', value: 'FORWARDED|DROPPED|AUDIT', field: 'verdict', upper: true, sentence: 'What was decided' },
  { name: 'protocol', value: 'TCP|UDP|SCTP|ICMP|NUMBER', field: 'protocol', sentence: 'Transport protocol' },
  {
    name: 'drop-reason-desc',
    value: 'REASON',
    field: 'drop_reason',
    sentence: 'Why it was dropped: POLICY_DENIED, policy_denied, ...',
  },
  { name: 'tcp-flags', value: 'SYN,ACK', field: 'tcp_flags', sentence: 'TCP flags that are all set' },
  { name: 'interface', value: 'NAME', field: 'interface', sentence: 'Device of a pod, on its node' },
  {
    name: 'snat-ip',
    value: 'ADDRESS|CIDR',
    field: 'source_xlated',
    sentence: "Of replies through a Service: the virtual address that their client sees as the source's",
  },
  { name: 'uuid', value: 'UUID', field: 'uuid', sentence: 'The flow itself' },
];

/** Hubble's and Cilium monitor's names of event types, and which of our events they are. */
const TYPES: Readonly<Record<string, readonly string[]>> = {
  drop: ['drop'],
  trace: ['new', 'reply', 'update', 'end'],
  'policy-verdict': ['audit'],
  new: ['new'],
  reply: ['reply'],
  update: ['update'],
  end: ['end'],
  audit: ['audit'],
};

/** Those of them that have sub-types, as the API's event_type knows them. */
const HUBBLE_TYPES: readonly string[] = ['drop', 'trace', 'policy-verdict'];

/** What may stand behind --not. */
const TURNABLE: readonly Flag[] = [
  ...SIDED.flatMap(({ name, short, value, sentence }) =>
    SIDES.map(({ flag, words }) => ({
      name: `${flag}${name}`,
      ...(flag === '' && short !== undefined ? { short } : {}),
      ...(value === undefined ? {} : { value }),
      repeat: true,
      sentence: `${sentence} (${words})`,
    })),
  ),
  ...PLAIN.map(({ name, value, sentence }) => ({
    name,
    ...(value === undefined ? {} : { value }),
    repeat: true,
    sentence,
  })),
  {
    name: 'type',
    short: 't',
    value: 'TYPE[:SUB]',
    repeat: true,
    sentence: `Kind of event: ${Object.keys(TYPES).join(', ')}; also trace:to-endpoint, trace:to-stack, drop:NUMBER`,
  },
  { name: 'traffic-direction', value: 'ingress|egress', sentence: "Where it was decided, from the pod's view" },
  { name: 'ip-version', value: '4|6', sentence: 'IP version; also -4 and -6' },
  { name: 'ipv4', short: '4', sentence: 'Only IPv4' },
  { name: 'ipv6', short: '6', sentence: 'Only IPv6' },
];

export const FILTER_FLAGS: readonly Flag[] = [
  ...TURNABLE.map((flag) => ({ ...flag, negatable: true })),
  {
    name: NOT,
    sentence: 'Turns the filter behind it around; of several such, flows that all are true of are left out',
  },
  { name: 'reply', sentence: 'Only packets of the responder; --reply=false: only of the initiator' },
];

/** The fields of the query. Throws UsageError for what only the client can know to be wrong. */
export function filterQuery(flags: FlagValues): Query {
  const reply = flags.one('reply');
  const unwanted = Object.entries(fieldsOf(flags, notName)).flatMap(([field, values]) =>
    [values ?? []].flat().map((value) => `${field}=${value}`),
  );
  return {
    ...fieldsOf(flags, (name) => name),
    ...(reply !== undefined && { reply }),
    ...(unwanted.length > 0 && { not: unwanted }),
  };
}

/** @param keptBy what the values of a flag are kept by */
function fieldsOf(flags: FlagValues, keptBy: (name: string) => string): Query {
  const query: Record<string, string | readonly string[]> = {};
  for (const { name, field } of SIDED) {
    for (const side of SIDES) {
      const values = flags.all(keptBy(side.flag + name));
      if (values.length > 0) query[side.field + field] = values;
    }
  }
  for (const side of SIDES) qualify(query, side);
  for (const { name, field, upper } of PLAIN) {
    const values = flags.all(keptBy(name)).map((value) => (upper ? value.toUpperCase() : value));
    if (values.length > 0) query[field] = values;
  }
  const types = flags.all(keptBy('type')).map((type) => type.toLowerCase());
  if (types.some((type) => type.includes(':'))) query.event_type = types.map(hubbleType);
  else if (types.length > 0) query.type = types.flatMap(eventsOfType);
  const direction = flags.one(keptBy('traffic-direction'));
  if (direction !== undefined) query.direction = direction.toLowerCase();
  const version = ipVersion(flags, keptBy);
  if (version !== undefined) query.ip_version = version;
  return query;
}

/** What a namespace may stand in front of, as Hubble has it. */
const NAMESPACED = ['pod', 'service'] as const;

/** `-n shop --pod web` is the pod shop/web, and `-n shop --service web` the Service shop/web, as Hubble takes them. */
function qualify(query: Record<string, string | readonly string[]>, { flag, field }: (typeof SIDES)[number]): void {
  const namespaces = [query[`${field}namespace`] ?? []].flat();
  const named = NAMESPACED.filter((name) => query[field + name] !== undefined);
  if (namespaces.length === 0) return;
  if (named.length === 0) {
    if (field !== '') refuseUnqualified(query, flag);
    return;
  }
  for (const name of named) {
    query[field + name] = [query[field + name] ?? []].flat().flatMap((written) => {
      if (!written.includes('/')) return namespaces.map((namespace) => `${namespace}/${written}`);
      const [own = ''] = written.split('/');
      if (own === '' || namespaces.includes(own)) return [written];
      const expected = `a name in ${namespaces.join(' or ')}, as --${flag}namespace says`;
      throw new UsageError(`--${flag}${name}: expected ${expected}, got "${written}"`);
    });
  }
  delete query[`${field}namespace`];
}

/** Hubble would put the namespace in front of the name where it is about that side, and "default" where it is not. */
function refuseUnqualified(query: Record<string, string | readonly string[]>, flag: string): void {
  for (const name of NAMESPACED) {
    const bare = [query[name] ?? []].flat().find((written) => !written.includes('/'));
    if (bare === undefined) continue;
    const expected = `NAMESPACE/PREFIX, as --${flag}namespace is about one side`;
    throw new UsageError(`--${name}: expected ${expected}, got "${bare}"`);
  }
}

function eventsOfType(type: string): readonly string[] {
  const known = TYPES[type];
  if (known) return known;
  const names = Object.keys(TYPES);
  throw new UsageError(`--type: expected one of ${names.join(', ')}, got "${type}"${didYouMean(type, names)}`);
}

/** A type of Hubble's, which may have a sub-type; our own names of events are none. */
function hubbleType(type: string): string {
  const [name = ''] = type.split(':');
  if (HUBBLE_TYPES.includes(name)) return type;
  const last = HUBBLE_TYPES.at(-1);
  const expected = `${HUBBLE_TYPES.slice(0, -1).join(', ')} or ${last} beside types with a sub-type`;
  throw new UsageError(`--type: expected ${expected}, got "${type}"`);
}

function ipVersion(flags: FlagValues, keptBy: (name: string) => string): string | undefined {
  const written = [
    flags.one(keptBy('ip-version'))?.replace(/^v/, ''),
    flags.on(keptBy('ipv4')) ? '4' : undefined,
    flags.on(keptBy('ipv6')) ? '6' : undefined,
  ];
  const versions = written.filter((version) => version !== undefined);
  if (versions.length > 1) throw new UsageError('only one of --ip-version, -4 and -6 can be used');
  return versions[0];
}
