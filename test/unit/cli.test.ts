/** The `weir` command against an API in memory: what it prints, what it asks for, and how it ends. */
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server, type ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import * as assert from 'uvu/assert';
import type { EndpointAnswer } from '../../agent/api/endpoints.ts';
import { FLOW_QUERY_SCHEMA } from '../../agent/api/flow-query.ts';
import type { PolicyAnswer } from '../../agent/api/policies.ts';
import type { StatusAnswer } from '../../agent/api/status.ts';
import { type Command, type Io, runCli } from '../../agent/cli/command.ts';
import { duration } from '../../agent/cli/time.ts';
import { ENDPOINT_GET, ENDPOINT_LIST } from '../../agent/cli/verbs/endpoint.ts';
import { IDENTITY_GET, IDENTITY_LIST } from '../../agent/cli/verbs/identity.ts';
import { OBSERVE } from '../../agent/cli/verbs/observe.ts';
import { POLICY_GET, POLICY_LIST } from '../../agent/cli/verbs/policy.ts';
import { STATUS } from '../../agent/cli/verbs/status.ts';
import { VERSION } from '../../agent/cli/verbs/version.ts';
import type { Flow, FlowLine, FlowPolicy } from '../../agent/flow/flow.ts';
import packageJson from '../../package.json' with { type: 'json' };
import { suite } from '../kit/suite.ts';
import { until } from '../kit/until.ts';

const COMMANDS: readonly Command[] = [
  STATUS,
  ENDPOINT_LIST,
  ENDPOINT_GET,
  IDENTITY_LIST,
  IDENTITY_GET,
  POLICY_LIST,
  POLICY_GET,
  OBSERVE,
  VERSION,
];

type Answer = (url: URL, response: ServerResponse) => unknown;
interface Context {
  readonly folder: string;
  readonly socket: string;
  readonly server: Server;
  answers: Record<string, Answer>;
  asked: string[];
}
const test = suite<Context>('cli');

test.before.each(async (context) => {
  const folder = mkdtempSync(join(tmpdir(), 'wt-cli-'));
  const server = createServer((request, response) => {
    const url = new URL(request.url ?? '', 'http://weir');
    context.asked.push(decodeURIComponent(url.pathname + url.search));
    const answer = context.answers[url.pathname];
    if (!answer) {
      response.statusCode = 404;
      const error = {
        code: 'NOT_FOUND',
        message: `no such thing: ${url.pathname}`,
        operation: 'test',
        retryable: false,
      };
      response.end(JSON.stringify({ error }));
      return;
    }
    const value = answer(url, response);
    if (value !== undefined) response.end(JSON.stringify(value));
  });
  Object.assign(context, { folder, socket: join(folder, 'api.sock'), server, answers: {}, asked: [] });
  await new Promise<void>((resolve) => server.listen(context.socket, resolve));
});
test.after.each(async ({ server, folder }) => {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
  rmSync(folder, { recursive: true, force: true });
});

interface Run {
  code: number;
  out: string;
  err: string;
}

function start(
  context: Context,
  line: string | readonly string[],
  options: { signal?: AbortSignal; colors?: boolean } = {},
) {
  const run: Run = { code: -1, out: '', err: '' };
  const io: Io = {
    out: (text) => {
      run.out += text;
    },
    err: (text) => {
      run.err += text;
    },
    environment: { WEIR_SERVER: `unix://${context.socket}` },
    signal: options.signal ?? new AbortController().signal,
    colors: options.colors ?? false,
    stdio: { input: Readable.from([]), output: new PassThrough() },
  };
  const args = typeof line === 'string' ? line.split(' ').filter((word) => word !== '') : line;
  const done = runCli(args, COMMANDS, io).then((code) => {
    run.code = code;
    return run;
  });
  return { run, done };
}
const weir = (context: Context, line: string | readonly string[], options = {}): Promise<Run> =>
  start(context, line, options).done;

const endpoint: EndpointAnswer = {
  id: 7,
  policy: { ingress: 'enabled', egress: 'disabled' },
  identity: 257,
  labels: ['k8s:app=backend', 'k8s:io.kubernetes.pod.namespace=default'],
  addresses: ['10.244.0.7', 'fd00:10:244::7'],
  state: 'ready',
  namespace: 'default',
  podName: 'backend',
  podUid: '',
  containerId: 'c7',
  interfaceName: 'eth0',
  hostInterface: 'weir0a1b2c3d4e',
  netns: '/run/netns/backend',
  mac: '0a:01:02:03:04:05',
  namedPorts: [{ name: 'http', protocol: 'TCP', port: 8080 }],
  revision: 3,
};

