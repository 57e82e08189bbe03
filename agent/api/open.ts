/** The HTTP servers that settings ask for: one server listens at one place. */
import type { FastifyInstance } from 'fastify';
import type { Config } from '../config/config.ts';
import type { Logger } from '../run/log.ts';
import type { TokenJudge } from './admission.ts';
import type { HubbleNode } from './hubble/peers.ts';
import { type ListenTarget, listen } from './listener.ts';
import type { Metrics } from './metrics.ts';
import { type ApiOptions, createApi } from './server.ts';
import type { State } from './state.ts';

export interface OpenApisOptions {
  readonly config: Config;
  readonly state: State;
  readonly metrics: Metrics;
  /** Nodes that have an agent, this one too. */
  readonly agents: () => readonly HubbleNode[];
  /** Whom tokens are shown to; undefined: they open nothing. */
  readonly judge: TokenJudge | undefined;
  readonly log: Logger;
}

/** All of them listen when it resolves. */
export async function openApis(options: OpenApisOptions): Promise<{ close(): Promise<void> }> {
  const { config, state, metrics, agents, judge, log } = options;
  const opened: FastifyInstance[] = [];
  const open = async (said: string, at: ListenTarget, more: Partial<ApiOptions>): Promise<void> => {
    const api = await createApi({ state, metrics, log, ...more });
    opened.push(api);
    log.info(said, { at: await listen(api, at) });
  };
  const port = config.apiTlsListen?.port;
  // Loaded where it is asked for: it costs memory.
  const cluster = port && (await (await import('./cluster.ts')).openCluster({ config, port, agents, log }));
  const peers = cluster ? cluster.peers : undefined;
  await open('the API listens', { kind: 'unix', path: config.apiSocket }, { peers });
  if (config.listen) await open('the API listens', { kind: 'tcp', ...config.listen }, { peers });
  if (cluster && config.apiTlsListen) {
    const guarded = { credentials: cluster.credentials, judge };
    await open('the API listens, with TLS', { kind: 'tcp', ...config.apiTlsListen }, { peers, guarded });
  }
  for (const [serves, at] of [
    ['health', config.healthListen],
    ['metrics', config.metricsListen],
  ] as const) {
    if (at) await open(`${serves} can be asked for`, { kind: 'tcp', ...at }, { serves });
  }
  return {
    async close() {
      await Promise.all(opened.map((api) => api.close()));
      if (cluster) cluster.close();
    },
  };
}
