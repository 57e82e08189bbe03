/**
 * A kubeconfig file, read by @kubernetes/client-node: tokens, client certificates, programs (exec), OIDC and proxies as
 * kubectl knows them. Of that package only KubeConfig is used; README.md says why.
 */
import type { RequestOptions } from 'node:https';
import { KubeConfig } from '@kubernetes/client-node';
import { WeirError } from '../errors.ts';
import type { Connection } from './connection.ts';
import { parseServer } from './in-cluster.ts';

export interface KubeconfigOptions {
  /** Instead of the one the file names; its certificate is then still checked against the file's name for it. */
  readonly server?: string | undefined;
  /** Instead of the file's current one. */
  readonly context?: string | undefined;
}

/** @param files one, or several that are merged as kubectl does: what the first says of a name counts */
export function kubeconfigConnection(files: string | readonly string[], options: KubeconfigOptions = {}): Connection {
  const { server, context } = options;
  let config = load([files].flat(), context);
  const cluster = config.getCurrentCluster();
  if (!cluster) {
    const named = JSON.stringify(config.getCurrentContext() ?? '');
    const known = config.getContexts().map(({ name }) => name);
    const which = `the ${context === undefined ? 'current ' : ''}context ${named} names no cluster`;
    const others = known.length === 0 ? '' : `; contexts: ${known.join(', ')}`;
    throw new WeirError('CONFIG_INVALID', 'connect', `${[files].flat().join(', ')}: ${which}${others}`);
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
        config = load([files].flat(), context);
      } catch {
        // Being written just now, or gone: what was read before is all there is, and the next refusal reads again.
      }
    },
  };
}

function load(files: readonly string[], context: string | undefined): KubeConfig {
  const [first = new KubeConfig(), ...rest] = files.map(loadOne);
  for (const other of rest) addTo(first, other);
  if (context !== undefined) first.setCurrentContext(context);
  return first;
}

function loadOne(file: string): KubeConfig {
  const config = new KubeConfig();
  try {
    config.loadFromFile(file);
  } catch (cause) {
    throw new WeirError('CONFIG_INVALID', 'connect', `the kubeconfig ${file} cannot be read`, { cause });
  }
  return config;
}

/** Not its mergeConfig, which refuses names that stand in both. */
function addTo(config: KubeConfig, other: KubeConfig): void {
  for (const cluster of other.getClusters()) if (!config.getCluster(cluster.name)) config.addCluster(cluster);
  for (const user of other.getUsers()) if (!config.getUser(user.name)) config.addUser(user);
  for (const each of other.getContexts()) if (!config.getContextObject(each.name)) config.addContext(each);
  if (!config.getCurrentContext()) config.setCurrentContext(other.getCurrentContext());
}
