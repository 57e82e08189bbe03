/**
 * Runs a program in a container, through the API server: a WebSocket to pods/exec whose messages begin with the number of a
 * stream. Authorised by RBAC: get and create of pods/exec. Source: kubernetes.io/docs/reference/using-api/api-concepts and
 * k8s.io/apimachinery/pkg/util/remotecommand (v4.channel.k8s.io, v5 adds the end of stdin).
 */
import { Duplex } from 'node:stream';
import { WebSocket } from 'ws';
import { type ApiError, errorOfAnswer, unreachable } from '../../kubernetes/api-error.ts';
import type { Connection } from '../../kubernetes/connection.ts';
import { objectPath } from '../../kubernetes/path.ts';

export interface Program {
  readonly namespace: string;
  readonly pod: string;
  /** Absent: the pod's only container, or its default one. */
  readonly container?: string;
  readonly words: readonly string[];
  readonly signal?: AbortSignal;
}

/** How a program ended. `code` is undefined when it never ran, or nobody knows: `reason` says why. */
export interface Ending {
  readonly code: number | undefined;
  readonly reason: string;
  readonly stderr: string;
}

/** A program that runs. Reading gives its stdout, writing is its stdin; it is destroyed with an error if it fails. */
export interface Execution extends Duplex {
  readonly ending: Promise<Ending>;
}

const PROTOCOLS = ['v5.channel.k8s.io', 'v4.channel.k8s.io'];
const STDIN = 0;
const STDOUT = 1;
const STDERR = 2;
const STATUS = 3;
const CLOSE = 255;
/** Of what a program complains, so much is kept. */
const LONGEST_STDERR = 16 * 1024;
/** A server that does not answer the request for a WebSocket, milliseconds. */
const HANDSHAKE_MS = 15_000;

/** Resolves when the API server has agreed; rejects with an ApiError. */
export async function execute(connection: Connection, program: Program): Promise<Execution> {
  const { namespace, pod, container, words, signal } = program;
  const path = `${objectPath({ apiVersion: 'v1', plural: 'pods' }, namespace, pod)}/exec`;
  const query = new URLSearchParams({ stdin: 'true', stdout: 'true', stderr: 'true' });
  if (container !== undefined) query.set('container', container);
  for (const word of words) query.append('command', word);
  const operation = `exec in ${namespace}/${pod}`;

  for (let tries = 1; ; tries++) {
    const { headers, ...tls } = await connection.credentials();
    signal?.throwIfAborted();
    const url = new URL(`${connection.server.href.replace(/\/$/, '')}${path}?${query}`);
    url.protocol = connection.server.protocol === 'https:' ? 'wss:' : 'ws:';
    const socket = new WebSocket(url, PROTOCOLS, {
      headers: headers as Record<string, string>,
      ...tls,
      handshakeTimeout: HANDSHAKE_MS,
    });
    const answer = await opened(socket, operation, signal);
    if (answer instanceof RunningProgram) return answer;
    if (answer.status !== 401 || tries > 1) throw answer;
    connection.forget();
  }
}

/** The program once the WebSocket is open, before its first message; or why it is not. */
function opened(socket: WebSocket, operation: string, signal: AbortSignal | undefined) {
  return new Promise<RunningProgram | ApiError>((resolve) => {
    const abort = (): void => socket.terminate();
    signal?.addEventListener('abort', abort, { once: true });
    socket.once('close', () => signal?.removeEventListener('abort', abort));
    socket.once('open', () => resolve(new RunningProgram(socket)));
    socket.on('error', (cause) => resolve(unreachable(operation, cause)));
    socket.once('unexpected-response', (request, answer) => {
      const chunks: Buffer[] = [];
      answer.on('data', (chunk: Buffer) => chunks.push(chunk));
      answer.on('error', (cause) => resolve(unreachable(operation, cause)));
      answer.on('end', () => {
        resolve(errorOfAnswer(operation, answer.statusCode ?? 0, parse(Buffer.concat(chunks).toString('utf8'))));
        request.destroy();
      });
    });
  });
}

