/**
 * The TLS side's certificate, key and clients' CA: files that are read again, so that a renewed certificate needs no
 * restart. Files that do not fit together are refused at the start; later the last good ones stay in use.
 */
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { setTimeout as pause } from 'node:timers/promises';
import { createSecureContext } from 'node:tls';
import { asWeirError, WeirError } from '../../errors.ts';
import type { Logger } from '../../run/log.ts';

/** PEM files. */
export interface CertificateFiles {
  readonly certificate: string;
  readonly key: string;
  /** Who may call: holders of a certificate signed by one of these. */
  readonly clientCa: string;
}

export const CERTIFICATES_READ_MS = 10_000;

export function certificatesAreThere({ certificate, key, clientCa }: CertificateFiles): boolean {
  return [certificate, key, clientCa].every((file) => existsSync(file));
}

/** Resolves when all three are there and fit together; rejects when the signal aborts. */
export async function certificatesToCome(
  files: CertificateFiles,
  log: Logger | undefined,
  signal: AbortSignal,
  everyMs = CERTIFICATES_READ_MS,
): Promise<Certificates> {
  for (;;) {
    await pause(everyMs, undefined, { signal, ref: false });
    if (!certificatesAreThere(files)) continue;
    try {
      return await Certificates.open(files, log, everyMs);
    } catch (cause) {
      log?.warn('the Hubble certificates cannot be used yet', { cause });
    }
  }
}

/** As node:tls names them; `ca`: of clients. */
export interface Pems {
  readonly cert: Buffer;
  readonly key: Buffer;
  readonly ca: Buffer;
}

type Listener = (pems: Pems, isNewAuthority: boolean) => void;

export class Certificates {
  readonly #files: CertificateFiles;
  readonly #log: Logger | undefined;
  readonly #listeners = new Set<Listener>();
  readonly #timer: NodeJS.Timeout;
  #pems: Pems;

  private constructor(files: CertificateFiles, pems: Pems, everyMs: number, log: Logger | undefined) {
    this.#files = files;
    this.#pems = pems;
    this.#log = log;
    this.#timer = setInterval(() => void this.readAgain(), everyMs);
    this.#timer.unref();
  }

  /** Rejects with CONFIG_INVALID when the files cannot be read or do not fit together. */
  static async open(
    files: CertificateFiles,
    log: Logger | undefined,
    everyMs = CERTIFICATES_READ_MS,
  ): Promise<Certificates> {
    try {
      return new Certificates(files, await read(files), everyMs, log);
    } catch (cause) {
      throw new WeirError('CONFIG_INVALID', 'read the Hubble certificates', sentence(files, cause), { cause });
    }
  }

  /** As they were last read and fitted together. */
  get pems(): Pems {
    return this.#pems;
  }

  /** Calls the listener when they are others; with a new authority, callers are known by another CA than before. */
  onChange(listener: Listener): void {
    this.#listeners.add(listener);
  }

  close(): void {
    clearInterval(this.#timer);
  }

  /** Looks at the files now. */
  async readAgain(): Promise<void> {
    const before = this.#pems;
    try {
      const pems = await read(this.#files);
      if (sameBytes(pems, before)) return;
      this.#pems = pems;
      this.#log?.info('the Hubble certificates were renewed', { certificate: this.#files.certificate });
    } catch (cause) {
      this.#log?.warn('the Hubble certificates cannot be renewed; the last good ones stay in use', {
        cause: asWeirError(cause, 'read the Hubble certificates'),
      });
      return;
    }
    for (const listener of this.#listeners) listener(this.#pems, !this.#pems.ca.equals(before.ca));
  }
}

async function read({ certificate, key, clientCa }: CertificateFiles): Promise<Pems> {
  const [cert, privateKey, ca] = await Promise.all([readFile(certificate), readFile(key), readFile(clientCa)]);
  createSecureContext({ cert, key: privateKey, ca }); // throws where they do not fit
  return { cert, key: privateKey, ca };
}

function sameBytes(a: Pems, b: Pems): boolean {
  return a.cert.equals(b.cert) && a.key.equals(b.key) && a.ca.equals(b.ca);
}

function sentence({ certificate, key, clientCa }: CertificateFiles, cause: unknown): string {
  const why = cause instanceof Error ? cause.message : String(cause);
  return `expected a certificate (${certificate}), its key (${key}) and a CA for clients (${clientCa}) as PEM: ${why}`;
}
