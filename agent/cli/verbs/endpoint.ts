/** weir endpoint list | get: the pods wired on the node. */
import type { EndpointAnswer, EndpointsAnswer } from '../../api/endpoints.ts';
import { connect } from '../client.ts';
import { type Call, type Command, EXIT, type ExitCode, UsageError } from '../command.ts';
import { OUTPUT_FLAG, OUTPUTS } from '../flags.ts';
import { json, table } from '../table.ts';

/** Cilium's columns. */
const HEADER = [
  'ENDPOINT',
  ['POLICY (ingress)', 'ENFORCEMENT'],
  ['POLICY (egress)', 'ENFORCEMENT'],
  'IDENTITY',
  'LABELS (source:key[=value])',
  'IPv6',
  'IPv4',
  'STATUS',
];

export const ENDPOINT_LIST: Command = {
  words: ['endpoint', 'list'],
  operands: [],
  sentence: 'List the endpoints of the node: its pods and how they are enforced',
  flags: [OUTPUT_FLAG],
  async run(call) {
    const { endpoints } = await connect(call).get<EndpointsAnswer>('/v1/endpoints');
    return print(call, endpoints, endpoints);
  },
};

export const ENDPOINT_GET: Command = {
  words: ['endpoint', 'get'],
  operands: ['ID'],
  sentence: 'Show one endpoint with everything known of it',
  flags: [OUTPUT_FLAG],
  async run(call) {
    const id = call.operands[0] as string;
    if (!/^[0-9]+$/.test(id)) throw new UsageError(`ID: expected the number of an endpoint, got "${id}"`);
    const endpoint = await connect(call).get<EndpointAnswer>(`/v1/endpoints/${id}`);
    if (call.flags.choice('output', OUTPUTS) === 'json') return print(call, [], endpoint);
    await call.io.out(details(endpoint));
    return EXIT.ok;
  },
};

async function print(call: Call, endpoints: readonly EndpointAnswer[], value: unknown): Promise<ExitCode> {
  const asJson = call.flags.choice('output', OUTPUTS) === 'json';
  await call.io.out(asJson ? json(value) : table(HEADER, endpoints.map(row)));
  return EXIT.ok;
}

function row(endpoint: EndpointAnswer): (string | string[])[] {
  return [
    String(endpoint.id),
    word(endpoint.policy.ingress),
    word(endpoint.policy.egress),
    String(endpoint.identity),
    [...endpoint.labels],
    endpoint.addresses.filter((address) => address.includes(':')),
    endpoint.addresses.filter((address) => !address.includes(':')),
    endpoint.state,
  ];
}

function word(enforcement: 'enabled' | 'disabled'): string {
  return enforcement === 'enabled' ? 'Enabled' : 'Disabled';
}

function details(endpoint: EndpointAnswer): string {
  const ports = endpoint.namedPorts.map(({ name, port, protocol }) => `${name} ${port}/${protocol}`);
  const rows: [string, string | string[]][] = [
    ['Endpoint:', String(endpoint.id)],
    ['Pod:', `${endpoint.namespace}/${endpoint.podName}`],
    ['Status:', endpoint.state],
    ['Identity:', String(endpoint.identity)],
    ['Labels:', [...endpoint.labels]],
    ['Addresses:', [...endpoint.addresses]],
    ['Ingress policy:', `${word(endpoint.policy.ingress)}, revision ${endpoint.revision}`],
    ['Egress policy:', `${word(endpoint.policy.egress)}, revision ${endpoint.revision}`],
    ['Named ports:', ports.length === 0 ? 'none' : ports],
    ['Interface:', `${endpoint.interfaceName} (${endpoint.mac}), ${endpoint.hostInterface} on the node`],
    ['Namespace path:', endpoint.netns],
    ['Container:', endpoint.containerId],
    ['Pod UID:', endpoint.podUid || 'unknown'],
  ];
  const [first, ...rest] = rows;
  return table(first ?? [], rest);
}