class RunningProgram extends Duplex implements Execution {
  readonly ending: Promise<Ending>;
  readonly #socket: WebSocket;
  readonly #end: (ending: Ending) => void;
  #stderr = '';
  #status: Omit<Ending, 'stderr'> | undefined;

  constructor(socket: WebSocket) {
    super({ allowHalfOpen: true });
    const { promise, resolve } = Promise.withResolvers<Ending>();
    this.ending = promise;
    this.#end = resolve;
    this.#socket = socket;
    socket.on('message', (data) => this.#take(data as Buffer));
    socket.on('close', () => this.#closed());
  }

  #take(message: Buffer): void {
    const data = message.subarray(1);
    if (message[0] === STDOUT && data.length > 0 && !this.push(data)) this.#socket.pause();
    else if (message[0] === STDERR) this.#stderr = (this.#stderr + data.toString('utf8')).slice(0, LONGEST_STDERR);
    else if (message[0] === STATUS) this.#status = readStatus(data.toString('utf8'));
  }

  #closed(): void {
    const status = this.#status ?? { code: undefined, reason: 'the connection through the API server ended' };
    const ending = { ...status, stderr: this.#stderr.trim() };
    this.#end(ending);
    if (this.destroyed) return;
    if (ending.code === 0) this.push(null);
    else this.destroy(new Error(ending.stderr || ending.reason));
  }

  // What node:http asks of a socket that it keeps for another request. There is nothing to tune.
  setKeepAlive(): this {
    return this;
  }
  setTimeout(): this {
    return this;
  }
  ref(): this {
    return this;
  }
  unref(): this {
    return this;
  }

  override _read(): void {
    this.#socket.resume();
  }

  override _write(chunk: Buffer, _: BufferEncoding, done: (error?: Error | null) => void): void {
    if (this.#socket.readyState !== WebSocket.OPEN) done(new Error(this.#stderr.trim() || 'the program has ended'));
    else this.#socket.send(Buffer.concat([Buffer.of(STDIN), chunk]), done);
  }

  override _final(done: (error?: Error | null) => void): void {
    if (this.#socket.protocol === PROTOCOLS[0] && this.#socket.readyState === WebSocket.OPEN)
      this.#socket.send(Buffer.of(CLOSE, STDIN), done);
    else done();
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#socket.terminate();
    done(error);
  }
}

/** The last message: a Status that holds the exit code. */
export function readStatus(text: string): Omit<Ending, 'stderr'> {
  const status = parse(text) as
    | {
        readonly status?: string;
        readonly message?: string;
        readonly details?: { readonly causes?: readonly { readonly reason?: string; readonly message?: string }[] };
      }
    | undefined;
  if (status?.status === 'Success') return { code: 0, reason: '' };
  const exit = status?.details?.causes?.find(({ reason }) => reason === 'ExitCode')?.message;
  const code = exit === undefined || !/^[0-9]+$/.test(exit) ? undefined : Number(exit);
  return { code, reason: status?.message ?? `the program ended with ${JSON.stringify(text)}` };
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined; // No Status: the HTTP status, or the text, is all there is to say.
  }
}

/** Runs it to its end. `input` is its stdin. Never rejects for how the program ends, only if it could not be started. */
export async function run(
  connection: Connection,
  program: Program,
  input = '',
): Promise<Ending & { readonly stdout: string }> {
  const execution = await execute(connection, program);
  const chunks: Buffer[] = [];
  execution.on('data', (chunk: Buffer) => chunks.push(chunk));
  execution.on('error', () => {}); // Told by the ending.
  execution.end(input);
  const ending = await execution.ending;
  return { ...ending, stdout: Buffer.concat(chunks).toString('utf8') };
}
