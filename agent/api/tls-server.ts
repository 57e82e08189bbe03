/**
 * The HTTP API over TLS, with the certificates of the Hubble API: a client may show a certificate of the same authority
 * (other agents do), and need not. Files that change are read again; until they are there, nobody is served.
 */
import { readFile } from 'node:fs/promises';
import type { RequestListener } from 'node:http';
import { createServer, type Server, type ServerOptions } from 'node:https';
import { createSecureContext } from 'node:tls';
import { asWeirError } from '../errors.ts';
import type { Logger } from '../run/log.ts';

/** PEM files. */
export interface TlsFiles {
  readonly certificate: string;
  readonly key: string;
  /** Whose certificates clients, and other agents as servers, are known by. */
  readonly ca: string;
}

export interface Pems {
  readonly cert: Buffer;
  readonly key: Buffer;
  readonly ca: Buffer;
}

const READ_MS = 10_000;
const TLS = {
  requestCert: true,
  rejectUnauthorized: false,
  minVersion: 'TLSv1.2',
  handshakeTimeout: 10_000,
} as const satisfies ServerOptions;

/** The files as they are now, read again when they change. */
export class TlsCredentials {
  readonly #files: TlsFiles;
  readonly #log: Logger | undefined;
  readonly #listeners = new Set<(pems: Pems) => void>();
  readonly #timer: NodeJS.Timeout;
  #pems: Pems | undefined;
  #said = '';

  private constructor(files: TlsFiles, log: Logger | undefined, everyMs: number) {
    this.#files = files;
    this.#log = log;
    this.#timer = setInterval(() => void this.readAgain(), everyMs).unref();
  }

  static async open(files: TlsFiles, log?: Logger, everyMs = READ_MS): Promise<TlsCredentials> {
    const credentials = new TlsCredentials(files, log, everyMs);
    await credentials.readAgain();
    return credentials;
  }

  /** Undefined until the files are there and fit together. */
  get pems(): Pems | undefined {
    return this.#pems;
  }

  onChange(listener: (pems: Pems) => void): void {
    this.#listeners.add(listener);
  }

  async readAgain(): Promise<void> {
    const { certificate, key, ca } = this.#files;
    try {
      const [certPem, keyPem, caPem] = await Promise.all([readFile(certificate), readFile(key), readFile(ca)]);
      const pems = { cert: certPem, key: keyPem, ca: caPem };
      const before = this.#pems;
      if (before && certPem.equals(before.cert) && keyPem.equals(before.key) && caPem.equals(before.ca)) return;
      createSecureContext(pems); // throws where they do not fit together
      this.#pems = pems;
      this.#said = '';
      for (const listener of this.#listeners) listener(pems);
    } catch (cause) {
      const error = asWeirError(cause, 'read the certificates of the API');
      if (error.message !== this.#said) this.#log?.warn('the certificates cannot be used (yet)', { cause: error });
      this.#said = error.message;
    }
  }

  close(): void {
    clearInterval(this.#timer);
  }
}

/** A server that lets anybody speak TLS; who may ask is decided by request (admission.ts). */
export function createTls(credentials: TlsCredentials, handler: RequestListener, options: ServerOptions): Server {
  const server = createServer({ ...options, ...credentials.pems, ...TLS }, handler);
  let ca = credentials.pems?.ca;
  credentials.onChange((pems) => {
    server.setSecureContext(pems);
    // Whom the authority of before let in shows itself again: it may be trusted no more.
    if (ca !== undefined && !ca.equals(pems.ca)) server.closeAllConnections();
    ca = pems.ca;
  });
  return server;
}