test('endpoint list has the columns Cilium`s users know', async (context) => {
  const other: EndpointAnswer = {
    ...endpoint,
    id: 12,
    labels: ['k8s:app=web'],
    addresses: ['10.244.0.12'],
    state: 'regenerating',
  };
  context.answers['/v1/endpoints'] = () => ({ endpoints: [endpoint, other] });
  const { code, out } = await weir(context, 'endpoint list');
  assert.is(code, 0);
  assert.is(
    out,
    `ENDPOINT   POLICY (ingress)   POLICY (egress)   IDENTITY   LABELS (source:key[=value])               IPv6             IPv4          STATUS
           ENFORCEMENT        ENFORCEMENT
7          Enabled            Disabled          257        k8s:app=backend                           fd00:10:244::7   10.244.0.7    ready
                                                           k8s:io.kubernetes.pod.namespace=default
12         Enabled            Disabled          257        k8s:app=web                                                10.244.0.12   regenerating
`,
  );
  context.answers['/v1/endpoints'] = () => ({ endpoints: [{ ...endpoint, aggregation: 'none' }, other] });
  const asked = (await weir(context, 'endpoint list')).out.split('\n');
  assert.match(asked[0] ?? '', /STATUS +FLOW$/);
  assert.match(asked[1] ?? '', / AGGREGATION$/);
  assert.match(asked[2] ?? '', / ready +none$/);
  assert.match(asked[4] ?? '', / regenerating$/);
});

test('endpoint get', async (context) => {
  context.answers['/v1/endpoints/7'] = () => endpoint;
  const { out } = await weir(context, 'endpoint get 7');
  assert.is(
    out,
    `Endpoint:         7
Pod:              default/backend
Status:           ready
Identity:         257
Labels:           k8s:app=backend
                  k8s:io.kubernetes.pod.namespace=default
Addresses:        10.244.0.7
                  fd00:10:244::7
Ingress policy:   Enabled, revision 3
Egress policy:    Disabled, revision 3
Aggregation:      the node's setting
Named ports:      http 8080/TCP
Interface:        eth0 (0a:01:02:03:04:05), weir0a1b2c3d4e on the node
Namespace path:   /run/netns/backend
Container:        c7
Pod UID:          unknown
`,
  );
  const asJson = await weir(context, 'endpoint get 7 -o json');
  assert.equal(JSON.parse(asJson.out), endpoint);
});

test('identity list and get', async (context) => {
  const identities = [
    { id: 1, labels: ['reserved:host'], reserved: true, endpoints: 0 },
    { id: 257, labels: ['k8s:app=backend', 'k8s:io.kubernetes.pod.namespace=default'], reserved: false, endpoints: 1 },
  ];
  context.answers['/v1/identities'] = () => ({ identities });
  const list = await weir(context, 'identity list');
  const rows =
    'ID    LABELS\n1     reserved:host\n257   k8s:app=backend\n      k8s:io.kubernetes.pod.namespace=default\n';
  assert.is(list.out, rows);
  assert.is((await weir(context, 'identity get host')).out, 'ID   LABELS\n1    reserved:host\n');
  assert.equal(JSON.parse((await weir(context, 'identity get 257 -o json')).out), identities[1]);
  assert.equal(await weir(context, 'identity get 300'), {
    code: 1,
    out: '',
    err: 'weir: this node knows no identity 300\n',
  });
});

const policy: PolicyAnswer = {
  apiVersion: 'cilium.io/v2',
  kind: 'CiliumNetworkPolicy',
  namespace: 'default',
  name: 'backend-policy',
  uid: '',
  status: 'valid',
  problems: [],
  revision: 3,
  realized: true,
  place: '/m/backend.yaml',
  rules: [
    {
      id: 99,
      tier: 'normal',
      direction: 'ingress',
      action: 'allow',
      audit: false,
      path: 'spec.ingress[0]',
      line: 10,
      description: 'ingress[0] of CiliumNetworkPolicy default/backend-policy',
    },
  ],
};
const refused: PolicyAnswer = {
  ...policy,
  name: 'broken',
  status: 'isolating',
  realized: false,
  rules: [],
  problems: [
    {
      severity: 'error',
      code: 'unknown-field',
      message: 'did you mean toPorts[0].ports[].port?',
      path: 'spec.ingress[0].toPorts[0].port',
      place: '/m/broken.yaml',
      line: 14,
    },
  ],
};

test('policy list and get', async (context) => {
  context.answers['/v1/policies'] = () => ({ policies: [policy, refused] });
  context.answers['/v1/policies/default/broken'] = () => ({ policies: [refused] });
  const list = await weir(context, 'policy list');
  assert.is(
    list.out,
    `NAMESPACE   NAME             KIND                  STATUS      REVISION               RULES   PROBLEMS   PLACE
default     backend-policy   CiliumNetworkPolicy   valid       3                      1       0          /m/backend.yaml
default     broken           CiliumNetworkPolicy   isolating   3 (not in force yet)   0       1          /m/backend.yaml
`,
  );
  const get = await weir(context, 'policy get broken');
  assert.is(
    get.out,
    `Name:       default/broken
Kind:       CiliumNetworkPolicy (cilium.io/v2)
Status:     isolating
Revision:   3 (not in force yet)
Place:      /m/backend.yaml
0 rules
error    /m/broken.yaml:14  spec.ingress[0].toPorts[0].port: did you mean toPorts[0].ports[].port?
`,
  );
});

