/** GET /v1/maps/{name}: what a table of the kernel holds, read now. For people and their tools; not for every second. */
import type { FastifyInstance } from 'fastify';
import { WeirError } from '../errors.ts';
import {
  connectionLines,
  ipcacheLines,
  MAP_NAMES,
  type MapLine,
  type MapName,
  policyLines,
  serviceLines,
} from './map-dump.ts';
import { integer, list, oneOf, record } from './schema.ts';
import type { State } from './state.ts';

/** Rows of one answer: more than a person reads, and no more than the agent can hold beside its work. */
export const MAP_ROWS_MAX = 20_000;

export interface MapAnswer {
  readonly name: MapName;
  /** Rows there are; more than `rows` has when it is longer than {@link MAP_ROWS_MAX}. */
  readonly total: number;
  readonly rows: readonly MapLine[];
}

export function mapRoutes(app: FastifyInstance, state: State): void {
  app.get<{ Params: { name: string } }>(
    '/v1/maps/:name',
    {
      schema: {
        summary: 'What a table of the kernel holds',
        description: `${MAP_NAMES.join(', ')}. Columns depend on the table; at most ${MAP_ROWS_MAX} rows.`,
        tags: ['maps'],
        params: record('', { name: oneOf(MAP_NAMES, '') }),
        response: {
          200: record('', {
            name: oneOf(MAP_NAMES, ''),
            total: integer('Rows there are'),
            rows: list({ type: 'object', additionalProperties: { type: 'string' } }, 'Column to word'),
          }),
        },
      },
    },
    async ({ params }) => {
      const name = MAP_NAMES.find((one) => one === params.name);
      if (name === undefined) throw new WeirError('NOT_FOUND', 'read a map', `there is no map ${params.name}`);
      if (name === 'ct') {
        const { total, rows } = state.connections(MAP_ROWS_MAX);
        return { name, total, rows: connectionLines(rows) } satisfies MapAnswer;
      }
      const tables = await state.tables();
      const lines = { ipcache: ipcacheLines, policy: policyLines, services: serviceLines }[name](tables);
      return { name, total: lines.length, rows: lines.slice(0, MAP_ROWS_MAX) } satisfies MapAnswer;
    },
  );
}
