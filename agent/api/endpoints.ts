/** GET /v1/endpoints, /v1/endpoints/{id}: the pods wired on this node. */
import type { FastifyInstance } from 'fastify';
import { WeirError } from '../errors.ts';
import { AGGREGATION_LEVELS, type AggregationLevel } from '../model/aggregation.ts';
import type { Endpoint, EndpointState } from '../model/endpoint.ts';
import { formatLabels } from '../model/labels.ts';
import type { NamedPort } from '../model/object.ts';
import { integer, list, oneOf, record, text } from './schema.ts';
import type { State } from './state.ts';

/** One endpoint; the first fields in the order of Cilium's `endpoint list`. */
export interface EndpointAnswer {
  readonly id: number;
  readonly policy: { readonly ingress: 'enabled' | 'disabled'; readonly egress: 'enabled' | 'disabled' };
  readonly identity: number;
  readonly labels: readonly string[];
  readonly addresses: readonly string[];
  readonly state: EndpointState;
  readonly namespace: string;
  readonly podName: string;
  readonly podUid: string;
  readonly containerId: string;
  readonly interfaceName: string;
  readonly hostInterface: string;
  readonly netns: string;
  readonly mac: string;
  readonly namedPorts: readonly NamedPort[];
  readonly revision: number;
  readonly aggregation?: AggregationLevel;
}

export interface EndpointsAnswer {
  readonly endpoints: readonly EndpointAnswer[];
}

export const ENDPOINT_STATES = [
  'restoring',
  'waiting-for-identity',
  'regenerating',
  'ready',
  'not-ready',
  'disconnecting',
] as const satisfies readonly EndpointState[];

const ENFORCEMENT = oneOf(['enabled', 'disabled'], 'enabled: what no rule allows is denied');
const ENDPOINT = record(
  "A pod's connection to this node.",
  {
    id: integer('1 to 4095'),
    policy: record('Enforcement', { ingress: ENFORCEMENT, egress: ENFORCEMENT }),
    identity: integer('Security identity'),
    labels: list(text(''), 'Labels with their source: "k8s:app=frontend"'),
    addresses: list(text('')),
    state: oneOf(ENDPOINT_STATES, ''),
    namespace: text(''),
    podName: text(''),
    podUid: text("'' where the source has none"),
    containerId: text("The runtime's id of the pod's sandbox"),
    interfaceName: text('Inside the pod'),
    hostInterface: text('On the node'),
    netns: text("Path of the pod's network namespace"),
    mac: text("Of the pod's interface"),
    namedPorts: list(record('', { name: text(''), protocol: oneOf(['TCP', 'UDP', 'SCTP'], ''), port: integer('') })),
    revision: integer('Policy revision in force for it; 0 before the first'),
    aggregation: oneOf(
      AGGREGATION_LEVELS,
      "How much is told of its connections, as its pod asks; absent: the node's setting",
    ),
  },
  ['aggregation'],
);

export function endpointRoutes(app: FastifyInstance, state: State): void {
  app.get(
    '/v1/endpoints',
    {
      schema: {
        summary: 'Endpoints: the pods wired on this node',
        tags: ['endpoints'],
        response: { 200: record('', { endpoints: list(ENDPOINT) }) },
      },
    },
    () => {
      const endpoints = [...state.endpoints()].sort((a, b) => a.id - b.id).map(presentEndpoint);
      return { endpoints } satisfies EndpointsAnswer;
    },
  );

  app.get<{ Params: { id: number } }>(
    '/v1/endpoints/:id',
    {
      schema: {
        summary: 'One endpoint by its id',
        tags: ['endpoints'],
        params: { type: 'object', properties: { id: integer('Endpoint id') }, required: ['id'] },
        response: { 200: ENDPOINT },
      },
    },
    ({ params: { id } }) => {
      const endpoint = state.endpoints().find((one) => one.id === id);
      if (endpoint) return presentEndpoint(endpoint);
      throw new WeirError('NOT_FOUND', 'get an endpoint', `no endpoint has id ${id} on this node`);
    },
  );
}

function presentEndpoint(endpoint: Endpoint): EndpointAnswer {
  const enabled = (enforced: boolean) => (enforced ? 'enabled' : 'disabled');
  return {
    id: endpoint.id,
    policy: { ingress: enabled(endpoint.ingressEnforced), egress: enabled(endpoint.egressEnforced) },
    identity: endpoint.identity,
    labels: formatLabels(endpoint.labels),
    addresses: endpoint.addresses,
    state: endpoint.state,
    namespace: endpoint.namespace,
    podName: endpoint.podName,
    podUid: endpoint.podUid,
    containerId: endpoint.containerId,
    interfaceName: endpoint.interfaceName,
    hostInterface: endpoint.hostInterface,
    netns: endpoint.netns,
    mac: endpoint.mac,
    namedPorts: endpoint.namedPorts.map(({ name, protocol, port }) => ({ name, protocol, port })),
    revision: endpoint.revision,
    ...(endpoint.aggregation && { aggregation: endpoint.aggregation }),
  };
}
