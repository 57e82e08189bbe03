/** The Hubble API of a node that knows no others, without policies and endpoints, for tests to say only what they look at. */
import { type HubbleOptions, type HubbleServer, startHubble } from '../../agent/api/hubble/server.ts';

export function hubbleAlone(options: Partial<HubbleOptions> & Pick<HubbleOptions, 'flows'>): Promise<HubbleServer> {
  return startHubble({
    node: 'node-1',
    cluster: 'default',
    version: '1',
    startedAt: Date.now(),
    socket: undefined,
    tls: undefined,
    nodes: () => [],
    nodeLabels: () => ({}),
    state: { policies: () => [], endpoints: () => [] },
    ...options,
  });
}
