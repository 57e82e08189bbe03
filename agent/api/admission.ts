/** Who may ask where the API is reachable from the network: holders of a certificate, and of a token with a right. */
import type { TLSSocket } from 'node:tls';
import type { FastifyRequest } from 'fastify';
import { WeirError } from '../errors.ts';

/** What the API server says of a token; undefined: there is none to ask, only certificates count. */
export type TokenJudge = (question: {
  readonly token: string;
  readonly path: string;
  readonly verb: string;
}) => Promise<'allowed' | 'unknown token' | 'not allowed'>;

const TOKEN_MAX = 16_384;

/** Resolves when the request may go on. Rejects with UNAUTHENTICATED or FORBIDDEN, or because nobody could judge. */
export async function admit(request: FastifyRequest, judge: TokenJudge | undefined): Promise<void> {
  if ((request.raw.socket as Partial<TLSSocket>).authorized === true) return; // absent without TLS
  const path = request.url.split('?', 1)[0] as string;
  const refuse = (code: 'UNAUTHENTICATED' | 'FORBIDDEN', message: string) =>
    new WeirError(code, `${request.method} ${path}`, message);
  const token = /^Bearer ([\x21-\x7e]+)$/i.exec(request.headers.authorization ?? '')?.[1];
  if (token === undefined || token.length > TOKEN_MAX) {
    throw refuse('UNAUTHENTICATED', 'expected a client certificate of this cluster, or "authorization: Bearer TOKEN"');
  }
  if (judge === undefined) {
    throw refuse('UNAUTHENTICATED', 'expected a client certificate: this agent has no API server that knows tokens');
  }
  const verdict = await judge({ token, path, verb: 'get' });
  if (verdict === 'unknown token') throw refuse('UNAUTHENTICATED', 'the API server does not know this token');
  if (verdict === 'not allowed') {
    throw refuse('FORBIDDEN', `the token may not get ${path}: a role with it in nonResourceURLs, verb get, is missing`);
  }
}
