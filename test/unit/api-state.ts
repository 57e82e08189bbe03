/** An agent's state for tests of the API, with one of everything. */
import type { FastifyInstance } from 'fastify';
import { createMetrics, type Metrics } from '../../agent/api/metrics.ts';
import { type ApiOptions, createApi } from '../../agent/api/server.ts';
import type { AgentStatus, PolicyReport, State } from '../../agent/api/state.ts';
import { Direction, DropReason, EventFlags, EventType } from '../../agent/datapath/layout.gen.ts';
import { IPPROTO } from '../../agent/flow/filter.ts';
import type { Address } from '../../agent/model/address.ts';
import type { Endpoint } from '../../agent/model/endpoint.ts';
import { RESERVED } from '../../agent/model/identity.ts';
import type { Document, Pod } from '../../agent/model/object.ts';
import { explain } from '../../agent/policy/explain/explain.ts';
import { matrix, readMatrixQuestion } from '../../agent/policy/matrix.ts';
import { readPort } from '../../agent/policy/workbench/port.ts';
import { createWorkbench } from '../../agent/policy/workbench/workbench.ts';
import * as r from './flow-records.ts';
import { CONNECTIONS, TABLES } from './kernel-tables.ts';

export const ENDPOINT: Endpoint = {
  id: r.BACKEND.id,
  containerId: 'c0ffee',
  interfaceName: 'eth0',
  netns: '/run/netns/pod',
  namespace: 'default',
  podName: 'backend-xyz',
  podUid: 'u-backend-xyz',
  addresses: [r.address(r.BACKEND.ip), r.address(r.BACKEND.ip6)],
  mac: '0a:01:02:03:04:05',
  hostInterface: 'weir0a1b2c3d4e',
  state: 'ready',
  labels: new Map([['k8s:app', 'backend']]),
  identity: r.BACKEND.identity,
  namedPorts: [{ name: 'http', protocol: 'TCP', port: 8080 }],
  revision: 7,
  ingressEnforced: true,
  egressEnforced: false,
};

const PROBLEM = {
  severity: 'error',
  code: 'unknown-field',
  message: 'toPorts[0].port: did you mean toPorts[0].ports[].port?',
  path: ['spec', 'ingress', 0],
  place: 'backend.yaml',
  line: 9,
} as const;

export const VALID: PolicyReport = {
  ref: r.POLICY_REF,
  status: 'valid',
  problems: [],
  revision: 7,
  rules: [r.rule(r.ALLOW_RULE, 'allow'), { ...r.rule(r.DENY_RULE, 'deny'), line: undefined, path: [] }],
  place: 'backend.yaml',
  document: { kind: 'CiliumNetworkPolicy', spec: { endpointSelector: {} } },
};

export const REFUSED: PolicyReport = {
  ref: { ...r.POLICY_REF, kind: 'CiliumClusterwideNetworkPolicy', namespace: '', name: 'typo' },
  status: 'isolating',
  problems: [PROBLEM, { ...PROBLEM, severity: 'warning', line: undefined }],
  revision: 9,
  rules: [],
  place: 'typo.yaml',
  document: undefined,
};

export const STATUS: AgentStatus = {
  version: '0.1.0',
  node: 'node-1',
  startedAt: Date.UTC(2024, 0, 1),
  pending: [],
  revision: { desired: 9, realized: 8 },
  source: { name: 'manifests /etc/weir/manifests', synced: true },
  problems: [PROBLEM],
  attachments: { expected: 1, missing: [3] },
  devices: [{ device: 'eth0', hook: 'xdp', program: 'guard_uplink', mode: 'generic' }],
};

const FAMILIES: readonly Address[] = [r.address(r.BACKEND.ip), r.address(r.BACKEND.ip6)];
const POD: Pod = {
  namespace: 'default',
  name: 'backend-xyz',
  uid: 'u-backend-xyz',
  labels: { app: 'backend' },
  annotations: {},
  serviceAccount: 'default',
  nodeName: 'node-1',
  hostNetwork: false,
  addresses: FAMILIES,
  namedPorts: ENDPOINT.namedPorts,
  workload: undefined,
};
const DENIES: Document = {
  ref: { apiVersion: 'networking.k8s.io/v1', kind: 'NetworkPolicy', namespace: 'default', name: 'deny', uid: '' },
  annotations: {},
  raw: { spec: { policyTypes: ['Ingress'] } },
  origin: { place: 'deny.yaml', line: () => 1 },
};

