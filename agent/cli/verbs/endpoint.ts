/** weir endpoint list | get: the pods wired on the node. */
import type { EndpointAnswer, EndpointsAnswer } from '../../api/endpoints.ts';
import { type Answer, withAgents } from '../agents.ts';
import { type Command, EXIT, UsageError } from '../command.ts';
import { OUTPUT_FLAG, OUTPUTS } from '../flags.ts';
import { manyAnswers, tellSilent } from '../silence.ts';
import { type Cell, json, table } from '../table.ts';

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
/** Only where a pod asks for a level of its own. */
const ASKED = ['FLOW', 'AGGREGATION'];

export const ENDPOINT_LIST: Command = {
  words: ['endpoint', 'list'],
  operands: [],
  sentence: 'List endpoints: pods and how they are enforced; of all nodes with -A',
  flags: [OUTPUT_FLAG],
  examples: ['weir endpoint list -A', 'weir endpoint list --node node1 -o json'],
  run: (call) =>
    withAgents(call, async ({ ask, areMany }) => {
      const asked = await ask((client) => client.get<EndpointsAnswer>('/v1/endpoints'));
      const asJson = call.flags.choice('output', OUTPUTS) === 'json';
      if (asJson) await call.io.out(json(areMany ? manyAnswers(asked) : asked.answers[0]?.value.endpoints));
      else await call.io.out(listed(asked.answers, areMany));
      return tellSilent(asked, call.io);
    }),
};

export const ENDPOINT_GET: Command = {
  words: ['endpoint', 'get'],
  operands: ['ID'],
  sentence: 'Show one endpoint with everything known of it; ids are of a node',
  flags: [OUTPUT_FLAG],
  async run(call) {
    const id = call.operands[0] as string;
    if (!/^[0-9]+$/.test(id)) throw new UsageError(`ID: expected the number of an endpoint, got "${id}"`);
    return withAgents(call, async ({ ask, areMany }) => {
      if (areMany) throw new UsageError(`each node has endpoints with numbers of its own: say of which by --node`);
      const { answers } = await ask((client) => client.get<EndpointAnswer>(`/v1/endpoints/${id}`));
      const asJson = call.flags.choice('output', OUTPUTS) === 'json';
      for (const { value } of answers) await call.io.out(asJson ? json(value) : details(value));
      return EXIT.ok;
    });
  },
};

function listed(answers: readonly Answer<EndpointsAnswer>[], areMany: boolean): string {
  const all = answers.flatMap(({ node, value }) => value.endpoints.map((endpoint) => ({ node, endpoint })));
  const someAsk = all.some(({ endpoint }) => endpoint.aggregation !== undefined);
  const rows = all.map(({ node, endpoint }): Cell[] => [
    ...(areMany ? [node, `${endpoint.namespace}/${endpoint.podName}`] : []),
    ...row(endpoint),
    ...(someAsk ? [endpoint.aggregation ?? ''] : []),
  ]);
  return table([...(areMany ? ['NODE', 'POD'] : []), ...HEADER, ...(someAsk ? [ASKED] : [])], rows);
}

function row(endpoint: EndpointAnswer): Cell[] {
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
    ['Aggregation:', endpoint.aggregation ? `${endpoint.aggregation}, as its pod asks` : "the node's setting"],
    ['Named ports:', ports.length === 0 ? 'none' : ports],
    ['Interface:', `${endpoint.interfaceName} (${endpoint.mac}), ${endpoint.hostInterface} on the node`],
    ['Namespace path:', endpoint.netns],
    ['Container:', endpoint.containerId],
    ['Pod UID:', endpoint.podUid || 'unknown'],
  ];
  const [first, ...rest] = rows;
  return table(first ?? [], rest);
}
