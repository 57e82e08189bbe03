/** Who may ask where the API is reachable from the network: holders of a certificate, and of a token with a right. */
import type { TLSSocket } from 'node:tls';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { WeirError } from '../errors.ts';

/** What the API server says of a token; undefined: there is none to ask, only certificates count. */
export type TokenJudge = (question: {
  readonly token: string;
  readonly path: string;
  readonly verb: string;
}) => Promise<'allowed' | 'unknown token' | 'not allowed'>;

const TOKEN_MAX = 16_384;
/** How often it is asked again while an answer goes on: a right that was taken away ends a stream too. */
const AGAIN_MS = 60_000;

/** Resolves when the request may go on. Rejects with UNAUTHENTICATED or FORBIDDEN, or because nobody could judge. */
export async function admit(request: FastifyRequest, judge: TokenJudge | undefined): Promise<void> {
  if (hasCertificate(request.raw.socket as TLSSocket)) return;
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

/** Ends the connection of an answer that goes on when its reader would not be let in any more. */
export function watchOver(
  request: FastifyRequest,
  reply: FastifyReply,
  judge: TokenJudge | undefined,
  everyMs = AGAIN_MS,
): void {
  const again = setInterval(() => {
    admit(request, judge).catch(({ code }: WeirError) => {
      // While nobody can judge, whoever is in stays in.
      if (code === 'UNAUTHENTICATED' || code === 'FORBIDDEN') request.raw.socket.destroy();
    });
  }, everyMs);
  again.unref();
  reply.raw.once('close', () => clearInterval(again));
}

/** One of the cluster's authority, whose time is not over. */
function hasCertificate(socket: TLSSocket): boolean {
  if (socket.authorized !== true) return false;
  return Date.parse(socket.getPeerCertificate().valid_to) > Date.now();
}
