/** W2: one byte to and fro on standing connections, 1 and 8 of them. */

import type { Bench } from './bench.ts';
import type { Figure } from './figure.ts';
import { compareSites } from './network.ts';

export function requestResponse(bench: Bench): Promise<Figure[]> {
  const goal = { ratioAtLeast: 0.97 };
  return compareSites(bench, {
    workload: 'W2',
    variants: [1, 8].map((connections) => ({
      name: `${connections} connection${connections === 1 ? '' : 's'}`,
      run: (site) => bench.load.requestResponse(site.client, site.ipv4, connections, bench.seconds),
    })),
    metrics: [
      { key: 'perSecond', metric: 'request/response', unit: '1/s', better: 'more', goal },
      { key: 'p50us', metric: 'request/response p50', unit: 'us', better: 'less' },
      { key: 'p99us', metric: 'request/response p99', unit: 'us', better: 'less' },
      { key: 'cpuUs', metric: 'request/response CPU', unit: 'us', better: 'less' },
    ],
  });
}
