/** Where the API server is and how we show who we are. */
import type { Agent, OutgoingHttpHeaders } from 'node:http';

/** What a request needs to be believed, and to believe the server. Fields as in node:https. */
export interface Credentials {
  readonly headers: OutgoingHttpHeaders;
  readonly ca?: string | Buffer;
  readonly cert?: string | Buffer;
  readonly key?: string | Buffer;
  readonly servername?: string;
  readonly rejectUnauthorized?: boolean;
  /** "user:password", for Basic. */
  readonly auth?: string;
  /** Set when the server is reached through a proxy. */
  readonly agent?: Agent;
}

export interface Connection {
  readonly server: URL;
  /** As they are now: files are read again, programs asked again, when what they gave is no longer valid. */
  credentials(): Promise<Credentials>;
  /** The server refused them: nothing that was kept is used again. */
  forget(): void;
}

export interface ConnectOptions {
  /** A kubeconfig file, or several to be merged; '' or undefined: the pod's own service account. */
  readonly kubeconfig?: string | readonly string[] | undefined;
  /** Context of the kubeconfig instead of its current one. */
  readonly context?: string | undefined;
  /** The API server instead of the one the kubeconfig or the environment names, e.g. "https://10.0.0.1:6443". */
  readonly server?: string | undefined;
}

/** Chooses by what is set; only a kubeconfig loads @kubernetes/client-node. Throws CONFIG_INVALID when there is neither. */
export async function connect(options: ConnectOptions): Promise<Connection> {
  if (options.kubeconfig && options.kubeconfig.length > 0) {
    const { kubeconfigConnection } = await import('./kubeconfig.ts');
    return kubeconfigConnection(options.kubeconfig, { server: options.server, context: options.context });
  }
  const { inClusterConnection } = await import('./in-cluster.ts');
  return inClusterConnection({ server: options.server });
}
