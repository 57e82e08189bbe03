/** GET /v1/identities: the security identities this node knows. */
import type { FastifyInstance } from 'fastify';
import { FIRST_POD_IDENTITY } from '../model/identity.ts';
import { formatLabels } from '../model/labels.ts';
import { flag, integer, list, record, text } from './schema.ts';
import type { State } from './state.ts';

export interface IdentityAnswer {
  readonly id: number;
  readonly labels: readonly string[];
  /** A number with a fixed meaning, such as 1 for the host. */
  readonly reserved: boolean;
  /** Endpoints of this node that have it. */
  readonly endpoints: number;
}

export interface IdentitiesAnswer {
  readonly identities: readonly IdentityAnswer[];
}

const IDENTITY = record('A set of labels and its number.', {
  id: integer(''),
  labels: list(text(''), 'Labels with their source'),
  reserved: flag('A number with a fixed meaning, such as 1 for the host'),
  endpoints: integer('Endpoints of this node that have it'),
});

export function identityRoutes(app: FastifyInstance, state: State): void {
  app.get(
    '/v1/identities',
    {
      schema: {
        summary: 'Identities this node knows',
        tags: ['identities'],
        response: { 200: record('', { identities: list(IDENTITY) }) },
      },
    },
    () => {
      const users = Map.groupBy(state.endpoints(), (endpoint) => endpoint.identity);
      const identities = [...state.identities()]
        .sort((a, b) => a.number - b.number)
        .map(({ number, labels }) => ({
          id: number,
          labels: formatLabels(labels),
          reserved: number < FIRST_POD_IDENTITY,
          endpoints: users.get(number)?.length ?? 0,
        }));
      return { identities } satisfies IdentitiesAnswer;
    },
  );
}
