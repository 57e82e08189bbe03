/**
 * A kubeconfig file, read by @kubernetes/client-node: tokens, client certificates, programs (exec), OIDC and proxies as
 * kubectl knows them. Of that package only KubeConfig is used; README.md says why.
 */
import type { RequestOptions } from 'node:https';
import { KubeConfig } from '@kubernetes/client-node';
import { WeirError } from '../errors.ts';
import type { Connection } from './connection.ts';
import { parseServer } from './in-cluster.ts';

/** @param server instead of the one the file names; its certificate is then still checked against the file's name for it */
export function kubeconfigConnection(file: string, server: string | undefined): Connection {
  let config = load(file);
  const cluster = config.getCurrentCluster();
  if (!cluster) {
    const message = `${file}: the current context ${JSON.stringify(config.getCurrentContext() ?? '')} names no cluster`;
    throw new WeirError('CONFIG_INVALID', 'connect', message);
  }
  return {
    server: parseServer(server || cluster.server),
    async credentials() {
      const options: RequestOptions = {};
      await config.applyToHTTPSOptions(options);
      const { headers = {}, ca, cert, key, servername, rejectUnauthorized, auth, agent } = options;
      const present = Object.entries({ ca, cert, key, servername, rejectUnauthorized, auth }).filter(
        ([, value]) => value !== undefined && value !== null,
      );
      // Its agent keeps the certificates of its first use over ours (node:_http_agent), and no connections: only a proxy's is needed.
      const proxied = config.getCurrentCluster()?.proxyUrl ? { agent } : {};
      return { headers, ...Object.fromEntries(present), ...proxied } as Awaited<ReturnType<Connection['credentials']>>;
    },
    forget() {
      try {
        config = load(file);
      } catch {
        // Being written just now, or gone: what was read before is all there is, and the next refusal reads again.
      }
    },
  };
}

function load(file: string): KubeConfig {
  const config = new KubeConfig();
  try {
    config.loadFromFile(file);
  } catch (cause) {
    throw new WeirError('CONFIG_INVALID', 'connect', `the kubeconfig ${file} cannot be read`, { cause });
  }
  return config;
}
