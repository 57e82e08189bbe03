/**
 * Whose turn it is to be answered. A request has a few bytes and its answer may have ten million: so of a connection one
 * request is worked on, however many it sends; of all connections a few; and nothing more is made while much that was made waits
 * for readers that do not read.
 */
import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { WeirError } from '../errors.ts';
import { Places } from './places.ts';

export const TURNS = {
  /** Requests of one connection that wait for the one before them; a connection that sends more is closed. */
  waiting: 16,
  /**
   * Requests whose answers are made at once: from what this agent knows; pages of flows, each of which is 20 MiB until it is
   * written; and from what others answer, which take longer.
   */
  atOnce: { node: 8, pages: 3, cluster: 4 },
  /** Of all answers that are made and not read. */
  unreadBytes: 32 << 20,
  /** Who has an answer for so long, and still has not read it, makes room when others need it. */
  unreadMs: 5000,
} as const;

/** To be added before hooks that do more than look at the request. `refused` is called when a connection is closed. */
export function addTurns(app: FastifyInstance, refused: () => void): void {
  const lines = new WeakMap<Socket, Line>();
  const unread = new Unread(refused);
  const { node, pages, cluster } = TURNS.atOnce;
  const places = { node: new Places(node), pages: new Places(pages), cluster: new Places(cluster) };
  const leave = new WeakMap<ServerResponse, () => void>();

  app.addHook('onRequest', async ({ raw: { socket } }, reply) => {
    const line = lines.get(socket) ?? new Line();
    lines.set(socket, line);
    if (line.waiting >= TURNS.waiting) {
      refused();
      socket.destroy();
    }
    await line.turn(socket, reply.raw);
    if (socket.destroyed) return reply.hijack(); // nobody is there to be answered
    return;
  });
  app.addHook('preHandler', async (request, reply) => {
    const place = places[kindOf(request)];
    await place.take();
    const left = once(place.leave);
    if (request.raw.socket.destroyed) {
      left();
      return reply.hijack();
    }
    leave.set(reply.raw, left);
    reply.raw.once('close', left);
    unread.makeRoom(Date.now());
    unread.add(request.raw.socket, reply.raw);
    return;
  });
  app.addHook('onSend', async (_, reply) => leave.get(reply.raw)?.());
}

function kindOf({ query, routeOptions }: FastifyRequest): keyof typeof TURNS.atOnce {
  const { scope, follow } = query as { readonly scope?: string; readonly follow?: boolean };
  if (scope === 'cluster') return 'cluster';
  return routeOptions.url === '/v1/flows' && follow !== true ? 'pages' : 'node';
}

/** The requests of one connection. */
class Line {
  waiting = 0;
  #last: Promise<void> = Promise.resolve();

  /** Resolves when those before are answered, or there is nobody left who could be. */
  async turn(socket: Socket, response: ServerResponse): Promise<void> {
    const before = this.#last;
    this.#last = new Promise((resolve) => {
      response.once('finish', resolve);
      response.once('close', resolve);
      void before.then(() => socket.destroyed && resolve());
    });
    this.waiting++;
    await before;
    this.waiting--;
  }
}

/** Answers on their way. */
class Unread {
  /** Since when, ms. */
  readonly #since = new Map<Socket, number>();
  readonly #refused: () => void;

  constructor(refused: () => void) {
    this.#refused = refused;
  }

  add(socket: Socket, response: ServerResponse): void {
    this.#since.set(socket, Date.now());
    const gone = (): boolean => this.#since.delete(socket);
    response.once('finish', gone);
    response.once('close', gone);
  }

  /** Closes the connections that hold the most and have not read for long. Throws BUSY where that is not enough. */
  makeRoom(nowMs: number): void {
    let bytes = [...this.#since.keys()].reduce((sum, socket) => sum + waitingBytes(socket), 0);
    const slow = [...this.#since]
      .filter(([, sinceMs]) => nowMs - sinceMs >= TURNS.unreadMs)
      .map(([socket]) => socket)
      .sort((a, b) => waitingBytes(b) - waitingBytes(a));
    for (const socket of slow) {
      if (bytes <= TURNS.unreadBytes) return;
      bytes -= waitingBytes(socket);
      this.#since.delete(socket);
      this.#refused();
      socket.destroy();
    }
    if (bytes <= TURNS.unreadBytes) return;
    const text = `${TURNS.unreadBytes >> 20} MiB of answers wait for readers that do not read; a reader that reads is served soon`;
    throw new WeirError('BUSY', 'answer a request', text);
  }
}

function waitingBytes(socket: Socket): number {
  return socket.writableLength ?? 0; // fastify's inject has sockets without
}

function once(act: () => void): () => void {
  let isDone = false;
  return () => {
    if (!isDone) act();
    isDone = true;
  };
}
