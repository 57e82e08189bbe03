/** Certificates for tests, made with openssl. */
import { join } from 'node:path';
import { command } from './command.ts';

/** PEM files. */
export interface KeyPair {
  readonly certificate: string;
  readonly key: string;
}

/** A CA of its own in `folder`. */
export class CertificateAuthority {
  readonly #folder: string;
  readonly #pair: KeyPair;

  private constructor(folder: string, pair: KeyPair) {
    this.#folder = folder;
    this.#pair = pair;
  }

  static async make(folder: string, name: string): Promise<CertificateAuthority> {
    const pair = files(folder, name);
    await openssl(
      'req',
      '-x509',
      ...NEW_KEY,
      '-keyout',
      pair.key,
      '-out',
      pair.certificate,
      '-days',
      '2',
      '-subj',
      `/CN=${name}`,
    );
    return new CertificateAuthority(folder, pair);
  }

  get certificate(): string {
    return this.#pair.certificate;
  }

  /** A certificate for a server of this DNS name, which a client may use too. */
  async issue(name: string, dnsName: string): Promise<KeyPair> {
    const pair = files(this.#folder, name);
    const request = join(this.#folder, `${name}.csr`);
    await openssl(
      'req',
      ...NEW_KEY,
      '-keyout',
      pair.key,
      '-out',
      request,
      '-subj',
      `/CN=${dnsName}`,
      '-addext',
      `subjectAltName=DNS:${dnsName}`,
    );
    const signer = ['-CA', this.#pair.certificate, '-CAkey', this.#pair.key, '-CAcreateserial'];
    await openssl(
      'x509',
      '-req',
      '-in',
      request,
      ...signer,
      '-copy_extensions',
      'copy',
      '-days',
      '2',
      '-out',
      pair.certificate,
    );
    return pair;
  }
}

const NEW_KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];

function files(folder: string, name: string): KeyPair {
  return { certificate: join(folder, `${name}.crt`), key: join(folder, `${name}.key`) };
}

function openssl(...args: string[]): Promise<string> {
  return command(['openssl', ...args]);
}
