/**
 * One request to the API server: rate limit, credentials, deadline, and the retries that are right for every caller (429
 * after what the server asks for; 401 once with fresh credentials). node:http and node:https, for client-node's requests hold
 * a typed copy of what comes and end quiet streams after 30 s.
 */
import { Agent as HttpAgent, request as httpRequest, type IncomingMessage } from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import { type Clock, systemClock } from '../run/clock.ts';
import { ApiError, errorOfAnswer, unreachable } from './api-error.ts';
import type { Connection, Credentials } from './connection.ts';
import { type RateLimit, sleep } from './rate-limit.ts';

export interface ApiRequest {
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  /** With its query. */
  readonly path: string;
  readonly body?: unknown;
  readonly contentType?: string;
  readonly accept?: string;
  readonly signal?: AbortSignal | undefined;
  /** Everything together takes at most this long: waiting for the rate limit, retries, the body. */
  readonly deadlineMs: number;
}

export interface Transport {
  /** The answer's JSON. */
  json(request: ApiRequest): Promise<unknown>;
  /** The answer's body, still to be read; the deadline is for its beginning. The reader must destroy or drain it. */
  stream(request: ApiRequest): Promise<IncomingMessage>;
  /** Closes idle connections. */
  close(): void;
}

export interface TransportOptions {
  readonly connection: Connection;
  readonly rateLimit: RateLimit;
  readonly clock?: Clock;
}

const USER_AGENT = 'weir';
/** Least wait before the next try where the server says "too many", milliseconds: some proxies ask for none. */
const BUSY_WAIT_MS = 1000;
/** The text of an error is not worth more. */
const LONGEST_ERROR_BYTES = 64 * 1024;
/** Idle connections are probed, so that a middlebox does not forget them and a dead peer is found. */
const KEEP_ALIVE_MS = 15_000;

