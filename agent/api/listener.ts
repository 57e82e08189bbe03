/**
 * Where the API listens: a unix socket that only root reaches, and TCP when asked, on loopback unless told otherwise
 * (config.ts). One server listens at one place; for both, make two.
 */
import { chmod, mkdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { FastifyInstance } from 'fastify';
import { takeOver } from '../run/unix-socket.ts';

export type ListenTarget =
  | { readonly kind: 'unix'; readonly path: string }
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number };

/** Starts to listen; resolves with the place as text. A socket file that nobody answers on is replaced. */
export async function listen(app: FastifyInstance, target: ListenTarget): Promise<string> {
  if (target.kind === 'tcp') return app.listen({ host: target.host, port: target.port });
  await mkdir(dirname(target.path), { recursive: true, mode: 0o700 });
  await takeOver(target.path, 'open the API socket');
  await app.listen({ path: target.path });
  await chmod(target.path, 0o600);
  return `unix:${target.path}`;
}
