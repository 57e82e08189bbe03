/** The HTTP server with all resources: read-only, bounded in every way, one shape for every error. */

import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import swagger from '@fastify/swagger';
import fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';
import { WeirError } from '../errors.ts';
import type { Logger } from '../run/log.ts';
import { admit, type TokenJudge, watchOver } from './admission.ts';
import { endpointRoutes } from './endpoints.ts';
import { errorAnswer, httpStatus, type SchemaFault, schemaFaults, toWeirError } from './errors-answer.ts';
import { explainRoutes } from './explain.ts';
import { FLOW_LINE_SCHEMA, FLOW_SCHEMA, LOST_SCHEMA } from './flow-schema.ts';
import { flowRoutes } from './flows.ts';
import { identityRoutes } from './identities.ts';
import { mapRoutes } from './maps.ts';
import type { Metrics } from './metrics.ts';
import { metricsRoute } from './metrics-route.ts';
import { OPENAPI, openapiRoute } from './openapi.ts';
import type { Peers } from './peers.ts';
import { policyRoutes } from './policies.ts';
import { ruleRoutes } from './rules.ts';
import { ERROR_SCHEMA, named, OBJECT_SCHEMA, PROBLEM_SCHEMA } from './schema.ts';
import type { State } from './state.ts';
import { healthRoutes, statusRoutes } from './status.ts';
import type { TlsCredentials } from './tls-server.ts';
import { trafficRoutes } from './traffic.ts';
import { addTurns } from './turns.ts';

export interface ApiOptions {
  readonly state: State;
  readonly metrics: Metrics;
  /** Told of answers that are our own fault. */
  readonly log?: Logger;
  /** For those who may not read the rest: the kubelet's probes, Prometheus. Everything by default. */
  readonly serves?: 'everything' | 'health' | 'metrics';
  /** The other nodes' agents, for scope=cluster. */
  readonly peers?: Peers | undefined;
  /** Over TLS, and only for those whom admission.ts lets in. */
  readonly guarded?: {
    readonly credentials: TlsCredentials;
    readonly judge: TokenJudge | undefined;
    /** How often the readers of streams are judged again. */
    readonly admitAgainMs?: number;
  };
}

/** Nobody gets more than this. The API is for people and probes of one node. */
export const LIMITS = {
  connections: 128,
  urlBytes: 8192,
  headerBytes: 16384,
  bodyBytes: 1024,
  /** To receive a whole request. */
  requestTimeoutMs: 10_000,
  /** A connection on which nothing moves; streams of flows are exempt. */
  idleTimeoutMs: 30_000,
  /** For who sent bytes that are no request, to read the answer. */
  goodbyeMs: 500,
  /** How often connections are looked at for their times. */
  checkMs: 2_000,
  /** A client that is gone without a word is noticed after a few times that. */
  keepAliveMs: 30_000,
} as const;

const SERVER_OPTIONS = {
  maxHeaderSize: LIMITS.headerBytes,
  requestTimeout: LIMITS.requestTimeoutMs,
  headersTimeout: LIMITS.requestTimeoutMs,
  connectionsCheckingInterval: LIMITS.checkMs,
  requireHostHeader: false, // Node would refuse it without a word
  keepAlive: true,
  keepAliveInitialDelay: LIMITS.keepAliveMs,
} as const;

/** Status of answers to bytes that are no HTTP request, by Node's error code. */
const CLIENT_ERRORS: Readonly<Record<string, { status: string; code: 'TOO_LARGE' | 'TIMEOUT' | 'BAD_REQUEST' }>> = {
  HPE_HEADER_OVERFLOW: { status: '431 Request Header Fields Too Large', code: 'TOO_LARGE' },
  ERR_HTTP_REQUEST_TIMEOUT: { status: '408 Request Timeout', code: 'TIMEOUT' },
};
const MALFORMED = { status: '400 Bad Request', code: 'BAD_REQUEST' } as const;