test('policy get finds the namespace, or says which there are', async (context) => {
  const clusterWide = { ...policy, namespace: '', kind: 'CiliumClusterwideNetworkPolicy', name: 'floor' };
  context.answers['/v1/policies'] = () => ({ policies: [policy, { ...policy, namespace: 'other' }, clusterWide] });
  context.answers['/v1/policies/-/floor'] = () => ({ policies: [clusterWide] });
  context.answers['/v1/policies/other/backend-policy'] = () => ({ policies: [policy] });
  assert.is((await weir(context, 'policy get floor')).code, 0);
  assert.is((await weir(context, 'policy get other/backend-policy')).code, 0);
  assert.is((await weir(context, 'policy get backend-policy -n other')).code, 0);
  const both = await weir(context, 'policy get backend-policy');
  const places = 'default/backend-policy, other/backend-policy';
  const err = `weir: several policies are named backend-policy: ${places}\nSee: weir policy get --help\n`;
  assert.equal(both, { code: 2, out: '', err });
  assert.is((await weir(context, 'policy get none')).err, 'weir: no policy is named none\n');
});

const healthy: StatusAnswer = {
  version: '0.1.0',
  node: 'node-1',
  startedAt: '2026-01-01T00:00:00Z',
  uptimeSeconds: 192,
  ready: true,
  pending: [],
  revision: { desired: 4, realized: 4 },
  source: { name: 'manifests /m', synced: true },
  problems: [],
  attachments: { expected: 5, missing: [] },
  devices: [],
  endpoints: { ready: 5, 'not-ready': 0 },
  policies: { valid: 1, isolating: 0 },
  identities: 14,
  drops: 12,
  maps: [{ name: 'weir_conntrack', entries: 10, capacity: 1000 }],
  flows: {
    records: 120,
    capacity: 1000,
    seconds: 65,
    seen: 120,
    overwritten: 0,
    followers: 0,
    names: 5,
    namesRefused: 0,
    unknown: 0,
    lost: { ring: 0, queue: 0, overwritten: 0, subscriber: 0 },
  },
};

test('status: everything well', async (context) => {
  context.answers['/v1/status'] = () => healthy;
  const { code, out } = await weir(context, 'status');
  assert.is(code, 0);
  assert.is(
    out,
    `Weir:         OK      0.1.0, up 3m12s
Node:                 node-1
Source:       OK      manifests /m
Policy:       OK      revision 4 in force; 1 valid
Endpoints:    OK      5 ready
Programs:     OK      5 of 5 attached
Identities:           14
Drops:                12 packets
Flows:        OK      120 held, going back 1m5s; 0 lost
Problems:     OK      none
`,
  );
});

test('status: what is wrong is red, named, and the exit code', async (context) => {
  context.answers['/v1/status'] = () => ({
    ...healthy,
    ready: false,
    pending: ['the CNI socket'],
    revision: { desired: 5, realized: 4 },
    source: { name: 'manifests /m', synced: false },
    problems: refused.problems,
    attachments: { expected: 5, missing: [3, 4] },
    policies: { valid: 1, isolating: 1 },
    maps: [{ name: 'weir_conntrack', entries: 950, capacity: 1000 }],
    flows: { ...healthy.flows, lost: { ring: 2, queue: 1, overwritten: 70, subscriber: 0 } },
  });
  const { code, out } = await weir(context, 'status');
  assert.is(code, 1);
  assert.is(
    out,
    `Weir:                 Wrong   0.1.0, waiting for the CNI socket
Node:                         node-1
Source:               Wrong   manifests /m, not read completely yet
Policy:               Wrong   revision 4 in force, 5 is being applied; 1 valid, 1 isolating
Endpoints:            OK      5 ready
Programs:             Wrong   3 of 5 attached; missing at endpoint 3, 4
Identities:                   14
Drops:                        12 packets
Flows:                Look    120 held, going back 1m5s; 3 lost (ring 2, queue 1)
Map weir_conntrack:   Look    950 of 1000 (95 %)
Problems:             Wrong   1 error, 0 warnings
  error    /m/broken.yaml:14  spec.ingress[0].toPorts[0].port: did you mean toPorts[0].ports[].port?
`,
  );
  const colored = await weir(context, 'status', { colors: true });
  assert.match(colored.out, '   \u001b[31mWrong\u001b[0m   3 of 5 attached');
  const asJson = await weir(context, 'status -o json');
  assert.is(asJson.code, 1);
  assert.equal(JSON.parse(asJson.out).pending, ['the CNI socket']);
});

test('durations', () => {
  const cases: [number, string][] = [[0, '0s'], [0.44, '0.4s'], [59.4, '59s'], [61, '1m1s'], [7260, '2h1m'], [270_000, '3d3h']]; // biome-ignore format: a table
  for (const [seconds, text] of cases) assert.is(duration(seconds), text);
});

