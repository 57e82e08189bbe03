/** GET /v1/openapi.json: this API, described from the schemas that check it. */
import type { FastifyDynamicSwaggerOptions } from '@fastify/swagger';
import type { FastifyInstance } from 'fastify';

/** Version of the API, not of the agent: grows when an answer changes in a way that can break a reader. */
export const API_VERSION = '1.0.0';

export const OPENAPI: FastifyDynamicSwaggerOptions = {
  openapi: {
    openapi: '3.0.3',
    info: {
      title: 'Weir agent',
      version: API_VERSION,
      description: "What one node's agent knows: flows, endpoints, identities, policies, status. Read-only.",
    },
    tags: [
      { name: 'flows', description: 'What happened on the network, and why' },
      { name: 'endpoints', description: 'Pods wired on this node' },
      { name: 'identities', description: 'Label sets and their numbers' },
      { name: 'policies', description: 'Policy documents' },
      { name: 'status', description: 'The agent itself' },
    ],
  },
  refResolver: {
    buildLocalReference: (json, _, __, index) => (typeof json.$id === 'string' ? json.$id : `Schema${index}`),
  },
};

export function openapiRoute(app: FastifyInstance): void {
  app.get(
    '/v1/openapi.json',
    {
      schema: {
        summary: 'This document',
        tags: ['status'],
        response: { 200: { type: 'object', additionalProperties: true, description: 'OpenAPI 3.0' } },
      },
    },
    () => app.swagger(),
  );
}
