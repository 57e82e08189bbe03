/**
 * Where the API listens: a unix socket that only root reaches, and TCP when asked, on loopback unless told otherwise.
 * One server listens at one place; for both, make two.
 */
import { chmod, lstat, mkdir, unlink } from 'node:fs/promises';
import { connect, isIP } from 'node:net';
import { dirname } from 'node:path';
import type { FastifyInstance } from 'fastify';
import { WeirError } from '../errors.ts';
import { type Address, type Prefix, parseAddress, prefixContains } from '../model/address.ts';

export type ListenTarget =
  | { readonly kind: 'unix'; readonly path: string }
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number };

/** sun_path of struct sockaddr_un, less its final zero. */
const SOCKET_PATH_MAX = 107;
const LOOPBACK = ['127.0.0.0/8', '::1/128'] as Prefix[];

/**
 * Reads "/path", "unix:/path", "127.0.0.1:4280", "[::1]:4280" or "localhost:4280" (port 0: any free one). A TCP address that is not
 * loopback is refused unless `allowRemote`: the API has no authentication. Throws CONFIG_INVALID.
 */
export function parseListen(text: string, allowRemote = false): ListenTarget {
  const path = text.startsWith('unix:') ? text.slice('unix:'.length) : text.startsWith('/') ? text : undefined;
  if (path !== undefined) {
    const bytes = Buffer.byteLength(path);
    if (path.startsWith('/') && bytes <= SOCKET_PATH_MAX && !path.includes('\0')) return { kind: 'unix', path };
    throw invalid(text, `an absolute path of at most ${SOCKET_PATH_MAX} bytes`);
  }
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]]*)):([0-9]{1,5})$/.exec(text);
  const port = Number(match?.[3]);
  const host = match?.[1] ?? (match?.[2] === 'localhost' ? '127.0.0.1' : match?.[2]);
  if (host === undefined || isIP(host) === 0 || port > 65535) {
    throw invalid(text, 'a socket path, "ADDRESS:PORT" or "[IPV6]:PORT"');
  }
  const address = parseAddress(host) as Address;
  if (!allowRemote && !LOOPBACK.some((prefix) => prefixContains(prefix, address))) {
    throw invalid(
      text,
      'a loopback address (the API has no authentication; to open it nevertheless, allow remote access)',
    );
  }
  return { kind: 'tcp', host, port };
}

/** Starts to listen; resolves with the place as text. A socket file that nobody answers on is replaced. */
export async function listen(app: FastifyInstance, target: ListenTarget): Promise<string> {
  if (target.kind === 'tcp') return app.listen({ host: target.host, port: target.port });
  await mkdir(dirname(target.path), { recursive: true, mode: 0o700 });
  await takeOver(target.path, 'open the API socket');
  await app.listen({ path: target.path });
  await chmod(target.path, 0o600);
  return `unix:${target.path}`;
}

/** Removes a socket file that nobody answers on. Rejects for one that answers and for a file that is no socket. */
export async function takeOver(path: string, operation: string): Promise<void> {
  const found = await lstat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  });
  if (found === undefined) return;
  if (!found.isSocket()) {
    throw new WeirError('CONFIG_INVALID', operation, `${path} is there and is no socket; it is left alone`);
  }
  if (await answers(path)) {
    throw new WeirError('ALREADY_RUNNING', operation, `another process answers on ${path}`);
  }
  await unlink(path);
}

/** ECONNREFUSED means that the file's owner is gone; anything else is treated as somebody being there. */
function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', (error: NodeJS.ErrnoException) =>
      resolve(error.code !== 'ECONNREFUSED' && error.code !== 'ENOENT'),
    );
  });
}

function invalid(text: string, expected: string): WeirError {
  return new WeirError(
    'CONFIG_INVALID',
    'read the listen address',
    `expected ${expected}, got ${JSON.stringify(text)}`,
  );
}