const flow: Flow = {
  time: '2026-09-02T04:55:01.123456Z',
  uuid: 'u',
  verdict: 'FORWARDED',
  IP: { source: '10.244.0.5', destination: '10.244.0.7', ipVersion: 'IPv4' },
  l4: { TCP: { source_port: 43210, destination_port: 8080, flags: { SYN: true } } },
  source: { ID: 5, identity: 256, namespace: 'default', labels: ['k8s:app=frontend'], pod_name: 'frontend' },
  destination: { ID: 7, identity: 257, namespace: 'default', labels: ['k8s:app=backend'], pod_name: 'backend' },
  Type: 'L3_L4',
  node_name: 'node-1',
  is_reply: false,
  event_type: { type: 4, sub_type: 0 },
  traffic_direction: 'INGRESS',
  Summary: 'TCP Flags: SYN',
  weir: {
    event: 'new',
    sequence: 1,
    reason: 'allowed by ingress[0] of CiliumNetworkPolicy default/backend-policy',
    length: 60,
  },
};
const reply: Flow = {
  ...flow,
  source: flow.destination,
  destination: flow.source,
  l4: { TCP: { source_port: 8080, destination_port: 43210, flags: { SYN: true, ACK: true } } },
  is_reply: true,
  Summary: 'TCP Flags: SYN, ACK',
  weir: { ...flow.weir, event: 'reply' },
};
const drop: Flow = {
  ...flow,
  verdict: 'DROPPED',
  drop_reason: 133,
  drop_reason_desc: 'POLICY_DENIED',
  IP: { source: '2001:db8::9', destination: 'fd00:10:244::7', ipVersion: 'IPv6' },
  l4: { UDP: { source_port: 53, destination_port: 5353 } },
  source: { identity: 10, labels: ['reserved:world', 'reserved:world-ipv6'] },
  event_type: { type: 1, sub_type: 133 },
  Summary: 'UDP',
  weir: {
    ...flow.weir,
    event: 'drop',
    dropReason: 'policy_denied',
    reason:
      'denied by default for ingress: CiliumNetworkPolicy default/backend-policy isolates the pod and no rule allows it',
  },
};
const end: Flow = {
  ...flow,
  Summary: 'TCP Flags: ACK, FIN',
  weir: {
    ...flow.weir,
    event: 'end',
    durationNs: '1234000000',
    initiator: { packets: 6, bytes: 480 },
    responder: { packets: 5, bytes: 9000 },
  },
};
const page = (flows: Flow[], more = {}) => ({ flows, lost: [], cursor: 'c', more: false, restarted: false, ...more });

test('observe: compact lines, as Hubble prints them and with the decision behind', async (context) => {
  const lost = { source: 'HUBBLE_RING_BUFFER', num_events_lost: '12', weir: { stage: 'overwritten' } };
  context.answers['/v1/flows'] = () => page([flow, reply, drop, end], { lost: [lost] });
  const { code, out, err } = await weir(context, 'observe');
  assert.is(code, 0);
  assert.equal(out.trimEnd().split('\n'), [
    'Sep  2 04:55:01.123: default/frontend:43210 (ID:256) -> default/backend:8080 (ID:257) to-endpoint FORWARDED (TCP Flags: SYN) [allowed by ingress[0] of CiliumNetworkPolicy default/backend-policy]',
    'Sep  2 04:55:01.123: default/frontend:43210 (ID:256) <- default/backend:8080 (ID:257) to-endpoint FORWARDED (TCP Flags: SYN, ACK) [allowed by ingress[0] of CiliumNetworkPolicy default/backend-policy]',
    'Sep  2 04:55:01.123: [2001:db8::9]:53 (world-ipv6) -> default/backend:5353 (ID:257) Policy denied DROPPED (UDP) [denied by default for ingress: CiliumNetworkPolicy default/backend-policy isolates the pod and no rule allows it]',
    'Sep  2 04:55:01.123: default/frontend:43210 (ID:256) -> default/backend:8080 (ID:257) to-endpoint FORWARDED (TCP Flags: ACK, FIN; closed after 1.234 s: 6 packets 480 bytes sent, 5 packets 9000 bytes back) [allowed by ingress[0] of CiliumNetworkPolicy default/backend-policy]',
  ]);
  assert.is(err, 'EVENTS LOST: HUBBLE_RING_BUFFER (overwritten) 12\n');
  assert.equal(context.asked, ['/v1/flows?last=20']);
});

