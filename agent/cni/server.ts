/**
 * The socket weir-cni talks to. Only root reaches it: mode 0600 in a folder of mode 0700 (Node cannot ask for the peer's
 * uid). Nobody can make it hold more than a few MiB or a connection longer than a request takes: connections, bytes per
 * request, bytes in all and the time to send a request are limited.
 */
import { mkdir } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { dirname } from 'node:path';
import { asWeirError, WeirError } from '../errors.ts';
import type { Logger } from '../run/log.ts';
import { takeOver } from '../run/unix-socket.ts';
import { answer } from './answer.ts';
import { encodeReply, FRAME_MAX_BYTES, type Reply, tooLarge } from './frame.ts';
import type { CniParts } from './request.ts';
import { errorResult } from './result.ts';
import { NEWEST_VERSION } from './version.ts';

export interface CniServerOptions extends CniParts {
  readonly socketPath: string;
  readonly log: Logger;
  /** A request must have arrived completely within this time. */
  readonly receiveDeadlineMs?: number;
  /** Further connections are closed unanswered: weir-cni then says "try again". */
  readonly maxConnections?: number;
  /** Bytes of requests held at the same time, all connections together. */
  readonly maxHeldBytes?: number;
}

export interface CniServer {
  /** Stops listening, and resolves when the requests under way are answered. */
  close(): Promise<void>;
}

/** @throws ALREADY_RUNNING if somebody answers on the socket */
export async function startCniServer(options: CniServerOptions): Promise<CniServer> {
  const { socketPath, log, receiveDeadlineMs = 10_000, maxHeldBytes = 16 << 20 } = options;
  let heldBytes = 0;

  /** The whole request. @throws TOO_LARGE, TIMEOUT, CNI_TRY_AGAIN, or the socket's own error */
  function receive(socket: Socket): Promise<Buffer> {
    const chunks: Buffer[] = [];
    let length = 0;
    return new Promise<Buffer>((resolve, reject) => {
      const timer = setTimeout(() => {
        const message = `the request was not sent completely within ${receiveDeadlineMs / 1000} s`;
        reject(new WeirError('TIMEOUT', 'read a CNI request', message));
      }, receiveDeadlineMs);
      socket.on('data', (chunk) => {
        length += chunk.length;
        heldBytes += chunk.length;
        if (length > FRAME_MAX_BYTES) reject(tooLarge());
        else if (heldBytes > maxHeldBytes)
          reject(new WeirError('CNI_TRY_AGAIN', 'read a CNI request', 'too many large requests at once'));
        else chunks.push(chunk);
      });
      socket.once('end', () => resolve(Buffer.concat(chunks)));
      socket.once('error', reject);
      socket.once('close', () => {
        clearTimeout(timer);
        heldBytes -= length;
        reject(new WeirError('CNI_IO', 'read a CNI request', 'the connection was closed'));
      });
    }).finally(() => socket.pause());
  }

  async function serve(socket: Socket): Promise<void> {
    socket.on('error', (cause) => log.debug('a CNI connection failed', { cause }));
    const started = performance.now();
    let reply: Reply;
    try {
      const frame = await receive(socket);
      reply = await answer(frame, options, (invocation, error) => {
        const { verb, containerId, interfaceName, args } = invocation ?? {};
        const ms = Math.round(performance.now() - started);
        log.warn('a CNI request failed', { verb, containerId, interfaceName, args, ms, cause: error });
      });
    } catch (thrown) {
      const error = asWeirError(thrown, 'read a CNI request');
      log.warn('a CNI request could not be read', { cause: error });
      reply = { exit: 1, text: errorResult(NEWEST_VERSION, error) };
    }
    if (socket.destroyed) log.warn('the answer to a CNI request reached nobody: weir-cni is gone');
    // Destroyed, not only ended: whoever keeps its side open must not keep ours.
    else socket.end(encodeReply(reply), () => socket.destroy());
  }

  await mkdir(dirname(socketPath), { recursive: true, mode: 0o700 });
  await takeOver(socketPath, 'listen for CNI');
  const server = createServer({ allowHalfOpen: true }, (socket) => void serve(socket));
  server.maxConnections = options.maxConnections ?? 256;
  server.on('drop', () => log.warn('a CNI connection was refused: too many at once'));
  await listen(server, socketPath);
  return { close: () => close(server) };
}

function listen(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    // The socket is born with its mode: bind() happens before listen() returns, and nobody gets in before a chmod.
    const umask = process.umask(0o177);
    try {
      server.listen({ path, backlog: 128 }, () => {
        server.off('error', reject);
        resolve();
      });
    } finally {
      process.umask(umask);
    }
  });
}

function close(server: Server): Promise<void> {
  return new Promise((resolve) => server.close(() => resolve()));
}
