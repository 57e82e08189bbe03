/** What the API with TLS stands on: certificates, and the agents of the other nodes. Loaded only where it is asked for. */
import type { Config } from '../config/config.ts';
import type { Logger } from '../run/log.ts';
import { type HubbleNode, serverName } from './hubble/peers.ts';
import { type Peer, Peers } from './peers.ts';
import { TlsCredentials } from './tls-server.ts';

export interface ClusterOptions {
  readonly config: Config;
  /** Of the API with TLS, the same on all nodes. */
  readonly port: number;
  /** Nodes that have an agent, this one too. */
  readonly agents: () => readonly HubbleNode[];
  readonly log: Logger;
}

export interface Cluster {
  readonly credentials: TlsCredentials;
  readonly peers: Peers;
  close(): void;
}

export async function openCluster({ config, port, agents, log }: ClusterOptions): Promise<Cluster> {
  const { nodeName, clusterName, hubbleTlsCertFile, hubbleTlsKeyFile, hubbleTlsClientCaFile } = config;
  const files = { certificate: hubbleTlsCertFile, key: hubbleTlsKeyFile, ca: hubbleTlsClientCaFile };
  const credentials = await TlsCredentials.open(files, log);
  const others = (): Peer[] =>
    agents()
      .filter(({ name }) => name !== nodeName)
      .map(({ name, addresses: [host] }) => ({ node: name, host, serverName: serverName(name, clusterName) }));
  const peers = new Peers({ credentials, port, others });
  return {
    credentials,
    peers,
    close() {
      credentials.close();
      peers.close();
    },
  };
}