/** A server that does not listen yet: see listener.ts. */
export async function createApi(options: ApiOptions): Promise<FastifyInstance> {
  const { state, metrics, log, serves = 'everything', peers, guarded } = options;
  const tls = guarded && (await import('./tls-server.ts')); // costs memory that not every agent has to spend
  const app = fastify({
    bodyLimit: LIMITS.bodyBytes,
    requestTimeout: LIMITS.requestTimeoutMs,
    connectionTimeout: LIMITS.idleTimeoutMs,
    forceCloseConnections: true,
    routerOptions: { maxParamLength: LIMITS.urlBytes }, // else 100, and Kubernetes names have up to 253 characters
    serverFactory(handler) {
      const server =
        guarded && tls
          ? tls.createTls(guarded.credentials, handler, SERVER_OPTIONS)
          : createServer(SERVER_OPTIONS, handler);
      server.setTimeout(LIMITS.idleTimeoutMs);
      return server as Server;
    },
    // fastify removes unknown query fields in silence unless told not to
    ajv: { customOptions: { removeAdditional: false, coerceTypes: 'array', allErrors: true, verbose: true } },
    schemaErrorFormatter: (faults, where) =>
      schemaFaults(faults as SchemaFault[], where === 'querystring' ? 'query' : where),
    frameworkErrors(error, request: FastifyRequest, reply: FastifyReply) {
      const ours = toWeirError(error, `${request.method} ${pathOf(request.url)}`);
      return reply.code(httpStatus(ours)).send(errorAnswer(ours));
    },
    clientErrorHandler(error, socket) {
      metrics.requestRefused();
      if (!socket.writable) {
        socket.destroy();
        return;
      }
      const { status, code } = CLIENT_ERRORS[error.code ?? ''] ?? MALFORMED;
      const body = JSON.stringify(errorAnswer(new WeirError(code, 'read a request', error.message)));
      const head = `content-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}\r\nconnection: close`;
      // Nobody reads here any more, so nobody would see the client hang up; it has a moment to read why. Where TLS did not come to
      // be, the words never leave.
      setTimeout(() => socket.destroy(), LIMITS.goodbyeMs);
      socket.end(`HTTP/1.1 ${status}\r\n${head}\r\n\r\n${body}`);
    },
  });
  app.server.maxConnections = LIMITS.connections;
  app.server.on('drop', () => metrics.requestRefused());
  app.server.on('checkExpectation', (request: IncomingMessage, response: ServerResponse) => {
    const message = `expect: expected 100-continue, got ${JSON.stringify(request.headers.expect)}`;
    const body = errorAnswer(new WeirError('BAD_REQUEST', 'read a request', message));
    response.writeHead(417, { 'content-type': 'application/json' }).end(JSON.stringify(body));
  });
  // answers are written as they are: a schema must be true, not a filter that hides what it forgot
  app.setSerializerCompiler(() => JSON.stringify);

  addTurns(app, () => metrics.requestRefused());
  app.addHook('onRequest', async ({ raw, method }, reply) => {
    if ((raw.url?.length ?? 0) > LIMITS.urlBytes) {
      throw new WeirError('TOO_LARGE', 'read a request', `the URL is longer than ${LIMITS.urlBytes} bytes`);
    }
    if (raw.httpVersion === '1.1' && raw.headers.host === undefined) {
      throw new WeirError('BAD_REQUEST', 'read a request', 'expected a Host header, which HTTP/1.1 requires');
    }
    // Here, before anybody looks at a body: QUERY and its like are refused for what they are, not for their content type.
    if (method !== 'GET' && method !== 'HEAD') {
      const message = `expected GET, got ${method}: the API only reads`;
      const error = new WeirError('BAD_REQUEST', 'find a resource', message);
      return reply.code(405).header('allow', 'GET, HEAD').send(errorAnswer(error));
    }
  });
  if (guarded) {
    const { judge, admitAgainMs } = guarded;
    app.addHook('onRequest', async (request, reply) => {
      await admit(request, judge);
      watchOver(request, reply, judge, admitAgainMs);
    });
  }
  app.addHook('onRoute', (route) => {
    route.schema ??= {};
    route.schema.querystring ??= { type: 'object', additionalProperties: false, properties: {} };
    route.schema.response = { ...(route.schema.response as object), '4xx': named('Error'), '5xx': named('Error') };
  });
  app.addHook('onResponse', async ({ routeOptions, method }, { statusCode }) => {
    metrics.request(routeOptions.url ?? 'unknown', method, statusCode);
  });
  app.setErrorHandler((error, request, reply) => {
    const ours = toWeirError(error, `${request.method} ${pathOf(request.url)}`);
    if (ours.code === 'INTERNAL') log?.error('the API could not answer', { operation: ours.operation, error: ours });
    return reply.code(httpStatus(ours)).send(errorAnswer(ours));
  });
  app.setNotFoundHandler((request, reply) => {
    const path = pathOf(request.url);
    const error = new WeirError('NOT_FOUND', 'find a resource', `there is nothing at ${path}; see /v1/openapi.json`);
    return reply.code(404).send(errorAnswer(error));
  });

  for (const schema of [ERROR_SCHEMA, OBJECT_SCHEMA, PROBLEM_SCHEMA, LOST_SCHEMA, FLOW_SCHEMA, FLOW_LINE_SCHEMA]) {
    app.addSchema(schema);
  }
  if (serves !== 'everything') {
    if (serves === 'health') healthRoutes(app, state);
    else metricsRoute(app, metrics);
    return app;
  }
  await app.register(swagger, OPENAPI);
  await app.register(async (routes) => {
    flowRoutes(routes, state, peers);
    trafficRoutes(routes, state, peers);
    endpointRoutes(routes, state);
    identityRoutes(routes, state);
    policyRoutes(routes, state);
    ruleRoutes(routes, state);
    explainRoutes(routes, state);
    statusRoutes(routes, state);
    mapRoutes(routes, state);
    healthRoutes(routes, state);
    metricsRoute(routes, metrics);
    openapiRoute(routes);
  });
  return app;
}

/** Without the query, which may be long or private. */
function pathOf(url: string): string {
  return url.split('?', 1)[0]?.slice(0, 200) ?? '';
}
