/**
 * The pod's own service account. Written here and not taken from @kubernetes/client-node, whose KubeConfig alone holds
 * 20 MiB: this is three files and two variables. Source: kubernetes.io/docs/tasks/run-application/access-api-from-pod.
 */
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { WeirError } from '../errors.ts';
import type { Connection } from './connection.ts';

const SERVICE_ACCOUNT = '/var/run/secrets/kubernetes.io/serviceaccount';

export interface InClusterOptions {
  readonly server?: string | undefined;
  readonly environment?: Readonly<Record<string, string | undefined>>;
  /** Where token and ca.crt are mounted. */
  readonly directory?: string;
}

export function inClusterConnection(options: InClusterOptions): Connection {
  const directory = options.directory ?? SERVICE_ACCOUNT;
  const server = serverOf(options);
  const token = new KeptFile(join(directory, 'token'));
  const ca = new KeptFile(join(directory, 'ca.crt'));
  return {
    server,
    credentials: async () => ({ headers: { Authorization: `Bearer ${token.text().trim()}` }, ca: ca.text() }),
    forget() {
      token.forget();
      ca.forget();
    },
  };
}

function serverOf({ server, environment = process.env }: InClusterOptions): URL {
  if (server) return parseServer(server);
  const host = environment.KUBERNETES_SERVICE_HOST;
  const port = environment.KUBERNETES_SERVICE_PORT;
  if (!host || !port) {
    const message =
      'there is no API server: neither kubeconfig nor kubernetesServer is set, and KUBERNETES_SERVICE_HOST is not, as it would be in a pod';
    throw new WeirError('CONFIG_INVALID', 'connect', message);
  }
  return parseServer(`https://${host.includes(':') ? `[${host}]` : host}:${port}`);
}

/** Throws CONFIG_INVALID when it is no https:// or http:// address. */
export function parseServer(text: string): URL {
  const server = URL.parse(text);
  if (server?.protocol === 'https:' || server?.protocol === 'http:') return server;
  throw new WeirError(
    'CONFIG_INVALID',
    'connect',
    `expected an API server such as https://10.0.0.1:6443, found ${JSON.stringify(text)}`,
  );
}

/**
 * Read again when it changed: the kubelet writes a new token long before the old one ends, by exchanging a link. Synchronous:
 * the files are small and in memory, and the threads that read otherwise cost some MiB.
 */
class KeptFile {
  readonly #path: string;
  #signature = '';
  #text = '';

  constructor(path: string) {
    this.#path = path;
  }

  text(): string {
    const { ino, mtimeMs, size } = statSync(this.#path);
    const signature = `${ino}:${mtimeMs}:${size}`;
    if (signature !== this.#signature) {
      this.#text = readFileSync(this.#path, 'utf8');
      this.#signature = signature;
    }
    return this.#text;
  }

  forget(): void {
    this.#signature = '';
  }
}