test('observe: the other forms', async (context) => {
  context.answers['/v1/flows'] = () => page([flow, drop]);
  const numeric = await weir(context, 'observe --numeric --print-node-name');
  assert.match(numeric.out, /^Sep {2}2 04:55:01.123 \[node-1\]: 10.244.0.5:43210 \(ID:256\) -> 10.244.0.7:8080 /);
  assert.match(numeric.out, /\n.* \[2001:db8::9\]:53 \(ID:10\) -> \[fd00:10:244::7\]:5353 /);
  for (const form of ['json', 'jsonpb']) {
    const { out } = await weir(context, `observe -o ${form}`);
    const lines = out.trimEnd().split('\n').map((line) => JSON.parse(line) as FlowLine); // biome-ignore format: one step
    assert.equal(lines.map((line) => line.flow), [flow, drop]); // biome-ignore format: one step
    assert.is(lines[0]?.node_name, 'node-1');
  }
  const dict = await weir(context, 'observe -o dict');
  assert.is(
    dict.out.split('------------\n')[1],
    `  TIMESTAMP: Sep  2 04:55:01.123
     SOURCE: [2001:db8::9]:53
DESTINATION: default/backend:5353
       TYPE: Policy denied
    VERDICT: DROPPED
    SUMMARY: UDP
   DECISION: ${drop.weir.reason}
`,
  );
  const table = await weir(context, 'observe -o table');
  assert.equal(table.out.split('\n').slice(0, 2), [
    'TIMESTAMP             SOURCE                             DESTINATION                        TYPE               VERDICT     SUMMARY',
    'Sep  2 04:55:01.123   default/frontend:43210             default/backend:8080               to-endpoint        FORWARDED   TCP Flags: SYN',
  ]);
  const colored = await weir(context, 'observe', { colors: true });
  assert.match(colored.out, '\u001b[31mDROPPED\u001b[0m');
});

for (const [format, time] of [
  ['StampMilli', 'Sep  2 04:55:01.123'],
  ['YearMonthDay', '2022-09-02'],
  ['YearMonthDayHour', '2022-09-02T04Z'],
  ['YearMonthDayHourMinute', '2022-09-02T04:55Z'],
  ['RFC3339', '2022-09-02T04:55:01Z'],
  ['RFC3339Milli', '2022-09-02T04:55:01.123Z'],
  ['RFC3339Micro', '2022-09-02T04:55:01.12345Z'],
  ['RFC3339Nano', '2022-09-02T04:55:01.12345Z'],
  ['RFC1123Z', 'Fri, 02 Sep 2022 04:55:01 +0000'],
] as const) {
  test(`observe --time-format ${format}`, async (context) => {
    context.answers['/v1/flows'] = () => page([{ ...flow, time: '2022-09-02T04:55:01.123450Z' }]);
    const { out } = await weir(context, `observe --time-format ${format}`);
    assert.ok(out.startsWith(`${time}: default/frontend`), out);
  });
}

test('observe --color: as asked for, whoever looks', async (context) => {
  context.answers['/v1/flows'] = () => page([drop]);
  assert.match((await weir(context, 'observe --color always')).out, '\u001b[31mDROPPED\u001b[0m');
  assert.not.match((await weir(context, 'observe --color never', { colors: true })).out, '\u001b');
  assert.match((await weir(context, 'observe --color auto', { colors: true })).out, '\u001b');
});

test('observe --print-policy-names: behind the verdict, of the side that judged', async (context) => {
  const kind = 'CiliumNetworkPolicy';
  const policy = (name: string, of = kind): FlowPolicy => ({ name, namespace: 'default', kind: of, revision: '1' });
  const allowed = {
    ...flow,
    ingress_allowed_by: [policy('a'), policy('b', 'NetworkPolicy')],
    egress_allowed_by: [policy('c')],
  };
  const denied = { ...drop, traffic_direction: 'EGRESS', egress_denied_by: [policy('d')] } as const;
  context.answers['/v1/flows'] = () => page([allowed, denied, drop]);
  const { out } = await weir(context, 'observe --print-policy-names');
  const [first, second, third] = out.split('\n');
  assert.match(first ?? '', ` FORWARDED BY a (${kind}), b (NetworkPolicy) (TCP`);
  assert.match(second ?? '', ` DROPPED BY d (${kind}) (UDP`);
  assert.match(third ?? '', ' DROPPED (UDP');
  assert.not.match((await weir(context, 'observe')).out, ' BY ');
});

test('observe --node-name: flows of nodes that fit a pattern', async (context) => {
  context.answers['/v1/flows'] = () => page([flow]);
  assert.is((await weir(context, 'observe --node-name other --node-name NODE-*')).out.split('\n').length, 2);
  assert.is((await weir(context, 'observe --node-name node')).out, '');
  const { code, err } = await weir(context, 'observe --node-name a/b');
  assert.is(code, 2);
  assert.match(err, 'weir: --node-name: expected the name of a node, "*" for any letters, got "a/b"\n');
});

test('observe: names from outside cannot steer the terminal', async (context) => {
  const evil = { ...flow, source: { ...flow.source, pod_name: 'a\u001b[2Jb\n' } };
  context.answers['/v1/flows'] = () => page([evil]);
  const { out } = await weir(context, 'observe');
  assert.match(out, 'default/a\\x1b[2Jb\\x0a:43210');
  assert.not.match(out, '\u001b');
});

