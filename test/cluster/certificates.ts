/** The cluster's own certificate authority, made with openssl, and who holds a certificate of it. */
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { command } from '../kit/command.ts';
import { CONTROL_PLANE, families, machineLink, SERVICE_RANGE } from './addresses.ts';

/** PEM files. */
export interface KeyPair {
  readonly certificate: string;
  readonly key: string;
}

/** How Kubernetes reads a client certificate: CN is the user, O are the groups. */
export interface Holder {
  readonly file: string;
  readonly user: string;
  readonly group?: string;
  /** "DNS:kubernetes", "IP:10.96.0.1": of a server. */
  readonly names?: readonly string[];
}

const NEW_KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
const DAYS = '365';

export class CertificateAuthority {
  readonly #folder: string;

  /** The folder need not be there yet. */
  constructor(folder: string) {
    this.#folder = folder;
  }

  get certificate(): string {
    return join(this.#folder, 'ca.crt');
  }
  get key(): string {
    return join(this.#folder, 'ca.key');
  }
  /** Service account tokens are signed with it. */
  get serviceAccountKey(): string {
    return join(this.#folder, 'service-accounts.key');
  }

  async make(): Promise<void> {
    mkdirSync(this.#folder, { recursive: true, mode: 0o700 });
    await openssl(
      'req',
      '-x509',
      ...NEW_KEY,
      '-keyout',
      this.key,
      '-out',
      this.certificate,
      '-days',
      DAYS,
      '-subj',
      '/CN=cluster',
    );
    // As SEC 1: the API server reads the public half from a private key in that form only.
    await openssl('ecparam', '-genkey', '-noout', '-name', 'prime256v1', '-out', this.serviceAccountKey);
  }

  /** The holder's key pair, made when it is not there. */
  async issue({ file, user, group, names }: Holder): Promise<KeyPair> {
    const pair = { certificate: join(this.#folder, `${file}.crt`), key: join(this.#folder, `${file}.key`) };
    if (existsSync(pair.certificate)) return pair;
    const request = join(this.#folder, `${file}.csr`);
    const subject = `${group === undefined ? '' : `/O=${group}`}/CN=${user}`;
    const alternatives = names === undefined ? [] : ['-addext', `subjectAltName=${names.join(',')}`];
    await openssl('req', ...NEW_KEY, '-keyout', pair.key, '-out', request, '-subj', subject, ...alternatives);
    const signer = ['-CA', this.certificate, '-CAkey', this.key, '-set_serial', serial(), '-days', DAYS];
    await openssl('x509', '-req', '-in', request, '-out', pair.certificate, ...signer, '-copy_extensions', 'copy');
    return pair;
  }
}

/** What the API server is asked for by: from nodes, from the machine, and by its Service from pods. */
export function apiServerNames(number: number): string[] {
  const service = [
    firstAddress(SERVICE_RANGE.v4),
    ...(SERVICE_RANGE.v6 === undefined ? [] : [firstAddress(SERVICE_RANGE.v6)]),
  ];
  const addresses = ['127.0.0.1', ...families(CONTROL_PLANE, true), machineLink(number).controlPlane, ...service];
  const names = ['kubernetes', 'kubernetes.default', 'kubernetes.default.svc', 'kubernetes.default.svc.cluster.local'];
  return [...names.map((name) => `DNS:${name}`), ...addresses.map((address) => `IP:${address}`)];
}

/** "10.96.0.0/16" -> "10.96.0.1": the one of default/kubernetes. */
function firstAddress(range: string): string {
  const [network = ''] = range.split('/');
  return network.includes(':') ? `${network}1` : network.replace(/0$/, '1');
}

/** A kubeconfig with everything in it, so that it can be moved. */
export function kubeconfig(server: string, authority: CertificateAuthority, client: KeyPair, cluster: string): string {
  const inline = (file: string) => readFileSync(file).toString('base64');
  return `apiVersion: v1
kind: Config
current-context: ${cluster}
clusters:
- name: ${cluster}
  cluster:
    server: ${server}
    certificate-authority-data: ${inline(authority.certificate)}
users:
- name: ${cluster}
  user:
    client-certificate-data: ${inline(client.certificate)}
    client-key-data: ${inline(client.key)}
contexts:
- name: ${cluster}
  context: { cluster: ${cluster}, user: ${cluster} }
`;
}

/** Random, as several are made at the same time. */
function serial(): string {
  return `0x${randomBytes(16).toString('hex')}`;
}

async function openssl(...args: string[]): Promise<void> {
  await command(['openssl', ...args]);
}
