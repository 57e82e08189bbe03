/** GET /metrics: Prometheus's text format, or OpenMetrics for who asks for it. */
import type { FastifyInstance } from 'fastify';
import { Registry, type RegistryContentType } from 'prom-client';
import type { Metrics } from './metrics.ts';

const TEXT = { schema: { type: 'string' } } as const;

export function metricsRoute(app: FastifyInstance, metrics: Metrics): void {
  // The registry has one content type at a time: scrapes are answered one after the other.
  let last: Promise<unknown> = Promise.resolve();

  async function write(type: RegistryContentType): Promise<string> {
    const registry = metrics.registry as Registry<RegistryContentType>;
    registry.setContentType(type);
    return registry.metrics();
  }

  app.get(
    '/metrics',
    {
      schema: {
        summary: 'Metrics for Prometheus',
        description: 'Prometheus text format, or OpenMetrics where the request accepts application/openmetrics-text.',
        tags: ['status'],
        response: {
          200: { description: 'Metrics', content: { 'text/plain': TEXT, 'application/openmetrics-text': TEXT } },
        },
      },
    },
    async (request, reply) => {
      const type = prefersOpenMetrics(request.headers.accept)
        ? Registry.OPENMETRICS_CONTENT_TYPE
        : Registry.PROMETHEUS_CONTENT_TYPE;
      const body = last.then(() => write(type));
      last = body.catch(() => undefined); // told to the one who asked; the next is answered all the same
      return reply.header('content-type', type).send(await body);
    },
  );
}

/** The client wants OpenMetrics at least as much as plain text (RFC 9110, 12.5.1). */
export function prefersOpenMetrics(accept: string | undefined): boolean {
  const weights = new Map(
    (accept ?? '').split(',').map((range): [string, number] => {
      const [type = '', ...parameters] = range.split(';').map((part) => part.trim());
      const weight = parameters.find((one) => one.startsWith('q='))?.slice(2);
      return [type.toLowerCase(), weight === undefined ? 1 : Number(weight) || 0];
    }),
  );
  const open = weights.get('application/openmetrics-text') ?? 0;
  return open > 0 && open >= (weights.get('text/plain') ?? 0);
}