const queries: readonly [string, string][] = [
  ['', '?last=20'],
  ['--last 5', '?last=5'],
  ['--first 3', '?first=3'],
  ['--since 5m', '?since=5m&first=5000'],
  ['--since 5m --last 2', '?since=5m&last=2'],
  ['--since 5m --until 1m --first 7', '?since=5m&until=1m&first=7'],
  ['--all', '?first=5000'],
  ['--pod a --pod b/c', '?pod=a&pod=b/c&last=20'],
  ['--from-pod a --to-pod b', '?from_pod=a&to_pod=b&last=20'],
  ['-n shop --pod web', '?pod=shop/web&last=20'],
  ['-n shop --pod shop/web', '?pod=shop/web&last=20'],
  ['-n a -n b --pod web', '?pod=a/web&pod=b/web&last=20'],
  ['-n shop --service web', '?service=shop/web&last=20'],
  ['-n shop --pod web --service api', '?pod=shop/web&service=shop/api&last=20'],
  ['-n shop --to-pod b/c', '?to_pod=b/c&namespace=shop&last=20'],
  ['--to-namespace shop --to-pod web --from-pod x/y', '?from_pod=x/y&to_pod=shop/web&last=20'],
  ['-n a -n b', '?namespace=a&namespace=b&last=20'],
  ['-l app=web --from-label k8s:app=x', '?label=app=web&from_label=k8s:app=x&last=20'],
  ['--ip 10.0.0.0/8 --to-port 80 --identity host', '?ip=10.0.0.0/8&to_port=80&identity=host&last=20'],
  ['--verdict dropped --protocol tcp', '?verdict=DROPPED&protocol=tcp&last=20'],
  ['--drop-reason-desc POLICY_DENIED', '?drop_reason=POLICY_DENIED&last=20'],
  ['-t drop -t policy-verdict', '?type=drop&type=audit&last=20'],
  [
    '-t trace:to-stack -t drop:133 -t policy-verdict',
    '?event_type=trace:to-stack&event_type=drop:133&event_type=policy-verdict&last=20',
  ],
  ['--not -t trace:to-endpoint', '?not=event_type=trace:to-endpoint&last=20'],
  ['--type trace', '?type=new&type=reply&type=update&type=end&last=20'],
  ['--traffic-direction INGRESS -6', '?direction=ingress&ip_version=6&last=20'],
  ['--ip-version v4 --reply=false', '?ip_version=4&reply=false&last=20'],
  ['--workload web', '?workload=web&last=20'],
  ['--tcp-flags syn,ack --interface weir1', '?tcp_flags=syn,ack&interface=weir1&last=20'],
  ['--snat-ip 10.96.0.1 --uuid u', '?source_xlated=10.96.0.1&uuid=u&last=20'],
  ['--not --verdict dropped', '?not=verdict=DROPPED&last=20'],
  ['--pod a --not --to-port 80 --not -n b --port 81', '?pod=a&port=81&not=namespace=b&not=to_port=80&last=20'],
  ['--not -n shop --not --pod web', '?not=pod=shop/web&last=20'],
  ['--not -t trace', '?not=type=new&not=type=reply&not=type=update&not=type=end&last=20'],
  ['--not -6 --traffic-direction egress', '?direction=egress&not=ip_version=6&last=20'],
];
for (const [line, said] of [
  ['--not', /^weir: --not needs a filter behind it\n/],
  ['-n shop --pod other/web', /^weir: --pod: expected a name in shop, as --namespace says, got "other\/web"\n/],
  ['--to-namespace shop --to-service a/b', /^weir: --to-service: expected a name in shop, as --to-namespace says, got/],
  [
    '--from-namespace shop --pod web',
    /^weir: --pod: expected NAMESPACE\/PREFIX, as --from-namespace is about one side, got "web"\n/,
  ],
  ['--verdict DROPPED --not', /^weir: --not needs a filter behind it\n/],
  ['--not --not --verdict DROPPED', /^weir: --not needs a filter behind it, not --not\n/],
  ['--not --last 5', /^weir: --not needs a filter behind it, not --last\n/],
  ['--not=false --verdict DROPPED', /^weir: --not needs a filter behind it, and no value\n/],
] as const) {
  test(`observe ${line} is refused`, async (context) => {
    const { code, err } = await weir(context, `observe ${line}`);
    assert.is(code, 2);
    assert.match(err, said);
  });
}
for (const [line, query] of queries) {
  test(`observe ${line} asks ${query}`, async (context) => {
    context.answers['/v1/flows'] = () => page([]);
    const { code, err } = await weir(context, `observe ${line}`);
    assert.equal([code, err], [0, '']);
    assert.equal(context.asked, [`/v1/flows${query}`]);
    const known = Object.keys(FLOW_QUERY_SCHEMA.properties as object);
    for (const field of new URLSearchParams(query).keys()) assert.ok(known.includes(field), `the API knows ${field}`);
  });
}

