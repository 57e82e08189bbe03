/** GET /metrics: Prometheus's text format, or OpenMetrics for who asks for it. */
import type { FastifyInstance } from 'fastify';
import { Registry } from 'prom-client';
import type { Metrics } from './metrics.ts';

const TEXT = { schema: { type: 'string' } } as const;

export function metricsRoute(app: FastifyInstance, metrics: Metrics): void {
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
      const text = await metrics.registry.metrics();
      return prefersOpenMetrics(request.headers.accept)
        ? reply.header('content-type', Registry.OPENMETRICS_CONTENT_TYPE).send(openMetrics(text))
        : reply.header('content-type', Registry.PROMETHEUS_CONTENT_TYPE).send(text);
    },
  );
}

/**
 * Prometheus's text as OpenMetrics: there a counter's family is named without `_total`, no line is empty, and the end is marked. Not
 * prom-client's own way, which renames its counters for good when it is asked once.
 */
function openMetrics(text: string): string {
  return `${text.replace(/^# (HELP|TYPE) (\w+)_total /gm, '# $1 $2 ').replace(/\n{2,}/g, '\n')}# EOF\n`;
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