/** Questions about the policies, answered as the agent does. */
function questions(): Pick<State, 'explain' | 'matrix'> {
  const [nodes, namespaces] = [new Map(), new Map()];
  const bench = createWorkbench({
    namespaces,
    nodes,
    pods: [POD],
    services: [],
    serviceAddresses: new Map(),
    documents: [DENIES],
  });
  return {
    explain: ({ from, to, port }) =>
      explain(bench, { from: bench.party(from), to: bench.party(to), port: readPort(port) }),
    matrix: (ports, peers) => [...matrix(bench, readMatrixQuestion(bench, ports, peers))],
  };
}

export interface Api {
  readonly app: FastifyInstance;
  readonly metrics: Metrics;
  readonly status: { now: AgentStatus };
  readonly fake: ReturnType<typeof r.makeHistory>;
}

/** A server that does not listen; `status.now` may be changed. */
export async function makeApi(records = 1000, serves: ApiOptions['serves'] = 'everything'): Promise<Api> {
  const { state, status, fake } = makeState(records);
  const metrics = createMetrics(state);
  const app = await createApi({ state, metrics, serves });
  return { app, metrics, status, fake };
}

/** What a server shows, with a history of so many records. */
export function makeState(records: number, node = 'node-1') {
  const fake = r.makeHistory(records, { node });
  const status = { now: { ...STATUS, node } };
  const state: State = {
    endpoints: () => [ENDPOINT],
    identities: () => [...RESERVED, { number: r.BACKEND.identity, labels: ENDPOINT.labels }],
    policies: () => [VALID, REFUSED],
    status: () => status.now,
    counters: () => ({
      forwarded: { ingress: 10, egress: 20 },
      drops: [{ reason: 'policy_denied', direction: 'ingress', count: { packets: 3, bytes: 180 } }],
      eventsLost: fake.ring.lost,
      consumed: 4,
      answered: 5,
      connectionsOpened: 6,
      connectionsClosed: 2,
      judgedAgain: 1,
    }),
    maps: () => [{ name: 'conntrack4', entries: 12, capacity: 262144 }],
    tables: async () => TABLES,
    connections: (limit) => ({ total: CONNECTIONS.length, rows: CONNECTIONS.slice(0, limit) }),
    flows: fake.history,
    ...questions(),
  };
  return { state, status, fake };
}

/** One record of every shape a flow can have. */
export function everyShape(): Uint8Array[] {
  const reply = { type: EventType.EVENT_REPLY, flags: EventFlags.EVENT_IS_REPLY, from: r.BACKEND, to: r.FRONTEND };
  const audit = { type: EventType.EVENT_AUDIT, flags: EventFlags.EVENT_AUDIT_WOULD_DENY };
  return [
    r.event(),
    r.event(reply),
    r.event({ type: EventType.EVENT_UPDATE, version: 6, tcpFlags: 0xff }),
    r.event({ type: EventType.EVENT_END, flags: EventFlags.EVENT_EXPIRED | EventFlags.EVENT_REVOKED }),
    r.event({ to: r.WORLD, direction: Direction.DIRECTION_EGRESS, rule: [0, r.ALLOW_RULE], policy: [0, 17] }),
    r.drop(),
    r.drop({ reason: DropReason.DROP_POLICY_DENY_RULE, rule: [r.DENY_RULE, 0], protocol: IPPROTO.UDP }),
    r.drop({ direction: Direction.DIRECTION_EGRESS, rule: [0, r.DENY_RULE], policy: [0, 17], protocol: IPPROTO.SCTP }),
    r.drop({ reason: DropReason.DROP_ARP_SPOOF, family: 0 }),
    r.event({ ...audit, rule: [r.DENY_RULE, 0], protocol: IPPROTO.ICMP, icmpType: 8 }),
    r.event({ version: 6, protocol: IPPROTO.ICMPV6, flags: EventFlags.EVENT_RELATED | EventFlags.EVENT_FRAGMENT }),
  ];
}