test('observe --first reads as many pages as it takes', async (context) => {
  context.answers['/v1/flows'] = (url) => {
    const count = Number(url.searchParams.get('first'));
    const flows = Array.from({ length: Math.min(count, 5000) }, () => flow);
    return page(flows, { more: true, cursor: url.searchParams.has('cursor') ? 'c2' : 'c1' });
  };
  const { out } = await weir(context, 'observe --first 7000');
  assert.is(out.split('\n').length, 7001);
  assert.equal(context.asked, ['/v1/flows?first=5000', '/v1/flows?first=2000&cursor=c1']);
});

test('observe --last of more than a page reads all there is and shows the newest', async (context) => {
  const numbered = (from: number, count: number) =>
    Array.from({ length: count }, (_, i) => ({ ...flow, uuid: String(from + i) }));
  context.answers['/v1/flows'] = (url) => {
    if (!url.searchParams.has('cursor')) return page(numbered(1, 5000), { more: true, cursor: 'c1' });
    return page(numbered(5001, 2000), { cursor: 'c2' });
  };
  const { code, out } = await weir(context, 'observe --last 6000 --verdict FORWARDED -o json');
  const uuids = out.trimEnd().split('\n').map((line) => Number((JSON.parse(line) as FlowLine).flow?.uuid)); // biome-ignore format: one step
  assert.equal([code, uuids.length, uuids[0], uuids.at(-1)], [0, 6000, 1001, 7000]);
  assert.equal(context.asked, [
    '/v1/flows?verdict=FORWARDED&first=5000',
    '/v1/flows?verdict=FORWARDED&first=5000&cursor=c1',
  ]);
});

test('observe -f prints lines as they come and ends quietly on Ctrl-C', async (context) => {
  const streams: ServerResponse[] = [];
  context.answers['/v1/flows'] = (_, response) => {
    response.flushHeaders();
    streams.push(response);
    return undefined;
  };
  const interrupt = new AbortController();
  const { run, done } = start(context, 'observe -f --last 1 --verdict DROPPED', { signal: interrupt.signal });
  const stream = await until(() => streams[0], { what: 'the stream' });
  const line = `${JSON.stringify({ flow: drop, node_name: 'node-1', time: drop.time })}\n`;
  stream.write(line + line.slice(0, 50));
  await until(() => run.out !== '', { what: 'the first line' });
  stream.write(line.slice(50));
  await until(() => run.out.split('\n').length === 3, { what: 'the second line, which came in two pieces' });
  interrupt.abort();
  assert.is((await done).code, 0);
  assert.equal(context.asked, ['/v1/flows?verdict=DROPPED&follow=true&last=1']);
});

test('observe of what is there ends quietly on Ctrl-C, too', async (context) => {
  const interrupt = new AbortController();
  context.answers['/v1/flows'] = () => {
    setImmediate(() => interrupt.abort());
    return undefined;
  };
  const { run, done } = start(context, 'observe --all', { signal: interrupt.signal });
  assert.is((await done).code, 0);
  assert.equal([run.out, run.err], ['', '']);
});

test('observe -f says so when the agent goes away', async (context) => {
  context.answers['/v1/flows'] = (_, response) => {
    response.flushHeaders();
    setImmediate(() => response.end());
    return undefined;
  };
  const ended = await weir(context, 'observe -f');
  assert.equal(ended, { code: 1, out: '', err: `weir: the agent at unix://${context.socket} ended the stream\n` });
  context.answers['/v1/flows'] = (_, response) => {
    response.flushHeaders();
    setImmediate(() => response.destroy());
    return undefined;
  };
  const broken = await weir(context, 'observe -f');
  assert.is(broken.code, 1);
  assert.match(broken.err, `weir: the connection to the agent at unix://${context.socket} broke: `);
});