export function createTransport({ connection, rateLimit, clock = systemClock }: TransportOptions): Transport {
  const { server } = connection;
  const secure = server.protocol === 'https:';
  // Certificates come with each request, and connections are pooled by them: a new CA needs no new agent.
  const agent = new (secure ? HttpsAgent : HttpAgent)({
    keepAlive: true,
    keepAliveMsecs: KEEP_ALIVE_MS,
    maxFreeSockets: 4,
  });
  const prefix = server.pathname.replace(/\/$/, '');

  /** The request on its way; `done` must be called when nobody waits for it any more. */
  interface Exchange {
    readonly answer: Promise<IncomingMessage>;
    /** Why it was ended from here, if it was. */
    why(): unknown;
    /** It went out on a connection the server may have been closing just then: nobody saw the request. */
    wasReused(): boolean;
    done(): void;
  }

  function exchange(request: ApiRequest, credentials: Credentials, untilMs: number): Exchange {
    const text = request.body === undefined ? undefined : JSON.stringify(request.body);
    const { headers, ...tls } = credentials;
    const operation = operationOf(request);
    const sent = (secure ? httpsRequest : httpRequest)({
      agent,
      ...tls,
      host: server.hostname.replace(/^\[|\]$/g, ''),
      port: server.port || (secure ? 443 : 80),
      method: request.method,
      path: prefix + request.path,
      headers: {
        Accept: request.accept ?? 'application/json',
        'User-Agent': USER_AGENT,
        ...(text === undefined
          ? {}
          : { 'Content-Type': request.contentType ?? 'application/json', 'Content-Length': Buffer.byteLength(text) }),
        ...headers,
      },
    });
    let ended: unknown;
    const end = (why: unknown): void => {
      ended = why;
      sent.destroy(why instanceof Error ? why : new Error(String(why)));
    };
    const onAbort = (): void => end(request.signal?.reason ?? new Error('aborted'));
    const cancel = clock.after(Math.max(0, untilMs - clock.nowMs()), () =>
      end(new ApiError('TIMEOUT', operation, `${operation}: no complete answer within ${request.deadlineMs} ms`)),
    );
    request.signal?.addEventListener('abort', onAbort, { once: true });
    const answer = new Promise<IncomingMessage>((resolve, reject) => {
      sent.once('response', resolve);
      sent.on('error', (error) => reject(ended ?? unreachable(operation, error)));
    });
    sent.end(text);
    return {
      answer,
      why: () => ended,
      wasReused: () => sent.reusedSocket,
      done() {
        cancel();
        request.signal?.removeEventListener('abort', onAbort);
      },
    };
  }

  /** Retries are what the server asks for; the rest is the caller's to judge. */
  async function perform<T>(request: ApiRequest, take: (answer: IncomingMessage) => Promise<T>): Promise<T> {
    const operation = operationOf(request);
    const untilMs = clock.nowMs() + request.deadlineMs;
    let isFresh = false;
    let isRepeated = false;
    for (;;) {
      if (!(await rateLimit.take(request.signal, untilMs - clock.nowMs()))) {
        const message = `${operation}: too many other calls wait for this client's rate limit: not its turn within ${request.deadlineMs} ms`;
        throw new ApiError('TIMEOUT', operation, message);
      }
      const credentials = await connection.credentials().catch((cause: unknown) => {
        throw new ApiError('API_FORBIDDEN', operation, `${operation}: there are no credentials: ${messageOf(cause)}`, {
          cause,
        });
      });
      request.signal?.throwIfAborted();
      const { answer: answered, why, wasReused, done } = exchange(request, credentials, untilMs);
      try {
        const answer = await answered;
        const status = answer.statusCode ?? 0;
        if (status >= 200 && status < 300) return await take(answer);
        const error = errorOfAnswer(operation, status, await readError(answer), answer.headers['retry-after']);
        if (status === 401 && !isFresh) {
          isFresh = true;
          connection.forget();
          continue;
        }
        const waitMs = Math.max(error.retryAfterMs ?? 0, BUSY_WAIT_MS);
        if (status !== 429 || clock.nowMs() + waitMs >= untilMs) throw error;
        await sleep(waitMs, clock, request.signal);
      } catch (cause) {
        // Only reading is repeated unasked: a write may have happened.
        if (request.method === 'GET' && wasReused() && why() === undefined && isReset(cause) && !isRepeated) {
          isRepeated = true;
          continue;
        }
        throw why() ?? (cause instanceof ApiError ? cause : unreachable(operation, cause));
      } finally {
        done();
      }
    }
  }

  return {
    json: (request) =>
      perform(request, async (answer) => {
        const text = await readAll(answer);
        try {
          return JSON.parse(text) as unknown;
        } catch (cause) {
          const operation = operationOf(request);
          throw new ApiError('API_UNREACHABLE', operation, `${operation}: the answer is no JSON`, { cause });
        }
      }),
    stream: (request) => perform(request, (answer) => Promise.resolve(answer)),
    close: () => agent.destroy(),
  };
}

/** "GET /api/v1/pods", without the query. */
export function operationOf({ method, path }: Pick<ApiRequest, 'method' | 'path'>): string {
  return `${method} ${path.split('?', 1)[0]}`;
}

async function readAll(answer: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of answer) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString('utf8');
}

/** The Status object of a refusal, if that is what came. */
async function readError(answer: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of answer) {
    bytes += (chunk as Buffer).length;
    if (bytes > LONGEST_ERROR_BYTES) break; // Leaving the loop destroys the connection.
    chunks.push(chunk as Buffer);
  }
  try {
    return JSON.parse(Buffer.concat(chunks).toString('utf8'));
  } catch {
    return undefined; // A proxy's page: the status alone says enough.
  }
}

function isReset(error: unknown): boolean {
  const cause = error instanceof ApiError ? error.cause : error;
  const code = (cause as NodeJS.ErrnoException | undefined)?.code;
  return code === 'ECONNRESET' || code === 'EPIPE';
}

function messageOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause);
}
