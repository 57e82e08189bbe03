/** GET /metrics: Prometheus's text format. */
import type { FastifyInstance } from 'fastify';
import type { Metrics } from './metrics.ts';

export function metricsRoute(app: FastifyInstance, metrics: Metrics): void {
  app.get(
    '/metrics',
    {
      schema: {
        summary: 'Metrics for Prometheus',
        tags: ['status'],
        response: {
          200: { description: 'Text format 0.0.4', content: { 'text/plain': { schema: { type: 'string' } } } },
        },
      },
    },
    async (_, reply) => {
      const body = await metrics.registry.metrics();
      return reply.header('content-type', metrics.registry.contentType).send(body);
    },
  );
}