const faults: readonly [string, number, string][] = [
  ['statsu', 2, 'weir: unknown command "statsu"; did you mean status?\nSee: weir --help\n'],
  ['endpoint', 2, 'weir: weir endpoint needs one of: list, get\nSee: weir endpoint --help\n'],
  ['endpoint lst', 2, 'weir: unknown command "endpoint lst"; did you mean list?\nSee: weir endpoint --help\n'],
  ['--verbose status', 2, 'weir: expected a command before --verbose\nSee: weir --help\n'],
  ['endpoint get', 2, 'weir: weir endpoint get needs ID\nSee: weir endpoint get --help\n'],
  ['endpoint get x', 2, 'weir: ID: expected the number of an endpoint, got "x"\nSee: weir endpoint get --help\n'],
  ['endpoint get 1 2', 2, 'weir: unexpected "2"\nSee: weir endpoint get --help\n'],
  ['endpoint get 9', 1, 'weir: no such thing: /v1/endpoints/9\n'],
  ['status -o yaml', 2, 'weir: -o: expected one of table, json, got "yaml"\nSee: weir status --help\n'],
  [
    'status -o jsn',
    2,
    'weir: -o: expected one of table, json, got "jsn"; did you mean json?\nSee: weir status --help\n',
  ],
  [
    'observe --verdit X',
    2,
    'weir: unknown flag --verdit; did you mean --verdict?\nweir: unexpected "X"\nSee: weir observe --help\n',
  ],
  ['observe --last', 2, 'weir: --last needs a value: --last N\nSee: weir observe --help\n'],
  ['observe --last x', 2, 'weir: --last: expected a whole number, got "x"\nSee: weir observe --help\n'],
  ['observe --first 1 --last 1', 2, 'weir: only one of --first and --last can be used\nSee: weir observe --help\n'],
  ['observe -f --first 1', 2, 'weir: --follow and --first cannot be used together\nSee: weir observe --help\n'],
  [
    'observe -t drp',
    2,
    'weir: --type: expected one of drop, trace, policy-verdict, new, reply, update, end, audit, got "drp"; did you mean drop?\nSee: weir observe --help\n',
  ],
  [
    'observe -t trace:to-endpoint -t end',
    2,
    'weir: --type: expected drop, trace or policy-verdict beside types with a sub-type, got "end"\nSee: weir observe --help\n',
  ],
  ['observe -4 -6', 2, 'weir: only one of --ip-version, -4 and -6 can be used\nSee: weir observe --help\n'],
  [
    'status --server ftp://x',
    2,
    'weir: --server: expected unix:///PATH or http://HOST:PORT, got "ftp://x"\nSee: weir status --help\n',
  ],
  [
    'status --server unix:///nowhere/api.sock',
    1,
    'weir: cannot reach the agent at unix:///nowhere/api.sock: no such socket: is the agent running? Another place is named by --server or $WEIR_SERVER\n',
  ],
];
for (const [line, code, err] of faults) {
  test(`fault: weir ${line}`, async (context) => assert.equal(await weir(context, line), { code, out: '', err }));
}

test('what the agent finds wrong with a question is a usage error', async (context) => {
  const message = 'ip: expected an IP address or a CIDR, got "x"';
  context.answers['/v1/flows'] = (_, response) => {
    response.statusCode = 400;
    return { error: { code: 'BAD_REQUEST', message, operation: 'read the flow query', retryable: false } };
  };
  const { code, err } = await weir(context, 'observe --ip x');
  assert.equal([code, err], [2, `weir: ${message}\nSee: weir observe --help\n`]);
});

test('something else at the socket', async (context) => {
  context.answers['/v1/status'] = (_, response) => void response.end('<html>');
  const html = await weir(context, 'status');
  assert.is(html.code, 1);
  assert.match(html.err, `weir: what answers as the agent at unix://${context.socket} is none: `);
  context.answers['/v1/status'] = (_, response) => {
    response.statusCode = 503;
    return 'x';
  };
  assert.is((await weir(context, 'status')).err, 'weir: the agent answered with HTTP status 503\n');
});

test('the version: as a command, as people try it first, and for programs', async (context) => {
  for (const line of ['version', '--version']) {
    assert.equal(await weir(context, line), { code: 0, out: `weir ${packageJson.version}\n`, err: '' });
  }
  assert.equal(JSON.parse((await weir(context, 'version -o json')).out), { version: packageJson.version });
  assert.equal(context.asked, []);
});

test('help: the overview, a group, a command', async (context) => {
  for (const line of ['', '--help', '-h', 'help']) {
    const { code, out } = await weir(context, line);
    assert.is(code, 0);
    assert.match(out, /^Commands:\n {2}weir status +Show how the agent is/);
  }
  assert.match(
    (await weir(context, 'endpoint --help')).out,
    /^Commands:\n {2}weir endpoint list .*\n {2}weir endpoint get ID /,
  );
  const { code, out } = await weir(context, 'endpoint get --help');
  assert.is(code, 0);
  assert.is(
    out,
    `Show one endpoint with everything known of it; ids are of a node

Usage: weir endpoint get ID [flags]

Flags:
  -o, --output table|json           Form of the output [table]
      --server ADDRESS              The agent: unix:///PATH, or http://HOST:PORT [$WEIR_SERVER, else unix:///run/weir/api.sock if it is there]
      --node NAME                   The agent of this node, through the cluster's API server; may be repeated
  -A, --all-nodes                   The agents of all nodes [where there is no agent on this machine]
      --kubeconfig FILE             How to reach the API server [$KUBECONFIG, else ~/.kube/config]
      --context NAME                Context of the kubeconfig [its current one]
      --agent-namespace NAMESPACE   Where agents run [kube-system]
  -h, --help                        Explain the command
`,
  );
  assert.match(
    (await weir(context, 'observe -h')).out,
    /-n, --namespace NAMESPACE +Pods of a namespace \(on either side\)/,
  );
});

test.run();
