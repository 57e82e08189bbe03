/** Hubble's gRPC API where settings ask for it; only then its libraries are loaded. */
import type { Config } from '../../config/config.ts';
import type { Logger } from '../../run/log.ts';
import type { HubbleOptions, HubbleServer } from './server.ts';

type Told = Pick<
  HubbleOptions,
  'flows' | 'startedAt' | 'nodes' | 'state' | 'names' | 'nodeLabels' | 'version' | 'refused'
>;

export async function openHubble(config: Config, told: Told, log: Logger): Promise<HubbleServer | undefined> {
  if (!config.hubbleSocket && !config.hubbleListen) return undefined;
  const { startHubble } = await import('./server.ts');
  const server = await startHubble({
    ...told,
    node: config.nodeName,
    cluster: config.clusterName,
    log,
    socket: config.hubbleSocket || undefined,
    tls: config.hubbleListen && {
      ...config.hubbleListen,
      files: {
        certificate: config.hubbleTlsCertFile,
        key: config.hubbleTlsKeyFile,
        clientCa: config.hubbleTlsClientCaFile,
      },
    },
  });
  log.info('the Hubble API listens', { at: server.at.join(', ') });
  return server;
}
