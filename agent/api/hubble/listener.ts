/**
 * Where the gRPC server's connections come from: taken here and handed to grpc-js, which by itself knows no limit to them, nor to
 * the time that a TLS handshake may take.
 */
import { createServer, type ListenOptions, type Server as NetServer, type Socket } from 'node:net';
import { createServer as createTlsServer } from 'node:tls';
import { type Server, ServerCredentials } from '@grpc/grpc-js';
import { WeirError } from '../../errors.ts';
import type { Certificates } from './certificates.ts';

/** Open at one place at once; who comes then is hung up on. A relay needs one or two. */
export const CONNECTIONS_MAX = 128;
const HANDSHAKE_MS = 10_000;
/** How long clients may take to say goodbye when the authority that they are known by has changed. */
const DRAIN_MS = 2000;

export interface ListenerOptions {
  /** Only holders of a certificate get in; undefined: whoever reaches the place. */
  readonly certificates?: Certificates;
  /** Called for each connection that is refused: beyond the limit, or its handshake failed. */
  readonly refused?: () => void;
  readonly handshakeMs?: number;
}

export class Listener {
  readonly #grpc: Server;
  readonly #accepting: NetServer;
  readonly #sockets = new Set<Socket>();
  #injector: ReturnType<Server['createConnectionInjector']>;

  private constructor(grpc: Server, { certificates, refused = () => {}, handshakeMs = HANDSHAKE_MS }: ListenerOptions) {
    this.#grpc = grpc;
    this.#injector = this.#newInjector();
    this.#accepting = certificates ? this.#withTls(certificates, refused, handshakeMs) : createServer(this.#take);
    this.#accepting.maxConnections = CONNECTIONS_MAX;
    this.#accepting.on('drop', refused);
    this.#accepting.on('connection', (socket) => {
      this.#sockets.add(socket);
      socket.once('close', () => this.#sockets.delete(socket));
    });
  }

  /** Rejects with CONFIG_INVALID when it cannot listen there. */
  static async open(grpc: Server, place: ListenOptions, options: ListenerOptions = {}): Promise<Listener> {
    const listener = new Listener(grpc, options);
    await new Promise<void>((resolve, reject) => {
      listener.#accepting.once('error', (cause) => {
        const where = place.path ?? `${place.host}:${place.port}`;
        const text = `cannot listen on ${where}: ${cause.message}`;
        reject(new WeirError('CONFIG_INVALID', 'open the Hubble API', text, { cause }));
      });
      listener.#accepting.listen(place, resolve);
    });
    return listener;
  }

  /** Of a TCP listener. */
  get port(): number {
    const address = this.#accepting.address();
    return address !== null && typeof address === 'object' ? address.port : 0;
  }

  /** No new connections; who has not gone by then is hung up on, also who is in the middle of a handshake. */
  stop(graceMs: number): void {
    this.#accepting.close();
    const hangUp = () => {
      for (const socket of this.#sockets) socket.destroy();
    };
    setTimeout(hangUp, graceMs).unref();
  }

  readonly #take = (socket: Socket): void => {
    socket.on('error', () => {}); // whoever speaks with it sees it close
    this.#injector.injectConnection(socket);
  };

  #withTls(certificates: Certificates, refused: () => void, handshakeMs: number): NetServer {
    const server = createTlsServer({
      ...certificates.pems,
      requestCert: true,
      rejectUnauthorized: true,
      ALPNProtocols: ['h2'],
      minVersion: 'TLSv1.2',
      handshakeTimeout: handshakeMs,
    });
    server.on('secureConnection', this.#take);
    server.on('tlsClientError', (_, socket) => {
      refused();
      socket.destroy(); // where its time is over, Node leaves that to us
    });
    certificates.onChange((pems, isNewAuthority) => {
      server.setSecureContext(pems);
      if (isNewAuthority) this.#drain();
    });
    return server;
  }

  /** Whom the authority of before let in shows itself again: it may be trusted no more. */
  #drain(): void {
    const before = this.#injector;
    this.#injector = this.#newInjector(); // a drained one also ends who comes meanwhile
    before.drain(DRAIN_MS);
    setTimeout(() => before.destroy(), DRAIN_MS).unref();
  }

  #newInjector() {
    return this.#grpc.createConnectionInjector(ServerCredentials.createInsecure());
  }
}
